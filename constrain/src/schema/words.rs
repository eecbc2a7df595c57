//! The words of a schema that are read, and for which types.

use serde_json::Value;

use super::{Fields, refuse};
use crate::error::ConstraintError;

/// Words that say nothing about values, or that other words refer to.
pub(super) const ANNOTATIONS: &[&str] = &[
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
        ANNOTATIONS.contains(&word)
            || GENERAL.contains(&word)
            || Kind::ALL.iter().any(|kind| kind.words().contains(&word))
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

/// The types that a part names, or that its words are about; none if it says nothing.
pub(super) fn find_kinds(fields: &Fields, place: &str) -> Result<Vec<Kind>, ConstraintError> {
    let about = |kind: &Kind| fields.keys().any(|word| kind.words().contains(&word.as_str()));
    let Some(named) = fields.get("type") else {
        let found: Vec<Kind> = Kind::ALL.into_iter().filter(about).collect();
        return match found.as_slice() {
            [Kind::Integer] => Err(refuse(
                place,
                "bounds of numbers that are not whole are not supported",
                "write `\"type\": \"integer\"`, or remove the bounds",
            )),
            _ => Ok(found),
        };
    };
    let names: Vec<&Value> = match named {
        Value::Array(names) => names.iter().collect(),
        name => vec![name],
    };
    let read = |name: &&Value| {
        Kind::ALL.into_iter().find(|kind| name.as_str() == Some(kind.name())).ok_or_else(|| {
            refuse(
                &format!("{place}/type"),
                format!("{name} is no type"),
                "write null, boolean, integer, number, string, array or object",
            )
        })
    };
    let kinds: Vec<Kind> = names.iter().map(read).collect::<Result<_, _>>()?;
    if kinds.is_empty() {
        return Err(refuse(&format!("{place}/type"), "it is empty", "name at least one type"));
    }
    let stray = fields.keys().find(|word| {
        // Bounds of whole numbers would say nothing of the others beside them.
        if kinds.contains(&Kind::Number) && Kind::Integer.words().contains(&word.as_str()) {
            return true;
        }
        Kind::ALL.iter().any(|kind| kind.words().contains(&word.as_str()))
            && !kinds.iter().any(|kind| kind.words().contains(&word.as_str()))
    });
    match stray {
        None => Ok(kinds),
        Some(word) => Err(refuse(
            place,
            format!("`{word}` is not supported for values of type {named}"),
            "remove it, or name another type",
        )),
    }
}
