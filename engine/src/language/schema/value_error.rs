//! Explains why a value is refused, and suggests what its author probably meant.

use kdl::KdlValue;

use super::units::{
    format_grouped_number, format_size, normalize_size, normalize_time, parse_scaled_number,
    parse_separated_number, suggest_full_number,
};
use super::value::{FieldType, ValueError};
use super::{FieldSpec, foreign_names, load_schema, visit_node_specs};
use crate::text::diagnostic::Code;
use crate::text::suggest;

/// The error for a value that no type of the field accepts.
pub(super) fn refuse_value(field: &FieldSpec, value: &KdlValue) -> ValueError {
    let text = value.as_string();
    if let (Some(text), true) = (text, field.types.contains(&FieldType::Warning)) {
        return unknown_warning(field, text);
    }
    if let (Some(text), true) = (text, field.types.contains(&FieldType::Word)) {
        return ValueError {
            code: Code::UnknownWord,
            message: format!("does not accept `{text}`"),
            label: "unknown word".to_owned(),
            help: suggest_known_word(field, text),
        };
    }
    let expected: Vec<_> = field.types.iter().map(|kind| kind.phrase(field)).collect();
    let expected = expected.join(" or ");
    ValueError {
        code: Code::WrongType,
        message: format!("takes {expected}"),
        label: format!("this is {}", describe_kdl_value(value)),
        help: suggest_value(field, value),
    }
}

/// The word that is probably meant, or else a list of all words.
fn suggest_known_word(field: &FieldSpec, text: &str) -> Option<String> {
    let meant = field.find_synonym(text).map(|word| suggest_word(field, word));
    meant.or_else(|| suggest::suggest_names(text, field.words.iter().map(String::as_str)))
}

/// A word, and what it needs beside it that no other word of the field does.
fn suggest_word(field: &FieldSpec, word: &str) -> String {
    let mut needs = Vec::new();
    for top in &load_schema().nodes {
        visit_node_specs(top, &mut |spec| {
            let own = spec.fields().any(|other| std::ptr::eq(other, field));
            let only = |other: &&FieldSpec| {
                let when = other.when.as_ref().filter(|when| when.field == field.name);
                own && other.required && when.is_some_and(|when| when.values == [word])
            };
            let found = spec.fields().filter(only);
            needs.extend(
                found.filter_map(|other| Some(format!("`{}={}`", other.name, other.sample.as_ref()?))),
            );
        });
    }
    match needs.is_empty() {
        true => format!("did you mean `{word}`?"),
        false => format!("did you mean `{word}`? It needs {}", needs.join(" and ")),
    }
}

/// Not a known code, or the code of an error instead of a warning.
fn unknown_warning(field: &FieldSpec, text: &str) -> ValueError {
    let words = field.words.iter().map(String::as_str);
    let known: Vec<&str> = Code::warnings().map(|name| -> &str { name }).chain(words).collect();
    let error = Code::ALL.iter().any(|code| code.name() == text);
    let (message, label, help) = if error {
        let help = format!("fix the cause instead; see `fmflow explain {text}`");
        (format!("takes only warnings, and `{text}` is an error"), "always an error", Some(help))
    } else {
        (format!("does not accept `{text}`"), "unknown code", suggest::suggest_names(text, known.into_iter()))
    };
    ValueError { code: Code::UnknownWord, message, label: label.to_owned(), help }
}

fn describe_kdl_value(value: &KdlValue) -> &'static str {
    match value {
        KdlValue::String(_) => "text",
        KdlValue::Integer(number) if i64::try_from(*number).is_err() => "a number too large",
        KdlValue::Integer(_) => "a whole number",
        KdlValue::Float(number) if number.is_nan() => "not a number",
        KdlValue::Float(number) if number.is_infinite() => "infinite",
        KdlValue::Float(_) => "a number with a fraction",
        KdlValue::Bool(_) => "a boolean",
        KdlValue::Null => "null",
    }
}

