//! JSON becomes literals, digit by digit. A parser that keeps 64 bits of a number would change the inputs of a test: integers beyond
//! them become floats, and some decimals move to a neighbor.
//!
//! Only text that a JSON parser has accepted is read here, so there are no errors: what cannot be is a panic with its reason.

use crate::literal::{encode_digits, encode_float, encode_list, encode_text};

const ACCEPTED: &str = "a JSON parser has accepted the text";

/// The literals of the items of a list, which is the value of the field called `name` of the object that `line` holds; `None` if it
/// has no such field, or the value is no list.
pub(super) fn encode_items(line: &str, name: &str) -> Option<Vec<String>> {
    let mut reader = JsonText { text: line.trim_start_matches('\u{feff}'), at: 0 };
    reader.expect(b'{');
    let mut found = None;
    // Of a key that is written twice, the last value counts, as for the parser.
    while reader.peek() != b'}' {
        let key = reader.string();
        reader.expect(b':');
        if key == name && reader.peek() == b'[' {
            found = Some(reader.items());
        } else {
            reader.value();
        }
        reader.skip_comma();
    }
    found
}

struct JsonText<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> JsonText<'a> {
    /// The next byte that is no blank.
    fn peek(&mut self) -> u8 {
        let bytes = self.text.as_bytes();
        while bytes[self.at].is_ascii_whitespace() {
            self.at += 1;
        }
        bytes[self.at]
    }

    fn expect(&mut self, byte: u8) {
        assert_eq!(self.peek(), byte, "{ACCEPTED}");
        self.at += 1;
    }

    fn skip_comma(&mut self) {
        if self.peek() == b',' {
            self.at += 1;
        }
    }

    /// The literal of the next value.
    fn value(&mut self) -> String {
        match self.peek() {
            b'[' => encode_list(&self.items()),
            b'{' => self.fields(),
            b'"' => encode_text(&self.string()),
            _ => encode_word(self.word()),
        }
    }

    fn items(&mut self) -> Vec<String> {
        self.expect(b'[');
        let mut items = Vec::new();
        while self.peek() != b']' {
            items.push(self.value());
            self.skip_comma();
        }
        self.expect(b']');
        items
    }

    fn fields(&mut self) -> String {
        self.expect(b'{');
        let mut fields: Vec<(String, String)> = Vec::new();
        while self.peek() != b'}' {
            let key = encode_text(&self.string());
            self.expect(b':');
            let value = self.value();
            match fields.iter_mut().find(|(known, _)| *known == key) {
                Some((_, old)) => *old = value,
                None => fields.push((key, value)),
            }
            self.skip_comma();
        }
        self.expect(b'}');
        let pairs: String = fields.iter().map(|(key, value)| format!("{key}{value}")).collect();
        format!("M{};{pairs}", fields.len())
    }

    fn string(&mut self) -> String {
        assert_eq!(self.peek(), b'"', "{ACCEPTED}");
        let start = self.at;
        self.at += 1;
        while self.text.as_bytes()[self.at] != b'"' {
            self.at += if self.text.as_bytes()[self.at] == b'\\' { 2 } else { 1 };
        }
        self.at += 1;
        serde_json::from_str(&self.text[start..self.at]).expect(ACCEPTED)
    }

    /// The letters of a number, `true`, `false` or `null`.
    fn word(&mut self) -> &'a str {
        let rest = &self.text[self.at..];
        let end = rest.find([',', ']', '}', ' ', '\t', '\r', '\n']).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }
}

fn encode_word(word: &str) -> String {
    match word {
        "null" => "N".into(),
        "true" => "T".into(),
        "false" => "F".into(),
        number if number.contains(['.', 'e', 'E']) => encode_float(number.parse().expect(ACCEPTED)),
        whole => encode_digits(whole),
    }
}
