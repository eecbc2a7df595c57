//! What a run reports, during the run and at its end.

use std::path::PathBuf;

use crate::error::FailureKind;
use crate::error::{Error, Result};
use crate::pipeline::stage::StageId;
use crate::plan::{PlanState, PlannedStage};
use crate::run::execute::ProgressReporter;
use crate::store::summary::Summary;

/// Receives the events of a run.
pub trait RunEvents: Sync {
    /// A stage starts; it alone uses the returned reporter until it ends.
    fn begin(&self, stage: &str, state: &PlanState) -> Box<dyn ProgressReporter + '_>;
    /// A stage ended.
    fn end(&self, outcome: &StageOutcome);
    /// A sentence about the run that the user should see.
    fn note(&self, text: &str);
    /// Something failed while the stages `running` continue; no new stage starts.
    fn fail(&self, error: &Error, running: &[&str]);
}

/// How a stage ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StageEnd {
    /// Its result was there already.
    Cached,
    /// It ran and published its artifact.
    Done,
    /// It failed.
    Failed,
    /// It stopped after a signal and can be resumed.
    Stopped,
}

impl StageEnd {
    /// The word in the table, in the JSON answer and in the journal.
    #[must_use]
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Cached => "cached",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
        }
    }
}

/// The outcome of one stage.
#[derive(Clone, Debug)]
pub struct StageOutcome {
    /// Index of the stage in the pipeline.
    pub id: StageId,
    /// Name of the stage.
    pub stage: String,
    /// How it ended.
    pub ended: StageEnd,
    /// Wall time in seconds; 0 for a cached stage.
    pub seconds: f64,
    /// The stage's summary in a few words, or why it did not finish.
    pub headline: String,
    /// Lines for people: a certificate, scores, samples. Empty for a cached stage.
    pub lines: Vec<String>,
    /// Folder of its artifact, if it has one.
    pub artifact: Option<PathBuf>,
}

/// The outcome of a run.
#[derive(Debug, Default)]
pub struct RunOutcome {
    /// The stages that were reached, in the plan's order.
    pub outcomes: Vec<StageOutcome>,
    /// Why the run ended early, if it did: the first failure. Decides the exit code.
    pub error: Option<Error>,
    /// Errors of other stages that ran beside the first failure and did not finish either.
    pub others: Vec<Error>,
}

impl StageOutcome {
    /// Builds the outcome of a stage: `success` says how it ended if `result` is `Ok`.
    pub(super) fn from_result(
        result: &Result<Summary>,
        success: StageEnd,
        planned: &PlannedStage,
        seconds: f64,
        artifact: PathBuf,
    ) -> Self {
        let (ended, headline) = match result {
            Ok(summary) => (success, summary.headline.clone()),
            Err(error) if is_stop(error) => (StageEnd::Stopped, error.to_string()),
            Err(error) => (StageEnd::Failed, error.to_string()),
        };
        let lines = result.as_ref().map(|summary| summary.lines.clone()).unwrap_or_default();
        let artifact = (ended == success).then_some(artifact);
        Self { id: planned.id, stage: planned.key.name.clone(), ended, seconds, headline, lines, artifact }
    }
}

impl RunOutcome {
    /// Adds a failure. A real failure takes the first place from a stop by a signal, because it explains more.
    pub(super) fn add_failure(&mut self, error: Error) {
        let error = match &mut self.error {
            Some(first) if is_stop(first) && !is_stop(&error) => std::mem::replace(first, error),
            Some(_) => error,
            first @ None => return *first = Some(error),
        };
        self.others.push(error);
    }
}

/// Whether the error only says that a signal stopped a stage, which can be resumed.
pub(super) fn is_stop(error: &Error) -> bool {
    error.exit_code() == FailureKind::Interrupted.exit_code()
}
