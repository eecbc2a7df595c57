//! A run: refuse early, verify what is read, run what is missing, begin nothing after a failure.

mod agree;
mod gate;
mod outcome;
mod refuse;
mod schedule;
#[cfg(test)]
mod tests;
mod work;

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::atomic::AtomicBool;

pub use gate::unmet;
pub use outcome::{Ended, Events, Outcome, Ran};
pub use refuse::unsupported;

use schedule::Schedule;
use serde_json::json;

use crate::error::{Error, Result};
use crate::execute::{Execute, Failure, FailureKind, Summary};
use crate::pipeline::{Pipeline, Stage};
use crate::plan::{Facts, Plan, Selection, State};
use crate::store::journal::RunRecord;
use crate::store::{Lock, Store, publish};

/// How a run was asked for.
#[derive(Clone, Debug)]
pub struct Options {
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
    pub facts: &'a Facts,
    /// Where results go.
    pub store: &'a Store,
    /// The right to write there.
    pub lock: &'a Lock,
    /// Who does the work; `None` in a program built without.
    pub execute: Option<&'a dyn Execute>,
    /// Who is told.
    pub events: &'a dyn Events,
    /// Set by a signal.
    pub interrupt: &'a AtomicBool,
    /// How it was asked for.
    pub options: &'a Options,
}

impl Runner<'_> {
    /// Runs what is missing.
    ///
    /// # Errors
    /// What is refused before any work; later failures are in [`Ran::error`].
    pub fn run(&self) -> Result<Ran> {
        let work: Vec<_> = self.plan.wanted().filter(|planned| planned.state != State::Cached).collect();
        if !work.is_empty() {
            self.refuse(&work)?;
            self.store.begin_run(&self.record())?;
        }
        let ran = Schedule::new(self).run();
        if !work.is_empty() {
            let code = ran.error.as_ref().map_or(0, Error::exit_code);
            self.store.journal(&json!({ "event": "end", "code": code }))?;
        }
        Ok(ran)
    }

    fn record(&self) -> RunRecord {
        RunRecord {
            schema: RunRecord::SCHEMA.into(),
            file: self.pipeline.file.clone(),
            settings: self.pipeline.settings.clone(),
            started: crate::store::now(),
            device: self.options.device.clone(),
            until: self.options.selection.until.clone(),
            only: self.options.selection.only.clone(),
            stages: self.plan.ledgers(),
            places: self.pipeline.places(),
        }
    }
}

/// What an artifact says about itself.
#[must_use]
pub fn summary(store: &Store, artifact: &Path) -> Option<Summary> {
    serde_json::from_slice(&store.vfs().read(&artifact.join(publish::SUMMARY)).ok()?).ok()
}

fn failed(stage: &Stage, failure: Failure) -> Error {
    Error::Stage { stage: stage.name.clone(), failure }
}

fn bug(message: &str) -> Failure {
    Failure { kind: FailureKind::Bug, message: message.into(), help: None }
}
