//! Fields of a record that hold text.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::fields::{find_field, list_field_names};
use super::line::{LINE_BYTES, LineFault};
use super::non_text::describe_non_text;

/// What to do about a field without text.
pub(super) const FILL: &str = "fill it or remove the line";

/// The text of a field, which must not be empty.
pub(super) fn read_field<'a>(fields: &'a Map<String, Value>, name: &str) -> Result<&'a str, LineFault> {
    match find_field(fields, name) {
        Some(Value::String(text)) if text.len() as u64 > LINE_BYTES => Err(LineFault::new(
            format!("field `{name}` is longer than 64 MiB"),
            "split it, or remove the line",
        )),
        Some(Value::String(text)) if !text.is_empty() => Ok(text),
        Some(Value::String(_)) => Err(LineFault::new(format!("field `{name}` is empty"), FILL)),
        Some(other) => Err(field_without_text(name, other)),
        None => Err(missing_field(fields, name)),
    }
}

/// A field that must not be blank: a question or an answer.
pub(super) fn read_nonblank_field<'a>(
    fields: &'a Map<String, Value>,
    name: &str,
) -> Result<&'a str, LineFault> {
    let text = read_field(fields, name)?;
    match text.trim().is_empty() {
        true => Err(LineFault::new(format!("field `{name}` is blank"), FILL)),
        false => Ok(text),
    }
}

/// A field that a line may lack, or have as null or blank text: an input or system rules.
pub(super) fn read_optional_field<'a>(
    fields: &'a Map<String, Value>,
    name: &str,
) -> Result<Option<&'a str>, LineFault> {
    match find_field(fields, name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str()).filter(|text| !text.trim().is_empty())),
        Some(other) => Err(field_without_text(name, other)),
    }
}

fn field_without_text(name: &str, value: &Value) -> LineFault {
    let (what, fix) = describe_non_text(value);
    let turns = matches!(value, Value::Array(turns) if turns.first().is_some_and(Value::is_object));
    let fix = match turns {
        true => "join the turns of the line into one list, and name it with `messages=`",
        false => fix.unwrap_or(FILL),
    };
    LineFault::new(format!("field `{name}` is not a string but {what}"), Cow::Borrowed(fix))
}

pub(super) fn missing_field(fields: &Map<String, Value>, name: &str) -> LineFault {
    let names = list_field_names(fields, name).into_iter().map(|key| format!("`{key}`"));
    let names: Vec<String> = names.collect();
    let problem = format!("field `{name}` is missing, the line has {}", names.join(", "));
    LineFault::new(problem, "add the field, or name another one in the dataset")
}
