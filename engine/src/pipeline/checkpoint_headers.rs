//! Reads the model shape and the token ids of a third-party checkpoint from its JSON files, without loading tensors.

use std::collections::HashMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use crate::pipeline::shape::ModelShape;
use crate::text::file_head;

/// Largest file that is read, in bytes; a `tokenizer.json` of 250,000 tokens has about 20 MB.
pub(super) const MAX_HEADER_BYTES: u64 = 64 << 20;

/// The ids that a tokenizer uses, each with its text.
#[derive(Clone, Debug, Default)]
pub(crate) struct TokenTable {
    tokens: HashMap<u64, String>,
    /// Whether every letter of a token is a byte of the text, and no text is made shorter before it is cut into tokens.
    keeps_bytes: bool,
}

#[derive(Deserialize)]
struct TokenizerFile {
    model: TokenizerModel,
    #[serde(default)]
    added_tokens: Vec<AddedToken>,
    #[serde(default)]
    normalizer: Value,
    #[serde(default)]
    decoder: Value,
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
        let added = file.added_tokens.into_iter().map(|token| (token.id, token.content));
        let kind = |part: &Value| part.get("type").and_then(Value::as_str).map(str::to_owned);
        let keeps_bytes = kind(&file.decoder).as_deref() == Some("ByteLevel")
            && matches!(kind(&file.normalizer).as_deref(), None | Some("NFC"));
        Some(Self { tokens: ordinary.chain(added).collect(), keeps_bytes })
    }

    /// A number of tokens that `text` takes at least, if the tokenizer allows a bound.
    #[must_use]
    pub(crate) fn bound_tokens(&self, text: &str) -> Option<usize> {
        // NFC leaves ASCII as it is and may shorten other text.
        (self.keeps_bytes && text.is_ascii()).then_some(())?;
        let longest = self.tokens.values().map(|token| token.chars().count()).max()?;
        Some(text.len().div_ceil(longest.max(1)))
    }

    /// One more than the largest id; 0 if there are no tokens.
    #[must_use]
    pub(crate) fn end(&self) -> u64 {
        self.tokens.keys().max().map_or(0, |last| last.saturating_add(1))
    }

    /// Whether a token has exactly this text.
    #[must_use]
    pub(crate) fn has(&self, text: &str) -> bool {
        self.tokens.values().any(|token| token == text)
    }

    /// The text of a token id, if any token uses it.
    #[must_use]
    pub(crate) fn text(&self, id: u64) -> Option<&str> {
        self.tokens.get(&id).map(String::as_str)
    }
}

/// Reads the model shape from a Hugging Face `config.json`; `None` if a required size is missing or none that a model can have.
/// Then nothing can be estimated from it, and the stage that opens the folder says what is wrong.
#[must_use]
pub(crate) fn read_model_shape(path: &Path) -> Option<ModelShape> {
    let config: Value = serde_json::from_slice(&read_header_file(path)?).ok()?;
    let number = |name: &str| config.get(name).and_then(Value::as_u64);
    let (hidden, heads) = (number("hidden_size")?, number("num_attention_heads")?);
    let shape = ModelShape {
        vocabulary: number("vocab_size")?,
        hidden,
        layers: number("num_hidden_layers")?,
        heads,
        kv_heads: number("num_key_value_heads").unwrap_or(heads),
        head_dim: number("head_dim").or(hidden.checked_div(heads))?,
        feed_forward: number("intermediate_size")?,
        tied: config.get("tie_word_embeddings").and_then(Value::as_bool).unwrap_or(false),
    };
    shape.find_unfit_size().is_none().then_some(shape)
}

/// The context in a Hugging Face `config.json`, in tokens; `None` if it cannot be read.
#[must_use]
pub(crate) fn read_context(path: &Path) -> Option<usize> {
    let config: Value = serde_json::from_slice(&read_header_file(path)?).ok()?;
    usize::try_from(config.get("max_position_embeddings")?.as_u64()?).ok()
}

fn read_header_file(path: &Path) -> Option<Vec<u8>> {
    file_head::read_small_file(path, MAX_HEADER_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn sizes_that_no_model_can_have_give_no_shape() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.json");
        let good = json!({"vocab_size": 320, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
            "num_key_value_heads": 1, "head_dim": 16, "intermediate_size": 64});
        let read = |config: &Value| {
            std::fs::write(&file, config.to_string()).unwrap();
            read_model_shape(&file)
        };
        assert_eq!(read(&good).map(|shape| (shape.vocabulary, shape.head_dim)), Some((320, 16)));
        for (key, value) in [
            ("hidden_size", 1_u64 << 63),
            ("num_hidden_layers", 1_000_000_000),
            ("vocab_size", 1 << 40),
            ("num_attention_heads", 0),
            ("num_key_value_heads", 3),
            ("head_dim", 15),
            ("head_dim", 1 << 62),
            ("intermediate_size", (1 << 63) - 1),
        ] {
            let mut config = good.clone();
            config[key] = value.into();
            assert_eq!(read(&config), None, "{key}={value}");
        }
    }
}
