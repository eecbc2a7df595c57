//! A message while it is typed: letters, a cursor, and the messages before it. Knows no terminal.

use super::keys::Key;

/// Most messages that are remembered.
const REMEMBERED: usize = 1000;

/// What a key led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Typed {
    /// The message may have changed.
    Changed,
    /// The message is complete.
    Taken(String),
    /// It was given up.
    Dropped,
    /// The screen is to be cleared.
    Cleared,
    /// Nothing more comes.
    Closed,
}

/// A message while it is typed.
#[derive(Clone, Debug, Default)]
pub(super) struct MessageLine {
    letters: Vec<char>,
    /// Letters before the cursor.
    cursor: usize,
    /// Earlier messages.
    before: Vec<String>,
    /// Which of them is shown; their number if it is the new message.
    shown: usize,
    /// The new message while an earlier one is shown.
    draft: Vec<char>,
}

impl MessageLine {
    /// The letters, and how many of them are before the cursor.
    pub(super) fn view(&self) -> (&[char], usize) {
        (&self.letters, self.cursor)
    }

    /// Does what a key says.
    pub(super) fn press(&mut self, key: Key) -> Typed {
        let (cursor, end) = (self.cursor, self.letters.len());
        match key {
            Key::Letter(letter) => self.insert([letter]),
            Key::NewLine => self.insert(['\n']),
            Key::Pasted(text) => self.insert(text.chars()),
            Key::Enter => return Typed::Taken(self.take()),
            Key::Interrupt => {
                self.take_letters();
                return Typed::Dropped;
            }
            Key::Close if end == 0 => return Typed::Closed,
            Key::Close | Key::Delete => self.erase(cursor, (cursor + 1).min(end)),
            Key::Backspace => self.erase(cursor.saturating_sub(1), cursor),
            Key::EraseWord => self.erase(self.find_word_before(), cursor),
            Key::EraseBefore => self.erase(self.find_line_start(), cursor),
            Key::EraseBehind => self.erase(cursor, self.find_line_end()),
            Key::Left => self.cursor = cursor.saturating_sub(1),
            Key::Right => self.cursor = (cursor + 1).min(end),
            Key::WordLeft => self.cursor = self.find_word_before(),
            Key::WordRight => self.cursor = self.find_word_behind(),
            Key::Home => self.cursor = self.find_line_start(),
            Key::End => self.cursor = self.find_line_end(),
            Key::Up => self.show(self.shown.saturating_sub(1)),
            Key::Down => self.show((self.shown + 1).min(self.before.len())),
            Key::Clear => return Typed::Cleared,
            Key::Unknown => {}
        }
        Typed::Changed
    }

    fn insert(&mut self, letters: impl IntoIterator<Item = char>) {
        let before = self.letters.len();
        self.letters.splice(self.cursor..self.cursor, letters);
        self.cursor += self.letters.len() - before;
    }

    fn erase(&mut self, from: usize, to: usize) {
        self.letters.drain(from..to);
        self.cursor = from;
    }

    fn take_letters(&mut self) -> Vec<char> {
        (self.cursor, self.shown) = (0, self.before.len());
        self.draft.clear();
        std::mem::take(&mut self.letters)
    }

    /// The message, which is remembered unless it is empty or the last one.
    fn take(&mut self) -> String {
        let text: String = self.take_letters().into_iter().collect();
        if !text.trim().is_empty() && self.before.last() != Some(&text) {
            self.before.push(text.clone());
            let surplus = self.before.len().saturating_sub(REMEMBERED);
            self.before.drain(..surplus);
        }
        self.shown = self.before.len();
        text
    }

    /// Shows an earlier message, or the new one again.
    fn show(&mut self, number: usize) {
        if number == self.shown {
            return;
        }
        if self.shown == self.before.len() {
            self.draft.clone_from(&self.letters);
        }
        self.shown = number;
        self.letters =
            self.before.get(number).map_or_else(|| self.draft.clone(), |text| text.chars().collect());
        self.cursor = self.letters.len();
    }

    fn find_line_start(&self) -> usize {
        self.letters[..self.cursor].iter().rposition(|letter| *letter == '\n').map_or(0, |at| at + 1)
    }

    fn find_line_end(&self) -> usize {
        let behind = self.letters[self.cursor..].iter().position(|letter| *letter == '\n');
        behind.map_or(self.letters.len(), |at| self.cursor + at)
    }

