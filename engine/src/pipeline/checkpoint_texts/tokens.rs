//! The tokens of `tokenizer.json`, against the other files that list tokens.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::Value;

use super::{
    ADDED_TOKENS, CheckpointTexts, Disagreement, SLOW_MERGES, SLOW_VOCABULARY, TOKENIZER, TOKENIZER_CONFIG,
    save_again, show_place, show_word,
};
use crate::pipeline::checkpoint_config::show_value;

/// How to repair tokenizer files of the slow kind.
const REMOVE_SLOW: &str = "remove `vocab.json` and `merges.txt`: `tokenizer.json` has the whole tokenizer; or restore the files that belong together";

/// The flags of an added token that change how a text is encoded or decoded.
const FLAGS: [&str; 5] = ["single_word", "lstrip", "rstrip", "normalized", "special"];

/// The tokens of a `tokenizer.json`.
#[derive(Debug)]
pub(super) struct TokenizerTokens {
    /// Ids by token.
    ids: HashMap<String, u64>,
    /// Tokens of the model's own vocabulary.
    own: usize,
    /// Added tokens as they are written, by id.
    added: HashMap<u64, Value>,
    merges: Vec<Merge>,
}

#[derive(Deserialize)]
struct TokenizerDocument {
    model: VocabularyModel,
    #[serde(default)]
    added_tokens: Vec<Value>,
}

#[derive(Deserialize)]
struct VocabularyModel {
    #[serde(default)]
    vocab: ModelVocabulary,
    #[serde(default)]
    merges: Vec<Merge>,
}

/// Tokens with their ids, or, in models of the kind Unigram, with their scores.
#[derive(Deserialize)]
#[serde(untagged)]
enum ModelVocabulary {
    Ids(HashMap<String, u64>),
    Scores(Vec<(String, f64)>),
}

impl Default for ModelVocabulary {
    fn default() -> Self {
        Self::Scores(Vec::new())
    }
}

/// A merge in the form of either version of the library.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Merge {
    Pair(String, String),
    Line(String),
}

impl Merge {
    fn line(&self) -> String {
        match self {
            Self::Pair(left, right) => format!("{left} {right}"),
            Self::Line(line) => line.clone(),
        }
    }
}

impl TokenizerTokens {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let file: TokenizerDocument = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        let mut ids: HashMap<String, u64> = match file.model.vocab {
            ModelVocabulary::Ids(ids) => ids,
            ModelVocabulary::Scores(list) => (0..).zip(list).map(|(id, (token, _))| (token, id)).collect(),
        };
        let own = ids.len();
        let mut added = HashMap::new();
        for token in file.added_tokens {
            let (Some(id), Some(content)) = (token["id"].as_u64(), token["content"].as_str()) else {
                return Err(format!(
                    "`added_tokens` has an entry without `id` or `content`: {}",
                    show_value(&token)
                ));
            };
            ids.insert(content.to_owned(), id);
            added.insert(id, token);
        }
        Ok(Self { ids, own, added, merges: file.model.merges })
    }

    /// The id of a token.
    pub(super) fn id(&self, token: &str) -> Option<u64> {
        self.ids.get(token).copied()
    }

    /// The token of an id. It is looked for among all, which is slow: for messages.
    fn token(&self, id: u64) -> Option<&str> {
        self.ids.iter().find(|(_, own)| **own == id).map(|(token, _)| token.as_str())
    }

    /// What this file says of a token that another one gives the id `id`; `None` if it says the same.
    fn contradict(&self, token: &str, id: u64) -> Option<String> {
        match (self.id(token), self.token_if_other(token, id)) {
            (Some(own), _) if own == id => None,
            (Some(own), _) => Some(format!("`{TOKENIZER}` gives it the id {own}")),
            (None, Some(other)) => Some(format!("in `{TOKENIZER}` that is the id of {}", show_word(other))),
            (None, None) => Some(format!("`{TOKENIZER}` does not have it")),
        }
    }

    fn token_if_other(&self, token: &str, id: u64) -> Option<&str> {
        if self.ids.contains_key(token) { None } else { self.token(id) }
    }
}

