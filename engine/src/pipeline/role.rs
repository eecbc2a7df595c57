//! What an artifact is for in the stage that reads it.

use std::fmt;

/// What an artifact is for in the stage that reads it. Its text names the input in manifests and ledgers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum InputRole {
    /// `from`: the checkpoint that the stage starts from.
    From,
    /// `tokenizer`.
    Tokenizer,
    /// `rows/<dataset>`: rows to train on, or to measure a likelihood or exact match on. `rows/<dataset>/<rows>` where the
    /// measurement names its rows.
    Rows {
        /// The dataset.
        dataset: String,
        /// The name of the `rows` node, where it is given.
        rows: Option<String>,
    },
    /// `answers/<dataset>`: rows of an exact match beside a likelihood of the same dataset.
    Answers {
        /// The dataset.
        dataset: String,
        /// The name of the `rows` node, where it is given.
        rows: Option<String>,
    },
    /// `checkpoint/<stage>`: a checkpoint that is measured.
    Checkpoint(String),
}

impl InputRole {
    /// Rows of a dataset that a training stage reads.
    #[must_use]
    pub fn rows_of(dataset: &str) -> Self {
        Self::Rows { dataset: dataset.to_owned(), rows: None }
    }
}

impl fmt::Display for InputRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::From => f.write_str("from"),
            Self::Tokenizer => f.write_str("tokenizer"),
            Self::Rows { dataset, rows: None } => write!(f, "rows/{dataset}"),
            Self::Rows { dataset, rows: Some(rows) } => write!(f, "rows/{dataset}/{rows}"),
            Self::Answers { dataset, rows: None } => write!(f, "answers/{dataset}"),
            Self::Answers { dataset, rows: Some(rows) } => write!(f, "answers/{dataset}/{rows}"),
            Self::Checkpoint(stage) => write!(f, "checkpoint/{stage}"),
        }
    }
}
