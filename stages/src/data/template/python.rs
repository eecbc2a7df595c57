//! What templates expect from Python: its values, its way of printing them, and its JSON.

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Error, ErrorKind, Output, State, Value};
use serde_json::Value as Json;

/// Converts a JSON value, keeping the order of keys.
pub(super) fn to_template_value(json: &Json) -> Value {
    match json {
        Json::Null => ().into(),
        Json::Bool(truth) => (*truth).into(),
        Json::String(text) => text.as_str().into(),
        Json::Array(list) => list.iter().map(to_template_value).collect(),
        Json::Object(map) => Value::from_pairs(map.iter().map(|(k, v)| (k.as_str(), to_template_value(v)))),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(whole), _) => whole.into(),
            (None, Some(whole)) => whole.into(),
            (None, None) => number.as_f64().unwrap_or(f64::NAN).into(),
        },
    }
}

/// Prints a value as Python does.
pub(super) fn format_like_python(
    out: &mut Output<'_>,
    state: &mut State<'_, '_>,
    value: &Value,
) -> Result<(), Error> {
    match value.kind() {
        ValueKind::None => Ok(out.write_str("None")?),
        ValueKind::Bool => Ok(out.write_str(if value.is_true() { "True" } else { "False" })?),
        _ => minijinja::escape_formatter(out, state, value),
    }
}

/// `json.dumps(value, ensure_ascii=False, indent=indent)`.
pub(super) fn to_python_json(value: &Value, options: Kwargs) -> Result<String, Error> {
    let indent: Option<usize> = options.get("indent")?;
    if options.get::<Option<bool>>("ensure_ascii")? == Some(true) {
        return Err(Error::new(ErrorKind::InvalidOperation, "`tojson(ensure_ascii=true)` is not supported"));
    }
    options.assert_all_used()?;
    let mut out = String::new();
    write_json(value, indent, 0, &mut out)?;
    Ok(out)
}

fn write_json(value: &Value, indent: Option<usize>, depth: usize, out: &mut String) -> Result<(), Error> {
    match value.kind() {
        ValueKind::None => out.push_str("null"),
        ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
        ValueKind::Number => out.push_str(&value.to_string()),
        ValueKind::String => {
            out.push_str(&quote_json(value.as_str().expect("a value of this kind is a text")))
        }
        ValueKind::Seq | ValueKind::Iterable => {
            let items: Vec<Value> = value.try_iter()?.collect();
            let one = |item: &Value, out: &mut String| write_json(item, indent, depth + 1, out);
            write_json_list(['[', ']'], &items, indent, depth, out, one)?;
        }
        ValueKind::Map => {
            let keys: Vec<Value> = value.try_iter()?.collect();
            let one = |key: &Value, out: &mut String| {
                out.push_str(&quote_json(&key.to_string()));
                out.push_str(": ");
                write_json(&value.get_item(key)?, indent, depth + 1, out)
            };
            write_json_list(['{', '}'], &keys, indent, depth, out, one)?;
        }
        kind => {
            return Err(Error::new(
                ErrorKind::InvalidOperation,
                format!("a value of type {kind} cannot be written as JSON"),
            ));
        }
    }
    Ok(())
}

fn quote_json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn write_json_list(
    [open, close]: [char; 2],
    items: &[Value],
    indent: Option<usize>,
    depth: usize,
    out: &mut String,
    one: impl Fn(&Value, &mut String) -> Result<(), Error>,
) -> Result<(), Error> {
    let line =
        |depth: usize| indent.filter(|_| !items.is_empty()).map(|n| format!("\n{}", " ".repeat(n * depth)));
    out.push(open);
    for (i, item) in items.iter().enumerate() {
        match line(depth + 1) {
            Some(line) => out.push_str(&format!("{}{line}", if i > 0 { "," } else { "" })),
            None => out.push_str(if i > 0 { ", " } else { "" }),
        }
        one(item, out)?;
    }
    out.push_str(&line(depth).unwrap_or_default());
    out.push(close);
    Ok(())
}
