//! Words that others wrote, made safe to print: of a file, a path, an argument, a tensor, a template.
//!
//! A terminal obeys control characters, and bidi marks reorder what a reader sees. Both are shown as escapes instead: `\u{1b}`.

use std::borrow::Cow;
use std::path::Path;

/// Text in which no character acts on a terminal. Line ends and tabs are kept: for whole texts, whose lines are our own.
#[must_use]
pub(crate) fn escape_text(text: &str) -> Cow<'_, str> {
    escape_where(text, |_, letter| is_acting(letter) && !matches!(letter, '\n' | '\t'))
}

/// One line in which no character acts on a terminal: line ends and tabs become `\n` and `\t`, so that no word can begin a line.
#[must_use]
pub fn escape_line(text: &str) -> Cow<'_, str> {
    escape_where(text, |_, letter| is_acting(letter))
}

/// A message as [`escape_line`] makes it, except that line ends with a blank behind them are kept. Messages indent all lines
/// but their first, so a word in them cannot begin a line of its own.
#[must_use]
pub(crate) fn escape_message(text: &str) -> Cow<'_, str> {
    escape_where(text, |rest, letter| is_acting(letter) && !rest.starts_with("\n "))
}

/// A path for messages, in one line.
#[must_use]
pub fn show_path(path: impl AsRef<Path>) -> String {
    escape_line(&path.as_ref().to_string_lossy()).into_owned()
}

/// Source text for drawings: characters that act become `U+FFFD`, one for one, so that columns stay what they are.
#[must_use]
pub(crate) fn mask_source(text: &str) -> String {
    let shown = |(at, letter): (usize, char)| match letter {
        '\n' | '\t' => letter,
        '\r' if text[at..].starts_with("\r\n") => letter,
        _ if is_acting(letter) => char::REPLACEMENT_CHARACTER,
        _ => letter,
    };
    text.char_indices().map(shown).collect()
}

/// JSON with the same values in which no character acts on a terminal. `serde_json` escapes only the control characters that
/// JSON forbids.
#[must_use]
pub(crate) fn escape_json(json: &str) -> Cow<'_, str> {
    if !json.chars().any(|letter| is_acting(letter) && letter != '\n') {
        return json.into();
    }
    let mut text = String::with_capacity(json.len());
    for letter in json.chars() {
        match is_acting(letter) && letter != '\n' {
            true => text += &format!("\\u{:04x}", u32::from(letter)),
            false => text.push(letter),
        }
    }
    text.into()
}

/// Whether a terminal acts on a character instead of showing it: controls, line separators, and what changes the direction of text.
#[must_use]
pub(crate) fn is_acting(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Escapes the letters for which `acts` says so; it is given the text from the letter on.
fn escape_where(text: &str, acts: impl Fn(&str, char) -> bool) -> Cow<'_, str> {
    if !text.char_indices().any(|(at, letter)| acts(&text[at..], letter)) {
        return text.into();
    }
    let mut safe = String::with_capacity(text.len() + 8);
    for (at, letter) in text.char_indices() {
        match acts(&text[at..], letter) {
            // Rust writes these escapes as KDL does, so that they can be pasted. It leaves bidi marks as they are.
            true if letter.is_ascii() => safe.extend(letter.escape_default()),
            true => safe.extend(letter.escape_unicode()),
            false => safe.push(letter),
        }
    }
    safe.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sets a title, forges a line, moves the cursor, reverses the direction, ends a C1 string.
    const HOSTILE: &str = "a\x1b]0;x\x07\nerror: fake\r\x0b\u{202e}b\u{9c}\u{2028}\u{7f}\t";

    #[test]
    fn nothing_that_acts_is_left() {
        let line = escape_line(HOSTILE);
        let shown = r"a\u{1b}]0;x\u{7}\nerror: fake\r\u{b}\u{202e}b\u{9c}\u{2028}\u{7f}\t";
        assert_eq!(line, shown);
        assert_eq!(escape_text(HOSTILE), shown.replacen(r"\n", "\n", 1).replace(r"\t", "\t"));
        assert_eq!(show_path(Path::new("a\n.txt")), r"a\n.txt");
    }

    #[test]
    fn ordinary_text_is_borrowed_as_it_is() {
        for text in ["sort: d a c", "añ¿ 二行 😀 שלום", "", "tab in\ta line\n"] {
            assert!(matches!(escape_text(text), Cow::Borrowed(same) if same == text), "{text}");
        }
        assert_eq!(escape_line("二行 é 😀"), "二行 é 😀");
    }

    #[test]
    fn a_word_in_a_message_begins_no_line() {
        let message = "this pipeline cannot run:\n  `a\nerror: fake`";
        assert_eq!(escape_message(message), "this pipeline cannot run:\n  `a\\nerror: fake`");
    }

    #[test]
    fn json_keeps_its_values() {
        let value = serde_json::json!({ "name": HOSTILE, "other": "é" });
        let text = serde_json::to_string_pretty(&value).unwrap();
        let safe = escape_json(&text);
        assert!(!safe.chars().any(|letter| is_acting(letter) && letter != '\n'), "{safe}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&safe).unwrap(), value);
    }

    #[test]
    fn drawn_source_keeps_its_columns() {
        let drawn = mask_source("a\x1b\u{202e}\tb\r\nc\rd");
        assert_eq!(drawn, "a\u{fffd}\u{fffd}\tb\r\nc\u{fffd}d");
    }
}
