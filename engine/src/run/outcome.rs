//! What a run tells: while it goes on, and at its end.

use std::path::PathBuf;

use crate::error::FailureKind;
use crate::error::{Error, Result};
use crate::pipeline::stage::StageId;
use crate::plan::{PlanState, PlannedStage};
use crate::run::execute::ProgressReporter;
use crate::store::summary::Summary;

/// Where a run tells how it goes.
pub trait RunEvents: Sync {
    /// A stage starts; the report is its own until the end.
    fn begin(&self, stage: &str, state: &PlanState) -> Box<dyn ProgressReporter + '_>;
    /// A stage ended.
    fn end(&self, outcome: &StageOutcome);
    /// Something failed while the stages `running` go on; nothing new starts.
    fn fail(&self, error: &Error, running: &[&str]);
}

/// How a stage ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StageEnd {
    /// Nothing was to be done.
    Cached,
    /// It ran.
    Done,
    /// It failed.
    Failed,
    /// It stopped after a signal and can go on.
    Stopped,
}

impl StageEnd {
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
pub struct StageOutcome {
    /// Its number.
    pub id: StageId,
    /// Its name.
    pub stage: String,
    /// How it ended.
    pub ended: StageEnd,
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
#[derive(Debug, Default)]
pub struct RunOutcome {
    /// The stages that were reached.
    pub outcomes: Vec<StageOutcome>,
    /// Why it ended early, if it did: the first failure.
    pub error: Option<Error>,
    /// What became of other stages that ran beside it and did not end well either.
    pub others: Vec<Error>,
}

impl StageOutcome {
    /// How a stage ended: `well` unless the result says otherwise.
    pub(super) fn from_result(
        result: &Result<Summary>,
        well: StageEnd,
        planned: &PlannedStage,
        seconds: f64,
        artifact: PathBuf,
    ) -> Self {
        let (ended, headline) = match result {
            Ok(summary) => (well, summary.headline.clone()),
            Err(error) if is_stop(error) => (StageEnd::Stopped, error.to_string()),
            Err(error) => (StageEnd::Failed, error.to_string()),
        };
        let lines = result.as_ref().map(|summary| summary.lines.clone()).unwrap_or_default();
        let artifact = (ended == well).then_some(artifact);
        Self { id: planned.id, stage: planned.key.name.clone(), ended, seconds, headline, lines, artifact }
    }
}

impl RunOutcome {
    /// Adds a failure. That a stage was stopped explains less than that one failed.
    pub(super) fn add_failure(&mut self, error: Error) {
        let error = match &mut self.error {
            Some(first) if is_stop(first) && !is_stop(&error) => std::mem::replace(first, error),
            Some(_) => error,
            first @ None => return *first = Some(error),
        };
        self.others.push(error);
    }
}

/// Whether a stage was stopped by a signal and can go on.
pub(super) fn is_stop(error: &Error) -> bool {
    error.exit_code() == FailureKind::Interrupted.exit_code()
}
