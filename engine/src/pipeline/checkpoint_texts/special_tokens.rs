//! Special tokens: their ids in three files, and their names in two.

use serde_json::{Map, Value};

use super::claims::{IdClaim, read_token};
use super::tokens::TokenizerTokens;
use super::{
    CONFIG, CheckpointTexts, Disagreement, GENERATION, SPECIAL_TOKENS, TOKENIZER, TOKENIZER_CONFIG,
    save_again, show_place, show_word,
};

/// Special tokens that config.json and generation_config.json have ids of.
const ROLES: [&str; 4] = ["bos_token", "eos_token", "pad_token", "mask_token"];

/// Special tokens that the files of a tokenizer name.
const NAMES: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// Further special tokens, in lists or by name.
const LISTS: [&str; 2] = ["additional_special_tokens", "extra_special_tokens"];

impl CheckpointTexts {
    /// Ids of special tokens, each pair of files once, and ids without a row. Those of config.json are refused when it is read.
    pub(super) fn compare_special_ids(&self) -> Vec<Disagreement> {
        let rows = self.config.get("vocab_size").and_then(Value::as_u64);
        let mut found = Vec::new();
        for role in ROLES {
            let claims = self.collect_id_claims(role);
            let read = show_place(CONFIG, &format!("{role}_id"));
            for (at, one) in claims.iter().enumerate() {
                let others = claims[at + 1..].iter().filter(|other| !one.agrees(other));
                found.extend(others.map(|other| {
                    let what =
                        format!("{} is {}, but {} is {}", one.place, one.said, other.place, other.said);
                    Disagreement { what, cure: same_id(role) }
                }));
                let beyond =
                    one.ids.iter().find(|id| one.place != read && rows.is_some_and(|rows| **id >= rows));
                found.extend(beyond.zip(rows).map(|(_, rows)| {
                    let what = format!(
                        "{} is {}, but {} is {rows}",
                        one.place,
                        one.said,
                        show_place(CONFIG, "vocab_size")
                    );
                    Disagreement { what, cure: same_id(role) }
                }));
            }
        }
        found
    }

    fn collect_id_claims(&self, role: &str) -> Vec<IdClaim> {
        let key = format!("{role}_id");
        let numbers = [(CONFIG, &self.config), (GENERATION, &self.generation)];
        let numbers = numbers.map(|(file, map)| IdClaim::from_ids(file, &key, map.get(&key)));
        let texts = [(TOKENIZER_CONFIG, &self.tokenizer_config), (SPECIAL_TOKENS, &self.special_tokens)];
        let texts = texts.into_iter().filter_map(|(file, map)| {
            IdClaim::from_token(file, role, map.get(role), self.tokenizer.as_ref()?)
        });
        numbers.into_iter().flatten().chain(texts).collect()
    }

    /// Special tokens by name: each is in `tokenizer.json`, and two files name the same. transformers adds one that is not there
    /// as a new token, whose row the model does not know.
    pub(super) fn compare_named_tokens(&self, tokens: &TokenizerTokens) -> Vec<Disagreement> {
        let files = [(TOKENIZER_CONFIG, &self.tokenizer_config), (SPECIAL_TOKENS, &self.special_tokens)];
        let mut found = Vec::new();
        for (file, map) in files {
            for (key, token) in list_named_tokens(map) {
                if tokens.id(token).is_none() {
                    let place = show_place(file, key);
                    let what =
                        format!("{place} names {}, but `{TOKENIZER}` does not have it", show_word(token));
                    found.push(Disagreement { what, cure: save_again(&place) });
                }
            }
        }
        found
    }
}

/// The special tokens that a file names, each with its key.
fn list_named_tokens(map: &Map<String, Value>) -> Vec<(&'static str, &str)> {
    let named = NAMES.into_iter().filter_map(|key| Some((key, read_token(map.get(key)?)?)));
    let listed = LISTS.into_iter().flat_map(|key| {
        let values: Vec<&Value> = match map.get(key) {
            Some(Value::Array(list)) => list.iter().collect(),
            Some(Value::Object(named)) => named.values().collect(),
            _ => Vec::new(),
        };
        values.into_iter().filter_map(move |value| Some((key, read_token(value)?)))
    });
    named.chain(listed).collect()
}

/// How to make the ids of a special token agree.
fn same_id(role: &str) -> String {
    format!(
        "write the `{role}` that the model was trained with into every file that names it, or remove the entry that is wrong"
    )
}
