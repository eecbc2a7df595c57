//! Fields of a record, each with an error that names it.

use serde_json::{Map, Value};

use super::inputs::encode_value;
use super::json_text::encode_items;

/// A field that is missing or unfit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` {what}")]
pub struct RecordError {
    /// The field.
    pub field: &'static str,
    /// What is wrong with it, as the rest of a sentence.
    pub what: String,
}

impl RecordError {
    pub(crate) fn new(field: &'static str, what: impl Into<String>) -> Self {
        Self { field, what: what.into() }
    }
}

/// The fields of a record, and the line that they were parsed from, if there is one.
pub(super) struct Record<'a> {
    pub fields: &'a Map<String, Value>,
    pub line: Option<&'a str>,
}

impl<'a> Record<'a> {
    fn field(&self, field: &'static str) -> Option<&'a Value> {
        self.fields.get(field).filter(|value| !value.is_null())
    }

    pub(super) fn text(&self, field: &'static str) -> Result<&'a str, RecordError> {
        self.optional_text(field)?.ok_or_else(|| RecordError::new(field, "is missing"))
    }

    pub(super) fn optional_text(&self, field: &'static str) -> Result<Option<&'a str>, RecordError> {
        let text = |value: &'a Value| value.as_str().ok_or_else(|| RecordError::new(field, "is not a text"));
        self.field(field).map(text).transpose()
    }

    pub(super) fn optional_number(&self, field: &'static str) -> Result<Option<f64>, RecordError> {
        let number = |value: &Value| {
            let number = value.as_f64().filter(|number| *number >= 0.0);
            number.ok_or_else(|| RecordError::new(field, "is not a number from 0"))
        };
        self.field(field).map(number).transpose()
    }

    /// A text, or a whole number from 0.
    pub(super) fn text_or_number(&self, field: &'static str) -> Result<Result<&'a str, u64>, RecordError> {
        match self.field(field) {
            Some(Value::String(text)) => Ok(Ok(text)),
            Some(Value::Number(number)) if number.is_u64() => {
                Ok(Err(number.as_u64().expect("it was asked whether it is one")))
            }
            Some(_) => Err(RecordError::new(field, "is neither a text nor a whole number from 0")),
            None => Err(RecordError::new(field, "is missing")),
        }
    }

    /// A text, as the only one of a list, or a list of texts.
    pub(super) fn text_or_texts(&self, field: &'static str) -> Result<Vec<String>, RecordError> {
        match self.field(field) {
            Some(Value::String(text)) => Ok(vec![text.clone()]),
            Some(Value::Array(_)) => self.optional_texts(field),
            Some(_) => Err(RecordError::new(field, "is neither a text nor a list of texts")),
            None => Err(RecordError::new(field, "is missing")),
        }
    }

    pub(super) fn texts(&self, field: &'static str) -> Result<Vec<String>, RecordError> {
        match self.field(field) {
            Some(_) => self.optional_texts(field),
            None => Err(RecordError::new(field, "is missing")),
        }
    }

    pub(super) fn optional_texts(&self, field: &'static str) -> Result<Vec<String>, RecordError> {
        let unfit = || RecordError::new(field, "is not a list of texts");
        let Some(value) = self.field(field) else { return Ok(Vec::new()) };
        let items = value.as_array().ok_or_else(unfit)?;
        items.iter().map(|item| item.as_str().map(str::to_owned).ok_or_else(unfit)).collect()
    }

    /// The literals of `base_input` and `plus_input`, one after the other, if the record has them.
    pub(super) fn inputs(&self) -> Result<Option<Vec<String>>, RecordError> {
        let mut all = Vec::new();
        for field in ["base_input", "plus_input"] {
            let Some(value) = self.field(field) else { continue };
            let lists = value.as_array().filter(|items| items.iter().all(Value::is_array));
            let lists = lists.ok_or_else(|| RecordError::new(field, "is not a list of lists"))?;
            all.extend(match self.line {
                Some(line) => encode_items(line, field).expect("the line has what was parsed from it"),
                None => lists.iter().map(encode_value).collect(),
            });
        }
        Ok(self.field("base_input").map(|_| all))
    }

    /// `task_id`, or the number of a record that has none.
    pub(super) fn name_or(&self, number: usize) -> Result<String, RecordError> {
        match self.field("task_id") {
            Some(_) => self.name(),
            None => Ok(number.to_string()),
        }
    }

    /// `task_id`: a text or a whole number.
    pub(super) fn name(&self) -> Result<String, RecordError> {
        match self.field("task_id") {
            Some(Value::String(name)) if !name.is_empty() => Ok(name.clone()),
            Some(Value::Number(number)) if number.is_u64() => Ok(number.to_string()),
            Some(_) => Err(RecordError::new("task_id", "is neither a text nor a whole number")),
            None => Err(RecordError::new("task_id", "is missing")),
        }
    }
}
