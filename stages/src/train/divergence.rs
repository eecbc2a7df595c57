//! Sees divergence that stays finite: held-out loss worse than chance and than at the start, and weights that grow without
//! bound.
//!
//! Chance is ln V, the cross-entropy of a model that knows nothing. A fresh conversion starts above it, because its mask row
//! is new, so that alone is no divergence. The weighted loss of a flow objective has no such fixed point; therefore the plain
//! cross-entropy of the positions that count is compared.

use fmflow_engine::error::{Failure, FailureKind};
use fmflow_engine::run::execute::Job;
use indexmap::IndexMap;

use super::adamw::{StepError, StepFacts};
use super::held_out::HeldOutLoss;
use super::setup::TrainingSetup;
use super::state::{TrainingState, WeightGrowth};
use crate::failure::{input_failure, stage_failure};

/// A failure of kind [`FailureKind::Diverged`]; `what` says what happened.
pub(super) fn divergence_failure(what: String) -> Failure {
    Failure {
        kind: FailureKind::Diverged,
        message: what,
        help: Some("lower `learning-rate peak=`, raise `warmup=`, or lower `max-weight=`".into()),
    }
}

/// Judges a measurement of the held-out loss after `state.step` updates. Reports one that is worse, and counts it.
///
/// # Errors
/// If a loss is not finite, or this is one worse measurement too many. At the end of the stage one is too many.
pub(super) fn judge_held_out(
    job: &Job<'_>,
    setup: &TrainingSetup<'_>,
    state: &mut TrainingState,
    held_out: &IndexMap<String, HeldOutLoss>,
) -> Result<(), Failure> {
    let (guard, done) = (setup.config.guard.diverged, state.step);
    if let Some((dataset, found)) = held_out.iter().find(|(_, found)| !found.is_finite()) {
        let loss = found.loss;
        return Err(divergence_failure(format!(
            "training diverged by update {done}: the held-out loss on `{dataset}` is {loss}"
        )));
    }
    let last = done >= setup.config.steps;
    if done < setup.config.learning_rate.warmup && !last {
        return Ok(());
    }
    let Some(what) = describe_worse_loss(setup, state, held_out) else {
        state.counters.worse = 0;
        return Ok(());
    };
    state.counters.worse += 1;
    job.report.note(&format!("warning: after update {done} {what}"));
    match guard.stop && (last || state.counters.worse >= guard.limit) {
        true => Err(guard_failure(format!("training diverged by update {done}: {what}"))),
        false => Ok(()),
    }
}

/// Refuses a divergence from the teacher that is not finite.
///
/// # Errors
/// If there is one.
pub(super) fn judge_retention(done: u64, retention: &IndexMap<String, f64>) -> Result<(), Failure> {
    let Some((dataset, kl)) = retention.iter().find(|(_, kl)| !kl.is_finite()) else { return Ok(()) };
    let what = format!("by update {done} the divergence from the teacher on `{dataset}` is {kl}");
    Err(divergence_failure(what))
}

/// The first dataset whose held-out cross-entropy is worse than chance and than at the start of the stage, as a sentence.
fn describe_worse_loss(
    setup: &TrainingSetup<'_>,
    state: &TrainingState,
    held_out: &IndexMap<String, HeldOutLoss>,
) -> Option<String> {
    let start = state.counters.start.as_ref().expect("the start is measured before the first update");
    let chance = (setup.parent.vocabulary as f64).ln();
    held_out.iter().find_map(|(dataset, found)| {
        let (now, before) = (found.cross_entropy, *start.cross_entropy.get(dataset)?);
        is_worse(now, before, chance, setup.config.guard.diverged.margin).then(|| {
            format!(
                "held-out cross-entropy on `{dataset}` is {now:.3}: worse than chance ({chance:.3}) and than at the start of the stage ({before:.3})"
            )
        })
    })
}

/// Whether a cross-entropy is above both others by more than `margin`.
fn is_worse(now: f64, before: f64, chance: f64, margin: f64) -> bool {
    now > before.max(chance) * (1.0 + margin)
}

/// Judges the norm of the weights: growth to half of the limit and growth beyond it are reported once each.
///
/// # Errors
/// If the norm is not finite, or it is beyond the limit and the guard stops the stage.
pub(super) fn judge_weights(
    job: &Job<'_>,
    setup: &TrainingSetup<'_>,
    state: &mut TrainingState,
    norm: f64,
) -> Result<(), Failure> {
    let (guard, done) = (setup.config.guard.diverged, state.step);
    let start =
        state.counters.start.as_ref().expect("the start is measured before the first update").weight_norm;
    let what = || {
        format!(
            "the norm of the weights is {norm:.3e}, {:.0} times that at the start of the stage ({start:.3e})",
            norm / start
        )
    };
    if !norm.is_finite() {
        return Err(divergence_failure(format!("training diverged by update {done}: {}", what())));
    }
    let growth = match norm / start {
        ratio if ratio > guard.growth => WeightGrowth::Beyond,
        ratio if ratio > 0.5 * guard.growth => WeightGrowth::Large,
        _ => WeightGrowth::Expected,
    };
    if growth == WeightGrowth::Beyond && guard.stop {
        return Err(guard_failure(format!("training diverged by update {done}: {}", what())));
    }
    if growth > state.counters.growth {
        job.report.note(&format!("warning: at update {done} {}", what()));
        state.counters.growth = growth;
    }
    Ok(())
}

/// Refuses an update after which a weight may not be finite.
///
/// # Errors
/// If the change of the weights is not finite.
pub(super) fn refuse_non_finite_update(k: u64, facts: &StepFacts) -> Result<(), Failure> {
    match facts.update_ratio.is_finite() {
        true => Ok(()),
        false => Err(divergence_failure(format!(
            "training diverged at update {k}: the change of the weights is {} times the weights",
            facts.update_ratio
        ))),
    }
}

/// A failure that a setting of the guard decided.
fn guard_failure(what: String) -> Failure {
    let mut failure = divergence_failure(what);
    if let Some(help) = &mut failure.help {
        help.push_str("; to be warned only, write `guard { diverged action=\"warn\" }`");
    }
    failure
}

/// The failure of an update that could not be applied.
pub(super) fn step_failure(error: StepError) -> Failure {
    match error {
        StepError::NoMatch { .. } => {
            input_failure(error, "write a part of a parameter's name, or the name of a group")
        }
        StepError::NonFinite { .. } => stage_failure(error),
        StepError::Backbone(error) => stage_failure(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worse_means_above_chance_and_above_the_start() {
        let chance = 320f64.ln();
        assert!(is_worse(202.9, 5.8, chance, 0.02) && is_worse(5876.0, 11.2, chance, 0.02));
        // A fresh conversion starts above chance and comes down.
        assert!(!is_worse(11.2, 11.2, chance, 0.02) && !is_worse(7.0, 11.2, chance, 0.02));
        // Better than chance, although worse than the parent.
        assert!(!is_worse(5.0, 1.0, chance, 0.02));
        assert!(!is_worse(5.81, 5.8, chance, 0.02) && is_worse(5.81, 5.8, chance, 0.0));
    }
}
