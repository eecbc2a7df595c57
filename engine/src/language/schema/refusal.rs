//! Why a value is refused, and what its author probably meant.

use kdl::KdlValue;

use super::units::{bytes_sized, grouped, in_full, numeral, scaled, sized, timed};
use super::value::{Fault, Type};
use super::{FieldSpec, elsewhere};
use crate::text::diagnostic::Code;
use crate::text::suggest;

/// The fault of a value that no type of the field accepts.
pub(super) fn refuse(field: &FieldSpec, value: &KdlValue) -> Fault {
    let text = value.as_string();
    if let (Some(text), true) = (text, field.types.contains(&Type::Warning)) {
        return no_warning(field, text);
    }
    if let (Some(text), true) = (text, field.types.contains(&Type::Word)) {
        return Fault {
            code: Code::UnknownWord,
            message: format!("does not know `{text}`"),
            label: "unknown word".to_owned(),
            help: known(field, text),
        };
    }
    let expected: Vec<_> = field.types.iter().map(|kind| kind.phrase(field)).collect();
    let expected = expected.join(" or ");
    Fault {
        code: Code::WrongType,
        message: format!("takes {expected}"),
        label: format!("this is {}", describe(value)),
        help: paste(field, value),
    }
}

/// The word that is meant, or those that there are.
fn known(field: &FieldSpec, text: &str) -> Option<String> {
    let meant = field.meant(text).map(|word| format!("did you mean `{word}`?"));
    meant.or_else(|| suggest::help(text, field.words.iter().map(String::as_str)))
}

/// A code that is none, or none of a warning.
fn no_warning(field: &FieldSpec, text: &str) -> Fault {
    let words = field.words.iter().map(String::as_str);
    let known: Vec<&str> = Code::warnings().map(|name| -> &str { name }).chain(words).collect();
    let error = Code::ALL.iter().any(|code| code.name() == text);
    let (message, label, help) = if error {
        let help = format!("correct what it says; `fmflow explain {text}` tells more");
        (format!("takes warnings, and `{text}` is an error"), "always an error", Some(help))
    } else {
        (format!("does not know `{text}`"), "unknown code", suggest::help(text, known.into_iter()))
    };
    Fault { code: Code::UnknownWord, message, label: label.to_owned(), help }
}

fn describe(value: &KdlValue) -> &'static str {
    match value {
        KdlValue::String(_) => "text",
        KdlValue::Integer(number) if i64::try_from(*number).is_err() => "a number too large",
        KdlValue::Integer(_) => "a whole number",
        KdlValue::Float(number) if number.is_nan() => "not a number",
        KdlValue::Float(number) if number.is_infinite() => "infinite",
        KdlValue::Float(_) => "a number with a fraction",
        KdlValue::Bool(_) => "a truth value",
        KdlValue::Null => "nothing",
    }
}

/// What the author probably meant, ready to paste.
fn paste(field: &FieldSpec, value: &KdlValue) -> Option<String> {
    let wants = |kind: Type| field.types.contains(&kind);
    match value {
        KdlValue::String(text) => match measure(field, text).or_else(|| fetched(field, text)) {
            Some(help) => Some(help),
            None if wants(Type::Boolean) => truth(text),
            None => Some(field.help()),
        },
        KdlValue::Bool(truth) if field.meant(&truth.to_string()).is_some() => {
            let word = field.meant(&truth.to_string()).unwrap_or_default();
            let name = if field.name == "value" { String::new() } else { format!("{}=", field.name) };
            Some(format!("write `{name}{word:?}`"))
        }
        KdlValue::Integer(number) if wants(Type::Integer) && i64::try_from(*number).is_err() => {
            Some(format!("{}; the largest number is {}", field.help(), i64::MAX))
        }
        KdlValue::Float(number) if wants(Type::Integer) && number.fract() == 0.0 => {
            Some(format!("write `{number}`, without fraction or exponent"))
        }
        KdlValue::Integer(number) if wants(Type::Bytes) => {
            Some(format!("add the unit: `\"{}\"`", bytes_sized(*number)))
        }
        KdlValue::Integer(number) if wants(Type::Duration) => {
            Some(format!("add the unit: `\"{number}min\"`"))
        }
        KdlValue::Integer(1) if wants(Type::Boolean) => Some("write `#true`".to_owned()),
        KdlValue::Integer(0) if wants(Type::Boolean) => Some("write `#false`".to_owned()),
        KdlValue::Integer(number) if wants(Type::Text) || wants(Type::Name) => {
            Some(format!("write it in quotes: `\"{number}\"`"))
        }
        _ => Some(field.help()),
    }
}

/// A number, size or time in quotes, as the field takes it.
fn measure(field: &FieldSpec, text: &str) -> Option<String> {
    let wants = |kind: Type| field.types.contains(&kind);
    let quoted = |text: String| format!("write `\"{text}\"`");
    if let Some(time) = timed(text).filter(|_| wants(Type::Duration) || field.name == "every") {
        // What counts updates alone has no other form for a time.
        return Some(if wants(Type::Duration) { quoted(time) } else { field.help() });
    }
    if let Some(size) = sized(text).filter(|_| wants(Type::Bytes)) {
        return Some(quoted(size));
    }
    if !(wants(Type::Integer) || wants(Type::Number) || wants(Type::Share)) {
        return None;
    }
    let bare = |number: f64| format!("write the number without quotes: `{}`", grouped(number));
    let counted = COUNTED.iter().find_map(|unit| numeral(text.strip_suffix(unit)?));
    match numeral(text).or(counted.filter(|_| wants(Type::Integer))) {
        Some(number) if wants(Type::Share) && number > 1.0 => Some(quoted(format!("{number}%"))),
        Some(number) => Some(bare(number)),
        None if wants(Type::Number) && text.ends_with('%') => {
            Some(format!("write `{}`", scaled(text, &[("%", 0.01)])?))
        }
        None => in_full(&text.replace([',', ' ', '_'], "")),
    }
}

/// Words behind a count that say what is counted.
const COUNTED: &[&str] =
    &["steps", "step", "updates", "update", "iterations", "iters", "it", "rows", "tokens"];

fn truth(text: &str) -> Option<String> {
    match suggest::normal(text).as_str() {
        "true" | "yes" | "on" => Some("write `#true`".to_owned()),
        "false" | "no" | "off" => Some("write `#false`".to_owned()),
        _ => None,
    }
}

/// A repository where the name of a stage stands.
fn fetched(field: &FieldSpec, text: &str) -> Option<String> {
    let fetch = field.to.iter().any(|kind| kind == "fetch");
    elsewhere::repository(text).filter(|_| fetch).map(|repository| repository.declared(&field.name))
}
