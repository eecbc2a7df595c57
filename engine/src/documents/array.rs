//! A file that is one JSON array, element by element: only one of them is in memory.

use std::io::BufRead;

use super::fault::RecordFault;
use super::line::{LINE_BYTES, LineFault};
use super::place::RecordPlace;

/// Where in the array the reader is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ArrayState {
    /// Before the opening bracket.
    Before,
    /// After the opening bracket.
    Opened,
    /// After an element.
    AfterElement,
    /// After the closing bracket.
    Closed,
}

/// The elements of an array.
#[derive(Debug)]
pub(super) struct ArrayElements<R> {
    reader: R,
    state: ArrayState,
    /// Line of the next byte, from 1.
    line: u64,
    /// The element that was read last.
    number: u64,
    /// The line on which it begins.
    begins: u64,
}

/// How far an element is, as far as its end depends on it.
#[derive(Default)]
struct ElementScan {
    depth: u32,
    quoted: bool,
    escaped: bool,
}

impl ElementScan {
    /// Whether the element ends before `byte`.
    fn ends_at(&mut self, byte: u8) -> bool {
        if self.quoted {
            self.quoted = self.escaped || byte != b'"';
            self.escaped = !self.escaped && byte == b'\\';
            return false;
        }
        match byte {
            b'"' => self.quoted = true,
            b'[' | b'{' => self.depth = self.depth.saturating_add(1),
            b',' | b']' if self.depth == 0 => return true,
            b']' | b'}' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        false
    }
}

impl<R: BufRead> ArrayElements<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { reader, state: ArrayState::Before, line: 1, number: 0, begins: 1 }
    }

    pub(super) fn reader(&self) -> &R {
        &self.reader
    }

    pub(super) fn place(&self) -> RecordPlace {
        RecordPlace::Element { number: self.number, line: self.begins }
    }

    /// The bytes of the next element; `None` after the end of the array.
    ///
    /// # Errors
    /// If the file is no array, or ends before it, or if an element is longer than a line may be. Nothing can be read after that.
    pub(super) fn next_element(&mut self) -> Result<Option<Vec<u8>>, RecordFault> {
        if self.state == ArrayState::Before {
            self.open()?;
        }
        if self.state == ArrayState::Closed {
            return Ok(None);
        }
        match self.next_byte()? {
            None => Err(self.fault("the array ends before its `]`", "complete the file: it is cut off")),
            Some(b']') => self.close(),
            Some(b',') if self.state == ArrayState::AfterElement => {
                self.reader.consume(1);
                self.read_element()
            }
            Some(_) if self.state == ArrayState::Opened => self.read_element(),
            Some(_) => unreachable!("an element ends before a comma or the end of the array"),
        }
    }

    fn open(&mut self) -> Result<(), RecordFault> {
        let fix = match self.next_byte()? {
            Some(b'[') => {
                self.reader.consume(1);
                self.state = ArrayState::Opened;
                return Ok(());
            }
            Some(b'{') => "if each line is an object, write `format=\"jsonl\"`",
            _ => "write [{\"field\": \"text\"}, ...]",
        };
        Err(self.fault("the file is not one JSON array", fix))
    }

    fn close(&mut self) -> Result<Option<Vec<u8>>, RecordFault> {
        self.reader.consume(1);
        self.state = ArrayState::Closed;
        match self.next_byte()? {
            None => Ok(None),
            Some(_) => {
                Err(self.fault("there is text after the end of the array", "remove it, or split the file"))
            }
        }
    }

    /// Reads up to the comma or bracket after an element.
    fn read_element(&mut self) -> Result<Option<Vec<u8>>, RecordFault> {
        let next = self.next_byte()?;
        (self.number, self.begins, self.state) = (self.number + 1, self.line, ArrayState::AfterElement);
        if matches!(next, Some(b',' | b']')) {
            return Err(self.fault("an element is missing beside a comma", "remove the comma"));
        }
        let (mut bytes, mut scan) = (Vec::new(), ElementScan::default());
        loop {
            let buffer = self.reader.fill_buf().map_err(RecordFault::Unreadable)?;
            if buffer.is_empty() {
                return Err(self.fault("the array ends before its `]`", "complete the file: it is cut off"));
            }
            let end = buffer.iter().position(|byte| scan.ends_at(*byte));
            let part = &buffer[..end.unwrap_or(buffer.len())];
            bytes.extend_from_slice(part);
            self.line += part.iter().filter(|byte| **byte == b'\n').count() as u64;
            let count = part.len();
            self.reader.consume(count);
            if bytes.len() as u64 > LINE_BYTES {
                return Err(self.fault("the element is longer than 64 MiB", "split it, or remove it"));
            }
            if end.is_some() {
                return Ok(Some(bytes));
            }
        }
    }

    /// The next byte that is not blank, which stays in the reader.
    fn next_byte(&mut self) -> Result<Option<u8>, RecordFault> {
        loop {
            let buffer = self.reader.fill_buf().map_err(RecordFault::Unreadable)?;
            if buffer.is_empty() {
                return Ok(None);
            }
            let blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
            let count = buffer.iter().take_while(|byte| blank(byte)).count();
            self.line += buffer[..count].iter().filter(|byte| **byte == b'\n').count() as u64;
            let next = buffer.get(count).copied();
            self.reader.consume(count);
            if next.is_some() {
                return Ok(next);
            }
        }
    }

    /// A fault after which nothing can be read, on the line of the next byte.
    fn fault(&self, problem: &str, fix: &'static str) -> RecordFault {
        let fault = LineFault::new(problem, fix);
        RecordFault::Record { place: RecordPlace::Line(self.line), fault, last: true }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;
    use std::io::BufReader;

    /// The elements of a text, read in pieces of `piece` bytes, and the problem that ends them.
    fn split(text: &str, piece: usize) -> (Vec<(RecordPlace, String)>, Option<String>) {
        let mut elements = ArrayElements::new(BufReader::with_capacity(piece, text.as_bytes()));
        let mut found = Vec::new();
        loop {
            match elements.next_element() {
                Ok(Some(bytes)) => {
                    found.push((elements.place(), String::from_utf8(bytes).unwrap().trim().to_owned()));
                }
                Ok(None) => return (found, None),
                Err(RecordFault::Record { place, fault, last: true }) => {
                    return (found, Some(format!("{}: {}", place.briefly(), fault.problem)));
                }
                Err(other) => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn elements_are_split_at_commas_outside_of_texts_and_brackets() {
        let text = "\n [ {\"a\": \"x, ] \\\" }\"},\n{\"b\": [1, {\"c\": []}]}\n , 3 ]\n";
        for piece in [1, 3, 100] {
            let (found, fault) = split(text, piece);
            let at = |number, line| RecordPlace::Element { number, line };
            let texts = ["{\"a\": \"x, ] \\\" }\"}", "{\"b\": [1, {\"c\": []}]}", "3"];
            let expected = [at(1, 2), at(2, 3), at(3, 4)].into_iter().zip(texts.map(str::to_owned));
            assert_eq!((found, fault), (expected.collect(), None), "{piece}");
        }
        assert_eq!(split("[]", 1), (vec![], None));
    }

    #[test]
    fn what_is_no_array_is_a_fault_with_its_line() {
        for (text, said) in [
            ("{\"a\": 1}", "1: the file is not one JSON array"),
            ("", "1: the file is not one JSON array"),
            ("[{\"a\": 1},\n{\"a\"", "2: the array ends before its `]`"),
            ("[{\"a\": 1}\n", "2: the array ends before its `]`"),
            ("[1,\n]", "2: an element is missing beside a comma"),
            ("[,1]", "1: an element is missing beside a comma"),
            ("[1]\n[2]", "2: there is text after the end of the array"),
        ] {
            assert_eq!(split(text, 2).1.as_deref(), Some(said), "{text}");
        }
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            r#"[\[\]{},"\\a\n]{0,6}"#.prop_map(Value::from)
        ];
        leaf.prop_recursive(3, 20, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map("[a,\\]\"]{0,3}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn an_array_is_split_into_what_it_was_made_of(
            list in proptest::collection::vec(values(), 0..6), pretty: bool, piece in 1_usize..40,
        ) {
            let whole = Value::from(list.clone());
            let text = if pretty { serde_json::to_string_pretty(&whole) } else { serde_json::to_string(&whole) };
            let (found, fault) = split(&text.unwrap(), piece);
            prop_assert_eq!(fault, None);
            let found: Vec<Value> = found.iter().map(|(_, text)| serde_json::from_str(text).unwrap()).collect();
            prop_assert_eq!(found, list);
        }
    }
}
