//! Why a tokenizer is refused.

use super::MIN_VOCABULARY;

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
        "a vocabulary of {0} is too small; ask for at least {MIN_VOCABULARY}: 256 bytes, special tokens and a reserved row"
    )]
    TooSmall(u32),
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