/// What the author probably meant, ready to paste.
fn suggest_value(field: &FieldSpec, value: &KdlValue) -> Option<String> {
    let wants = |kind: FieldType| field.types.contains(&kind);
    match value {
        KdlValue::String(text) => {
            match suggest_quantity(field, text).or_else(|| suggest_fetch(field, text)) {
                Some(help) => Some(help),
                None if wants(FieldType::Boolean) => suggest_boolean(text),
                None => Some(field.help()),
            }
        }
        KdlValue::Bool(truth) if field.find_synonym(&truth.to_string()).is_some() => {
            let word = field.find_synonym(&truth.to_string()).expect("it was just found");
            let name = if field.name == "value" { String::new() } else { format!("{}=", field.name) };
            Some(format!("write `{name}{word:?}`"))
        }
        KdlValue::Integer(number) if wants(FieldType::Integer) && i64::try_from(*number).is_err() => {
            Some(format!("{}; the largest whole number is {}", field.help(), i64::MAX))
        }
        KdlValue::Float(number) if wants(FieldType::Integer) && number.fract() == 0.0 => {
            Some(format!("write `{number}`, without a fraction or exponent"))
        }
        KdlValue::Integer(number) if wants(FieldType::Bytes) => {
            Some(format!("add the unit: `\"{}\"`", format_size(*number)))
        }
        KdlValue::Integer(number) if wants(FieldType::Duration) => {
            Some(format!("add the unit: `\"{number}min\"`"))
        }
        KdlValue::Integer(1) if wants(FieldType::Boolean) => Some("write `#true`".to_owned()),
        KdlValue::Integer(0) if wants(FieldType::Boolean) => Some("write `#false`".to_owned()),
        KdlValue::Integer(number) if wants(FieldType::Text) || wants(FieldType::Name) => {
            Some(format!("write it in quotes: `\"{number}\"`"))
        }
        _ => Some(field.help()),
    }
}

/// Help for a quoted number, size or time, in the form that the field takes.
fn suggest_quantity(field: &FieldSpec, text: &str) -> Option<String> {
    let wants = |kind: FieldType| field.types.contains(&kind);
    let quoted = |text: String| format!("write `\"{text}\"`");
    if let Some(time) = normalize_time(text).filter(|_| wants(FieldType::Duration) || field.name == "every") {
        // A field that only counts updates cannot take a time in any form, so its documentation is the help.
        return Some(if wants(FieldType::Duration) { quoted(time) } else { field.help() });
    }
    if let Some(size) = normalize_size(text).filter(|_| wants(FieldType::Bytes)) {
        return Some(quoted(size));
    }
    if !(wants(FieldType::Integer) || wants(FieldType::Number) || wants(FieldType::Share)) {
        return None;
    }
    let bare = |number: f64| format!("write the number without quotes: `{}`", format_grouped_number(number));
    let counted = COUNT_NOUNS.iter().find_map(|unit| parse_separated_number(text.strip_suffix(unit)?));
    match parse_separated_number(text).or(counted.filter(|_| wants(FieldType::Integer))) {
        Some(number) if wants(FieldType::Share) && number > 1.0 => Some(quoted(format!("{number}%"))),
        Some(number) => Some(bare(number)),
        None if wants(FieldType::Number) && text.ends_with('%') => {
            Some(format!("write `{}`", parse_scaled_number(text, &[("%", 0.01)])?))
        }
        None => suggest_full_number(&text.replace([',', ' ', '_'], "")),
    }
}

/// Nouns that people write after a count, such as `400 steps`.
const COUNT_NOUNS: &[&str] =
    &["steps", "step", "updates", "update", "iterations", "iters", "it", "rows", "tokens"];

fn suggest_boolean(text: &str) -> Option<String> {
    match suggest::normalize_name(text).as_str() {
        "true" | "yes" | "on" => Some("write `#true`".to_owned()),
        "false" | "no" | "off" => Some("write `#false`".to_owned()),
        _ => None,
    }
}

/// Help for a hub repository in a field that takes the name of a stage.
fn suggest_fetch(field: &FieldSpec, text: &str) -> Option<String> {
    let fetch = field.to.iter().any(|kind| kind == "fetch");
    foreign_names::parse_repository(text)
        .filter(|_| fetch)
        .map(|repository| repository.declaration_help(&field.name))
}
