//! What the headers of a checkpoint that others made tell: sizes of its model, and which ids its tokenizer uses.

use std::collections::HashMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use crate::pipeline::shape::ModelShape;
use crate::text::file_head;

/// Largest header that is read, in bytes; tokenizers of 250,000 tokens have about 20 MB.
const MAX_HEADER_BYTES: u64 = 64 << 20;

/// Ids that a tokenizer uses, with the text of each.
#[derive(Clone, Debug, Default)]
pub struct TokenTable(HashMap<u64, String>);

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
    /// The tokens of a `tokenizer.json`; `None` where it cannot be read or is of another kind.
    #[must_use]
    pub fn read(path: &Path) -> Option<Self> {
        let file: TokenizerFile = serde_json::from_slice(&read_header_file(path)?).ok()?;
        let ordinary = file.model.vocab.into_iter().map(|(content, id)| (id, content));
        Some(Self(
            ordinary.chain(file.added_tokens.into_iter().map(|token| (token.id, token.content))).collect(),
        ))
    }

    /// One more than the largest id.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.0.keys().max().map_or(0, |last| last.saturating_add(1))
    }

    /// The text of an id.
    #[must_use]
    pub fn text(&self, id: u64) -> Option<&str> {
        self.0.get(&id).map(String::as_str)
    }
}

/// The shape in a Hugging Face `config.json`, if it tells one.
#[must_use]
pub fn read_model_shape(path: &Path) -> Option<ModelShape> {
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
