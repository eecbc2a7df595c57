//! Bounds what a stranger's `tokenizer.json` can make of a text, from the file alone: the library has no limits of its own.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde_json::Value;
use tokenizers::tokenizer::{OffsetReferential, OffsetType, PreTokenizedString};

use crate::data::tokenizer_error::TokenizerError;

/// Ids are below this; the largest published vocabulary has some 260,000.
const MAX_ID: u32 = 1 << 24;

/// The longest token, in bytes; the longest published ones have some 500.
const MAX_TOKEN_BYTES: usize = 1 << 14;

/// Bytes that a text may have after normalization, as far as the file tells.
const MAX_NORMALIZED_BYTES: u64 = 64 << 20;

/// Steps that make a text at most so many times longer are harmless at every length: a space may become a letter of four bytes.
const HARMLESS_EXPANSION: u64 = 4;

/// A decoder that makes texts more times longer is refused.
const MAX_DECODER_EXPANSION: u64 = 64;

/// How many times longer NFKC makes a text at most: U+FDFA, three bytes, becomes 18 letters of 33 bytes.
const COMPATIBILITY_EXPANSION: u64 = 11;

/// The longest piece of a text that is encoded, in bytes. Time and memory of an encoding are those of its pieces, and a piece cannot
/// be interrupted.
pub(super) const MAX_PIECE_BYTES: usize = 1 << 20;

/// A bound of how long steps can make a text: `factor` bytes for each byte, and `constant` bytes more.
#[derive(Clone, Copy, Debug)]
pub(super) struct TextExpansion {
    factor: u64,
    constant: u64,
}

/// The parts of a `tokenizer.json` that make texts longer.
#[derive(Deserialize)]
struct TokenizerSteps {
    normalizer: Option<Value>,
    pre_tokenizer: Option<Value>,
    decoder: Option<Value>,
    #[serde(default)]
    added_tokens: Vec<AddedText>,
}

#[derive(Deserialize)]
struct AddedText {
    content: String,
}

impl TextExpansion {
    const NONE: Self = Self { factor: 1, constant: 0 };

    fn times(factor: u64) -> Self {
        Self { factor, constant: 0 }
    }

    /// This step, and then the next one.
    fn then(self, next: Self) -> Self {
        let constant = self.constant.saturating_mul(next.factor).saturating_add(next.constant);
        Self { factor: self.factor.saturating_mul(next.factor), constant }
    }

    /// Bytes that a text of so many bytes can have afterwards.
    fn longest(self, bytes: usize) -> u64 {
        self.factor.saturating_mul(bytes as u64).saturating_add(self.constant)
    }

    /// Reads the bytes of a `tokenizer.json`, before the library does: it normalizes the added tokens when it reads them.
    ///
    /// # Errors
    /// If the file makes its own tokens or decoded texts too long. The text says what is wrong with the file.
    pub(super) fn read(json: &[u8]) -> Result<Self, String> {
        let steps: TokenizerSteps = serde_json::from_slice(json).map_err(|e| e.to_string())?;
        let measure = |step: &Option<Value>| step.as_ref().map_or(Self::NONE, measure_expansion);
        let decoder = measure(&steps.decoder).factor;
        if decoder > MAX_DECODER_EXPANSION {
            return Err(format!("its decoder can make texts {decoder} times longer, more than 64 times"));
        }
        let expansion = measure(&steps.normalizer).then(measure(&steps.pre_tokenizer));
        let added = steps.added_tokens.iter().map(|token| token.content.len()).sum();
        match expansion.refuse_text(added) {
            Some(cause) => Err(format!("it cannot read its own tokens: {cause}")),
            None => Ok(expansion),
        }
    }

    /// Why a text of so many bytes is too long for the steps before the vocabulary; `None` if it is not.
    pub(super) fn refuse_text(self, bytes: usize) -> Option<String> {
        let harmless = HARMLESS_EXPANSION.saturating_mul(bytes as u64);
        let longest = self.longest(bytes);
        (longest > harmless.max(MAX_NORMALIZED_BYTES)).then(|| {
            format!(
                "the tokenizer can make a text {} times longer, here more than 64 MiB",
                longest / (bytes as u64).max(1)
            )
        })
    }
}

