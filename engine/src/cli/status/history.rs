//! What the runs of a store say of the stages of a pipeline.

use std::path::Path;

use crate::plan::PlannedStage;
use crate::store::journal::PastRun;
use crate::store::lock::LockHolder;

/// Runs of the store, and the processes at work.
pub(super) struct PipelineRuns<'a> {
    pub(super) runs: &'a [PastRun],
    pub(super) holders: &'a [LockHolder],
}

impl<'a> PipelineRuns<'a> {
    /// The runs that began to make the result of a stage, newest first. The same stage with other settings is another result.
    fn list_makers(&self, planned: &PlannedStage) -> impl Iterator<Item = &'a PastRun> {
        let (name, fingerprint) = (planned.key.name.clone(), planned.key.fingerprint.to_string());
        self.runs.iter().rev().filter(move |run| run.begun.get(&name) == Some(&fingerprint))
    }

    /// Why the stage failed, if it did when it was last begun, and in which run.
    pub(super) fn find_failure(&self, planned: &PlannedStage) -> Option<(&'a PastRun, &'a String)> {
        let run = self.list_makers(planned).next()?;
        Some((run, run.failures.get(&planned.key.name)?))
    }

    pub(super) fn is_at_work(&self, planned: &PlannedStage) -> bool {
        let begun = |run: &PastRun| run.stages.get(&planned.key.name).is_some_and(|word| word == "begun");
        self.list_makers(planned).any(|run| run.is_in_progress(self.holders) && begun(run))
    }

    /// Whether a run of this file goes on. A process without a run has just started, and may be about to work on it.
    pub(super) fn go_on(&self, file: &Path) -> bool {
        let known =
            |holder: &LockHolder| self.runs.iter().any(|run| run.token.as_ref() == Some(&holder.token));
        let own = self.runs.iter().any(|run| run.file == file && run.is_in_progress(self.holders));
        own || self.holders.iter().any(|holder| !known(holder))
    }
}
