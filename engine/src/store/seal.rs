//! Checksums inside the small texts of a store, so that damage is found and never believed. Texts of earlier versions have none.
//!
//! ```text
//! a line of JSON       {"time":"..","event":"start","check":"0123456789abcdef"}
//! an object of JSON    ..  "root": "<64 digits>" in its last line, as in a manifest
//! lines of words       check: 0123456789abcdef, in their last line
//! ```
//! A checksum is that of all bytes before it.

use serde_json::{Map, Value};

/// Hexadecimal digits of the checksum of a line.
const CHECK_DIGITS: usize = 16;

const LINE_MARK: &str = r#","check":""#;
const OBJECT_MARK: &str = ",\n  \"root\": \"";
const WORDS_MARK: &str = "check: ";

/// What a line turns out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SealedLine<'a> {
    /// What was written, without its checksum and the brace that ends it.
    Whole(&'a str),
    /// Only its beginning was written: the process or the machine died.
    Torn,
    /// Not what was written.
    Damaged,
}

/// Adds a checksum to a JSON object of one line.
pub(super) fn seal_line(object: &str) -> String {
    let body = object.strip_suffix('}').expect("an object ends with a brace");
    format!("{body}{LINE_MARK}{}\"}}", compute_check(body))
}

/// Reads a line that [`seal_line`] made, or one of an earlier version; without its line break.
pub(super) fn open_line(line: &str) -> SealedLine<'_> {
    let parses = serde_json::from_str::<Map<String, Value>>(line).is_ok();
    let Some((body, end)) = line.rsplit_once(LINE_MARK) else {
        return match (line.strip_suffix('}'), parses) {
            (Some(body), true) => SealedLine::Whole(body),
            (Some(_), false) => SealedLine::Damaged,
            (None, _) => SealedLine::Torn,
        };
    };
    let expected = format!("{}\"}}", compute_check(body));
    match end == expected {
        true if parses => SealedLine::Whole(body),
        false if expected.starts_with(end) => SealedLine::Torn,
        _ => SealedLine::Damaged,
    }
}

/// Adds a checksum to an object that `serde_json::to_string_pretty` made.
pub(super) fn seal_object(object: &str) -> String {
    let body =
        object.strip_suffix("\n}").expect("an object with fields ends with a brace on a line of its own");
    format!("{body}{OBJECT_MARK}{}", format_object_end(body))
}

/// Whether a text is what [`seal_object`] made, or has no checksum.
pub(super) fn is_object_whole(text: &str) -> bool {
    text.rsplit_once(OBJECT_MARK).is_none_or(|(body, end)| end == format_object_end(body))
}

fn format_object_end(body: &str) -> String {
    format!("{}\"\n}}\n", blake3::hash(body.as_bytes()).to_hex())
}

/// Adds a line with a checksum to lines that each consist of one word.
pub(super) fn seal_words(words: &str) -> String {
    format!("{words}{WORDS_MARK}{}\n", compute_check(words))
}

/// The lines that [`seal_words`] was given, or those of an earlier version; `None` if they are not what was written.
pub(super) fn open_words(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    let Some((words, check)) = text.rsplit_once(WORDS_MARK) else {
        // A mark with one damaged byte is still no word.
        return (!text.contains([' ', ':'])).then_some(text);
    };
    let whole = check.strip_suffix('\n').is_some_and(|check| check == compute_check(words));
    whole.then_some(words)
}

fn compute_check(body: &str) -> String {
    blake3::hash(body.as_bytes()).to_hex()[..CHECK_DIGITS].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Calls a test with every text that differs from `text` in one bit, as bytes.
    fn for_each_flip(text: &str, check: impl Fn(usize, &[u8])) {
        for bit in 0..text.len() * 8 {
            let mut bytes = text.to_owned().into_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            check(bit, &bytes);
        }
    }

    #[test]
    fn a_flip_in_a_line_is_found_or_leaves_its_fields_alone() {
        let object = r#"{"time":"2026","event":"start","n":1}"#;
        let (line, body) = (seal_line(object), object.strip_suffix('}').unwrap());
        assert_eq!(open_line(&line), SealedLine::Whole(body));
        assert_eq!(open_line(object), SealedLine::Whole(body), "of an earlier version");
        for_each_flip(&line, |bit, bytes| {
            let text = String::from_utf8_lossy(bytes);
            let found = open_line(&text);
            let same = text.starts_with(body);
            assert!(!matches!(found, SealedLine::Whole(_)) || same, "bit {bit}: {text}");
        });
    }

    #[test]
    fn a_line_that_was_cut_is_torn() {
        let line = seal_line(r#"{"time":"2026","event":"start","n":1}"#);
        (1..line.len())
            .for_each(|end| assert_eq!(open_line(&line[..end]), SealedLine::Torn, "{}", &line[..end]));
    }

    #[test]
    fn a_flip_in_an_object_is_found_or_leaves_its_fields_alone() {
        let object = "{\n  \"a\": \"b\",\n  \"n\": 1\n}";
        let text = seal_object(object);
        assert!(is_object_whole(&text) && is_object_whole(object));
        serde_json::from_str::<Value>(&text).unwrap();
        for_each_flip(&text, |bit, bytes| {
            let flipped = String::from_utf8_lossy(bytes);
            let same = flipped.starts_with(object.strip_suffix("\n}").unwrap());
            assert!(!is_object_whole(&flipped) || same, "bit {bit}: {flipped}");
        });
    }

    #[test]
    fn a_flip_in_words_is_found() {
        for words in ["", "fmflow.store/1\n", "ar-0123\nflow-4567\n"] {
            let text = seal_words(words);
            assert_eq!(
                (open_words(text.as_bytes()), open_words(words.as_bytes())),
                (Some(words), Some(words))
            );
            for_each_flip(&text, |bit, bytes| assert_eq!(open_words(bytes), None, "bit {bit}"));
        }
    }
}
