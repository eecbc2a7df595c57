//! What is done about an update that the guard refuses: it is left out, or the stage goes back, or it ends.

use fmflow_engine::error::{Failure, FailureKind};
use fmflow_engine::pipeline::config::train::GuardAction;
use fmflow_engine::run::execute::Job;
use fmflow_engine::text::display::count_noun;

use super::checkpoint;
use super::divergence::divergence_failure;
use super::guard::{GuardRecord, Rewind, Trouble, find_rewind_target};
use super::setup::TrainingSetup;
use super::state::{TrainingCounters, TrainingState};
use crate::failure::stage_failure;

/// What became of the refused update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Remedy {
    /// It was left out: its number is used up, and weights and moments are as before.
    Skipped,
    /// The stage went back to an earlier update.
    Rewound,
}

/// Deals with update `state.step`, which was refused, as the settings say.
///
/// # Errors
/// If nothing but an end is allowed, the limit is exceeded, or the store fails.
pub(super) fn apply_remedy(
    job: &Job<'_>,
    setup: &TrainingSetup<'_>,
    state: &mut TrainingState,
    trouble: &Trouble,
) -> Result<Remedy, Failure> {
    let (guard, k) = (&setup.config.guard, state.step);
    let (rule, what) = match trouble {
        Trouble::NonFinite(what) => (guard.non_finite.map(|rule| (rule.action, rule.limit)), what),
        Trouble::Spike(what) => (guard.spike.map(|rule| (rule.action, rule.limit)), what),
    };
    let Some((action, limit)) = rule.filter(|(action, _)| *action != GuardAction::Stop) else {
        return Err(divergence_failure(format!(
            "training diverged at update {k}: {what}; the update was not applied"
        )));
    };
    let (count, how) = state.counters.guard.count(k, trouble);
    if count > limit {
        return Err(limit_failure(k, what, &format!("it is number {count} {how}, and `limit={limit}`")));
    }
    match action {
        GuardAction::Rewind { back } => {
            rewind(job, setup, state, back, what)?;
            Ok(Remedy::Rewound)
        }
        GuardAction::Skip | GuardAction::Stop => {
            skip(job, state, what)?;
            Ok(Remedy::Skipped)
        }
    }
}

fn limit_failure(k: u64, what: &str, why: &str) -> Failure {
    let message = format!("training diverged at update {k}: {what}; {why}");
    let help = "lower `learning-rate peak=`, raise `warmup=`, or look at the data of these updates; `limit=` of the guard sets how many are allowed";
    Failure { kind: FailureKind::Diverged, message, help: Some(help.into()) }
}

fn skip(job: &Job<'_>, state: &mut TrainingState, what: &str) -> Result<(), Failure> {
    let k = state.step;
    let line = serde_json::json!({ "step": k, "guard": "skip", "why": what });
    job.slot.append_metrics(&line.to_string())?;
    job.report.note(&format!("warning: update {k} is left out: {what}"));
    state.step += 1;
    state.counters.step = state.step;
    state.counters.guard.skipped += 1;
    Ok(())
}

/// Goes back to an earlier state. What was saved since is removed: it belongs to updates that did not happen.
fn rewind(
    job: &Job<'_>,
    setup: &TrainingSetup<'_>,
    state: &mut TrainingState,
    back: u64,
    what: &str,
) -> Result<(), Failure> {
    let at = state.step;
    let to = find_rewind_target(&state.counters.guard, at, back);
    let mut old = open_earlier(job, setup, state, to)?;
    job.slot.discard_checkpoints_after(to)?;
    job.slot.truncate_metrics_from(to)?;
    let now = std::mem::take(&mut state.counters.guard);
    old.counters.guard.carry_over(now, Rewind { at, to, why: what.to_owned() });
    record_rewinds(job, &old.counters.guard, to)?;
    job.report.note(&format!(
        "warning: at update {at} {what}; the stage goes back to update {to} and leaves out the rows of {}",
        count_noun(at + 1 - to, "update")
    ));
    *state = old;
    Ok(())
}

/// The state after update `to`. `state` is given up: what follows replaces it or ends the stage, so it need not stand beside what is read.
fn open_earlier(
    job: &Job<'_>,
    setup: &TrainingSetup<'_>,
    state: &mut TrainingState,
    to: u64,
) -> Result<TrainingState, Failure> {
    state.optimizer.moments.clear();
    state.average = None;
    let fresh = checkpoint::build_fresh_state(job, setup)?;
    if to == 0 {
        let start = state.counters.start.clone();
        return Ok(TrainingState { counters: TrainingCounters { start, ..fresh.counters }, ..fresh });
    }
    let at = state.step;
    let gone =
        || stage_failure(format!("update {at} needs the state after update {to}, whose checkpoint is gone"));
    let folder = job.slot.checkpoint_after(to)?.ok_or_else(gone)?;
    checkpoint::restore_checkpoint(&folder, fresh)
}

/// Records the rewinds whose lines of metrics were taken back, and the new one.
fn record_rewinds(job: &Job<'_>, guard: &GuardRecord, to: u64) -> Result<(), Failure> {
    for Rewind { at, to, why } in guard.rewinds.iter().filter(|rewind| rewind.to >= to) {
        let line = serde_json::json!({ "step": to, "guard": "rewind", "from": at, "why": why });
        job.slot.append_metrics(&line.to_string())?;
    }
    Ok(())
}
