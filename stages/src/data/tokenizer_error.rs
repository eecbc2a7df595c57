//! The errors of tokenizers, and the bounded reading of their files.

use fmflow_engine::error::Failure;
use fmflow_engine::text::escape::show_path;
use std::io::Read;
use std::path::Path;

use crate::failure::{input_failure, stage_failure};

/// The largest file that is read, in bytes. It bounds the memory that a stranger's file can take.
const MAX_BYTES: u64 = 256 << 20;

/// Why a tokenizer cannot be trained, read or used.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// A file cannot be read.
    #[error("`{file}` cannot be read: {cause}")]
    Io {
        /// The file.
        file: String,
        /// The error of the operating system.
        #[source]
        cause: std::io::Error,
    },
    /// A file is malformed or contradicts another.
    #[error(
        "`{file}` is not a usable tokenizer: {cause}; use a `tokenizer.json` saved by the library `tokenizers`"
    )]
    Malformed {
        /// The file.
        file: String,
        /// What is wrong with the file.
        cause: String,
    },
    /// The vocabulary is too small for training.
    #[error(
        "a vocabulary of {asked} is too small; it needs at least {least}: 256 bytes, special tokens and a reserved row"
    )]
    TooSmall {
        /// Rows requested.
        asked: u32,
        /// Rows required.
        least: u32,
    },
    /// The model has fewer rows than the tokenizer has ids.
    #[error(
        "the tokenizer uses {used} ids, but the vocabulary of the model has {rows} entries, so `{token}` would have none; use the tokenizer that belongs to the model"
    )]
    TooManyIds {
        /// Ids with a text.
        used: u32,
        /// Rows of the model.
        rows: u32,
        /// A token without a row.
        token: String,
    },
    /// A required special token does not exist.
    #[error("the tokenizer has no `{0}`; use one with Qwen's special tokens")]
    NoSpecial(&'static str),
    /// The chat template is malformed, or refuses a conversation.
    #[error("the chat template ({file}) {cause}")]
    Template {
        /// The file that holds the template.
        file: String,
        /// What is wrong, as the predicate of a sentence about the template.
        cause: String,
    },
    /// The machine cannot start the process that renders the chat template.
    #[error("{0}")]
    NoProcess(#[source] fmflow_engine::error::Error),
    /// A signal requested a stop.
    #[error("stopped by a signal")]
    Interrupted,
    /// A piece of a text is too long.
    #[error(
        "a text has {bytes} bytes without a place where the tokenizer breaks it, and at most 1 MiB can be encoded; break it into lines"
    )]
    Unbroken {
        /// Length of the piece.
        bytes: usize,
    },
    /// A text could become too long before it is encoded.
    #[error("a text of {bytes} bytes is too long: {cause}; split it into several documents")]
    TooLong {
        /// Length of the text.
        bytes: usize,
        /// What makes it longer.
        cause: String,
    },
    /// A constraint cannot be kept with the tokens.
    #[error("the constraint cannot be kept: {0}")]
    Constraint(String),
    /// The library cannot decode ids.
    #[error("{ids} tokens cannot be decoded: {cause}; check the decoder of `tokenizer.json`")]
    Decode {
        /// Number of ids.
        ids: usize,
        /// The error of the library.
        cause: String,
    },
    /// The library cannot encode a text.
    #[error(
        "a text of {bytes} bytes cannot be encoded: {cause}; look for very long runs of whitespace in it"
    )]
    Encode {
        /// Length of the text.
        bytes: usize,
        /// The error of the library.
        cause: String,
    },
}

impl TokenizerError {
    /// How to fix a chat template that cannot be rendered, whatever the conversation; `None` if this is something else.
    #[must_use]
    pub(crate) fn explain_template(&self) -> Option<&'static str> {
        let Self::Template { cause, .. } = self else { return None };
        (!cause.starts_with(REFUSES)).then_some(
            "correct the chat template of the checkpoint, or use another checkpoint: a template has a second, 1 GiB of memory and 64 MiB of text",
        )
    }
}

impl From<TokenizerError> for Failure {
    fn from(error: TokenizerError) -> Self {
        match error.explain_template() {
            Some(help) => input_failure(error, help),
            None if matches!(error, TokenizerError::Template { .. }) => {
                input_failure(error, "write turns that the chat template accepts, or correct the template")
            }
            None => stage_failure(error),
        }
    }
}

/// How the error of a template begins that says no to a conversation.
pub(super) const REFUSES: &str = "refuses the conversation";

/// Reads a file of a tokenizer, up to [`MAX_BYTES`].
pub(super) fn read_tokenizer_file(file: &Path) -> Result<Vec<u8>, TokenizerError> {
    let io = |cause| TokenizerError::Io { file: show_path(file), cause };
    let (mut bytes, mut reader) = (Vec::new(), std::fs::File::open(file).map_err(io)?.take(MAX_BYTES + 1));
    reader.read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > MAX_BYTES {
        let cause = "it is larger than 256 MiB".to_owned();
        return Err(TokenizerError::Malformed { file: show_path(file), cause });
    }
    Ok(bytes)
}
