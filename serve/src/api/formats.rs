//! `response_format`: what an answer has to match.

use fmflow_engine::pipeline::config::ConstraintSource;
use serde_json::{Map, Value};

use crate::fault::Fault;
use crate::fields::{Fields, shorten};
use crate::limits::CONSTRAINT_BYTES;

/// Takes the constraint of a request: OpenAI's forms, and a regular expression.
pub(crate) fn take_constraint(fields: &mut Fields) -> Result<Option<ConstraintSource>, Fault> {
    let Some(format) = fields.take("response_format") else { return Ok(None) };
    let mut format = match format {
        Value::Object(format) => format,
        other => return Err(unfit(&format!("it is no object: {}", shorten(&other.to_string())))),
    };
    let kind = format.shift_remove("type");
    let found = match kind.as_ref().and_then(Value::as_str) {
        Some("text") => None,
        Some("json_object") => Some(ConstraintSource::JsonSchema(r#"{"type": "object"}"#.to_owned())),
        Some("json_schema") => Some(ConstraintSource::JsonSchema(take_schema(&mut format)?)),
        Some("regex") => match format.shift_remove("regex") {
            Some(Value::String(pattern)) => Some(ConstraintSource::Regex(pattern)),
            _ => return Err(unfit("`regex` must be a text beside the type")),
        },
        _ => return Err(unfit("its `type` must be text, json_object, json_schema or regex")),
    };
    refuse_rest(&format, "it")?;
    let bytes = match &found {
        None => 0,
        Some(ConstraintSource::Regex(text) | ConstraintSource::JsonSchema(text)) => text.len(),
    };
    match bytes > CONSTRAINT_BYTES {
        true => Err(unfit(&format!("it has {bytes} bytes, and at most {CONSTRAINT_BYTES} are read"))),
        false => Ok(found),
    }
}

/// The text of the schema in OpenAI's form. Its name and whether it is strict change nothing: it is kept in any case.
fn take_schema(format: &mut Map<String, Value>) -> Result<String, Fault> {
    let Some(Value::Object(mut described)) = format.shift_remove("json_schema") else {
        return Err(unfit("`json_schema` must be an object beside the type, with the `schema` in it"));
    };
    let schema = described.shift_remove("schema");
    for name in ["name", "description", "strict"] {
        described.shift_remove(name);
    }
    refuse_rest(&described, "`json_schema`")?;
    match schema {
        Some(schema @ (Value::Object(_) | Value::Bool(_))) => Ok(schema.to_string()),
        _ => Err(unfit("`json_schema` needs a `schema`, which is an object")),
    }
}

fn refuse_rest(left: &Map<String, Value>, of: &str) -> Result<(), Fault> {
    match left.keys().next() {
        None => Ok(()),
        Some(name) => Err(unfit(&format!("{of} has no field `{}`", shorten(name)))),
    }
}

fn unfit(what: &str) -> Fault {
    Fault::field("response_format", format!("`response_format` is not supported: {what}"))
}
