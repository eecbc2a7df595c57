//! Trainings that go on where one with another schedule left off: the checkpoint that they take over.

use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::pipeline::config::StageConfig;
use crate::pipeline::stage::Stage;
use crate::plan::{Extension, PlanState, PlannedStage};
use crate::run::runner::Runner;
use crate::store::listing::list_checkpoints;
use crate::store::metrics::{Metrics, read_metrics};
use crate::store::vfs::is_absent;
use crate::store::{Slot, Store};
use crate::text::escape::show_path;

/// Makes the checkpoint that a stage goes on from its own, if the plan found one of a training with another schedule.
pub(super) fn adopt_checkpoint(runner: &Runner<'_>, planned: &PlannedStage, slot: &Slot) -> Result<()> {
    let Some(extension) =
        planned.extension.as_ref().filter(|_| matches!(planned.state, PlanState::Resume { .. }))
    else {
        return Ok(());
    };
    let (folder, step) = extension.from.as_ref().expect("a stage that resumes has a checkpoint");
    // Another run may have gone further since the plan was made.
    if slot.has_checkpoint_from(*step)? {
        return Ok(());
    }
    if runner.store.vfs().stat(folder).is_err_and(|error| is_absent(&error)) {
        let message = format!(
            "stage `{}` goes on from {}, which another run has finished or removed",
            planned.key.name,
            show_path(folder)
        );
        return Err(Error::Input { message, help: Some("run the same command again".into()) });
    }
    // Nothing is taken from a training that goes on.
    let _old = runner.store.lock_stage(runner.expect_lock(), &planned.key.name, &extension.fingerprint)?;
    let metrics = read_old_metrics(runner.store, extension)?;
    let permanent = list_branch_points(runner, planned, extension)?;
    slot.adopt_checkpoint((folder, *step), &permanent, &metrics.lines)
}

fn read_old_metrics(store: &Store, extension: &Extension) -> Result<Metrics> {
    let found = extension.metrics.as_ref().map(|folder| read_metrics(store.vfs(), folder)).transpose()?;
    Ok(found.flatten().unwrap_or_default())
}

/// The checkpoints of the other training from which stages of the pipeline start, and those that this one keeps for good.
fn list_branch_points(
    runner: &Runner<'_>,
    planned: &PlannedStage,
    extension: &Extension,
) -> Result<Vec<(PathBuf, u64)>> {
    let wanted: Vec<u64> =
        runner.pipeline.stages.iter().filter_map(|stage| find_branch(stage, planned)).collect();
    let last = extension.from.as_ref().map_or(0, |(_, step)| *step);
    let kept = list_checkpoints(
        runner.store.vfs(),
        &runner.store.permanent(&planned.key.name, &extension.fingerprint),
    )?;
    let StageConfig::Train(config) = &runner.stage(planned).config else { return Ok(vec![]) };
    let keeps = |step: u64| wanted.contains(&step) || config.keeps_for_good(step);
    let needed = kept.into_iter().filter(|(step, _)| *step <= last && keeps(*step));
    let mut needed: Vec<_> = needed.map(|(step, folder)| (folder, step)).collect();
    let adopted = extension.from.iter().filter(|(_, step)| config.keeps_for_good(*step));
    let adopted = adopted.filter(|(_, step)| needed.iter().all(|(_, other)| other != step));
    let adopted: Vec<_> = adopted.cloned().collect();
    needed.extend(adopted);
    Ok(needed)
}

/// The update of `parent` from whose checkpoint a stage starts.
fn find_branch(stage: &Stage, parent: &PlannedStage) -> Option<u64> {
    match &stage.config {
        StageConfig::Train(config) if stage.parent() == Some(parent.id) => {
            config.branch.map(|branch| branch.at)
        }
        _ => None,
    }
}

/// Whether a training takes over a permanent checkpoint for a stage that starts from it.
pub(super) fn takes_over(runner: &Runner<'_>, parent: &PlannedStage, at: u64) -> Result<bool> {
    let Some(extension) = &parent.extension else { return Ok(false) };
    Ok(list_branch_points(runner, parent, extension)?.iter().any(|(_, step)| *step == at))
}
