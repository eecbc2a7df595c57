//! JSON lines. They are read as `serde_json` reads them, except that keys that appear twice in an object are noticed.

use std::borrow::Cow;
use std::cell::RefCell;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::line::{ARRAY, LineFault};

/// Most repeated keys that are remembered of a line.
const MAX_REPEATED_KEYS: usize = 8;

/// The object of a line.
pub(super) struct JsonRecord {
    /// Its fields. Of a key that appears twice, the last value counts.
    pub fields: Map<String, Value>,
    /// Keys that appear twice in one object, at any depth.
    pub repeated: Vec<String>,
}

/// Parses a line. `first` says that no document was found in the file before.
pub(super) fn parse_record(line: &str, first: bool) -> Result<JsonRecord, LineFault> {
    let repeated = RefCell::new(Vec::new());
    match parse_value(line, &repeated) {
        Ok(Value::Object(fields)) => Ok(JsonRecord { fields, repeated: repeated.into_inner() }),
        _ if first && line.trim_start().starts_with('[') => {
            Err(LineFault::new("the file is one JSON array", ARRAY))
        }
        Ok(_) => {
            Err(LineFault::new("the line is JSON, but not an object", "write {\"field\": \"text\", ...}"))
        }
        Err(cause) => {
            // The number of the line in its file is told elsewhere.
            let cause = cause.to_string().replace(" at line 1 column ", " at column ");
            let fix = suggest_json_fix(line, &cause);
            Err(LineFault::new(format!("the line is not JSON ({cause})"), fix))
        }
    }
}

fn parse_value(line: &str, repeated: &RefCell<Vec<String>>) -> serde_json::Result<Value> {
    let mut reader = serde_json::Deserializer::from_str(line);
    let value = WatchedValue { repeated }.deserialize(&mut reader)?;
    reader.end()?;
    Ok(value)
}

/// How to fix a line, by what the parser says of it.
fn suggest_json_fix(line: &str, cause: &str) -> Cow<'static, str> {
    let said = |words: &str| cause.starts_with(words);
    let fix = if said("trailing characters") && line.trim_end().ends_with("},") {
        "remove the comma after the object"
    } else if line.starts_with('\u{feff}') {
        "remove the byte order mark at the beginning of the line, which stays when files are joined"
    } else if said("trailing characters") {
        "write one object per line: what follows the first one needs a line of its own"
    } else if said("EOF while parsing") {
        "complete the object: the line ends before it does"
    } else if said("trailing comma") {
        "remove the comma before the closing bracket"
    } else if said("number out of range") {
        "write the number as text, or remove the field: no 64-bit float holds it"
    } else if said("recursion limit") {
        "remove the field that is nested more than 128 levels deep"
    } else if said("control character") {
        "escape control characters in strings, as in `\\n` and `\\t`"
    } else if cause.contains("surrogate") || said("unexpected end of hex escape") {
        "write the letter itself, or both halves of it: one `\\ud83d` alone is half a letter"
    } else if (said("expected value") || said("invalid number"))
        && ["NaN", "Infinity"].iter().any(|word| line.contains(word))
    {
        "write `null` for NaN and Infinity: JSON has neither"
    } else if said("key must be a string") || line.trim_start().starts_with("{'") {
        "write keys and texts in double quotes, as `json.dumps` of Python does"
    } else {
        "write one complete object per line"
    };
    fix.into()
}

/// Reads any value, and notes the keys that appear twice.
#[derive(Clone, Copy)]
struct WatchedValue<'a> {
    repeated: &'a RefCell<Vec<String>>,
}

impl WatchedValue<'_> {
    fn note_repeated_key(self, key: &str) {
        let mut repeated = self.repeated.borrow_mut();
        if repeated.len() < MAX_REPEATED_KEYS && repeated.iter().all(|known| known != key) {
            repeated.push(key.to_owned());
        }
    }
}

impl<'de> DeserializeSeed<'de> for WatchedValue<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for WatchedValue<'_> {
    type Value = Value;

    fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("any valid JSON value")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Number(Number::from_f64(value).expect("the parser refuses numbers that are not finite")))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut fields = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let value = entries.next_value_seed(self)?;
            match fields.entry(key) {
                serde_json::map::Entry::Vacant(place) => drop(place.insert(value)),
                serde_json::map::Entry::Occupied(mut place) => {
                    self.note_repeated_key(place.key());
                    place.insert(value);
                }
            }
        }
        Ok(Value::Object(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn repeated_keys_are_noticed_at_any_depth_and_the_last_value_counts() {
        let line = r#"{"a": 1, "b": [{"c": 1, "c": 2}], "a": "x"}"#;
        let record = parse_record(line, true).unwrap_or_else(|fault| panic!("{fault:?}"));
        assert_eq!(record.repeated, ["c", "a"]);
        assert_eq!(Value::Object(record.fields), serde_json::from_str::<Value>(line).unwrap_or_default());
    }

    #[test]
    fn a_line_that_is_not_json_gets_the_fix_for_what_is_wrong_with_it() {
        for (line, fix) in [
            (r#"{"a": 1} {"a": 2}"#, "a line of its own"),
            (r#"{"a": 1},"#, "remove the comma after the object"),
            ("\u{feff}{\"a\": 1}", "remove the byte order mark"),
            (r#"{"a": "x"#, "complete the object"),
            (r#"{"a": 1,}"#, "remove the comma"),
            (r#"{"a": [1,]}"#, "remove the comma"),
            (r#"{"a": 1e999}"#, "write the number as text"),
            (r#"{"a": NaN}"#, "write `null`"),
            (r#"{"a": -Infinity}"#, "write `null`"),
            (r#"{"a": "\ud83d"}"#, "half a letter"),
            (r#"{"a": "\ud83d!"}"#, "half a letter"),
            (r#"{"a": "\udc00"}"#, "half a letter"),
            ("{\"a\": \"\t\"}", "escape control characters"),
            (r"{'a': 'x'}", "double quotes"),
            (r"{a: 1}", "double quotes"),
            (&format!("{{\"a\": {}{}}}", "[".repeat(200), "]".repeat(200)), "nested more than 128"),
            (r#"{"a" 1}"#, "one complete object per line"),
        ] {
            let fault =
                parse_record(line, false).err().map(|fault| format!("{}; {}", fault.problem, fault.fix));
            assert!(fault.as_ref().is_some_and(|fault| fault.contains(fix)), "{line}: {fault:?}");
        }
    }

    proptest! {
        #[test]
        fn lines_are_read_as_serde_json_reads_them(line in r#"[\[\]{}",:0-9a-c.e\\n -]{0,40}"#) {
            let ours = parse_value(&line, &RefCell::default());
            let theirs = serde_json::from_str::<Value>(&line);
            prop_assert_eq!(ours.map_err(|e| e.to_string()), theirs.map_err(|e| e.to_string()));
        }
    }
}
