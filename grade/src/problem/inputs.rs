//! Inputs of EvalPlus from a table, whose numbers have 64 bits: values become literals.

use serde_json::Value;

use crate::literal::{encode_float, encode_integer, encode_list, encode_text};

/// The literal of a value.
pub(super) fn encode_value(value: &Value) -> String {
    match value {
        Value::Null => "N".into(),
        Value::Bool(true) => "T".into(),
        Value::Bool(false) => "F".into(),
        Value::Number(number) => match number.as_i128() {
            Some(whole) => encode_integer(whole),
            None => encode_float(number.as_f64().expect("a number of JSON is whole or a float")),
        },
        Value::String(text) => encode_text(text),
        Value::Array(items) => encode_list(&items.iter().map(encode_value).collect::<Vec<_>>()),
        Value::Object(fields) => {
            let pairs: String =
                fields.iter().map(|(key, value)| encode_text(key) + &encode_value(value)).collect();
            format!("M{};{pairs}", fields.len())
        }
    }
}
