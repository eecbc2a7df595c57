//! A look at the text before the parser sees it: how deep braces and comments nest.

/// Deepest nesting that is parsed.
pub(super) const DEEPEST: usize = 64;

/// The place where braces, brackets or block comments nest too deep.
///
/// Strings and comments are skipped as KDL v2 has them; where the text is broken the count may be too large, never too
/// small by more than the parser's own view of it: an unclosed string ends the scan.
pub(super) fn too_deep(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let (mut at, mut depth, mut runs) = (0, 0_usize, 0_usize);
    while at < bytes.len() {
        let rest = bytes.get(at..).unwrap_or_default();
        match rest {
            [b'/', b'/', ..] => at += line(rest),
            [b'/', b'*', ..] => match block_comment(rest) {
                Ok(length) => at += length,
                Err(offset) => return Some(at + offset),
            },
            [b'/', b'-', ..] => {
                runs += 1;
                if runs > DEEPEST {
                    return Some(at);
                }
                at += 2;
            }
            [b'"' | b'#', ..] => {
                at += string(rest);
                runs = 0;
            }
            [b'{' | b'(', ..] => {
                depth += 1;
                runs = 0;
                if depth > DEEPEST {
                    return Some(at);
                }
                at += 1;
            }
            [b'}' | b')', ..] => {
                depth = depth.saturating_sub(1);
                runs = 0;
                at += 1;
            }
            [byte, ..] => {
                if !byte.is_ascii_whitespace() {
                    runs = 0;
                }
                at += 1;
            }
            [] => break,
        }
    }
    None
}

/// Bare words with their places: what stands outside of strings and comments, between blanks and `=;{}()`.
pub fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            let rest = text.as_bytes().get(at..).filter(|rest| !rest.is_empty())?;
            match word(rest) {
                (length, true) => {
                    let found = (at, text.get(at..at + length).unwrap_or_default());
                    at += length;
                    return Some(found);
                }
                (length, false) => at += length.max(1),
            }
        }
    })
}

/// Length of the next piece of text, and whether it is a bare word.
fn word(rest: &[u8]) -> (usize, bool) {
    match rest {
        [b'/', b'/', ..] => (line(rest), false),
        [b'/', b'*', ..] => (block_comment(rest).unwrap_or(rest.len()), false),
        [b'/', b'-', ..] => (2, false),
        [b'#', ..] if string(rest) == hashes(rest) => (bare(rest).max(hashes(rest)), true),
        [b'"' | b'#', ..] => (string(rest), false),
        [byte, ..] if separates(*byte) => (1, false),
        _ => (bare(rest), true),
    }
}

fn separates(byte: u8) -> bool {
    byte.is_ascii_whitespace() || b"=;{}()\"".contains(&byte)
}

fn hashes(rest: &[u8]) -> usize {
    rest.iter().take_while(|byte| **byte == b'#').count()
}

/// Length of a bare word. A comment ends it, but not a pattern such as `corpus/*.txt`.
fn bare(rest: &[u8]) -> usize {
    let this_line = rest.get(..line(rest)).unwrap_or_default();
    let closed = this_line.windows(2).any(|pair| pair == b"*/");
    let ends = |at: usize, byte: &u8| {
        let next = rest.get(at + 1);
        let comment = *byte == b'/' && (next == Some(&b'/') || next == Some(&b'*') && closed);
        separates(*byte) || comment && at > 0
    };
    rest.iter().enumerate().position(|(at, byte)| ends(at, byte)).unwrap_or(rest.len())
}

fn line(rest: &[u8]) -> usize {
    rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len())
}

/// Length of a block comment, which nests; or where it nests too deep.
fn block_comment(rest: &[u8]) -> Result<usize, usize> {
    let (mut at, mut depth) = (0, 0_usize);
    while at + 1 < rest.len() {
        match rest.get(at..at + 2) {
            Some(b"/*") => {
                depth += 1;
                at += 2;
                if depth > DEEPEST {
                    return Err(at - 2);
                }
            }
            Some(b"*/") => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return Ok(at);
                }
            }
            _ => at += 1,
        }
    }
    Ok(rest.len())
}

/// Length of a string that starts here, raw (`#"..."#`) or not, of one line or many; 1 for a lone `#`.
fn string(rest: &[u8]) -> usize {
    let hashes = hashes(rest);
    let after = rest.get(hashes..).unwrap_or_default();
    let quotes = if after.starts_with(b"\"\"\"") { 3 } else { usize::from(after.starts_with(b"\"")) };
    if quotes == 0 {
        return hashes.max(1);
    }
    let mut close = vec![b'"'; quotes];
    close.extend(std::iter::repeat_n(b'#', hashes));
    let mut at = hashes + quotes;
    while at < rest.len() {
        let here = rest.get(at..).unwrap_or_default();
        if here.starts_with(&close) {
            return at + close.len();
        }
        if quotes == 1 && here.starts_with(b"\n") {
            return at;
        }
        at += if hashes == 0 && here.starts_with(b"\\") { 2 } else { 1 };
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_is_counted_outside_of_strings_and_comments() {
        assert_eq!(too_deep(&"a {".repeat(64)), None);
        assert_eq!(too_deep(&"a {".repeat(65)), Some(64 * 3 + 2));
        assert_eq!(too_deep(&format!("a \"{}\"", "{".repeat(100))), None);
        assert_eq!(too_deep(&format!("a #\"{}\"#", "{".repeat(100))), None);
        assert_eq!(too_deep(&format!("// {}", "{".repeat(100))), None);
        assert_eq!(too_deep(&format!("/* {} */", "{".repeat(100))), None);
        assert_eq!(too_deep(&"a { }".repeat(100)), None);
    }

    #[test]
    fn comments_may_not_nest_without_end() {
        assert!(too_deep(&"/*".repeat(65)).is_some());
        assert!(too_deep(&"/-".repeat(65)).is_some());
        assert!(too_deep(&"/- ".repeat(65)).is_some());
    }

    #[test]
    fn an_unclosed_string_hides_only_its_line() {
        assert!(too_deep(&format!("a \"\n{}", "a {".repeat(70))).is_some());
    }
}
