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

/// A normalizer that makes texts at most so many times longer is harmless: a space may become a letter of four bytes.
const HARMLESS_EXPANSION: u64 = 4;

/// A decoder that makes texts more times longer is refused.
const MAX_DECODER_EXPANSION: u64 = 64;

/// How many times longer NFKC makes a text at most: U+FDFA, three bytes, becomes 18 letters of 33 bytes.
const COMPATIBILITY_EXPANSION: u64 = 11;

/// The longest piece of a text that is encoded, in bytes. Time and memory of an encoding are those of its pieces, and a piece cannot
/// be interrupted.
pub(super) const MAX_PIECE_BYTES: usize = 1 << 20;

/// How many times longer a tokenizer can make a text.
#[derive(Clone, Copy, Debug)]
pub(super) struct TextExpansion(u64);

/// The parts of a `tokenizer.json` that make texts longer.
#[derive(Deserialize)]
struct TokenizerSteps {
    normalizer: Option<Value>,
    decoder: Option<Value>,
    #[serde(default)]
    added_tokens: Vec<AddedText>,
}

#[derive(Deserialize)]
struct AddedText {
    content: String,
}

impl TextExpansion {
    /// Reads the bytes of a `tokenizer.json`, before the library does: it normalizes the added tokens when it reads them.
    ///
    /// # Errors
    /// If the file makes its own tokens or decoded texts too long. The text says what is wrong with the file.
    pub(super) fn read(json: &[u8]) -> Result<Self, String> {
        let steps: TokenizerSteps = serde_json::from_slice(json).map_err(|e| e.to_string())?;
        let decoder = steps.decoder.as_ref().map_or(1, measure_expansion);
        if decoder > MAX_DECODER_EXPANSION {
            return Err(format!("its decoder can make texts {decoder} times longer, more than 64 times"));
        }
        let expansion = Self(steps.normalizer.as_ref().map_or(1, measure_expansion));
        let added = steps.added_tokens.iter().map(|token| token.content.len()).sum();
        match expansion.refuse_text(added) {
            Some(cause) => Err(format!("it cannot read its own tokens: {cause}")),
            None => Ok(expansion),
        }
    }

    /// Why a text of so many bytes is too long for the normalizer; `None` if it is not.
    pub(super) fn refuse_text(self, bytes: usize) -> Option<String> {
        let longest = self.0.saturating_mul(bytes as u64);
        (self.0 > HARMLESS_EXPANSION && longest > MAX_NORMALIZED_BYTES).then(|| {
            format!(
                "the tokenizer's normalizer can make a text {} times longer, here more than 64 MiB",
                self.0
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

/// How many times longer a step of a normalizer or decoder can make a text.
fn measure_expansion(step: &Value) -> u64 {
    let length = |key: &str| step[key].as_str().map_or(0, str::len) as u64;
    match step["type"].as_str() {
        Some("Sequence") => ["normalizers", "decoders"]
            .iter()
            .filter_map(|key| step[*key].as_array())
            .flatten()
            .map(measure_expansion)
            .fold(1, u64::saturating_mul),
        Some("Replace") => match step["pattern"]["String"].as_str().map(str::len) {
            Some(pattern) if pattern > 0 => length("content").div_ceil(pattern as u64).max(1),
            // The pattern may match between two letters.
            _ => 1 + length("content"),
        },
        Some("Prepend") => 1 + length("prepend"),
        Some("Precompiled") => measure_charsmap(step["precompiled_charsmap"].as_str().unwrap_or_default()),
        Some("NFKC" | "NFKD") => COMPATIBILITY_EXPANSION,
        _ => 1,
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
