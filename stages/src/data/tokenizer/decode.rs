//! From ids back to text.

use fmflow_engine::error::catch_library_panic;

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

    /// The token `id` if it occurs in text and therefore cannot serve as the mask; `None` for a reserved row and for a
    /// token whose name contains "mask".
    #[must_use]
    pub(crate) fn text_token(&self, id: u32) -> Option<String> {
        self.token(id).filter(|token| !token.to_lowercase().contains("mask"))
    }
}
