//! Why rows or a tokenizer cannot be made.

use crate::data::corpus::CorpusError;
use crate::data::tokenizer::TokenizerError;

/// Why rows or a tokenizer cannot be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BuildError {
    /// The dataset cannot be read.
    #[error(transparent)]
    Corpus(#[from] CorpusError),
    /// The tokenizer cannot be trained or used.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// A file cannot be written.
    #[error("`{file}` cannot be written: {cause}")]
    Write {
        /// The name of the file.
        file: &'static str,
        /// The error of the storage.
        #[source]
        cause: std::io::Error,
    },
    /// The options contradict each other or the data.
    #[error("{problem}; {fix}")]
    Options {
        /// What is wrong.
        problem: String,
        /// How to fix it.
        fix: &'static str,
    },
}

pub(super) fn options_error(problem: impl Into<String>, fix: &'static str) -> BuildError {
    BuildError::Options { problem: problem.into(), fix }
}
