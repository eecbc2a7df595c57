//! What a run has at hand: the pipeline, its plan, the store, and who does the work.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use crate::error::{Error, Failure, FailureKind};
use crate::pipeline::Pipeline;
use crate::pipeline::stage::Stage;
use crate::plan::{Plan, PlannedStage, Selection, SourceDigests};
use crate::run::execute::Execute;
use crate::run::outcome::RunEvents;
use crate::store::{Store, StoreLock};

/// How a run was asked for.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// The device to compute on.
    pub device: String,
    /// Whether a configuration that changed since the last run is refused.
    pub resume: bool,
    /// Stages that run at the same time, at most.
    pub jobs: NonZeroUsize,
    /// The part of the pipeline that was asked for; the plan is narrowed to it already.
    pub selection: Selection,
}

/// Everything that a run needs.
pub struct Runner<'a> {
    /// What to run.
    pub pipeline: &'a Pipeline,
    /// What is missing.
    pub plan: &'a Plan,
    /// What the plan saw of the sources.
    pub digests: &'a SourceDigests,
    /// Where results go.
    pub store: &'a Store,
    /// The right to write there.
    pub lock: &'a StoreLock,
    /// Who does the work; `None` in a program built without.
    pub execute: Option<&'a dyn Execute>,
    /// Who is told.
    pub events: &'a dyn RunEvents,
    /// Set by a signal.
    pub interrupt: &'a AtomicBool,
    /// How it was asked for.
    pub options: &'a RunOptions,
}

impl Runner<'_> {
    /// The stage behind an entry of the plan.
    pub(super) fn stage(&self, planned: &PlannedStage) -> &Stage {
        self.pipeline.stage(planned.id)
    }

    /// Where the artifact of a stage is, or will be.
    pub(super) fn artifact(&self, planned: &PlannedStage) -> PathBuf {
        self.store.artifact(&planned.key.name, &planned.key.fingerprint)
    }
}

/// A stage that ended without its result.
pub(super) fn stage_error(stage: &Stage, failure: Failure) -> Error {
    Error::Stage { stage: stage.name.clone(), failure }
}

/// Something that cannot happen has happened.
pub(super) fn defect_failure(message: &str) -> Failure {
    Failure { kind: FailureKind::Defect, message: message.into(), help: None }
}
