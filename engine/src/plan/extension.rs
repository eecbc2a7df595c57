//! Trainings that go on where another one left off.
//!
//! Two trainings that differ in `steps`, or in other settings that change from update to update, compute the same until one of those
//! settings differs. A state from before is a state of both.

use std::path::PathBuf;

use crate::pipeline::config::{StageConfig, TrainConfig};
use crate::pipeline::fingerprint::{Fingerprint, Ledger};
use crate::pipeline::stage::Stage;
use crate::plan::schedule::{Differing, STEPS, TrainingSchedule, is_of_schedule};
use crate::store::{StageKey, StoreListing};

/// What the store has of the same training with another schedule, such as other `steps`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extension {
    /// Identity of the other training.
    pub fingerprint: Fingerprint,
    /// Its `steps`.
    pub steps: u64,
    /// Updates that it did, as far as its checkpoints and its artifact say.
    pub done: u64,
    /// Whether they differ in `steps` alone.
    pub(crate) only_steps: bool,
    /// Updates that both do alike, and what differs then; `None`: one of them ends there, or the other had not come further.
    shared: (u64, Option<Differing>),
    /// The checkpoint to go on from, and updates done at it; `None`: none is from before they differ.
    pub from: Option<(PathBuf, u64)>,
    /// The folder that has its metrics.
    pub metrics: Option<PathBuf>,
}

impl Extension {
    /// Updates of the other training that are not used.
    #[must_use]
    pub(crate) fn count_unused_updates(&self) -> u64 {
        self.done.saturating_sub(self.from.as_ref().map_or(0, |(_, step)| *step))
    }

    /// The sentence about it.
    #[must_use]
    pub(crate) fn describe(&self, config: &TrainConfig) -> String {
        let unused = self.count_unused_updates();
        let rest = match unused {
            0 => String::new(),
            _ => format!("; {unused} updates after it are not used"),
        };
        match &self.from {
            Some((_, step)) if self.steps == config.steps => {
                format!("goes on after update {step} of the training before this change{rest}")
            }
            Some((_, step)) => {
                format!("goes on after update {step} of the training with `steps {}`{rest}", self.steps)
            }
            None => {
                let why = self.explain_restart(config);
                format!("starts over from 0: {unused} updates of work are not used, because {why}")
            }
        }
    }

    /// Why there is no checkpoint to go on from.
    fn explain_restart(&self, config: &TrainConfig) -> String {
        match self.shared {
            _ if config.guard.count_rewind_states() > 0 => {
                "its guard may go back further than to the states that are kept".to_owned()
            }
            // The state before a decay is kept for good: it was removed.
            (shared, Some(Differing::LearningRate)) if config.find_extension_point().is_some() => {
                format!("no checkpoint from before update {shared} is left")
            }
            (shared, Some(differing)) => {
                format!("{} depends on `steps` from update {shared} on", differing.words())
            }
            (shared, None) => format!("no checkpoint from before update {shared} is left"),
        }
    }
}

/// The training that leads farthest; of equal ones that with the most work. `None` if the store has none. One that differs in more than `steps`
/// counts only if there is something to go on from: else it is another training.
#[must_use]
pub(super) fn find_extension(stage: &Stage, key: &StageKey, listing: &StoreListing) -> Option<Extension> {
    let StageConfig::Train(config) = &stage.config else { return None };
    let ours = TrainingSchedule::read(&key.ledger)?;
    let mut found: Vec<Extension> = Vec::new();
    for folder in listing.artifacts.iter().chain(&listing.unfinished) {
        let Ok(manifest) = &folder.manifest else { continue };
        let Some((theirs, only_steps)) = compare_ledgers(&key.ledger, &manifest.ledger) else { continue };
        let finished = listing.artifacts.iter().any(|artifact| artifact.path == folder.path);
        let work = folder.step.map(|step| (folder.path.join("checkpoints").join(format!("{step:08}")), step));
        let done = listing.count_updates(folder, &manifest.fingerprint, finished.then_some(theirs.steps));
        let kept = work.into_iter().chain(list_permanent(listing, &manifest.fingerprint));
        let shared = ours.count_shared(&theirs, done);
        found.push(Extension {
            from: find_latest(config, shared.0, kept),
            fingerprint: manifest.fingerprint.clone(),
            metrics: Some(folder.path.clone()),
            steps: theirs.steps,
            only_steps,
            shared,
            done,
        });
    }
    // A training of which only permanent checkpoints are left.
    for kept in &listing.permanent {
        let Some((fingerprint, ledger)) = &kept.key else { continue };
        let Some((theirs, only_steps)) = compare_ledgers(&key.ledger, ledger) else { continue };
        let done = kept.steps.last().copied().unwrap_or(0);
        let shared = ours.count_shared(&theirs, done);
        found.push(Extension {
            from: find_latest(config, shared.0, list_permanent(listing, fingerprint)),
            fingerprint: fingerprint.clone(),
            metrics: None,
            steps: theirs.steps,
            only_steps,
            shared,
            done,
        });
    }
    let rank = |extension: &Extension| {
        (extension.from.as_ref().map_or(0, |(_, step)| *step), extension.metrics.is_some(), extension.done)
    };
    let counts =
        |extension: &Extension| extension.done > 0 && (extension.only_steps || extension.from.is_some());
    found.into_iter().filter(counts).max_by_key(rank)
}

/// The schedule of a training whose ledger differs from `ours` in nothing else, and whether it differs in `steps` alone.
fn compare_ledgers(ours: &Ledger, other: &Ledger) -> Option<(TrainingSchedule, bool)> {
    let changes = ours.changes_since(other);
    if changes.is_empty() || !changes.iter().all(is_of_schedule) {
        return None;
    }
    Some((TrainingSchedule::read(other)?, changes.iter().all(|change| change.name == STEPS)))
}

fn list_permanent<'a>(
    listing: &'a StoreListing,
    fingerprint: &'a Fingerprint,
) -> impl Iterator<Item = (PathBuf, u64)> + 'a {
    let own = move |found: &&crate::store::PermanentCheckpoints| {
        found.key.as_ref().is_some_and(|(other, _)| other == fingerprint)
    };
    let folders = listing.permanent.iter().filter(own);
    folders.flat_map(|kept| kept.steps.iter().map(|step| (kept.path.join(format!("{step:08}")), *step)))
}

/// The last checkpoint after at most `shared` updates.
fn find_latest(
    config: &TrainConfig,
    shared: u64,
    checkpoints: impl Iterator<Item = (PathBuf, u64)>,
) -> Option<(PathBuf, u64)> {
    if config.guard.count_rewind_states() > 0 {
        return None;
    }
    checkpoints.filter(|(_, step)| (1..=shared).contains(step)).max_by_key(|(_, step)| *step)
}
