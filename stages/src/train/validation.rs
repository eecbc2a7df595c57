//! Measures, records and judges the loss on held-out rows, before the first update and on the way.

use fmflow_engine::error::Failure;
use fmflow_engine::run::execute::Job;
use indexmap::IndexMap;

use super::held_out::{self, HeldOutLoss};
use super::setup::TrainingSetup;
use super::state::{StageStart, TrainingState};
use super::{divergence, progress};
use crate::backbone::Backbone;
use crate::failure::{self, stage_failure};

/// Measures the weights that the stage starts from, unless the checkpoint that it continues from says what they were.
pub(super) fn record_start(
    job: &Job<'_>,
    setup: &TrainingSetup<'_>,
    state: &mut TrainingState,
) -> Result<(), Failure> {
    if state.counters.start.is_some() {
        return Ok(());
    }
    // The parent's and not those of `state`: a checkpoint of an earlier version may have diverged already.
    let model = &setup.parent.backbone.clone().computing_in(setup.precision());
    let found = measure_held_out(setup, model, 0)?;
    for (dataset, found) in &found {
        if found.positions == 0 {
            job.report.note(&format!(
                "no position of the held-out rows of `{dataset}` counts, so its held-out loss says nothing"
            ));
        } else if !found.is_finite() {
            let what = format!("the held-out loss on `{dataset}` is {} before the first update", found.loss);
            return Err(failure::input_failure(what, failure::BEYOND_F32));
        }
    }
    state.counters.start = Some(StageStart::new(model, &found)?);
    Ok(())
}

/// Measures, records and judges the loss on held-out rows of every dataset.
pub(super) fn validate_held_out(
    job: &Job<'_>,
    setup: &TrainingSetup<'_>,
    state: &mut TrainingState,
) -> Result<IndexMap<String, f64>, Failure> {
    let measured = measure_held_out(setup, &state.model, state.step)?;
    let found = list_losses(&measured);
    // A loss that is not finite is no metric: it ends the stage right below.
    if measured.values().all(|found| found.loss.is_finite()) {
        let line = serde_json::json!({ "step": state.step - 1, "held_out_loss": found });
        job.slot.append_metrics(&line.to_string())?;
    }
    if let Some(line) = progress::describe_validation(setup.config, state.step, &measured) {
        job.report.event(&line);
    }
    divergence::judge_held_out(job, setup, state, &measured)?;
    Ok(found)
}

pub(super) fn list_losses(measured: &IndexMap<String, HeldOutLoss>) -> IndexMap<String, f64> {
    measured.iter().map(|(dataset, found)| (dataset.clone(), found.loss)).collect()
}

/// The loss on held-out rows of every dataset, with the attention that `model` has learned after `step` updates.
pub(super) fn measure_held_out(
    setup: &TrainingSetup<'_>,
    model: &Backbone,
    step: u64,
) -> Result<IndexMap<String, HeldOutLoss>, Failure> {
    let mut found = IndexMap::new();
    for (dataset, rows) in &setup.held_out {
        let task = setup.evaluation_task(step);
        let loss = held_out::measure_held_out_loss(
            model,
            rows,
            &task,
            setup.learned_attention(step),
            setup.config.validate.times,
            setup.threads,
        )
        .map_err(stage_failure)?;
        found.insert(dataset.clone(), loss);
    }
    Ok(found)
}