impl CheckpointTexts {
    /// Tokens that other files add to those of `tokenizer.json`.
    pub(super) fn compare_added_tokens(&self, tokens: &TokenizerTokens) -> Vec<Disagreement> {
        let decoder = self.tokenizer_config.get("added_tokens_decoder").and_then(Value::as_object);
        let by_id = decoder.into_iter().flatten().filter_map(|(id, token)| {
            let place = show_place(TOKENIZER_CONFIG, &format!("added_tokens_decoder.{id}"));
            compare_added_token(tokens, &place, id.parse().ok(), token)
        });
        let by_token = self.added_tokens.iter().filter_map(|(token, id)| {
            let place = show_place(ADDED_TOKENS, token);
            compare_added_token(tokens, &place, id.as_u64(), &Value::from(token.as_str()))
        });
        by_id.chain(by_token).collect()
    }

    /// `vocab.json` and `merges.txt`, from which other programs make the same tokenizer.
    pub(super) fn compare_slow_files(&self, tokens: &TokenizerTokens) -> Option<Disagreement> {
        let told = |what: String| Some(Disagreement { what, cure: REMOVE_SLOW.to_owned() });
        if let Some(vocabulary) = &self.slow_vocabulary {
            for (token, id) in vocabulary {
                if let Some(other) = tokens.contradict(token, id.as_u64().unwrap_or(u64::MAX)) {
                    return told(format!("{} is {id}, but {other}", show_place(SLOW_VOCABULARY, token)));
                }
            }
            let most = tokens.own + tokens.added.len();
            if !(tokens.own..=most).contains(&vocabulary.len()) {
                let (few, own) = (vocabulary.len(), tokens.own);
                return told(format!(
                    "`{SLOW_VOCABULARY}` has {few} tokens, but `model.vocab` in `{TOKENIZER}` has {own}"
                ));
            }
        }
        let lines = self
            .slow_merges
            .as_deref()?
            .lines()
            .filter(|line| !line.starts_with("#version"))
            .filter(|line| !line.is_empty());
        let (lines, own): (Vec<&str>, _) = (lines.collect(), &tokens.merges);
        let at = (0..lines.len().max(own.len()))
            .find(|at| lines.get(*at).copied() != own.get(*at).map(Merge::line).as_deref())?;
        let shown = |line: Option<&str>| line.map_or("missing".to_owned(), show_word);
        let (theirs, ours) = (lines.get(at).copied(), own.get(at).map(Merge::line));
        told(format!(
            "merge {at} is {} in `{SLOW_MERGES}`, but {} in `model.merges` of `{TOKENIZER}`",
            shown(theirs),
            shown(ours.as_deref())
        ))
    }
}

/// Compares one token that another file adds: a text, or an object with its text and flags.
fn compare_added_token(
    tokens: &TokenizerTokens,
    place: &str,
    id: Option<u64>,
    token: &Value,
) -> Option<Disagreement> {
    let told = |what: String| Some(Disagreement { what, cure: save_again(place) });
    let (Some(id), Some(content)) = (id, token.as_str().or_else(|| token["content"].as_str())) else {
        return told(format!("{place} is {}, which is not a token with an id", show_value(token)));
    };
    if let Some(other) = tokens.contradict(content, id) {
        return told(format!("{place} is the token {} with the id {id}, but {other}", show_word(content)));
    }
    let own = tokens.added.get(&id)?;
    let differs =
        |flag: &&&str| token[**flag].is_boolean() && own[**flag].is_boolean() && token[**flag] != own[**flag];
    let flag = FLAGS.iter().find(differs)?;
    told(format!(
        "{place} says `{flag}`: {}, but `{TOKENIZER}` says {} of the same token",
        token[*flag], own[*flag]
    ))
}