    /// Where the word before the cursor begins.
    fn find_word_before(&self) -> usize {
        let before = &self.letters[..self.cursor];
        let word = before.iter().rposition(|letter| !letter.is_whitespace()).map_or(0, |at| at + 1);
        before[..word].iter().rposition(|letter| letter.is_whitespace()).map_or(0, |at| at + 1)
    }

    /// Where the word behind the cursor ends.
    fn find_word_behind(&self) -> usize {
        let end = self.letters.len();
        let find = |from: usize, blank: bool| {
            let found = self.letters[from..].iter().position(|letter| letter.is_whitespace() == blank);
            found.map_or(end, |at| from + at)
        };
        find(find(self.cursor, false), true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn type_text(line: &mut MessageLine, text: &str) {
        text.chars().for_each(|letter| drop(line.press(Key::Letter(letter))));
    }

    fn show(line: &MessageLine) -> String {
        let (letters, cursor) = line.view();
        let mut text: Vec<char> = letters.to_vec();
        text.insert(cursor, '|');
        text.into_iter().collect()
    }

    #[test]
    fn letters_go_where_the_cursor_is() {
        let mut line = MessageLine::default();
        type_text(&mut line, "ein wort");
        let steps = [
            (Key::WordLeft, "ein |wort"),
            (Key::Letter('W'), "ein W|wort"),
            (Key::Delete, "ein W|ort"),
            (Key::Home, "|ein Wort"),
            (Key::Backspace, "|ein Wort"),
            (Key::WordRight, "ein| Wort"),
            (Key::Pasted("\nzwei ".into()), "ein\nzwei | Wort"),
            (Key::Home, "ein\n|zwei  Wort"),
            (Key::Left, "ein|\nzwei  Wort"),
            (Key::EraseBefore, "|\nzwei  Wort"),
            (Key::Right, "\n|zwei  Wort"),
            (Key::End, "\nzwei  Wort|"),
            (Key::EraseWord, "\nzwei  |"),
            (Key::EraseWord, "\n|"),
            (Key::NewLine, "\n\n|"),
            (Key::Up, "\n\n|"),
            (Key::Close, "\n\n|"),
            (Key::Backspace, "\n|"),
            (Key::Backspace, "|"),
            (Key::Unknown, "|"),
        ];
        for (key, expected) in steps {
            assert_eq!(line.press(key.clone()), Typed::Changed, "{key:?}");
            assert_eq!(show(&line), expected, "{key:?}");
        }
        assert_eq!(line.press(Key::Close), Typed::Closed);
        assert_eq!(line.press(Key::Clear), Typed::Cleared);
    }

    #[test]
    fn earlier_messages_come_back_and_a_new_one_is_not_lost() {
        let mut line = MessageLine::default();
        for text in ["one", "two", "two", "  "] {
            type_text(&mut line, text);
            assert_eq!(line.press(Key::Enter), Typed::Taken(text.into()));
        }
        type_text(&mut line, "new");
        for (key, expected) in [
            (Key::Up, "two|"),
            (Key::Up, "one|"),
            (Key::Up, "one|"),
            (Key::Down, "two|"),
            (Key::Down, "new|"),
            (Key::Down, "new|"),
            (Key::Up, "two|"),
        ] {
            line.press(key.clone());
            assert_eq!(show(&line), expected, "{key:?}");
        }
        // What is changed in an earlier message is a new one.
        type_text(&mut line, "!");
        assert_eq!(line.press(Key::Enter), Typed::Taken("two!".into()));
        line.press(Key::Up);
        assert_eq!(show(&line), "two!|");
        assert_eq!((line.press(Key::Interrupt), show(&line)), (Typed::Dropped, "|".into()));
        line.press(Key::Up);
        assert_eq!(show(&line), "two!|");
    }

    #[test]
    fn no_key_leaves_the_message() {
        let keys = [
            Key::Delete,
            Key::Backspace,
            Key::EraseWord,
            Key::EraseBefore,
            Key::EraseBehind,
            Key::Left,
            Key::Right,
            Key::WordLeft,
            Key::WordRight,
            Key::Home,
            Key::End,
            Key::Up,
            Key::Down,
        ];
        let (mut line, mut state) = (MessageLine::default(), 7_u32);
        for _ in 0..20_000 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let key = match state >> 28 {
                0..6 => Key::Letter(if state & 64 == 0 { ' ' } else { 'x' }),
                6 => Key::NewLine,
                7 => Key::Enter,
                _ => keys[(state >> 16) as usize % keys.len()].clone(),
            };
            line.press(key);
            let (letters, cursor) = line.view();
            assert!(cursor <= letters.len());
        }
    }
}
