//! A stage of a report: what it is, what became of it, and what it left.

use indexmap::IndexMap;
use serde_json::Value;

use crate::pipeline::config::TrainConfig;
use crate::pipeline::fingerprint::Fingerprint;
use crate::store::Manifest;
use crate::store::metrics::Metrics;
use crate::store::summary::Summary;

/// One stage of a report.
#[derive(Debug)]
pub(crate) struct ReportStage {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: String,
    /// Identity of its result.
    pub fingerprint: Fingerprint,
    /// What became of it.
    pub state: ReportedState,
    /// The stages whose results it reads, by their place in the list.
    pub inputs: Vec<usize>,
    /// Its settings: path, value, where it comes from, whether it counts.
    pub settings: Vec<ReportedSetting>,
    /// Its settings as a training; `None` for other kinds, and for a stage that the file no longer describes.
    pub training: Option<TrainConfig>,
    /// What it says of its result.
    pub summary: Option<Summary>,
    /// The manifest of its artifact.
    pub manifest: Option<Manifest>,
    /// Its metrics, also while it is unfinished.
    pub metrics: Option<Metrics>,
    /// Parsed JSON files of its artifact, by name.
    pub files: IndexMap<&'static str, Value>,
}

/// A setting of a stage.
#[derive(Debug)]
pub(crate) struct ReportedSetting {
    /// Dotted path.
    pub path: String,
    /// Value.
    pub value: String,
    /// Where it comes from.
    pub from: String,
    /// Whether the result depends on it.
    pub counts: bool,
}

/// What became of a stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ReportedState {
    /// It has a result.
    Finished,
    /// A run is at it.
    Running,
    /// It failed, and why.
    Failed(String),
    /// It was stopped after so many updates, or before the first checkpoint.
    Unfinished(Option<u64>),
    /// Its result is damaged, and how.
    Corrupt(String),
    /// It was not run.
    Missing,
}

impl ReportedState {
    /// The word for people, also the class in the page's style.
    #[must_use]
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::Running => "running",
            Self::Failed(_) => "failed",
            Self::Unfinished(_) => "unfinished",
            Self::Corrupt(_) => "corrupt",
            Self::Missing => "missing",
        }
    }
}
