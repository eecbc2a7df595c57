//! The loop over the stages: refuse early, verify what is read, run what is missing, stop at the first failure.

mod agree;
mod outcome;
mod refuse;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

pub use outcome::{Ended, Events, Outcome, Ran};
pub use refuse::unsupported;

use indexmap::{IndexMap, IndexSet};
use serde_json::json;

use crate::error::{Error, Result};
use crate::execute::{Execute, Failure, FailureKind, Job, Summary};
use crate::fingerprint::Fingerprint;
use crate::pipeline::{Pipeline, Stage};
use crate::plan::{Facts, Plan, Planned, State, facts};
use crate::store::journal::RunRecord;
use crate::store::{Lock, Store, publish, verify};

/// How a run was asked for.
#[derive(Clone, Debug)]
pub struct Options {
    /// The device to compute on.
    pub device: String,
    /// Whether a configuration that changed since the last run is refused.
    pub resume: bool,
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
        let mut ran = Ran { outcomes: vec![], error: None };
        let mut verified = IndexSet::new();
        for planned in self.plan.wanted() {
            if let Err(error) = self.stage(planned, &mut verified, &mut ran.outcomes) {
                ran.error = Some(error);
                break;
            }
        }
        if !work.is_empty() {
            let code = ran.error.as_ref().map_or(0, Error::exit_code);
            self.store.journal(&json!({ "event": "end", "code": code }))?;
        }
        Ok(ran)
    }

    /// One stage from its begin to its end.
    fn stage(
        &self,
        planned: &Planned,
        verified: &mut IndexSet<Fingerprint>,
        outcomes: &mut Vec<Outcome>,
    ) -> Result<()> {
        let name = &planned.key.name;
        let artifact = self.store.artifact(name, &planned.key.fingerprint);
        let twin = outcomes.iter().any(|outcome| outcome.artifact.as_ref() == Some(&artifact));
        if planned.state == State::Cached || twin {
            let (headline, artifact) = (headline(self.store, &artifact), Some(artifact));
            outcomes.push(Outcome {
                stage: name.clone(),
                ended: Ended::Cached,
                seconds: 0.0,
                headline,
                lines: Vec::new(),
                artifact,
            });
            outcomes.last().into_iter().for_each(|outcome| self.events.end(outcome));
            return Ok(());
        }
        let start = Instant::now();
        self.store
            .journal(&json!({ "event": "begin", "stage": name, "fingerprint": planned.key.fingerprint }))?;
        let result = self.work(planned, verified);
        let seconds = start.elapsed().as_secs_f64();
        let (ended, headline) = match &result {
            Ok(summary) => (Ended::Done, summary.headline.clone()),
            Err(error) if error.exit_code() == 75 => (Ended::Stopped, error.to_string()),
            Err(error) => (Ended::Failed, error.to_string()),
        };
        let line = json!({ "event": ended.word(), "stage": name, "seconds": seconds, "headline": headline });
        self.store.journal(&line)?;
        let artifact = (ended == Ended::Done).then_some(artifact);
        let lines = result.as_ref().map(|summary| summary.lines.clone()).unwrap_or_default();
        let outcome = Outcome { stage: name.clone(), ended, seconds, headline, lines, artifact };
        self.events.end(&outcome);
        outcomes.push(outcome);
        result.map(drop)
    }

    fn work(&self, planned: &Planned, verified: &mut IndexSet<Fingerprint>) -> Result<Summary> {
        let stage = self.of(planned)?;
        if self.interrupt.load(Ordering::Relaxed) {
            return Err(failed(stage, stopped()));
        }
        let inputs = self.inputs(stage, verified)?;
        self.agree(stage, &inputs)?;
        if planned.state == State::Again {
            self.discard(planned)?;
        }
        let sources = stage.sources.iter().flat_map(|source| &source.files);
        let slot = self.store.slot(self.lock, planned.key.clone())?.watch(sources)?;
        facts::check_unchanged(stage, &self.facts.digests(stage.id), self.store)?;
        let report = self.events.begin(&stage.name, &planned.state);
        let (seed, device) = (self.pipeline.seed, self.options.device.as_str());
        let (inputs, slot, report, interrupt) = (&inputs, &slot, &*report, self.interrupt);
        let job = Job { stage, seed, inputs, slot, report, interrupt, device };
        let Some(execute) = self.execute else {
            return Err(failed(stage, bug("there is no execution backend")));
        };
        let summary = execute.run(&job).map_err(|failure| failed(stage, failure))?;
        let artifact = self.store.artifact(&stage.name, &planned.key.fingerprint);
        let (manifest, problems) = verify::inspect(self.store.vfs(), &artifact, verify::Depth::Sizes)?;
        if manifest.is_none() || !problems.is_empty() {
            return Err(failed(stage, bug("it ended well without publishing an artifact")));
        }
        Ok(summary)
    }

    /// Drops what a stage has that is made again. It goes when its turn comes, not before.
    fn discard(&self, planned: &Planned) -> Result<()> {
        let (name, fingerprint) = (&planned.key.name, &planned.key.fingerprint);
        for folder in [self.store.artifact(name, fingerprint), self.store.work(name, fingerprint)] {
            if self.store.vfs().stat(&folder).is_ok() {
                self.store.discard(self.lock, &folder)?;
            }
        }
        Ok(())
    }

    /// Verified folders of a stage's inputs, by role.
    fn inputs(
        &self,
        stage: &Stage,
        verified: &mut IndexSet<Fingerprint>,
    ) -> Result<IndexMap<String, PathBuf>> {
        let mut inputs = IndexMap::new();
        for input in &stage.inputs {
            let Some(planned) = self.plan.stages.get(input.stage.0 as usize) else { continue };
            let folder = self.store.artifact(&planned.key.name, &planned.key.fingerprint);
            if !verified.contains(&planned.key.fingerprint) {
                verify::folder(self.store.vfs(), &folder)?;
                verified.insert(planned.key.fingerprint.clone());
            }
            inputs.insert(input.role.clone(), folder);
        }
        Ok(inputs)
    }

    fn of(&self, planned: &Planned) -> Result<&Stage> {
        self.pipeline.find(&planned.key.name)
    }

    fn record(&self) -> RunRecord {
        RunRecord {
            schema: RunRecord::SCHEMA.into(),
            file: self.pipeline.file.clone(),
            settings: self.pipeline.settings.clone(),
            started: crate::store::now(),
            device: self.options.device.clone(),
            stages: self.plan.ledgers(),
            places: self.pipeline.places(),
        }
    }
}

/// What an artifact says about itself in a few words; nothing when it says nothing.
fn headline(store: &Store, artifact: &Path) -> String {
    summary(store, artifact).map(|summary| summary.headline).unwrap_or_default()
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

fn stopped() -> Failure {
    Failure { kind: FailureKind::Interrupted, message: "stopped before it started".into(), help: None }
}
