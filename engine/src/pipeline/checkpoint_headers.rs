//! Reads the model shape and the token ids of a third-party checkpoint from its JSON files, without loading tensors.

use std::collections::HashMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use crate::pipeline::shape::ModelShape;
use crate::text::file_head;

/// Largest file that is read, in bytes; a `tokenizer.json` of 250,000 tokens has about 20 MB.
const MAX_HEADER_BYTES: u64 = 64 << 20;

/// The ids that a tokenizer uses, each with its text.
#[derive(Clone, Debug, Default)]
pub(crate) struct TokenTable(HashMap<u64, String>);

#[derive(Deserialize)]
struct TokenizerFile {
    model: TokenizerModel,
    #[serde(default)]
    added_tokens: Vec<AddedToken>,
}

#[derive(Deserialize)]
struct TokenizerModel {
    vocab: HashMap<String, u64>,
}

#[derive(Deserialize)]
struct AddedToken {
    id: u64,
    content: String,
}

impl TokenTable {
    /// Reads a `tokenizer.json`; `None` if it cannot be read or has another structure, such as no `vocab`.
    #[must_use]
    pub(crate) fn read(path: &Path) -> Option<Self> {
        let file: TokenizerFile = serde_json::from_slice(&read_header_file(path)?).ok()?;
        let ordinary = file.model.vocab.into_iter().map(|(content, id)| (id, content));
        Some(Self(
            ordinary.chain(file.added_tokens.into_iter().map(|token| (token.id, token.content))).collect(),
        ))
    }

    /// One more than the largest id; 0 if there are no tokens.
    #[must_use]
    pub(crate) fn end(&self) -> u64 {
        self.0.keys().max().map_or(0, |last| last.saturating_add(1))
    }

    /// The text of a token id, if any token uses it.
    #[must_use]
    pub(crate) fn text(&self, id: u64) -> Option<&str> {
        self.0.get(&id).map(String::as_str)
    }
}

/// Reads the model shape from a Hugging Face `config.json`; `None` if a required size is missing.
#[must_use]
pub(crate) fn read_model_shape(path: &Path) -> Option<ModelShape> {
    let config: Value = serde_json::from_slice(&read_header_file(path)?).ok()?;
    let number = |name: &str| config.get(name).and_then(Value::as_u64);
    let (hidden, heads) = (number("hidden_size")?, number("num_attention_heads")?);
    Some(ModelShape {
        vocabulary: number("vocab_size")?,
        hidden,
        layers: number("num_hidden_layers")?,
        heads,
        kv_heads: number("num_key_value_heads").unwrap_or(heads),
        head_dim: number("head_dim").or(hidden.checked_div(heads))?,
        feed_forward: number("intermediate_size")?,
        tied: config.get("tie_word_embeddings").and_then(Value::as_bool).unwrap_or(false),
    })
}

fn read_header_file(path: &Path) -> Option<Vec<u8>> {
    file_head::read_small_file(path, MAX_HEADER_BYTES)
}
