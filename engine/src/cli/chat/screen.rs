//! Draws a message while it is typed, in as many rows as it takes, and finds the cursor in them.

use unicode_width::UnicodeWidthChar;

use crate::text::escape::mask_source;

/// What stands before the first line of a message, and before the others.
const PROMPT: [&str; 2] = ["> ", "  "];

/// Columns of a tab.
const TAB: usize = 4;

/// Which rows the last drawing took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct DrawnRows {
    /// Rows of the message above the first that is drawn: a message that is taller than the terminal is shown in part.
    above: usize,
    /// Row of the cursor, from 0 on.
    cursor: usize,
    /// Row of the end.
    end: usize,
}

/// Where a letter stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    row: usize,
    column: usize,
}

/// A message in rows that fit a terminal.
struct LaidOut {
    rows: Vec<String>,
    /// Columns of the last row.
    column: usize,
}

impl LaidOut {
    fn new() -> Self {
        Self { rows: vec![PROMPT[0].to_owned()], column: PROMPT[0].len() }
    }

    fn end(&self) -> Place {
        Place { row: self.rows.len() - 1, column: self.column }
    }

    fn begin_row(&mut self, text: &str) {
        self.rows.push(text.to_owned());
        self.column = text.len();
    }

    /// Adds a letter, in a new row if the row is full.
    fn push(&mut self, letter: char, columns: usize) {
        let (width, columns) = (letter.width().unwrap_or(0), columns.max(8));
        if self.column + width >= columns {
            self.begin_row("");
        }
        self.rows.last_mut().expect("there is a row from the beginning on").push(letter);
        self.column += width;
    }
}

/// The rows of the letters, and where the cursor stands.
fn lay_out((letters, cursor): (&[char], usize), columns: usize) -> (Vec<String>, Place) {
    let (mut laid, mut at) = (LaidOut::new(), None);
    for (number, letter) in letters.iter().enumerate() {
        if number == cursor {
            at = Some(laid.end());
        }
        let shown = mask_source(letter.encode_utf8(&mut [0; 4]));
        match shown.as_str() {
            "\n" => laid.begin_row(PROMPT[1]),
            "\t" => (0..TAB).for_each(|_| laid.push(' ', columns)),
            shown => laid.push(shown.chars().next().unwrap_or(' '), columns),
        }
    }
    let at = at.unwrap_or(laid.end());
    (laid.rows, at)
}

impl DrawnRows {
    /// What a terminal with `columns` columns and `height` rows is sent to show the letters instead of the last drawing: all rows, or
    /// those around the cursor that fit.
    pub(super) fn draw(&mut self, message: (&[char], usize), (columns, height): (usize, usize)) -> String {
        let ((rows, at), height) = (lay_out(message, columns), height.max(1));
        let lowest = (at.row + 1).saturating_sub(height);
        let above = self.above.min(at.row).max(lowest).min(rows.len().saturating_sub(height));
        let shown = &rows[above..rows.len().min(above + height)];
        let (cursor, end) = (at.row - above, shown.len() - 1);
        let text = self.go_to_start() + &shown.join("\r\n") + &go_up(end - cursor);
        *self = Self { above, cursor, end };
        text + &format!("\r\x1b[{}C", at.column)
    }

    /// Behind the drawing, at the beginning of a row. The next drawing is a new one.
    pub(super) fn leave(&mut self) -> String {
        let down = self.end - self.cursor;
        *self = Self::default();
        let down = if down == 0 { String::new() } else { format!("\x1b[{down}B") };
        down + "\r\n"
    }

    fn go_to_start(self) -> String {
        go_up(self.cursor) + "\r\x1b[J"
    }
}

fn go_up(rows: usize) -> String {
    if rows == 0 { String::new() } else { format!("\x1b[{rows}A") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(rows: &mut DrawnRows, text: &str, cursor: usize, columns: usize) -> String {
        rows.draw((&text.chars().collect::<Vec<_>>(), cursor), (columns, 24))
    }

    #[test]
    fn a_message_is_drawn_in_place_of_the_last() {
        let mut rows = DrawnRows::default();
        assert_eq!(draw(&mut rows, "ab", 2, 80), "\r\x1b[J> ab\r\x1b[4C");
        assert_eq!(draw(&mut rows, "ab\nc", 1, 80), "\r\x1b[J> ab\r\n  c\x1b[1A\r\x1b[3C");
        assert_eq!(rows, DrawnRows { cursor: 0, end: 1, above: 0 });
        assert_eq!(rows.leave(), "\x1b[1B\r\n");
        assert_eq!(rows, DrawnRows::default());
    }

    #[test]
    fn long_lines_and_wide_letters_wrap_and_no_letter_acts() {
        let mut rows = DrawnRows::default();
        // Ten columns, of which the last stays free: two of the prompt, seven letters, then the rest.
        assert_eq!(draw(&mut rows, "abcdefgh", 8, 10), "\r\x1b[J> abcdefg\r\nh\r\x1b[1C");
        assert_eq!(rows, DrawnRows { cursor: 1, end: 1, above: 0 });
        assert_eq!(draw(&mut rows, "你好你好", 4, 10), "\x1b[1A\r\x1b[J> 你好你\r\n好\r\x1b[2C");
        let acting = draw(&mut DrawnRows::default(), "a\u{1b}[2J\u{202e}", 1, 80);
        assert_eq!(acting, "\r\x1b[J> a\u{fffd}[2J\u{fffd}\r\x1b[3C");
        assert_eq!(draw(&mut DrawnRows::default(), "\t", 1, 80), "\r\x1b[J>     \r\x1b[6C");
    }

    /// Nothing scrolls out of reach: of a message that is taller than the terminal the rows around the cursor are drawn.
    #[test]
    fn a_message_taller_than_the_terminal_is_drawn_in_part() {
        let (mut rows, letters) = (DrawnRows::default(), "a\nb\nc\nd".chars().collect::<Vec<_>>());
        let mut draw = |cursor| rows.draw((&letters, cursor), (80, 2));
        assert_eq!(draw(7), "\r\x1b[J  c\r\n  d\r\x1b[3C");
        // The window stays until the cursor leaves it.
        assert_eq!(draw(5), "\x1b[1A\r\x1b[J  c\r\n  d\x1b[1A\r\x1b[3C");
        assert_eq!(draw(3), "\r\x1b[J  b\r\n  c\x1b[1A\r\x1b[3C");
        assert_eq!(draw(0), "\r\x1b[J> a\r\n  b\x1b[1A\r\x1b[2C");
        assert_eq!(draw(7), "\r\x1b[J  c\r\n  d\r\x1b[3C");
        assert_eq!(rows, DrawnRows { above: 2, cursor: 1, end: 1 });
        assert_eq!(rows.draw((&letters[..1], 1), (80, 2)), "\x1b[1A\r\x1b[J> a\r\x1b[3C");
    }
}
