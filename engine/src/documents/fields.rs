//! Fields of a record by their names; fields inside objects have paths.

use serde_json::{Map, Value};

/// The field `name`; one inside an object has a path such as `message.content`. A key that is that path as a whole goes first.
#[must_use]
pub(crate) fn find_field<'a>(fields: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    fields.get(name).or_else(|| {
        let (first, rest) = name.split_once('.')?;
        find_field(fields.get(first)?.as_object()?, rest)
    })
}

/// The names of the fields, and of those in the object that the path `name` begins with.
#[must_use]
pub(super) fn list_field_names(fields: &Map<String, Value>, name: &str) -> Vec<String> {
    let inside = name.split_once('.').and_then(|(first, _)| Some((first, fields.get(first)?.as_object()?)));
    let inside =
        inside.into_iter().flat_map(|(first, inner)| inner.keys().map(move |key| format!("{first}.{key}")));
    fields.keys().cloned().chain(inside).collect()
}
