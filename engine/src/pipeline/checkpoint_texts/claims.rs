//! What the files say of the ids of one special token.

use serde_json::Value;

use super::tokens::TokenizerTokens;
use super::{show_place, show_word};
use crate::pipeline::checkpoint_config::show_value;

/// One file's word on the ids of a special token.
pub(super) struct IdClaim {
    /// Where it stands.
    pub(super) place: String,
    /// What it says.
    pub(super) said: String,
    /// The ids.
    pub(super) ids: Vec<u64>,
}

impl IdClaim {
    /// Ids written as numbers; `None` if the key is absent or null, or is no id: the check of config.json refuses that there, and an
    /// export in the settings of generation.
    pub(super) fn from_ids(file: &str, key: &str, value: Option<&Value>) -> Option<Self> {
        let ids: Vec<u64> = match value? {
            Value::Array(list) => list.iter().map(Value::as_u64).collect::<Option<_>>()?,
            one => vec![one.as_u64()?],
        };
        let said = show_value(value?);
        (!ids.is_empty()).then(|| Self { place: show_place(file, key), said, ids })
    }

    /// A token written as text; `None` if the key is absent, or `tokenizer.json` does not have it.
    pub(super) fn from_token(
        file: &str,
        key: &str,
        value: Option<&Value>,
        tokens: &TokenizerTokens,
    ) -> Option<Self> {
        let token = read_token(value?)?;
        let id = tokens.id(token)?;
        Some(Self {
            place: show_place(file, key),
            said: format!("{} (id {id})", show_word(token)),
            ids: vec![id],
        })
    }

    /// Whether one says all that the other says: several end tokens may be told by one file and the first of them by another.
    pub(super) fn agrees(&self, other: &Self) -> bool {
        let within = |a: &Self, b: &Self| a.ids.iter().all(|id| b.ids.contains(id));
        within(self, other) || within(other, self)
    }
}

/// The text of a token: a word, or an object with `content`.
pub(super) fn read_token(value: &Value) -> Option<&str> {
    value.as_str().or_else(|| value["content"].as_str())
}
