//! Finds the bare words of a text that `kdl` could not parse, so that messages can say what their author probably meant.

use crate::text::scan::{count_hashes, measure_block_comment, measure_line, measure_string};

/// Bare words with their byte offsets: everything outside strings and comments, separated by whitespace and `=;{}()`.
pub(crate) fn find_bare_words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            let rest = text.as_bytes().get(at..).filter(|rest| !rest.is_empty())?;
            match measure_word(rest) {
                (length, true) => {
                    let found = (at, &text[at..at + length]);
                    at += length;
                    return Some(found);
                }
                (length, false) => at += length.max(1),
            }
        }
    })
}

/// Length of the next piece in bytes, and whether it is a bare word.
fn measure_word(rest: &[u8]) -> (usize, bool) {
    match rest {
        [b'/', b'/', ..] => (measure_line(rest), false),
        [b'/', b'*', ..] => (measure_block_comment(rest).unwrap_or(rest.len()), false),
        [b'/', b'-', ..] => (2, false),
        [b'#', ..] if measure_string(rest) == count_hashes(rest) => {
            (measure_bare_word(rest).max(count_hashes(rest)), true)
        }
        [b'"' | b'#', ..] => (measure_string(rest), false),
        [byte, ..] if is_separator(*byte) => (1, false),
        _ => (measure_bare_word(rest), true),
    }
}

fn is_separator(byte: u8) -> bool {
    byte.is_ascii_whitespace() || b"=;{}()\"".contains(&byte)
}

/// Length of a bare word in bytes. A comment ends it, but the `/*` of a pattern such as `corpus/*.txt` does not.
fn measure_bare_word(rest: &[u8]) -> usize {
    // Only a `/*` that is closed on the same line counts as a comment; an unquoted glob has none.
    let this_line = &rest[..measure_line(rest)];
    let closed = this_line.windows(2).any(|pair| pair == b"*/");
    let ends = |at: usize, byte: &u8| {
        let next = rest.get(at + 1);
        let comment = *byte == b'/' && (next == Some(&b'/') || next == Some(&b'*') && closed);
        is_separator(*byte) || comment && at > 0
    };
    rest.iter().enumerate().position(|(at, byte)| ends(at, byte)).unwrap_or(rest.len())
}
