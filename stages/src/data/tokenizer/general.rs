//! The steps of any tokenizer, by the library alone.

use fmflow_engine::error::catch_library_panic;
use tokenizers::tokenizer::{
    Encoding, Model as _, NormalizedString, Normalizer as _, OffsetReferential, OffsetType,
    PreTokenizedString, PreTokenizer as _,
};

use super::limits::{self, MAX_PIECE_BYTES};
use super::{PlacedIds, place_ids};
use super::{Tokenizer, TokenizerError};

impl Tokenizer {
    /// [`Self::encode_plain`] by the library alone.
    pub(super) fn encode_in_general(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        Ok(self.encode_parts(text, OffsetType::None)?.get_ids().to_vec())
    }

    /// As [`Self::encode_plain`], each id with the byte range of `text` that it encodes.
    pub(super) fn encode_plain_with_places(&self, text: &str) -> Result<PlacedIds, TokenizerError> {
        let encoding = self.encode_parts(text, OffsetType::Byte)?;
        Ok(place_ids(&encoding))
    }

    fn encode_parts(&self, text: &str, places: OffsetType) -> Result<Encoding, TokenizerError> {
        let mut parts = self.split(text)?;
        let model = self.inner.get_model();
        self.call_library(text, || {
            parts.tokenize(|part| model.tokenize(part.get()))?;
            parts.into_encoding(None, 0, places)
        })
    }

    /// Normalizes `text`, splits it by the tokenizer's pattern, and spells the pieces in byte-level letters.
    fn split(&self, text: &str) -> Result<PreTokenizedString, TokenizerError> {
        let parts = self.call_library(text, || {
            let mut normalized = NormalizedString::from(text);
            if let Some(normalizer) = self.inner.get_normalizer() {
                normalizer.normalize(&mut normalized)?;
            }
            let mut parts = PreTokenizedString::from(normalized);
            if let Some(pre_tokenizer) = self.inner.get_pre_tokenizer() {
                pre_tokenizer.pre_tokenize(&mut parts)?;
            }
            Ok(parts)
        })?;
        limits::refuse_long_pieces(&parts)?;
        Ok(parts)
    }

    /// Refuses a text with a piece that would take too long. A text that is no longer than a piece may be is not looked at.
    pub(super) fn refuse_unbroken(&self, text: &str) -> Result<(), TokenizerError> {
        if text.len() <= MAX_PIECE_BYTES {
            return Ok(());
        }
        self.split(text).map(drop)
    }

    /// Calls the library on `text`, unless its normalizer could make the text too long.
    pub(super) fn call_library<T>(
        &self,
        text: &str,
        call: impl FnOnce() -> tokenizers::Result<T>,
    ) -> Result<T, TokenizerError> {
        let failed = |cause| TokenizerError::Encode { bytes: text.len(), cause };
        if let Some(cause) = self.expansion.refuse_text(text.len()) {
            return Err(TokenizerError::TooLong { bytes: text.len(), cause });
        }
        let called = catch_library_panic(call).map_err(failed)?;
        called.map_err(|cause| failed(cause.to_string()))
    }

    pub(super) fn words(&self, text: &str) -> Result<Vec<String>, TokenizerError> {
        let parts = self.split(text)?;
        let pieces = parts.get_splits(OffsetReferential::Normalized, OffsetType::None);
        Ok(pieces.into_iter().map(|(word, ..)| word.to_owned()).collect())
    }
}
