//! Types of fields: which KDL values each type accepts, and the canonical value it gives them.

use kdl::KdlValue;

use super::units::{COUNT_UNITS, SIZE_UNITS, TIME_UNITS, parse_range, parse_scaled_number, to_integer_value};
use super::{FieldSpec, NumberRange, value_error};
use crate::text::diagnostic::Code;
use crate::text::suggest;

/// The type of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldType {
    /// A name that the author chooses.
    Name,
    /// The name of another declaration.
    Ref,
    /// Any text.
    Text,
    /// One of the field's words.
    Word,
    /// A whole number.
    Integer,
    /// A number.
    Number,
    /// `#true` or `#false`.
    Boolean,
    /// A whole number, which can have the suffix K, M, B or T: `60.17B`.
    Count,
    /// A size with its unit: `300MiB`.
    Bytes,
    /// A time with its unit: `30min`.
    Duration,
    /// A number or a percentage: `2%`.
    Share,
    /// Two whole numbers: `8..64`.
    Range,
    /// A file or folder on this machine.
    Path,
    /// A repository or bucket: `hf:owner/name`.
    Hub,
    /// The code of a warning.
    Warning,
}

/// The canonical value of a field.
#[derive(Clone, Debug, PartialEq)]
pub enum CanonicalValue {
    /// Text or a word.
    Text(String),
    /// The name of something declared.
    Name(String),
    /// A whole number, a count or a size in bytes.
    Integer(i64),
    /// A number or a share.
    Number(f64),
    /// A time in seconds.
    Seconds(f64),
    /// A boolean.
    Bool(bool),
    /// A range of whole numbers, as written.
    Range(String),
    /// A path, as written.
    Path(String),
    /// An address on a hub, as written.
    Hub(String),
}

/// Why a value is refused.
#[derive(Debug)]
pub(crate) struct ValueError {
    /// The kind of problem.
    pub code: Code,
    /// What is wrong, as the rest of a sentence that begins with the field's name.
    pub message: String,
    /// The note at the place of the value.
    pub label: String,
    /// What to write instead.
    pub help: Option<String>,
}

impl FieldType {
    /// The type called `word` in the tables.
    ///
    /// # Errors
    /// If there is no such type.
    pub(crate) fn from_word(word: &str) -> Result<Self, String> {
        let all = [
            Self::Name,
            Self::Ref,
            Self::Text,
            Self::Word,
            Self::Integer,
            Self::Number,
            Self::Boolean,
            Self::Count,
            Self::Bytes,
            Self::Duration,
            Self::Share,
            Self::Range,
            Self::Path,
            Self::Hub,
            Self::Warning,
        ];
        all.into_iter().find(|kind| kind.word() == word).ok_or_else(|| format!("no type `{word}`"))
    }

    /// The name of the type in the tables.
    #[must_use]
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Ref => "ref",
            Self::Text => "string",
            Self::Word => "word",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
            Self::Count => "count",
            Self::Bytes => "bytes",
            Self::Duration => "duration",
            Self::Share => "share",
            Self::Range => "range",
            Self::Path => "path",
            Self::Hub => "hub",
            Self::Warning => "warning",
        }
    }

    /// A description for people, with an article.
    #[must_use]
    pub(crate) fn phrase(self, field: &FieldSpec) -> String {
        match self {
            Self::Name => "a name".to_owned(),
            Self::Ref => format!("the name of {}", format_target_kinds(field)),
            Self::Text => "text in quotes".to_owned(),
            Self::Word => {
                format!("one of {}", suggest::format_name_list(field.words.iter().map(String::as_str)))
            }
            Self::Integer => "a whole number".to_owned(),
            Self::Number => "a number".to_owned(),
            Self::Boolean => "`#true` or `#false`".to_owned(),
            Self::Count => "a count such as `60.17B`".to_owned(),
            Self::Bytes => "a size such as `300MiB`".to_owned(),
            Self::Duration => "a time such as `30min`".to_owned(),
            Self::Share => "a share such as `2%` or `0.02`".to_owned(),
            Self::Range => "a range such as `8..64`".to_owned(),
            Self::Path => "a path".to_owned(),
            Self::Hub => "an address such as `hf:owner/name`".to_owned(),
            Self::Warning => "the code of a warning such as `unused`".to_owned(),
        }
    }
}

/// The kinds of nodes that a reference may name: ``a `tokenizer` or `fetch` ``.
#[must_use]
pub(crate) fn format_target_kinds(field: &FieldSpec) -> String {
    let names: Vec<_> = field.to.iter().map(|kind| format!("`{kind}`")).collect();
    format!("a {}", names.join(" or "))
}

/// The canonical value of `value` in `field`.
///
/// # Errors
/// If no type of the field accepts the value, or if it is out of range.
pub(crate) fn accept_value(field: &FieldSpec, value: &KdlValue) -> Result<CanonicalValue, ValueError> {
    let accepted = field.types.iter().find_map(|kind| convert_value(*kind, field, value));
    match accepted {
        Some(value) => check_range(field, value),
        None => Err(value_error::refuse_value(field, value)),
    }
}

