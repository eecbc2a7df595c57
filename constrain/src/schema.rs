//! A JSON Schema as a regular expression. What it cannot say is refused by name, and nothing is ignored: every text that matches is
//! valid. Not every valid text matches: properties come in the order of the schema, others are not written, numbers have at most 15
//! digits, and where anything is allowed it ends at level [`ANY_DEPTH`].

mod integers;
mod objects;
mod parts;
mod pattern;
mod strings;
mod words;

use serde_json::{Map, Value};

use crate::automaton::{Automaton, parse_regex};
use crate::error::ConstraintError;
use parts::Parts;
use words::{Kind, find_kinds, refuse_beside, refuse_unknown};

/// Behind a comma or a colon there may be one space, as JSON is mostly written.
pub(super) const COMMA: &str = ", ?";
pub(super) const COLON: &str = ": ?";

/// Levels of arrays and objects where a schema allows anything, counted from the outside.
pub(super) const ANY_DEPTH: usize = 3;

/// Most letters of all expressions that make up one.
const MOST_LETTERS: usize = 4 << 20;

const NUMBER: &str = r"-?(?:0|[1-9][0-9]{0,14})(?:\.[0-9]{1,15})?(?:[eE][+-]?[0-9]{1,2})?";

/// Most parts that lie within each other, references included. A choice: as deep as people write, and no deeper than the stack.
const MOST_LEVELS: usize = 64;

/// The automaton of the values that a schema describes.
///
/// # Errors
/// If it is no schema, says something that no expression can, or is too large.
pub(crate) fn build(text: &str) -> Result<Automaton, ConstraintError> {
    // Editors of some systems write a mark of the order of bytes.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let root: Value = serde_json::from_str(text).map_err(|error| ConstraintError::Json(error.to_string()))?;
    let mut writer =
        Writer { root: &root, letters: 0, level: 0, depth: 0, open: Vec::new(), parts: Parts::default() };
    let written = writer.value(&root, "#")?;
    let hir = parse_regex(&written).map_err(|_| {
        refuse("#", "it is too deep: its parts lie too far within each other", "write fewer levels")
    })?;
    Automaton::new(&hir).map_err(|error| match error {
        ConstraintError::TooLarge => writer.parts.explain(),
        other => other,
    })
}

/// Writes expressions of the parts of a schema.
pub(super) struct Writer<'a> {
    root: &'a Value,
    /// Letters of all parts so far.
    letters: usize,
    /// Arrays and objects around the present part.
    level: usize,
    /// Parts around the present part, and references to it.
    depth: usize,
    /// References on the way to the present part.
    open: Vec<&'a str>,
    /// What was written of all parts.
    parts: Parts,
}

/// The words of a part of a schema.
pub(super) type Fields = Map<String, Value>;

pub(super) fn refuse(place: &str, what: impl Into<String>, fix: &str) -> ConstraintError {
    ConstraintError::Schema { place: place.to_owned(), what: what.into(), fix: fix.to_owned() }
}

impl<'a> Writer<'a> {
    /// The expression of a part.
    pub(super) fn value(&mut self, schema: &'a Value, place: &str) -> Result<String, ConstraintError> {
        if self.depth >= MOST_LEVELS {
            let what = format!("more than {MOST_LEVELS} parts lie within each other or refer to the next");
            return Err(refuse(place, what, "write fewer levels, or shorter chains of `$ref`"));
        }
        self.depth += 1;
        let written = match schema {
            Value::Bool(true) => any_value(self.free_levels()),
            Value::Bool(false) => {
                return Err(refuse(place, "`false` allows no value", "leave out what must not be there"));
            }
            Value::Object(fields) => self.fields(fields, place)?,
            _ => {
                return Err(refuse(
                    place,
                    "a schema is an object, `true` or `false`",
                    "write an object, such as `{\"type\": \"string\"}`",
                ));
            }
        };
        self.depth -= 1;
        self.note(written.len(), place)?;
        self.parts.add(place, &written);
        Ok(written)
    }

    /// Counts letters that were written of the part at `place`.
    pub(super) fn note(&mut self, letters: usize, place: &str) -> Result<(), ConstraintError> {
        self.letters += letters;
        if self.letters <= MOST_LETTERS {
            return Ok(());
        }
        let what = format!("it is too large: written out, it has more than {MOST_LETTERS} letters");
        Err(refuse(place, what, "refer to fewer parts several times, or write fewer properties"))
    }

    fn fields(&mut self, fields: &'a Fields, place: &str) -> Result<String, ConstraintError> {
        refuse_unknown(fields, place)?;
        for word in ["$ref", "const", "enum", "anyOf", "allOf"] {
            if let Some(value) = fields.get(word) {
                refuse_beside(word, fields, place)?;
                return self.alone(word, value, (fields, &format!("{place}/{word}")));
            }
        }
        let kinds = find_kinds(fields, place)?;
        if kinds.is_empty() {
            return Ok(any_value(self.free_levels()));
        }
        let mut written = Vec::new();
        for kind in kinds {
            written.push(match kind {
                Kind::Null => "null".to_owned(),
                Kind::Boolean => "(?:true|false)".to_owned(),
                Kind::Integer => integers::write(fields, place)?,
                Kind::Number => NUMBER.to_owned(),
                Kind::String => strings::write(fields, place)?,
                Kind::Array => self.within(|writer| writer.array(fields, place))?,
                Kind::Object => self.within(|writer| writer.object(fields, place))?,
            });
        }
        Ok(any_of(&written))
    }

