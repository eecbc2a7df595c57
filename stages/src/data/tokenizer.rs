//! Converts text to ids and back: Qwen's byte-level BPE, trained here or read from an existing `tokenizer.json`.
//!
//! Ids below [`Tokenizer::used`] have a text. The embedding rows from there up to [`Tokenizer::rows`] are reserved, the
//! first of them for the mask token.

mod constrain;
mod decode;
mod general;
mod limits;
mod pattern;
mod plain;
mod specials;
mod train;

pub(crate) use specials::SpecialName;
pub(crate) use train::{TokenizerFiles, train_byte_level_bpe};

use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::path::Path;

use super::template::ChatTemplate;
pub(crate) use super::tokenizer_error::TokenizerError;
use super::tokenizer_error::read_tokenizer_file;
use constrain::JoinedConstraints;
use fmflow_engine::{error::catch_library_panic, text::escape::show_path};
use limits::TextExpansion;
use plain::PlainEncoder;
use specials::NamedTokens;
use tokenizers::Encoding;

/// Ids of a text, each with the byte range of the text that it encodes.
pub(crate) type PlacedIds = Vec<(u32, Range<usize>)>;

/// Ends a document; also the padding token, as in Qwen3.
pub(crate) const END_OF_DOCUMENT: &str = "<|endoftext|>";
/// Starts a turn of a conversation.
pub(crate) const START_OF_TURN: &str = "<|im_start|>";
/// Ends a turn of a conversation.
pub(crate) const END_OF_TURN: &str = "<|im_end|>";

/// Content of `vocabulary.json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Vocabulary {
    rows: u32,
    used: u32,
}

/// A tokenizer that was read and checked.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    json: Vec<u8>,
    expansion: TextExpansion,
    /// Encodes plain text sooner, if the tokenizer has Qwen's form.
    plain: Option<PlainEncoder>,
    used: u32,
    rows: u32,
    template: Option<ChatTemplate>,
    names: NamedTokens,
    /// Constraints that were joined with it.
    constraints: JoinedConstraints,
}

/// The ids of an encoding, with their places.
fn place_ids(encoding: &Encoding) -> PlacedIds {
    let places = encoding.get_offsets().iter().map(|&(start, end)| start..end);
    encoding.get_ids().iter().copied().zip(places).collect()
}

impl Tokenizer {
    /// Reads `tokenizer.json` in `folder`, and its chat template and `vocabulary.json` if they exist. Without
    /// `vocabulary.json` no row is reserved.
    ///
    /// # Errors
    /// If a file is absent, too large or malformed, or the files disagree.
    pub fn open(folder: &Path) -> Result<Self, TokenizerError> {
        let mut tokenizer =
            Self::from_bytes("tokenizer.json", read_tokenizer_file(&folder.join("tokenizer.json"))?)?;
        tokenizer.template = ChatTemplate::open(folder)?;
        let file = folder.join("vocabulary.json");
        if !file.exists() {
            return Ok(tokenizer);
        }
        let malformed = |cause: String| TokenizerError::Malformed { file: show_path(&file), cause };
        let found: Vocabulary =
            serde_json::from_slice(&read_tokenizer_file(&file)?).map_err(|e| malformed(e.to_string()))?;
        if found.used != tokenizer.used {
            return Err(malformed(format!(
                "it declares {} used ids, but tokenizer.json has {}",
                found.used, tokenizer.used
            )));
        }
        tokenizer.with_rows(found.rows)
    }

    /// Reads the bytes of a `tokenizer.json`; `file` is its name in messages.
    ///
    /// # Errors
    /// If the bytes are malformed, or the model has dropout, which would make its encoding random.
    pub fn from_bytes(file: &str, json: Vec<u8>) -> Result<Self, TokenizerError> {
        let malformed = |cause: String| TokenizerError::Malformed { file: file.to_owned(), cause };
        let expansion = TextExpansion::read(&json).map_err(malformed)?;
        let read = catch_library_panic(|| tokenizers::Tokenizer::from_bytes(&json)).map_err(malformed)?;
        let mut inner = read.map_err(|cause| malformed(cause.to_string()))?;
        if let tokenizers::ModelWrapper::BPE(model) = inner.get_model()
            && model.dropout.is_some()
        {
            return Err(malformed("it has dropout, so its encoding would be random".into()));
        }
        // Padding and truncation belong to the rows, not to the tokenizer: a saved setting must not cut texts.
        inner.with_padding(None);
        inner.with_truncation(None).map_err(|cause| malformed(cause.to_string()))?;
        let used = limits::count_ids(inner.get_vocab(true).iter()).map_err(malformed)?;
        let (plain, names) = (PlainEncoder::recognize(&inner), NamedTokens::read(&inner));
        let (rows, template, constraints) = (used, None, JoinedConstraints::default());
        Ok(Self { inner, json, expansion, plain, used, rows, template, names, constraints })
    }

