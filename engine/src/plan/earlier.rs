//! Finds the work of earlier trainings that a run would not use, and whether that may be a mistake.
//!
//! A training of the same stage counts if this file made it, or a file that is not there any more: two files may share a store and
//! the names of their stages. What `--set` changes is a trial, which takes nothing from the training beside it.

use std::path::Path;

use crate::error::Result;
use crate::pipeline::Pipeline;
use crate::pipeline::config::StageConfig;
use crate::pipeline::fingerprint::{Fingerprint, IngredientKind, Ledger};
use crate::plan::planned::{Plan, PlanState, PlannedStage};
use crate::plan::reasons::explain_changes_with_places;
use crate::plan::setting_causes::SettingComparison;
use crate::plan::unused::{UnusedWork, describe_large_loss};
use crate::store::journal::PastRun;
use crate::store::listing::StoredFolder;
use crate::store::metrics::{list_update_seconds, read_metrics};
use crate::store::{Manifest, Store, StoreListing};
use crate::text::file_head::is_present;

impl Plan {
    /// Finds what trainings did before that a run of this plan would not use. A stage that starts over for another reason than it seemed
    /// gets new `reasons`, and no `extension`.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub(crate) fn find_unused_work(
        &mut self,
        pipeline: &Pipeline,
        store: &Store,
        listing: &StoreListing,
    ) -> Result<()> {
        let search = Search { pipeline, store, listing, plan: self, runs: store.readable_runs()? };
        let found: Vec<_> = self.stages.iter().map(|planned| search.find(planned)).collect::<Result<_>>()?;
        for (planned, found) in self.stages.iter_mut().zip(found) {
            let Some(Found { work, restarts }) = found else { continue };
            if restarts {
                planned.reasons.clone_from(&work.changes);
                planned.reasons.push(work.describe());
                planned.extension = None;
            }
            planned.unused = Some(work);
        }
        Ok(())
    }

    /// The stages that would run and leave work of an earlier training unused.
    pub(crate) fn unused(&self) -> impl Iterator<Item = (&PlannedStage, &UnusedWork)> {
        let runs =
            |planned: &&PlannedStage| matches!(planned.state, PlanState::Run | PlanState::Resume { .. });
        self.wanted().filter(runs).filter_map(|planned| Some((planned, planned.unused.as_ref()?)))
    }

    /// The work that a run must not leave unused without being asked, in words; `None` if it may.
    #[must_use]
    pub(crate) fn describe_large_loss(&self) -> Option<String> {
        let mistakable = self.unused().map(|(_, work)| work).filter(|work| work.mistakable);
        describe_large_loss(&mistakable.collect::<Vec<_>>())
    }
}

/// What is searched for unused work.
struct Search<'a> {
    pipeline: &'a Pipeline,
    store: &'a Store,
    listing: &'a StoreListing,
    plan: &'a Plan,
    runs: Vec<PastRun>,
}

/// Unused work of a stage, and whether the stage starts over because it is another training than before, not only a longer one.
struct Found {
    work: UnusedWork,
    restarts: bool,
}

/// A training in the store.
struct Earlier<'a> {
    fingerprint: &'a Fingerprint,
    ledger: &'a Ledger,
    /// `None`: only permanent checkpoints are left of it.
    manifest: Option<&'a Manifest>,
    /// The folder that has its metrics, if any are left.
    folder: &'a Path,
    finished: bool,
    /// Updates that it did, as far as its checkpoints and its artifact say.
    done: u64,
}

/// What may be meant when an earlier training is not used.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Meant {
    /// A trial beside it, or somebody goes on with it at this moment.
    Trial,
    /// Another training, as the settings say.
    Other,
    /// Perhaps that one.
    Unclear,
}

