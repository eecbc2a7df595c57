//! Describes JSON values that should be text but are not.

use serde_json::Value;

/// What a value is instead of a string, and how to fix it; `None` if the value is empty and must be filled in.
pub(super) fn describe_non_text(value: &Value) -> (&'static str, Option<&'static str>) {
    match value {
        Value::Null => ("null", None),
        Value::Bool(_) => ("true or false", Some("put it in quotes")),
        Value::Number(_) => ("a number", Some("put it in quotes")),
        Value::String(_) => ("text", None),
        Value::Array(_) => ("a list", Some("join the texts of its parts into one string")),
        Value::Object(_) => ("an object", Some("write its text as one string")),
    }
}

/// Whether a key with this value means the same as an absent key. Files exported from tables have every key in every line.
pub(super) fn is_blank_value(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => matches!(text.trim(), "" | "[]" | "{}" | "null"),
        Value::Array(list) => list.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}