    /// The same tokenizer for a model with `rows` embedding rows.
    ///
    /// # Errors
    /// If there are fewer rows than ids.
    pub fn with_rows(mut self, rows: u32) -> Result<Self, TokenizerError> {
        if rows < self.used {
            let token = self.inner.id_to_token(self.used - 1).unwrap_or_default();
            return Err(TokenizerError::TooManyIds { used: self.used, rows, token });
        }
        self.rows = rows;
        Ok(self)
    }

    /// Ids of `text`, as Hugging Face's `encode(text, add_special_tokens=False)`: names of special tokens in the text
    /// become those tokens, but that of a mask token is text. A normalizer such as Qwen's NFC runs first, so some texts do not come
    /// back unchanged.
    ///
    /// # Errors
    /// If the library cannot split the text.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        match self.encode_between_names(text)? {
            Some(ids) => Ok(ids),
            None => self.encode_by_library(text),
        }
    }

    /// As [`Self::encode`] by the library alone, for which the name of a mask token is that token.
    fn encode_by_library(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        self.refuse_unbroken(text)?;
        let encoding = self.call_library(text, || self.inner.encode_fast(text, false))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// As [`Self::encode`], each id with the byte range of `text` that it encodes.
    ///
    /// # Errors
    /// If the library cannot split the text.
    pub(crate) fn encode_with_places(&self, text: &str) -> Result<PlacedIds, TokenizerError> {
        if let Some(placed) = self.encode_mask_name_with_places(text)? {
            return Ok(placed);
        }
        self.refuse_unbroken(text)?;
        let encoding = self.call_library(text, || self.inner.encode(text, false))?;
        Ok(place_ids(&encoding))
    }

    /// Ids of `text` as plain content, for documents: the name of a special token is encoded as letters.
    ///
    /// # Errors
    /// If the library cannot split the text.
    pub(crate) fn encode_plain(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        let failed = |cause| TokenizerError::Encode { bytes: text.len(), cause };
        let found = self.plain.map_or(Ok(None), |plain| plain.encode(&self.inner, text)).map_err(failed)?;
        found.map_or_else(|| self.encode_in_general(text), Ok)
    }

    /// Ids that [`Self::encode_plain`] can make of a text at most; `None` if the tokenizer does not tell.
    #[must_use]
    pub(crate) fn most_tokens(&self, text: &str) -> Option<usize> {
        self.plain.map(|plain| plain.most_tokens(text))
    }

    /// Id of the token with exactly this name, if there is one.
    #[must_use]
    pub fn id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// Id of the token with exactly this name, if it is one that the tokenizer finds by its name, before it splits a text.
    pub(crate) fn added_id(&self, token: &str) -> Option<u32> {
        self.id(token).filter(|id| self.inner.get_added_tokens_decoder().contains_key(id))
    }

    /// Id of a required special token.
    ///
    /// # Errors
    /// If the tokenizer does not have it.
    pub(crate) fn special(&self, token: &'static str) -> Result<u32, TokenizerError> {
        self.id(token).ok_or(TokenizerError::NoSpecial(token))
    }

    /// Id that ends a document.
    ///
    /// # Errors
    /// If the tokenizer has none.
    pub(crate) fn end_of_document(&self) -> Result<u32, TokenizerError> {
        self.special(END_OF_DOCUMENT)
    }

    /// Id that ends a turn of a conversation.
    ///
    /// # Errors
    /// If the tokenizer has none.
    pub(crate) fn end_of_turn(&self) -> Result<u32, TokenizerError> {
        self.special(END_OF_TURN)
    }

    /// Id of the padding token: the end of a document, as in Qwen3.
    ///
    /// # Errors
    /// If the tokenizer has none.
    pub(crate) fn pad(&self) -> Result<u32, TokenizerError> {
        self.special(END_OF_DOCUMENT)
    }

    /// Number of ids that have a text; these are `0..used`.
    #[must_use]
    pub fn used(&self) -> u32 {
        self.used
    }

    /// Number of embedding rows of the model; `used..rows` are reserved.
    #[must_use]
    pub(crate) fn rows(&self) -> u32 {
        self.rows
    }

    /// The first row without a text, for a mask token; `None` if every row has one.
    #[must_use]
    pub fn first_reserved(&self) -> Option<u32> {
        (self.used < self.rows).then_some(self.used)
    }

    /// The chat template that came with the tokenizer.
    #[must_use]
    pub fn template(&self) -> Option<&ChatTemplate> {
        self.template.as_ref()
    }

    /// The bytes of `tokenizer.json`.
    #[must_use]
    pub fn json(&self) -> &[u8] {
        &self.json
    }

    /// BLAKE3 of `tokenizer.json` without the mask token that `export` adds, in hexadecimal.
    #[must_use]
    pub(crate) fn digest(&self) -> String {
        fmflow_engine::pipeline::mask_entry::hash_tokenizer(&self.json)
    }
}

#[cfg(test)]
pub(crate) mod tests;