impl Search<'_> {
    fn find(&self, planned: &PlannedStage) -> Result<Option<Found>> {
        let begun = self.listing.work(&planned.key.name, &planned.key.fingerprint).is_some();
        let extends = planned.extension.as_ref();
        let goes_on = extends.is_some_and(|extension| extension.from.is_some());
        // What is begun was asked for when it began.
        let starts = planned.state == PlanState::Run && !begun && !self.is_twin(planned);
        let last = if starts && !goes_on { self.find_last_training(planned) } else { None };
        match (last, extends) {
            (Some(last), extension) if extension.is_none_or(|old| old.fingerprint != *last.fingerprint) => {
                let work = self.judge(planned, &last, 0)?;
                Ok(work.map(|work| Found { work, restarts: true }))
            }
            (_, Some(extension)) => {
                let first = extension.from.as_ref().map_or(0, |(_, step)| *step);
                let earlier = self.find_training(&extension.fingerprint);
                let earlier = earlier.or_else(|| self.find_checkpoints(&extension.fingerprint));
                let Some(earlier) = earlier else { return Ok(None) };
                let work = self.judge(planned, &Earlier { done: extension.done, ..earlier }, first)?;
                Ok(work.map(|work| Found { work, restarts: false }))
            }
            (_, None) => Ok(None),
        }
    }

    /// Whether an earlier stage makes the same result.
    fn is_twin(&self, planned: &PlannedStage) -> bool {
        let first = self.plan.stages.iter().find(|other| other.key.fingerprint == planned.key.fingerprint);
        first.is_some_and(|first| first.id != planned.id)
    }

    fn trainings(&self) -> impl Iterator<Item = Earlier<'_>> {
        self.listing.results().filter_map(|(folder, finished)| self.read_training(folder, finished))
    }

    fn read_training<'a>(&'a self, folder: &'a StoredFolder, finished: bool) -> Option<Earlier<'a>> {
        let manifest = folder.manifest.as_ref().ok()?;
        let value = |what: IngredientKind, name: &str| manifest.ledger.value(what, name);
        let steps = value(IngredientKind::Field, "steps")
            .filter(|_| value(IngredientKind::Kind, "") == Some("train"))?;
        let Manifest { fingerprint, ledger, .. } = manifest;
        let done = match finished {
            true => steps.parse().ok()?,
            false => self.listing.count_saved_updates(folder, fingerprint),
        };
        Some(Earlier { fingerprint, ledger, manifest: Some(manifest), folder: &folder.path, finished, done })
    }

    fn find_training(&self, fingerprint: &Fingerprint) -> Option<Earlier<'_>> {
        self.trainings().find(|earlier| *earlier.fingerprint == *fingerprint)
    }

    /// A training of which only permanent checkpoints are left.
    fn find_checkpoints(&self, fingerprint: &Fingerprint) -> Option<Earlier<'_>> {
        self.listing.permanent.iter().find_map(|kept| {
            let (own, ledger) = kept.key.as_ref().filter(|(own, _)| own == fingerprint)?;
            Some(Earlier {
                fingerprint: own,
                ledger,
                manifest: None,
                folder: &kept.path,
                finished: false,
                done: kept.steps.last().copied().unwrap_or(0),
            })
        })
    }

    /// The last other training of a stage that this file made.
    fn find_last_training(&self, planned: &PlannedStage) -> Option<Earlier<'_>> {
        if !matches!(self.pipeline.stage(planned.id).config, StageConfig::Train(_)) {
            return None;
        }
        let own = |earlier: &Earlier<'_>| {
            earlier.manifest.is_some_and(|manifest| manifest.stage.name == planned.key.name)
                && *earlier.fingerprint != planned.key.fingerprint
                && self.is_own(earlier.fingerprint)
        };
        let rank = |earlier: &Earlier<'_>| {
            let run = self.find_last_run(earlier.fingerprint).map_or(0, |run| run.number);
            (run, earlier.manifest.map(|manifest| manifest.created.clone()))
        };
        self.trainings().filter(own).max_by_key(rank)
    }

    /// The runs that worked on a result, oldest first.
    fn list_runs(&self, fingerprint: &Fingerprint) -> impl Iterator<Item = &PastRun> {
        let made = |run: &&PastRun| run.begun.values().any(|begun| *begun == fingerprint.0);
        self.runs.iter().filter(made)
    }

    fn find_last_run(&self, fingerprint: &Fingerprint) -> Option<&PastRun> {
        let own = self.list_runs(fingerprint).filter(|run| run.file == self.pipeline.file).last();
        own.or_else(|| self.list_runs(fingerprint).last())
    }

    /// Whether this file made a result, or one that was moved or removed since.
    fn is_own(&self, fingerprint: &Fingerprint) -> bool {
        let mut runs = self.list_runs(fingerprint);
        self.list_runs(fingerprint).any(|run| run.file == self.pipeline.file)
            || runs.all(|run| !is_present(&run.file))
    }

    /// The work of an earlier training after update `first`, if there is some and it is no trial's business.
    fn judge(&self, planned: &PlannedStage, earlier: &Earlier<'_>, first: u64) -> Result<Option<UnusedWork>> {
        let updates = earlier.done.saturating_sub(first);
        let meant = self.find_meaning(planned, earlier);
        if updates == 0 || meant == Meant::Trial {
            return Ok(None);
        }
        let metrics = read_metrics(self.store.vfs(), earlier.folder)?.unwrap_or_default();
        let changes = planned.key.ledger.changes_since(earlier.ledger);
        let settings = self.find_last_run(earlier.fingerprint).map(|run| run.settings.clone());
        Ok(Some(UnusedWork {
            updates,
            seconds: sum_seconds(&metrics.lines, first),
            finished: earlier.finished,
            changes: explain_changes_with_places(self.pipeline, self.pipeline.stage(planned.id), &changes),
            settings: settings.filter(|settings| *settings != self.pipeline.settings),
            mistakable: meant == Meant::Unclear,
        }))
    }

    fn find_meaning(&self, planned: &PlannedStage, earlier: &Earlier<'_>) -> Meant {
        let fingerprint = earlier.fingerprint;
        if self.listing.is_in_work(fingerprint) {
            return Meant::Trial;
        }
        if !self.is_own(fingerprint) {
            return Meant::Other;
        }
        let run = self.find_last_run(fingerprint);
        // Records that are gone or damaged explain nothing.
        let record = run.and_then(|run| self.store.run_record(run.number).ok().flatten());
        let Some(record) = record else { return Meant::Unclear };
        let comparison = SettingComparison { pipeline: self.pipeline, plan: self.plan, record: &record };
        let asked_for = comparison.is_by_settings(planned, false);
        let trials = asked_for || comparison.is_by_settings(planned, true);
        match earlier.finished {
            true if asked_for || trials && !self.pipeline.settings.is_empty() => Meant::Trial,
            true if trials => Meant::Other,
            // One trial after the other. But a training that `--set` was to make longer is no trial.
            false if asked_for && !record.settings.is_empty() => Meant::Other,
            _ => Meant::Unclear,
        }
    }
}

/// Seconds of the updates from `first` on; `None` if no line tells of one of them.
fn sum_seconds(lines: &[String], first: u64) -> Option<f64> {
    let own = list_update_seconds(lines).into_iter().filter(|(step, _)| *step >= first);
    own.map(|(_, seconds)| seconds).reduce(|sum, seconds| sum + seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_seconds_are_those_of_the_lost_updates() {
        let line =
            |step: u64| format!(r#"{{"step":{step},"tokens":{},"tokens_per_second":50}}"#, (step + 1) * 100);
        let mut lines: Vec<String> = (0..10).map(line).collect();
        lines.push(r#"{"step":9,"held_out_loss":{"text":1}}"#.into());
        assert_eq!(
            (sum_seconds(&lines, 0), sum_seconds(&lines, 7), sum_seconds(&lines, 10)),
            (Some(20.0), Some(6.0), None)
        );
    }
}
