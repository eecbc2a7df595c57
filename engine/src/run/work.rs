//! The work of one stage, on a thread of its own: its inputs verified, its slot opened, its artifact looked at.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};

use indexmap::{IndexMap, IndexSet};

use super::gate::gate;
use super::{Runner, bug, failed, summary};
use crate::error::{Error, Result};
use crate::execute::{Failure, FailureKind, Job, Summary};
use crate::fingerprint::Fingerprint;
use crate::pipeline::{Stage, StageId};
use crate::plan::{Planned, State, facts};
use crate::store::{publish, verify};
use crate::vfs::Vfs;

/// Artifacts whose every byte this run has read and found right.
#[derive(Debug, Default)]
pub(super) struct Verified(Mutex<IndexSet<Fingerprint>>);

impl Verified {
    /// Verifies an artifact, once in a run: who asks for it meanwhile waits for the answer.
    fn check(&self, vfs: &dyn Vfs, folder: &Path, fingerprint: &Fingerprint) -> Result<()> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.contains(fingerprint) {
            verify::folder(vfs, folder)?;
            known.insert(fingerprint.clone());
        }
        Ok(())
    }
}

impl Runner<'_> {
    /// Does the work of a stage on so many cores.
    pub(super) fn work(&self, planned: &Planned, verified: &Verified, cores: usize) -> Result<Summary> {
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
        let job = Job { stage, seed, inputs, slot, report, interrupt, device, cores };
        let Some(execute) = self.execute else {
            return Err(failed(stage, bug("there is no execution backend")));
        };
        let summary = execute.run(&job).map_err(|failure| failed(stage, failure))?;
        let (manifest, problems) =
            verify::inspect(self.store.vfs(), &self.artifact(planned), verify::Depth::Sizes)?;
        if manifest.is_none() || !problems.is_empty() {
            return Err(failed(stage, bug("it ended well without publishing an artifact")));
        }
        gate(stage, &summary).map_err(|failure| failed(stage, failure))?;
        Ok(summary)
    }

    /// What a finished stage says of itself, if that is enough for its stage.
    pub(super) fn finished(&self, planned: &Planned) -> Result<Summary> {
        let folder = self.artifact(planned);
        // Without its words nobody knows whether it is enough.
        let unread = || {
            let what = "it cannot be read".to_owned();
            Error::Corrupt { folder: folder.clone(), file: publish::SUMMARY.into(), what }
        };
        let summary = summary(self.store, &folder).ok_or_else(unread)?;
        let stage = self.of(planned)?;
        gate(stage, &summary).map_err(|failure| failed(stage, failure)).map(|()| summary)
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
    fn inputs(&self, stage: &Stage, verified: &Verified) -> Result<IndexMap<String, PathBuf>> {
        let mut inputs = IndexMap::new();
        for input in &stage.inputs {
            let Some(planned) = self.plan.stages.get(input.stage.0 as usize) else { continue };
            let folder = self.artifact(planned);
            verified.check(self.store.vfs(), &folder, &planned.key.fingerprint)?;
            inputs.insert(input.role.clone(), folder);
        }
        Ok(inputs)
    }

    /// Where the artifact of a stage is, or will be.
    pub(super) fn artifact(&self, planned: &Planned) -> PathBuf {
        self.store.artifact(&planned.key.name, &planned.key.fingerprint)
    }

    /// The stages whose artifacts a stage reads.
    pub(super) fn reads(&self, planned: &Planned) -> Vec<StageId> {
        let stage = self.pipeline.stages.get(planned.id.0 as usize);
        stage.into_iter().flat_map(|stage| &stage.inputs).map(|input| input.stage).collect()
    }

    pub(super) fn of(&self, planned: &Planned) -> Result<&Stage> {
        self.pipeline.find(&planned.key.name)
    }
}

fn stopped() -> Failure {
    Failure { kind: FailureKind::Interrupted, message: "stopped before it started".into(), help: None }
}
