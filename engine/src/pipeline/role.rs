//! Roles: what a stage uses each of its input artifacts for.

use std::fmt;

/// What a stage uses an input artifact for. The text of a role names the input in manifests and labels it in ledgers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum InputRole {
    /// `from`: the checkpoint that the stage starts from.
    From,
    /// `tokenizer`: the tokenizer, or a checkpoint that carries one.
    Tokenizer,
    /// `rows/<dataset>`: rows to train on, or to measure a likelihood or exact match on. `rows/<dataset>/<rows>` if the
    /// measurement names its rows.
    Rows {
        /// Name of the dataset.
        dataset: String,
        /// Name of the `rows` node, if the measurement gives one.
        rows: Option<String>,
    },
    /// `answers/<dataset>`: rows of an exact match, if the stage also measures a likelihood on the same dataset.
    Answers {
        /// Name of the dataset.
        dataset: String,
        /// Name of the `rows` node, if the measurement gives one.
        rows: Option<String>,
    },
    /// `documents/<dataset>`: the artifact of a command that made the dataset's files.
    Documents(String),
    /// `made`: the artifact of a command that made a checkpoint.
    Made,
    /// `input/<name>`: what a command reads.
    Input(String),
    /// `adapter`: the trained checkpoint whose adapter is trained on.
    Adapter,
    /// `teacher`: the autoregressive checkpoint from which the one that is trained is measured.
    Teacher,
    /// `permanent/<update>`: a permanent checkpoint of the training in `from`, to average.
    Permanent(u64),
    /// `checkpoint/<stage>`: a checkpoint to measure.
    Checkpoint(String),
    /// `reported/<stage>`: what a page is about. Of its artifact only what the page shows is read.
    Reported(String),
}

impl InputRole {
    /// The role of a dataset's rows in a training stage.
    #[must_use]
    pub(crate) fn rows_of(dataset: &str) -> Self {
        Self::Rows { dataset: dataset.to_owned(), rows: None }
    }
}

impl fmt::Display for InputRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::From => f.write_str("from"),
            Self::Tokenizer => f.write_str("tokenizer"),
            Self::Documents(dataset) => write!(f, "documents/{dataset}"),
            Self::Made => f.write_str("made"),
            Self::Input(name) => write!(f, "input/{name}"),
            Self::Adapter => f.write_str("adapter"),
            Self::Teacher => f.write_str("teacher"),
            Self::Rows { dataset, rows: None } => write!(f, "rows/{dataset}"),
            Self::Rows { dataset, rows: Some(rows) } => write!(f, "rows/{dataset}/{rows}"),
            Self::Answers { dataset, rows: None } => write!(f, "answers/{dataset}"),
            Self::Answers { dataset, rows: Some(rows) } => write!(f, "answers/{dataset}/{rows}"),
            Self::Permanent(update) => write!(f, "permanent/{update}"),
            Self::Checkpoint(stage) => write!(f, "checkpoint/{stage}"),
            Self::Reported(stage) => write!(f, "reported/{stage}"),
        }
    }
}
