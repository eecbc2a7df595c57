//! Text of data in a column of a terminal: escaped, colored and cut at the width.

use unicode_width::UnicodeWidthChar;

use crate::text::escape::escape_line;

/// How a text is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// What a model is given.
    Given,
    /// What it learns.
    Learned,
    /// What noise takes.
    Noise,
    /// What fills a row.
    Faint,
}

impl Style {
    /// The codes that begin this style on a terminal.
    fn codes(self) -> &'static str {
        match self {
            Self::Given => "\x1b[36m",
            Self::Learned => "\x1b[32m",
            Self::Noise => "\x1b[33m",
            Self::Faint => "\x1b[2m",
        }
    }
}

const RESET: &str = "\x1b[0m";

/// Lines of a column that is filled from left to right.
pub(super) struct WrappedText {
    width: usize,
    colors: bool,
    lines: Vec<String>,
    /// Columns that the last line takes.
    used: usize,
    /// The style in which the last line goes on.
    style: Option<Style>,
}

impl WrappedText {
    /// An empty column of so many columns of a terminal, at least one.
    pub(super) fn new(width: usize, colors: bool) -> Self {
        Self { width: width.max(1), colors, lines: vec![String::new()], used: 0, style: None }
    }

    /// Adds a text, which may have line ends and anything else.
    pub(super) fn push(&mut self, text: &str, style: Style) {
        self.set_style(Some(style));
        for letter in text.chars() {
            match letter {
                '\n' => self.start_line(),
                // Where a tab ends depends on the column, which a reader cannot see.
                '\t' => self.add("→   ", 4),
                letter => {
                    let mut bytes = [0; 4];
                    let shown = escape_line(letter.encode_utf8(&mut bytes));
                    let width = shown.chars().filter_map(UnicodeWidthChar::width).sum();
                    self.add(&shown, width);
                }
            }
        }
    }

    fn add(&mut self, shown: &str, width: usize) {
        if self.used + width > self.width && self.used > 0 {
            self.start_line();
        }
        self.last().push_str(shown);
        self.used += width;
    }

    fn start_line(&mut self) {
        let style = self.style;
        self.set_style(None);
        self.lines.push(String::new());
        self.used = 0;
        self.set_style(style);
    }

    fn set_style(&mut self, style: Option<Style>) {
        if self.style == style {
            return;
        }
        if self.colors {
            let end = if self.style.is_some() { RESET } else { "" };
            let codes = style.map(Style::codes).unwrap_or_default();
            self.last().push_str(&format!("{end}{codes}"));
        }
        self.style = style;
    }

    fn last(&mut self) -> &mut String {
        self.lines.last_mut().expect("there is always a last line")
    }

    /// The lines.
    pub(super) fn finish(mut self) -> Vec<String> {
        self.set_style(None);
        self.lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(width: usize, parts: &[(&str, Style)]) -> Vec<String> {
        let mut wrapped = WrappedText::new(width, false);
        parts.iter().for_each(|(text, style)| wrapped.push(text, *style));
        wrapped.finish()
    }

    #[test]
    fn lines_are_cut_at_the_width_by_what_letters_take() {
        assert_eq!(lines(4, &[("abcdefgh\ni", Style::Given)]), ["abcd", "efgh", "i"]);
        assert_eq!(lines(4, &[("二二二", Style::Given)]), ["二二", "二"]);
        assert_eq!(lines(4, &[("a\tb", Style::Given)]), ["a", "→   ", "b"]);
        assert_eq!(lines(4, &[("", Style::Given)]), [""]);
        assert_eq!(lines(1, &[("二", Style::Given)]), ["二"]);
    }

    #[test]
    fn nothing_in_a_text_acts_on_the_terminal() {
        assert_eq!(lines(40, &[("a\u{1b}[31m\r\u{202e}b", Style::Given)]), [r"a\u{1b}[31m\r\u{202e}b"]);
    }

    #[test]
    fn every_colored_line_begins_and_ends_its_style() {
        let mut wrapped = WrappedText::new(3, true);
        wrapped.push("abcd", Style::Given);
        wrapped.push("e\nf", Style::Learned);
        let found = wrapped.finish();
        assert_eq!(found, ["\x1b[36mabc\x1b[0m", "\x1b[36md\x1b[0m\x1b[32me\x1b[0m", "\x1b[32mf\x1b[0m",]);
    }
}