    /// A word that says all of its part. `place` is that of the word.
    fn alone(
        &mut self,
        word: &'static str,
        value: &'a Value,
        (fields, place): (&'a Fields, &str),
    ) -> Result<String, ConstraintError> {
        match word {
            "$ref" => self.reference(value, place),
            "const" => choices(std::slice::from_ref(value), fields, place),
            "enum" => choices(list(value, place)?, fields, place),
            _ => self.branches(word, list(value, place)?, place),
        }
    }

    /// Levels that anything may have here.
    pub(super) fn free_levels(&self) -> usize {
        ANY_DEPTH.saturating_sub(self.level)
    }

    /// What is written of the parts of an array or an object.
    fn within<T>(&mut self, write: impl FnOnce(&mut Self) -> T) -> T {
        self.level += 1;
        let written = write(self);
        self.level -= 1;
        written
    }

    /// What a reference into the same schema names.
    fn reference(&mut self, value: &'a Value, place: &str) -> Result<String, ConstraintError> {
        let fix = "name a part of the same schema, such as `#/$defs/name`";
        let name = value.as_str().ok_or_else(|| refuse(place, "it is no text", fix))?;
        if self.open.contains(&name) {
            let what = format!("`{name}` leads back to itself, which no automaton can follow");
            return Err(refuse(place, what, "write out as many levels as are needed"));
        }
        let pointer = name.strip_prefix('#').filter(|rest| rest.is_empty() || rest.starts_with('/'));
        let target = pointer.and_then(|pointer| self.root.pointer(pointer));
        let target =
            target.ok_or_else(|| refuse(place, format!("there is no `{name}` in the schema"), fix))?;
        self.open.push(name);
        let written = self.value(target, name);
        self.open.pop();
        written
    }

    /// `anyOf`, and an `allOf` of one.
    fn branches(&mut self, word: &str, parts: &'a [Value], place: &str) -> Result<String, ConstraintError> {
        if parts.is_empty() || (word == "allOf" && parts.len() > 1) {
            let what = match parts.len() {
                0 => format!("`{word}` is empty"),
                _ => "`allOf` of several parts is not supported".to_owned(),
            };
            return Err(refuse(place, what, "write them as one"));
        }
        let part = |(at, part): (usize, &'a Value)| self.value(part, &format!("{place}/{at}"));
        Ok(any_of(&parts.iter().enumerate().map(part).collect::<Result<Vec<_>, _>>()?))
    }
}

/// One of these values, of those that have the declared type.
fn choices(values: &[Value], fields: &Fields, place: &str) -> Result<String, ConstraintError> {
    let kinds = find_kinds(fields, place)?;
    let fits = |value: &&Value| kinds.is_empty() || kinds.iter().any(|kind| kind.holds(value));
    let written: Vec<String> = values.iter().filter(fits).map(write_value).collect();
    if written.is_empty() {
        return Err(refuse(
            place,
            "none of the values has the type",
            "list at least one value of this `type`",
        ));
    }
    Ok(any_of(&written))
}

/// One value as an expression.
pub(super) fn write_value(value: &Value) -> String {
    match value {
        Value::Array(parts) => {
            let parts: Vec<String> = parts.iter().map(write_value).collect();
            format!(r"\[{}\]", parts.join(COMMA))
        }
        Value::Object(fields) => {
            let field = |(name, value): (&String, &Value)| {
                format!("{}{COLON}{}", write_text(name), write_value(value))
            };
            format!(r"\{{{}\}}", fields.iter().map(field).collect::<Vec<_>>().join(COMMA))
        }
        Value::String(text) => write_text(text),
        Value::Null | Value::Bool(_) | Value::Number(_) => regex_syntax::escape(&value.to_string()),
    }
}

/// A JSON string as an expression.
pub(super) fn write_text(text: &str) -> String {
    regex_syntax::escape(&Value::String(text.to_owned()).to_string())
}

pub(super) fn any_of(written: &[String]) -> String {
    match written {
        [one] => one.clone(),
        many => format!("(?:{})", many.join("|")),
    }
}

/// Any value with at most so many levels.
pub(super) fn any_value(depth: usize) -> String {
    let scalar = format!("null|true|false|{NUMBER}|{}", strings::any());
    if depth == 0 {
        return format!("(?:{scalar})");
    }
    let inner = any_value(depth - 1);
    format!(r"(?:{scalar}|\[(?:{inner}(?:{COMMA}{inner})*)?\]|{})", objects::write_map(&inner))
}

pub(super) fn list<'a>(value: &'a Value, place: &str) -> Result<&'a [Value], ConstraintError> {
    value.as_array().map(Vec::as_slice).ok_or_else(|| refuse(place, "it is no list", "write a list"))
}

/// A number from 0 on that a field holds, if it is there.
pub(super) fn count(fields: &Fields, word: &str, place: &str) -> Result<Option<u64>, ConstraintError> {
    let Some(value) = fields.get(word) else { return Ok(None) };
    let found = value.as_u64().filter(|count| *count <= 1_000_000);
    let fault = || {
        refuse(&format!("{place}/{word}"), "it is no whole number from 0 to 1,000,000", "write such a number")
    };
    found.map(Some).ok_or_else(fault)
}

/// `{low,high}` behind an expression.
pub(super) fn write_bounds(low: u64, high: Option<u64>) -> String {
    match high {
        None => format!("{{{low},}}"),
        Some(high) => format!("{{{low},{high}}}"),
    }
}