fn convert_value(kind: FieldType, field: &FieldSpec, value: &KdlValue) -> Option<CanonicalValue> {
    match (kind, value) {
        (FieldType::Boolean, KdlValue::Bool(value)) => Some(CanonicalValue::Bool(*value)),
        (FieldType::Integer | FieldType::Count, KdlValue::Integer(number)) => {
            i64::try_from(*number).ok().map(CanonicalValue::Integer)
        }
        (FieldType::Number | FieldType::Share, KdlValue::Integer(number)) => {
            Some(CanonicalValue::Number(*number as f64))
        }
        (FieldType::Number | FieldType::Share, KdlValue::Float(number)) => {
            number.is_finite().then_some(CanonicalValue::Number(*number))
        }
        (_, KdlValue::String(text)) => convert_text(kind, field, text),
        _ => None,
    }
}

fn convert_text(kind: FieldType, field: &FieldSpec, text: &str) -> Option<CanonicalValue> {
    match kind {
        FieldType::Name => Some(CanonicalValue::Name(text.to_owned())),
        // Names have no slash and no leading dot: such a text is a path or a repository, which may be another type of the field.
        FieldType::Ref => {
            (!text.contains('/') && !text.starts_with('.')).then(|| CanonicalValue::Name(text.to_owned()))
        }
        FieldType::Text => Some(CanonicalValue::Text(text.to_owned())),
        FieldType::Word => {
            field.words.iter().any(|word| word == text).then(|| CanonicalValue::Text(text.to_owned()))
        }
        FieldType::Count => to_integer_value(parse_scaled_number(text, COUNT_UNITS)?),
        FieldType::Bytes => to_integer_value(parse_scaled_number(text, SIZE_UNITS)?),
        FieldType::Duration => parse_scaled_number(text, TIME_UNITS).map(CanonicalValue::Seconds),
        FieldType::Share => parse_scaled_number(text, &[("%", 0.01)]).map(CanonicalValue::Number),
        FieldType::Range => parse_range(text),
        FieldType::Path => {
            (!text.is_empty() && !is_remote_address(text)).then(|| CanonicalValue::Path(text.to_owned()))
        }
        FieldType::Hub => is_remote_address(text).then(|| CanonicalValue::Hub(text.to_owned())),
        FieldType::Warning => {
            Code::warnings().any(|name| name == text).then(|| CanonicalValue::Text(text.to_owned()))
        }
        FieldType::Integer | FieldType::Number | FieldType::Boolean => None,
    }
}

/// Whether a text is an address outside this machine.
fn is_remote_address(text: &str) -> bool {
    ["hf:", "s3:", "http:", "https:"].iter().any(|scheme| text.starts_with(scheme))
}

fn check_range(field: &FieldSpec, value: CanonicalValue) -> Result<CanonicalValue, ValueError> {
    let number = match &value {
        CanonicalValue::Integer(number) => *number as f64,
        CanonicalValue::Number(number) | CanonicalValue::Seconds(number) => *number,
        _ => return Ok(value),
    };
    let NumberRange { min, max, above, below } = field.range;
    let inside = min.is_none_or(|end| number >= end)
        && max.is_none_or(|end| number <= end)
        && above.is_none_or(|end| number > end)
        && below.is_none_or(|end| number < end);
    if inside {
        return Ok(value);
    }
    Err(ValueError {
        code: Code::OutOfRange,
        message: format!("must be {}", format_field_range(field, &find_violated_ends(&field.range, number))),
        label: "outside the range".to_owned(),
        help: Some(suggest_percentage(field, number).unwrap_or_else(|| field.help())),
    })
}

/// Help for a percentage without its `%`: `5` for `"5%"`.
fn suggest_percentage(field: &FieldSpec, number: f64) -> Option<String> {
    let share = field.types.contains(&FieldType::Share) && number > 1.0 && number < 100.0;
    share.then(|| format!("write `\"{number}%\"` or `{}`", number / 100.0))
}

/// The bounds that `number` violates, so that the message does not mention the others.
fn find_violated_ends(range: &NumberRange, number: f64) -> NumberRange {
    NumberRange {
        min: range.min.filter(|end| number < *end),
        max: range.max.filter(|end| number > *end),
        above: range.above.filter(|end| number <= *end),
        below: range.below.filter(|end| number >= *end),
    }
}

/// The range in words; as percentages if the field is a share.
fn format_field_range(field: &FieldSpec, range: &NumberRange) -> String {
    let percent = |end: Option<f64>| end.map(|end| end * 100.0);
    if !field.types.contains(&FieldType::Share) {
        return format_range(range);
    }
    let NumberRange { min, max, above, below } = *range;
    let range =
        NumberRange { min: percent(min), max: percent(max), above: percent(above), below: percent(below) };
    format!("{}%", format_range(&range))
}

/// The range in words: `at least 1 and below 2`.
#[must_use]
pub(crate) fn format_range(range: &NumberRange) -> String {
    let ends =
        [(range.min, "at least"), (range.above, "above"), (range.max, "at most"), (range.below, "below")];
    let ends: Vec<_> = ends.iter().filter_map(|(end, word)| end.map(|end| format!("{word} {end}"))).collect();
    ends.join(" and ")
}

impl CanonicalValue {
    /// The JSON value that goes into fingerprints.
    #[must_use]
    pub(crate) fn json(&self) -> serde_json::Value {
        match self {
            Self::Integer(number) => (*number).into(),
            Self::Number(number) | Self::Seconds(number) => (*number).into(),
            Self::Bool(value) => (*value).into(),
            Self::Text(text) | Self::Name(text) | Self::Range(text) | Self::Path(text) | Self::Hub(text) => {
                text.as_str().into()
            }
        }
    }
}
