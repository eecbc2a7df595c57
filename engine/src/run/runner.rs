//! The inputs of a run: the pipeline, its plan, the store, and the executor.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::error::{Error, Failure, FailureKind};
use crate::pipeline::Pipeline;
use crate::pipeline::machine::find_running_flops;
use crate::pipeline::stage::Stage;
use crate::plan::{Plan, PlannedStage, Selection, SourceDigests};
use crate::run::execute::Execute;
use crate::run::outcome::RunEvents;
use crate::store::{Store, StoreLock};
use crate::text::place::Span;

/// Options of a run.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// The device to compute on: `cpu` or `cuda:<n>`.
    pub device: String,
    /// Whether to refuse a configuration that changed since the last run.
    pub resume: bool,
    /// Maximum number of stages that run at the same time.
    pub jobs: NonZeroUsize,
    /// Whether programs that a checkpoint wrote may run without a sandbox, where their stage says so, too.
    pub unsafe_no_sandbox: bool,
    /// The selected part of the pipeline, for the run record; the plan is narrowed to it already.
    pub selection: Selection,
}

/// Decides whether a command may be executed. It is asked each time, just before: files change during a run of days.
pub trait CommandGate: Send + Sync {
    /// Why the command that is written at this place is not executed, as the rest of a sentence; `None` if it may.
    fn refuse(&self, place: &Span) -> Option<String>;
}

/// Everything that a run needs.
pub struct Runner<'a> {
    /// What to run.
    pub pipeline: &'a Pipeline,
    /// Which stages are missing.
    pub plan: &'a Plan,
    /// Digests of the sources when the plan was made.
    pub digests: &'a SourceDigests,
    /// Where results go.
    pub store: &'a Store,
    /// The right to write to the store; `None` if every stage is cached, so that a store can be read-only.
    pub lock: Option<&'a StoreLock>,
    /// Does the work; `None` in a binary built without a backend.
    pub execute: Option<&'a dyn Execute>,
    /// Receives progress and results.
    pub events: &'a dyn RunEvents,
    /// Set by a signal: stages stop at their next step boundary.
    pub interrupt: &'a AtomicBool,
    /// Lets commands of the pipeline through; without one, a run that has commands is refused.
    pub gate: Option<Arc<dyn CommandGate>>,
    /// What the user chose.
    pub options: &'a RunOptions,
}

impl Runner<'_> {
    /// The stage of an entry of the plan.
    pub(super) fn stage(&self, planned: &PlannedStage) -> &Stage {
        self.pipeline.stage(planned.id)
    }

    /// Why the command at a place is not executed, as the rest of a sentence; `None` if it may.
    pub(super) fn refuse_command(&self, place: &Span) -> Option<String> {
        refuse_by(self.gate.as_deref(), place)
    }

    /// Seconds that an update of a training takes at the peak of the device on which it runs; `None` if that or the model is unknown.
    pub(super) fn count_peak_seconds(&self, planned: &PlannedStage) -> Option<f64> {
        let peak = find_running_flops(self.pipeline.budget.gpu.as_deref(), &self.options.device)?;
        planned.cost.training.as_ref()?.count_seconds_at_peak(peak)
    }

    /// The right to write to the store, for a stage that is not cached.
    pub(super) fn expect_lock(&self) -> &StoreLock {
        self.lock.expect("whoever runs a stage has locked the store")
    }

    /// Where the artifact of a stage is, or will be.
    pub(super) fn artifact(&self, planned: &PlannedStage) -> PathBuf {
        self.store.artifact(&planned.key.name, &planned.key.fingerprint)
    }
}

/// Why a gate does not let a command through, as the rest of a sentence; `None` if it does.
pub(super) fn refuse_by(gate: Option<&dyn CommandGate>, place: &Span) -> Option<String> {
    gate.map_or_else(|| Some("is not allowed".into()), |gate| gate.refuse(place))
}

/// The error of a stage that ended without its result.
pub(super) fn stage_error(stage: &Stage, failure: Failure) -> Error {
    Error::Stage { stage: stage.name.clone(), failure }
}

/// The failure for a state that should be impossible.
pub(super) fn defect_failure(message: &str) -> Failure {
    Failure { kind: FailureKind::Defect, message: message.into(), help: None }
}
