//! Starts from permanent checkpoints: the one that a stage needs, verified or refused with a list of those that there are.

use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::pipeline::config::StageConfig;
use crate::pipeline::role::InputRole;
use crate::pipeline::stage::Stage;
use crate::plan::{PlanState, PlannedStage};
use crate::run::extension::takes_over;
use crate::run::runner::Runner;
use crate::store::listing::list_checkpoints;
use crate::store::trusted::verify_for_reading;
use crate::text::display::list_kept_updates;

/// Updates of its parent after which the permanent checkpoint was saved that a stage starts from.
pub(super) fn find_branch_update(stage: &Stage) -> Option<u64> {
    match &stage.config {
        StageConfig::Train(config) => config.branch.map(|branch| branch.at),
        _ => None,
    }
}

/// Updates of its parent after which permanent checkpoints were saved that a stage reads: to start from, or to average.
fn list_needed_updates(stage: &Stage) -> Vec<u64> {
    let averaged = stage.inputs.iter().filter_map(|input| match input.role {
        InputRole::Permanent(update) => Some(update),
        _ => None,
    });
    find_branch_update(stage).into_iter().chain(averaged).collect()
}

/// The verified permanent checkpoint of `parent` after `at` updates.
pub(super) fn verify_branch_point(
    runner: &Runner<'_>,
    stage: &Stage,
    parent: &PlannedStage,
    at: u64,
) -> Result<PathBuf> {
    let all = runner.store.permanent(&parent.key.name, &parent.key.fingerprint);
    let kept = list_checkpoints(runner.store.vfs(), &all)?;
    let Some((_, folder)) = kept.iter().find(|(step, _)| *step == at) else {
        return Err(missing_branch_point(stage, parent, at, &kept));
    };
    verify_for_reading(runner.store, folder)?;
    Ok(folder.clone())
}

fn missing_branch_point(stage: &Stage, parent: &PlannedStage, at: u64, kept: &[(u64, PathBuf)]) -> Error {
    let steps: Vec<u64> = kept.iter().map(|(step, _)| *step).collect();
    let (name, parent) = (&stage.name, &parent.key.name);
    let kept = match list_kept_updates(&steps) {
        Some(kept) => format!("it has those after update {kept}"),
        None => "it has none".to_owned(),
    };
    let message = format!(
        "`{name}` needs the checkpoint after update {at} of `{parent}`, but the store has no permanent checkpoint of it: {kept}"
    );
    let help = format!(
        "start from one of these, or make them again with `fmflow run FILE --from {parent}`, if `permanent every=` keeps that update"
    );
    Error::Input { message, help: Some(help) }
}

/// Refuses a start from a permanent checkpoint that the stage before has passed without keeping: nothing in this run would make it.
pub(super) fn refuse_missing_branch_points(runner: &Runner<'_>, work: &[&PlannedStage]) -> Result<()> {
    for planned in work {
        let stage = runner.stage(planned);
        for at in list_needed_updates(stage) {
            let parent = stage.parent().map(|id| runner.plan.planned(id)).expect("such a stage has a parent");
            refuse_missing_point(runner, stage, parent, at)?;
        }
    }
    Ok(())
}

fn refuse_missing_point(runner: &Runner<'_>, stage: &Stage, parent: &PlannedStage, at: u64) -> Result<()> {
    let passed = match parent.state {
        PlanState::Cached => true,
        PlanState::Resume { step, .. } => step >= at,
        _ => false,
    };
    if !passed {
        return Ok(());
    }
    let all = runner.store.permanent(&parent.key.name, &parent.key.fingerprint);
    let kept = list_checkpoints(runner.store.vfs(), &all)?;
    match kept.iter().any(|(step, _)| *step == at) || takes_over(runner, parent, at)? {
        true => Ok(()),
        false => Err(missing_branch_point(stage, parent, at, &kept)),
    }
}
