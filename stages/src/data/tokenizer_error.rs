//! Why a tokenizer is refused, and how its files are read.

use std::io::Read;
use std::path::Path;

/// The largest `tokenizer.json` that is read, in bytes.
const MAX_BYTES: u64 = 256 << 20;

/// Why a tokenizer cannot be trained, read or used.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// A file cannot be read.
    #[error("`{file}` cannot be read: {cause}")]
    Io {
        /// The file.
        file: String,
        /// What the system says.
        cause: std::io::Error,
    },
    /// A file is not what it should be.
    #[error(
        "`{file}` is not a usable tokenizer: {cause}; take a `tokenizer.json` as the library `tokenizers` saves it"
    )]
    Malformed {
        /// The file.
        file: String,
        /// What is wrong with it.
        cause: String,
    },
    /// Too few rows to train.
    #[error(
        "a vocabulary of {asked} is too small; ask for at least {least}: 256 bytes, special tokens and a reserved row"
    )]
    TooSmall {
        /// Rows asked for.
        asked: u32,
        /// Rows needed.
        least: u32,
    },
    /// The model has fewer rows than the tokenizer has ids.
    #[error(
        "the tokenizer uses {used} ids, the model has {rows} rows; `{token}` would have no row. Take the tokenizer that belongs to the model"
    )]
    TooManyIds {
        /// Ids with a text.
        used: u32,
        /// Rows of the model.
        rows: u32,
        /// A token without a row.
        token: String,
    },
    /// A special token that is needed does not exist.
    #[error("the tokenizer has no `{0}`; take one with Qwen's special tokens")]
    NoSpecial(&'static str),
    /// The chat template is malformed, or refuses a conversation.
    #[error("the chat template ({file}) {cause}")]
    Template {
        /// Where it comes from.
        file: String,
        /// What is wrong.
        cause: String,
    },
    /// The library refuses a text.
    #[error("a text of {bytes} bytes cannot be encoded: {cause}; look for very long runs of blanks")]
    Encode {
        /// Length of the text.
        bytes: usize,
        /// What the library says.
        cause: String,
    },
}

/// The bytes of a tokenizer's file.
pub(super) fn read_tokenizer_file(file: &Path) -> Result<Vec<u8>, TokenizerError> {
    let io = |cause| TokenizerError::Io { file: file.display().to_string(), cause };
    let (mut bytes, mut reader) = (Vec::new(), std::fs::File::open(file).map_err(io)?.take(MAX_BYTES + 1));
    reader.read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > MAX_BYTES {
        let cause = "it is larger than 256 MiB".to_owned();
        return Err(TokenizerError::Malformed { file: file.display().to_string(), cause });
    }
    Ok(bytes)
}
