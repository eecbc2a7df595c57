//! Why rows or a tokenizer cannot be made.

use std::path::Path;

use fmflow_engine::documents::RecordPlace;
use fmflow_engine::text::escape::show_path;

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
    /// A document cannot be encoded, or does not fit the options.
    #[error("{place}: {cause}")]
    Document {
        /// The file and line where it ends.
        place: String,
        /// What is wrong with it.
        cause: Box<BuildError>,
    },
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

impl BuildError {
    /// How to fix a chat template that cannot be rendered, whatever the conversation; `None` if this is something else.
    #[must_use]
    pub(crate) fn explain_template(&self) -> Option<&'static str> {
        match self {
            Self::Tokenizer(cause) => cause.explain_template(),
            Self::Document { cause, .. } => cause.explain_template(),
            _ => None,
        }
    }

    /// The error with the file and line of the document that was read last, if that is its cause.
    #[must_use]
    pub(crate) fn at_document(self, place: Option<(&Path, RecordPlace)>) -> Self {
        let by_document = matches!(
            self,
            Self::Options { .. }
                | Self::Tokenizer(
                    TokenizerError::Template { .. }
                        | TokenizerError::Unbroken { .. }
                        | TokenizerError::TooLong { .. }
                        | TokenizerError::Encode { .. }
                )
        );
        match place.filter(|_| by_document) {
            Some((file, at)) => {
                Self::Document { place: at.counted_in(file).in_file(&show_path(file)), cause: Box::new(self) }
            }
            None => self,
        }
    }
}

pub(super) fn options_error(problem: impl Into<String>, fix: &'static str) -> BuildError {
    BuildError::Options { problem: problem.into(), fix }
}
