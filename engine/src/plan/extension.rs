//! Trainings that go on where another one left off.
//!
//! Two trainings that differ in `steps`, or in other settings that change from update to update, compute the same until one of those
//! settings differs. A state from before is a state of both.

use std::path::PathBuf;

use crate::pipeline::config::{StageConfig, TrainConfig};
use crate::pipeline::fingerprint::{Fingerprint, Ledger};
use crate::pipeline::stage::Stage;
use crate::plan::schedule::{Differing, STEPS, TrainingSchedule, is_of_schedule};
use crate::store::listing::StoredFolder;
use crate::store::{Manifest, PermanentCheckpoints, StageKey, StoreListing};

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
/// counts only if there is something to go on from, and nobody is at work on it: else it is another training.
#[must_use]
pub(super) fn find_extension(stage: &Stage, key: &StageKey, listing: &StoreListing) -> Option<Extension> {
    let StageConfig::Train(config) = &stage.config else { return None };
    let ours = TrainingSchedule::read(&key.ledger)?;
    let rank = |extension: &Extension| {
        (extension.from.as_ref().map_or(0, |(_, step)| *step), extension.metrics.is_some(), extension.done)
    };
    let counts = |extension: &Extension| {
        let continued = extension.from.is_some() && !listing.is_in_work(&extension.fingerprint);
        extension.done > 0 && (extension.only_steps || continued)
    };
    let found = list_candidates(listing).filter_map(|other| {
        let (theirs, only_steps) = compare_ledgers(&key.ledger, other.ledger)?;
        let done = if other.finished { theirs.steps } else { other.saved };
        let shared = ours.count_shared(&theirs, done);
        Some(Extension {
            from: find_latest(config, shared.0, other.list_checkpoints(listing)),
            fingerprint: other.fingerprint.clone(),
            metrics: other.folder.map(|folder| folder.path.clone()),
            steps: theirs.steps,
            only_steps,
            shared,
            done,
        })
    });
    found.filter(counts).max_by_key(rank)
}

/// A result in the store that another training may go on from.
struct Candidate<'a> {
    fingerprint: &'a Fingerprint,
    ledger: &'a Ledger,
    /// `None`: only permanent checkpoints are left of it.
    folder: Option<&'a StoredFolder>,
    finished: bool,
    /// Updates done at its last checkpoint.
    saved: u64,
}

fn list_candidates<'a>(listing: &'a StoreListing) -> impl Iterator<Item = Candidate<'a>> {
    let stored = |(folder, finished): (&'a StoredFolder, bool)| {
        let Manifest { fingerprint, ledger, .. } = folder.manifest.as_ref().ok()?;
        let saved = listing.count_saved_updates(folder, fingerprint);
        Some(Candidate { fingerprint, ledger, folder: Some(folder), finished, saved })
    };
    let kept = |kept: &'a PermanentCheckpoints| {
        let (fingerprint, ledger) = kept.key.as_ref()?;
        let saved = kept.steps.last().copied().unwrap_or(0);
        Some(Candidate { fingerprint, ledger, folder: None, finished: false, saved })
    };
    listing.results().filter_map(stored).chain(listing.permanent.iter().filter_map(kept))
}

impl<'a> Candidate<'a> {
    /// Its checkpoints, each with the updates done at it.
    fn list_checkpoints(&self, listing: &'a StoreListing) -> impl Iterator<Item = (PathBuf, u64)> + 'a {
        let newest = self.folder.and_then(|folder| Some((folder, folder.step?)));
        let newest =
            newest.map(|(folder, step)| (folder.path.join("checkpoints").join(format!("{step:08}")), step));
        newest.into_iter().chain(list_permanent(listing, self.fingerprint))
    }
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
    let own = move |found: &&PermanentCheckpoints| {
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