/// One more than the largest id of a vocabulary.
///
/// # Errors
/// If an id is too large for an embedding, or a token too long for a text.
pub(super) fn count_ids<'a>(vocabulary: impl Iterator<Item = (&'a String, &'a u32)>) -> Result<u32, String> {
    let mut used = 0;
    for (token, &id) in vocabulary {
        if id >= MAX_ID {
            return Err(format!("a token has the id {id}, which is not below {MAX_ID}"));
        }
        if token.len() > MAX_TOKEN_BYTES {
            return Err(format!("the token {id} has {} bytes, more than {MAX_TOKEN_BYTES}", token.len()));
        }
        used = used.max(id + 1);
    }
    Ok(used)
}

/// Refuses a text whose longest piece would take too long.
///
/// # Errors
/// If a piece has more than [`MAX_PIECE_BYTES`].
pub(super) fn refuse_long_pieces(parts: &PreTokenizedString) -> Result<(), TokenizerError> {
    let pieces = parts.get_splits(OffsetReferential::Original, OffsetType::Byte);
    match pieces.into_iter().map(|(_, (start, end), _)| end.saturating_sub(start)).max() {
        Some(bytes) if bytes > MAX_PIECE_BYTES => Err(TokenizerError::Unbroken { bytes }),
        _ => Ok(()),
    }
}

/// How much longer a step of a normalizer, pre-tokenizer or decoder can make a text.
fn measure_expansion(step: &Value) -> TextExpansion {
    let length = |key: &str| step[key].as_str().map_or(0, str::len) as u64;
    match step["type"].as_str() {
        Some("Sequence") => ["normalizers", "pretokenizers", "decoders"]
            .iter()
            .filter_map(|key| step[*key].as_array())
            .flatten()
            .map(measure_expansion)
            .fold(TextExpansion::NONE, TextExpansion::then),
        Some("Replace") => match step["pattern"]["String"].as_str().map(str::len) {
            Some(pattern) if pattern > 0 => {
                TextExpansion::times(length("content").div_ceil(pattern as u64).max(1))
            }
            // The pattern may match between two letters, and at both ends.
            _ => TextExpansion { factor: 1 + length("content"), constant: length("content") },
        },
        Some("Prepend") => TextExpansion { factor: 1, constant: length("prepend") },
        Some("Precompiled") => {
            // The library refuses a file without a charsmap.
            let charsmap = step["precompiled_charsmap"].as_str().unwrap_or_default();
            TextExpansion::times(measure_charsmap(charsmap))
        }
        Some("NFKC" | "NFKD") => TextExpansion::times(COMPATIBILITY_EXPANSION),
        // Every byte becomes a letter of up to two bytes.
        Some("ByteLevel") => TextExpansion::times(2),
        _ => TextExpansion::NONE,
    }
}

/// The longest text of a charsmap of SentencePiece: after a trie, whose length in bytes comes first, texts that end with a zero.
fn measure_charsmap(text: &str) -> u64 {
    // The library refuses a charsmap that it cannot read.
    let bytes = BASE64_STANDARD.decode(text).unwrap_or_default();
    let trie = bytes.first_chunk().map_or(0, |size| u32::from_le_bytes(*size) as usize);
    let texts = bytes.get(trie.saturating_add(4)..).unwrap_or_default();
    texts.split(|&byte| byte == 0).map(<[u8]>::len).max().unwrap_or(0).max(1) as u64
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(normalizer: &Value, pre_tokenizer: &Value) -> TextExpansion {
        let file = json!({"normalizer": normalizer, "pre_tokenizer": pre_tokenizer});
        TextExpansion::read(file.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn published_tokenizers_take_texts_of_any_length() {
        let llama = json!({"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "▁"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        ]});
        let qwen = json!({"type": "Sequence", "pretokenizers": [{"type": "Split"}, {"type": "ByteLevel"}]});
        let huge = 200 << 20;
        assert_eq!(read(&llama, &Value::Null).refuse_text(huge), None);
        assert_eq!(read(&json!({"type": "NFC"}), &qwen).refuse_text(huge), None);
    }

    #[test]
    fn steps_multiply_and_what_is_added_once_is_counted_once() {
        let step = json!({"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "abc"},
            {"type": "Replace", "pattern": {"String": "a"}, "content": "aaaaaaaaaa"},
        ]});
        let found = read(&step, &json!({"type": "ByteLevel"}));
        assert_eq!((found.factor, found.constant), (20, 60));
        assert!(found.refuse_text(4 << 20).is_some_and(|cause| cause.contains("20 times longer")));
        assert_eq!(found.refuse_text(3 << 20), None);
    }
}
