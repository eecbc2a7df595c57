//! What a run tells: while it goes on, and at its end.

use std::path::PathBuf;

use crate::error::Error;
use crate::execute::Report;
use crate::plan::State;

/// Where a run tells how it goes.
pub trait Events {
    /// A stage starts; the report is its own until the end.
    fn begin(&self, stage: &str, state: &State) -> Box<dyn Report + '_>;
    /// A stage ended.
    fn end(&self, outcome: &Outcome);
}

/// How a stage ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Nothing was to be done.
    Cached,
    /// It ran.
    Done,
    /// It failed.
    Failed,
    /// It stopped after a signal and can go on.
    Stopped,
}

impl Ended {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Cached => "cached",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
        }
    }
}

/// What became of one stage.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Its name.
    pub stage: String,
    /// How it ended.
    pub ended: Ended,
    /// Seconds it took.
    pub seconds: f64,
    /// What it says about its result.
    pub headline: String,
    /// What people should see of it: a certificate, scores, samples; of a stage that ran.
    pub lines: Vec<String>,
    /// Its artifact, if there is one.
    pub artifact: Option<PathBuf>,
}

/// What became of a run.
#[derive(Debug)]
pub struct Ran {
    /// The stages that were reached.
    pub outcomes: Vec<Outcome>,
    /// Why it ended early, if it did.
    pub error: Option<Error>,
}
