//! The fields of a request, each of which has to be read by somebody.

use fmflow_engine::text::suggest::suggest_names;
use serde_json::{Map, Value};

use crate::fault::Fault;

/// The fields that are not read yet. `null` is as good as nothing.
pub(crate) struct Fields(Map<String, Value>);

impl Fields {
    /// The fields of a body.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, Fault> {
        match serde_json::from_slice(body) {
            Ok(Value::Object(fields)) => {
                Ok(Self(fields.into_iter().filter(|(_, value)| !value.is_null()).collect()))
            }
            Ok(_) => Err(Fault::invalid("the body is no JSON object")),
            Err(error) => Err(Fault::invalid(format!("the body is not JSON: {error}"))),
        }
    }

    /// Takes a field.
    pub(crate) fn take(&mut self, name: &str) -> Option<Value> {
        self.0.shift_remove(name)
    }

    /// Takes a text.
    pub(crate) fn take_text(&mut self, name: &str) -> Result<Option<String>, Fault> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(unfit(name, "a text", &other)),
        }
    }

    /// Takes a truth value; `false` if it is absent.
    pub(crate) fn take_flag(&mut self, name: &str) -> Result<bool, Fault> {
        match self.take(name) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(flag),
            Some(other) => Err(unfit(name, "true or false", &other)),
        }
    }

    /// Takes a field that is `false`, which some clients send for nothing; returns whether it was.
    pub(crate) fn take_false(&mut self, name: &str) -> bool {
        self.0.get(name) == Some(&Value::Bool(false)) && self.take(name).is_some()
    }

    /// Takes a whole number within bounds.
    pub(crate) fn take_count(&mut self, name: &str, least: u64, most: u64) -> Result<Option<u64>, Fault> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let wanted = || unfit(name, &format!("a whole number from {least} to {most}"), &value);
        let number = value.as_u64().ok_or_else(wanted)?;
        if (least..=most).contains(&number) { Ok(Some(number)) } else { Err(wanted()) }
    }

    /// Takes a field that has to have a value which changes nothing, because no other is supported.
    pub(crate) fn take_neutral(&mut self, name: &str, neutral: &Value) -> Result<(), Fault> {
        let same = |value: &Value| match (value.as_f64(), neutral.as_f64()) {
            (Some(value), Some(neutral)) => value == neutral,
            _ => value == neutral,
        };
        match self.take(name).filter(|value| !same(value)) {
            None => Ok(()),
            Some(_) => Err(Fault::field(name, format!("`{name}` is not supported, other than as {neutral}"))),
        }
    }

    /// Refuses two names of one setting.
    pub(crate) fn refuse_both(&self, name: &str, other: &str) -> Result<(), Fault> {
        match name != other && self.0.contains_key(name) && self.0.contains_key(other) {
            true => {
                Err(Fault::field(other, format!("`{name}` and `{other}` mean the same: send one of them")))
            }
            false => Ok(()),
        }
    }

    /// Takes the settings of a sampler, as words. An underscore may stand for a dash.
    pub(crate) fn take_settings(&mut self, known: &[String]) -> Result<Vec<(String, String)>, Fault> {
        let mut settings = Vec::new();
        for name in known {
            let spellings = [name.clone(), name.replace('-', "_")];
            self.refuse_both(&spellings[0], &spellings[1])?;
            for spelled in spellings {
                let Some(value) = self.take(&spelled) else { continue };
                let word = match value {
                    Value::String(text) => text,
                    Value::Number(_) | Value::Bool(_) => value.to_string(),
                    other => return Err(unfit(&spelled, "a number or a word", &other)),
                };
                settings.push((name.clone(), word));
            }
        }
        Ok(settings)
    }

    /// Nothing may be left.
    pub(crate) fn finish(self, known: &[&str]) -> Result<(), Fault> {
        let Some(name) = self.0.keys().next() else { return Ok(()) };
        let help = suggest_names(name, known.iter().copied()).unwrap_or_default();
        let gap = if help.is_empty() { "" } else { "; " };
        let name = shorten(name);
        Err(Fault::field(&name, format!("`{name}` is unknown or not supported{gap}{help}")))
    }
}

/// A value that does not fit its field.
pub(crate) fn unfit(name: &str, wanted: &str, value: &Value) -> Fault {
    Fault::field(name, format!("`{name}` must be {wanted}, not {}", shorten(&value.to_string())))
}

/// The beginning of what a client sent.
pub(crate) fn shorten(text: &str) -> String {
    const LETTERS: usize = 80;
    match text.char_indices().nth(LETTERS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
