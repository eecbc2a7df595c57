//! Why a value is refused, and what its author probably meant.

use kdl::KdlValue;

use super::FieldSpec;
use super::units::{grouped, in_full};
use super::value::{Fault, Type};
use crate::diagnostic::Code;
use crate::suggest;

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
            help: suggest::help(text, field.words.iter().map(String::as_str)),
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
        KdlValue::String(text) if wants(Type::Integer) || wants(Type::Number) => {
            let plain = text.replace([',', ' ', '_'], "");
            let number = plain.parse::<f64>().ok().filter(|number| number.is_finite());
            let number =
                number.map(|number| format!("write the number without quotes: `{}`", grouped(number)));
            number.or_else(|| in_full(&plain)).or_else(|| Some(field.help()))
        }
        KdlValue::String(text) if wants(Type::Boolean) => match suggest::normal(text).as_str() {
            "true" | "yes" | "on" => Some("write `#true`".to_owned()),
            "false" | "no" | "off" => Some("write `#false`".to_owned()),
            _ => None,
        },
        KdlValue::Integer(number) if wants(Type::Integer) && i64::try_from(*number).is_err() => {
            Some(format!("{}; the largest number is {}", field.help(), i64::MAX))
        }
        KdlValue::Float(number) if wants(Type::Integer) && number.fract() == 0.0 => {
            Some(format!("write `{number}`, without fraction or exponent"))
        }
        KdlValue::Integer(number) if wants(Type::Bytes) => Some(format!("add the unit: `\"{number}MiB\"`")),
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
