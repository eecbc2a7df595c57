//! The words of a schema that are read, and for which types.

use serde_json::Value;

use super::{Fields, refuse};
use crate::error::ConstraintError;

/// Words that say nothing about values, or that other words refer to.
const ANNOTATIONS: &[&str] = &[
    "$schema",
    "$id",
    "$comment",
    "$anchor",
    "$defs",
    "definitions",
    "title",
    "description",
    "default",
    "examples",
    "deprecated",
    "readOnly",
    "writeOnly",
];

const GENERAL: &[&str] = &["type", "$ref", "const", "enum", "anyOf", "allOf"];

/// A type of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Null,
    Boolean,
    Integer,
    Number,
    String,
    Array,
    Object,
}

impl Kind {
    const ALL: [Self; 7] =
        [Self::Null, Self::Boolean, Self::Integer, Self::Number, Self::String, Self::Array, Self::Object];

    fn name(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Boolean => "boolean",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::String => "string",
            Self::Array => "array",
            Self::Object => "object",
        }
    }

    /// Whether a word is about such values alone.
    fn has(self, word: &str) -> bool {
        self.words().contains(&word)
    }

    /// Words that are about such values alone.
    fn words(self) -> &'static [&'static str] {
        match self {
            Self::Null | Self::Boolean | Self::Number => &[],
            Self::Integer => &["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"],
            Self::String => &["minLength", "maxLength", "pattern", "format"],
            Self::Array => &["items", "prefixItems", "minItems", "maxItems"],
            Self::Object => &["properties", "required", "additionalProperties"],
        }
    }

    /// Whether a value is of this type.
    pub(super) fn holds(self, value: &Value) -> bool {
        match self {
            Self::Null => value.is_null(),
            Self::Boolean => value.is_boolean(),
            Self::Integer => value.as_f64().is_some_and(|number| number.fract() == 0.0),
            Self::Number => value.is_number(),
            Self::String => value.is_string(),
            Self::Array => value.is_array(),
            Self::Object => value.is_object(),
        }
    }
}

/// Refuses words that nobody reads.
pub(super) fn refuse_unknown(fields: &Fields, place: &str) -> Result<(), ConstraintError> {
    let known = |word: &str| {
        ANNOTATIONS.contains(&word) || GENERAL.contains(&word) || Kind::ALL.iter().any(|kind| kind.has(word))
    };
    match fields.keys().find(|word| !known(word)) {
        None => Ok(()),
        Some(word) => {
            let fix = match word.as_str() {
                "oneOf" => "write `anyOf`, where several parts may hold",
                _ => "remove it, or check it in the answer",
            };
            Err(refuse(place, format!("`{word}` is not supported"), fix))
        }
    }
}

/// Refuses what stands beside a word that says all of its part.
pub(super) fn refuse_beside(word: &str, fields: &Fields, place: &str) -> Result<(), ConstraintError> {
    let beside: &[&str] = if matches!(word, "const" | "enum") { &["type"] } else { &[] };
    let other = fields
        .keys()
        .find(|key| *key != word && !ANNOTATIONS.contains(&key.as_str()) && !beside.contains(&key.as_str()));
    match other {
        None => Ok(()),
        Some(other) => {
            let what = format!("`{other}` beside `{word}` is not supported");
            Err(refuse(place, what, "write the two as one"))
        }
    }
}

/// The types that a part names, or that its words are about; none if it says nothing.
pub(super) fn find_kinds(fields: &Fields, place: &str) -> Result<Vec<Kind>, ConstraintError> {
    let Some(named) = fields.get("type") else { return infer_kinds(fields, place) };
    let names: Vec<&Value> = match named {
        Value::Array(names) => names.iter().collect(),
        name => vec![name],
    };
    let kinds: Vec<Kind> = names.iter().map(|name| read_kind(name, place)).collect::<Result<_, _>>()?;
    if kinds.is_empty() {
        return Err(refuse(&format!("{place}/type"), "it is empty", "name at least one type"));
    }
    match find_stray(fields, &kinds) {
        None => Ok(kinds),
        Some(word) => Err(refuse(
            place,
            format!("`{word}` is not supported for values of type {named}"),
            "remove it, or name another type",
        )),
    }
}

/// The types that the words of a part are about.
fn infer_kinds(fields: &Fields, place: &str) -> Result<Vec<Kind>, ConstraintError> {
    let about = |kind: &Kind| fields.keys().any(|word| kind.has(word));
    let found: Vec<Kind> = Kind::ALL.into_iter().filter(about).collect();
    match found.as_slice() {
        [Kind::Integer] => Err(refuse(
            place,
            "bounds of numbers that are not whole are not supported",
            "write `\"type\": \"integer\"`, or remove the bounds",
        )),
        _ => Ok(found),
    }
}

fn read_kind(name: &Value, place: &str) -> Result<Kind, ConstraintError> {
    Kind::ALL.into_iter().find(|kind| name.as_str() == Some(kind.name())).ok_or_else(|| {
        refuse(
            &format!("{place}/type"),
            format!("{name} is no type"),
            "write null, boolean, integer, number, string, array or object",
        )
    })
}

/// A word that says nothing of values of these types.
fn find_stray<'a>(fields: &'a Fields, kinds: &[Kind]) -> Option<&'a String> {
    fields.keys().find(|word| {
        // Bounds of whole numbers would say nothing of the others beside them.
        if kinds.contains(&Kind::Number) && Kind::Integer.has(word) {
            return true;
        }
        Kind::ALL.iter().any(|kind| kind.has(word)) && !kinds.iter().any(|kind| kind.has(word))
    })
}
