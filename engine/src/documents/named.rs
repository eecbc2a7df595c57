//! Records that only name their document, which is an object elsewhere.

use serde_json::{Map, Value};

use super::Leftovers;
use super::fields::find_field;
use super::line::LineFault;
use super::non_text::describe_non_text;
use super::text_field::{FILL, missing_field, read_field};
use crate::pipeline::config::ContentsConfig;
use crate::text::escape::escape_line;

/// The longest key of an object in S3, in bytes.
const KEY_BYTES: usize = 1024;

/// A document that lies elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedContent {
    /// The key of the object.
    pub key: String,
    /// The name of its character encoding; `None` for UTF-8.
    pub encoding: Option<String>,
    /// What of the record is not part of it.
    pub leftovers: Leftovers,
}

/// The key of the content that a record names, and the name of its encoding.
///
/// # Errors
/// If a field is missing or holds something else, or the key is none that an object can have.
pub(super) fn read_name(
    contents: &ContentsConfig,
    fields: &Map<String, Value>,
) -> Result<(String, Option<String>), LineFault> {
    let key = contents.key.fill(|name| read_part(fields, name))?;
    if let Some(problem) = refuse_key(&key) {
        let shown: String = escape_line(&key).chars().take(80).collect();
        return Err(LineFault::new(
            format!("the key `{shown}` {problem}"),
            "correct the field, or remove the line",
        ));
    }
    let encoding = contents.encoding.as_deref().map(|name| read_field(fields, name)).transpose()?;
    Ok((key, encoding.map(str::to_owned)))
}

fn read_part(fields: &Map<String, Value>, name: &str) -> Result<String, LineFault> {
    match find_field(fields, name) {
        Some(Value::Number(number)) if !number.is_f64() => Ok(number.to_string()),
        Some(Value::String(_)) => read_field(fields, name).map(str::to_owned),
        Some(other) => {
            let (what, fix) = describe_non_text(other);
            let problem = format!("field `{name}` is no text and no whole number but {what}");
            Err(LineFault::new(problem, fix.unwrap_or(FILL)))
        }
        None => Err(missing_field(fields, name)),
    }
}

/// What is wrong with a key. Data of strangers must not lead out of the place that the pipeline names.
fn refuse_key(key: &str) -> Option<&'static str> {
    match key {
        _ if key.len() > KEY_BYTES => Some("is longer than 1024 bytes"),
        _ if key.chars().any(char::is_control) => Some("has control characters"),
        _ if key.split('/').any(|part| part == "." || part == "..") => Some("leads to another folder"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::unpack::Compression;
    use serde_json::json;

    fn read(record: Value) -> Result<(String, Option<String>), String> {
        let (bucket, key) = ContentsConfig::parse_address("s3://bucket/content/{meta.id}/{part}").unwrap();
        let encoding = Some("encoding".to_owned());
        let contents = ContentsConfig { bucket, key, packing: Compression::Gzip, encoding, signed: false };
        let Value::Object(fields) = record else { panic!("an object") };
        read_name(&contents, &fields).map_err(|fault| fault.problem)
    }

    #[test]
    fn a_record_names_its_content() {
        let found = read(json!({"meta": {"id": "ab/c d"}, "part": 7, "encoding": "UTF-8"}));
        assert_eq!(found, Ok(("content/ab/c d/7".to_owned(), Some("UTF-8".to_owned()))));
    }

    #[test]
    fn what_cannot_be_a_key_is_refused() {
        let refused =
            |id: Value| read(json!({"meta": {"id": id}, "part": "x", "encoding": "UTF-8"})).unwrap_err();
        assert_eq!(refused(json!("../../other")), "the key `content/../../other/x` leads to another folder");
        assert_eq!(refused(json!("a\nb")), "the key `content/a\\nb/x` has control characters");
        assert!(refused(json!("x".repeat(2000))).ends_with("is longer than 1024 bytes"));
        assert_eq!(refused(json!("")), "field `meta.id` is empty");
        assert!(refused(json!(null)).starts_with("field `meta.id` is no text and no whole number but null"));
        assert!(refused(json!(1.5)).contains("is no text and no whole number"));
        let without = read(json!({"part": "x", "encoding": "UTF-8"})).unwrap_err();
        assert_eq!(without, "field `meta.id` is missing, the line has `part`, `encoding`");
        let without = read(json!({"meta": {"id": "a"}, "part": "x"})).unwrap_err();
        assert!(without.starts_with("field `encoding` is missing"), "{without}");
    }
}
