//! From ids back to text.

use fmflow_engine::error::catch_library_panic;

use super::plain::find_letter_byte;
use super::{Tokenizer, TokenizerError};

impl Tokenizer {
    /// The text of `ids`. With `show_special`, special tokens appear by name and reserved rows as `<|reserved N|>`; otherwise
    /// neither appears. Bytes that are not UTF-8 become U+FFFD.
    ///
    /// # Errors
    /// If the library cannot decode a run of ids. A stand-in for it would equal the stand-in of another answer.
    pub fn decode(&self, ids: &[u32], show_special: bool) -> Result<String, TokenizerError> {
        let known = |id: &u32| *id < self.used;
        let mut text = String::new();
        for run in ids.chunk_by(|a, b| known(a) && known(b)) {
            match run {
                [id] if !known(id) && show_special => text.push_str(&format!("<|reserved {id}|>")),
                run => {
                    let failed = |cause| TokenizerError::Decode { ids: run.len(), cause };
                    let decoded = catch_library_panic(|| self.inner.decode(run, !show_special));
                    text.push_str(&decoded.map_err(failed)?.map_err(|cause| failed(cause.to_string()))?);
                }
            }
        }
        Ok(text)
    }

    /// Name of the token `id` in byte-level letters; `None` for a reserved row.
    #[must_use]
    pub fn token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// The bytes that the token `id` stands for, of a special token those of its name. `None` if the tokenizer does not tell the parts of
    /// letters apart, or for a reserved row.
    ///
    /// # Errors
    /// As [`Self::decode`].
    pub(crate) fn token_bytes(&self, id: u32) -> Result<Option<Vec<u8>>, TokenizerError> {
        let Some(name) = self.token(id) else { return Ok(None) };
        if self.plain.is_some() && !self.is_special(id) {
            return Ok(name.chars().map(find_letter_byte).collect());
        }
        let text = self.decode(&[id], true)?;
        Ok(Some(text).filter(|text| !text.contains('\u{fffd}')).map(String::into_bytes))
    }

    /// Whether texts leave the token `id` out.
    pub(crate) fn is_special(&self, id: u32) -> bool {
        self.token(id).is_some_and(|name| self.inner.get_added_vocabulary().is_special_token(&name))
    }

    /// The token `id` if it occurs in text and therefore cannot serve as the mask; `None` for a reserved row and for a
    /// token whose name contains "mask".
    #[must_use]
    pub(crate) fn text_token(&self, id: u32) -> Option<String> {
        self.token(id).filter(|token| !token.to_lowercase().contains("mask"))
    }
}
