//! Trainings that go on where one with other `steps` left off.
//!
//! Two trainings that differ in `steps` alone compute the same until their learning rates differ. A state from before is a state of both.

use std::path::PathBuf;

use crate::pipeline::config::{StageConfig, TrainConfig};
use crate::pipeline::fingerprint::{Fingerprint, IngredientKind, Ledger};
use crate::pipeline::stage::Stage;
use crate::store::{StageKey, StoreListing};

/// The setting in which they may differ.
const STEPS: &str = "steps";

/// What the store has of the same training with other `steps`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extension {
    /// Identity of the other training.
    pub fingerprint: Fingerprint,
    /// Its `steps`.
    pub steps: u64,
    /// Updates that it did, as far as its checkpoints and its artifact say.
    pub done: u64,
    /// The checkpoint to go on from, and updates done at it; `None`: none is from before the learning rates differ.
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
        match &self.from {
            Some((_, step)) if unused == 0 => {
                format!("goes on after update {step} of the training with `steps {}`", self.steps)
            }
            Some((_, step)) => format!(
                "goes on after update {step} of the training with `steps {}`; {unused} updates after it are not used",
                self.steps
            ),
            None => {
                let shared = count_shared_updates(config, self.steps);
                let why = match config.find_extension_point() {
                    Some(_) => format!("no checkpoint from before update {shared} is left"),
                    None if config.guard.count_rewind_states() > 0 => {
                        "its guard may go back further than to the states that are kept".to_owned()
                    }
                    None => {
                        format!("the schedule of the learning rate depends on `steps` after update {shared}")
                    }
                };
                format!("starts over from 0: {unused} updates of work are not used, because {why}")
            }
        }
    }
}

/// Updates that a training shares with one that has other `steps`.
fn count_shared_updates(config: &TrainConfig, steps: u64) -> u64 {
    let rate = &config.learning_rate;
    rate.count_free_updates(config.steps).min(rate.count_free_updates(steps))
}

/// The training with other `steps` that leads farthest; of equal ones that with the most work. `None` if the store has none.
#[must_use]
pub(super) fn find_extension(stage: &Stage, key: &StageKey, listing: &StoreListing) -> Option<Extension> {
    let StageConfig::Train(config) = &stage.config else { return None };
    let mut found: Vec<Extension> = Vec::new();
    for folder in listing.artifacts.iter().chain(&listing.unfinished) {
        let Ok(manifest) = &folder.manifest else { continue };
        let Some(steps) = find_other_steps(&key.ledger, &manifest.ledger) else { continue };
        let finished = listing.artifacts.iter().any(|artifact| artifact.path == folder.path);
        let work = folder.step.map(|step| (folder.path.join("checkpoints").join(format!("{step:08}")), step));
        let done = listing.count_updates(folder, &manifest.fingerprint, finished.then_some(steps));
        found.push(Extension {
            from: find_latest(
                config,
                steps,
                work.into_iter().chain(list_permanent(listing, &manifest.fingerprint)),
            ),
            fingerprint: manifest.fingerprint.clone(),
            metrics: Some(folder.path.clone()),
            steps,
            done,
        });
    }
    // A training of which only permanent checkpoints are left.
    for kept in &listing.permanent {
        let Some((fingerprint, ledger)) = &kept.key else { continue };
        let Some(steps) = find_other_steps(&key.ledger, ledger) else { continue };
        found.push(Extension {
            from: find_latest(config, steps, list_permanent(listing, fingerprint)),
            fingerprint: fingerprint.clone(),
            metrics: None,
            steps,
            done: kept.steps.last().copied().unwrap_or(0),
        });
    }
    let rank = |extension: &Extension| {
        (extension.from.as_ref().map_or(0, |(_, step)| *step), extension.metrics.is_some(), extension.done)
    };
    found.into_iter().filter(|extension| extension.done > 0).max_by_key(rank)
}

/// The `steps` of a training whose ledger differs from `ours` in nothing else.
fn find_other_steps(ours: &Ledger, other: &Ledger) -> Option<u64> {
    match ours.changes_since(other).as_slice() {
        [change] if change.what == IngredientKind::Field && change.name == STEPS => {
            change.old.as_ref()?.parse().ok()
        }
        _ => None,
    }
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

/// The last checkpoint from before the learning rates differ.
fn find_latest(
    config: &TrainConfig,
    steps: u64,
    checkpoints: impl Iterator<Item = (PathBuf, u64)>,
) -> Option<(PathBuf, u64)> {
    if config.guard.count_rewind_states() > 0 {
        return None;
    }
    let shared = count_shared_updates(config, steps);
    checkpoints.filter(|(_, step)| (1..=shared).contains(step)).max_by_key(|(_, step)| *step)
}
