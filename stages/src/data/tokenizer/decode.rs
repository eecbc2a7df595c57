//! From ids back to text.

use fmflow_engine::error::catch_library_panic;

use super::plain::read_name;
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

    /// What the token `id` adds to a text that ends with the token `behind`, special tokens by name, and its bytes: `None` if the
    /// tokenizer does not tell the parts of letters apart, or for a reserved row.
    ///
    /// # Errors
    /// As [`Self::decode`].
    pub(crate) fn spell(
        &self,
        behind: Option<u32>,
        id: u32,
    ) -> Result<(String, Option<Vec<u8>>), TokenizerError> {
        let Some(name) = self.token(id) else { return Ok((self.decode(&[id], true)?, None)) };
        if self.plain.is_some() {
            return Ok((self.decode(&[id], true)?, Some(read_name(&name))));
        }
        let text = self.decode_behind(behind, id)?;
        let bytes = Some(text.clone()).filter(|text| !text.contains('\u{fffd}')).map(String::into_bytes);
        Ok((text, bytes))
    }

    /// The text of `id` behind another token: some decoders drop a space at the beginning of a text.
    fn decode_behind(&self, behind: Option<u32>, id: u32) -> Result<String, TokenizerError> {
        if let Some(behind) = behind {
            let (before, both) = (self.decode(&[behind], true)?, self.decode(&[behind, id], true)?);
            // Behind a part of a letter, the token may complete it.
            let added = both.strip_prefix(before.as_str()).filter(|_| !before.ends_with('\u{fffd}'));
            if let Some(added) = added {
                return Ok(added.to_owned());
            }
        }
        self.decode(&[id], true)
    }

    /// The token `id` if it occurs in text and therefore cannot serve as the mask; `None` for a reserved row and for a
    /// token whose name contains "mask".
    #[must_use]
    pub(crate) fn text_token(&self, id: u32) -> Option<String> {
        self.token(id).filter(|token| !token.to_lowercase().contains("mask"))
    }
}
