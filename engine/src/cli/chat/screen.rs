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

impl DrawnRows {
    /// What a terminal with `columns` columns is sent to show the letters instead of the last drawing.
    pub(super) fn draw(&mut self, (letters, cursor): (&[char], usize), columns: usize) -> String {
        let mut text = self.go_to_start();
        text += PROMPT[0];
        let (mut place, mut at) = (Place { row: 0, column: PROMPT[0].len() }, None);
        for (number, letter) in letters.iter().enumerate() {
            if number == cursor {
                at = Some(place);
            }
            let shown = mask_source(letter.encode_utf8(&mut [0; 4]));
            match shown.as_str() {
                "\n" => {
                    text += "\r\n";
                    text += PROMPT[1];
                    place = Place { row: place.row + 1, column: PROMPT[1].len() };
                    continue;
                }
                "\t" => (0..TAB).for_each(|_| place = advance(place, ' ', columns, &mut text)),
                shown => {
                    let letter = shown.chars().next().unwrap_or(' ');
                    place = advance(place, letter, columns, &mut text);
                }
            }
        }
        let at = at.unwrap_or(place);
        text += &go_up(place.row - at.row);
        text += &format!("\r\x1b[{}C", at.column);
        *self = Self { cursor: at.row, end: place.row };
        text
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

/// Writes a letter, in a new row if the row is full.
fn advance(place: Place, letter: char, columns: usize, text: &mut String) -> Place {
    let (width, columns) = (letter.width().unwrap_or(0), columns.max(8));
    if place.column + width >= columns {
        *text += "\r\n";
        text.push(letter);
        return Place { row: place.row + 1, column: width };
    }
    text.push(letter);
    Place { column: place.column + width, ..place }
}

fn go_up(rows: usize) -> String {
    if rows == 0 { String::new() } else { format!("\x1b[{rows}A") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(rows: &mut DrawnRows, text: &str, cursor: usize, columns: usize) -> String {
        rows.draw((&text.chars().collect::<Vec<_>>(), cursor), columns)
    }

    #[test]
    fn a_message_is_drawn_in_place_of_the_last() {
        let mut rows = DrawnRows::default();
        assert_eq!(draw(&mut rows, "ab", 2, 80), "\r\x1b[J> ab\r\x1b[4C");
        assert_eq!(draw(&mut rows, "ab\nc", 1, 80), "\r\x1b[J> ab\r\n  c\x1b[1A\r\x1b[3C");
        assert_eq!(rows, DrawnRows { cursor: 0, end: 1 });
        assert_eq!(rows.leave(), "\x1b[1B\r\n");
        assert_eq!(rows, DrawnRows::default());
    }

    #[test]
    fn long_lines_and_wide_letters_wrap_and_no_letter_acts() {
        let mut rows = DrawnRows::default();
        // Ten columns, of which the last stays free: two of the prompt, seven letters, then the rest.
        assert_eq!(draw(&mut rows, "abcdefgh", 8, 10), "\r\x1b[J> abcdefg\r\nh\r\x1b[1C");
        assert_eq!(rows, DrawnRows { cursor: 1, end: 1 });
        assert_eq!(draw(&mut rows, "你好你好", 4, 10), "\x1b[1A\r\x1b[J> 你好你\r\n好\r\x1b[2C");
        let acting = draw(&mut DrawnRows::default(), "a\u{1b}[2J\u{202e}", 1, 80);
        assert_eq!(acting, "\r\x1b[J> a\u{fffd}[2J\u{fffd}\r\x1b[3C");
        assert_eq!(draw(&mut DrawnRows::default(), "\t", 1, 80), "\r\x1b[J>     \r\x1b[6C");
    }
}
