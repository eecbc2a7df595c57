//! What is measured on held-out rows during training: the loss, and what the model has forgotten of its teacher.

use fmflow_engine::error::Failure;
use fmflow_engine::run::execute::Job;
use indexmap::IndexMap;

use super::held_out::{self, HeldOutLoss};
use super::setup::TrainingSetup;
use super::state::{StageStart, TrainingState};
use super::{divergence, progress, retention};
use crate::backbone::Backbone;
use crate::failure::{self, stage_failure};

/// Measurements by dataset, after some update.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Validation {
    /// The held-out loss.
    pub held_out: IndexMap<String, HeldOutLoss>,
    /// KL(teacher || model) of the next token, in nats per token; empty without a teacher.
    pub retention: IndexMap<String, f64>,
}

impl Validation {
    /// Measures `model` after `step` updates.
    ///
    /// # Errors
    /// If the rows contradict a backbone, or the device fails.
    pub(super) fn measure(setup: &TrainingSetup<'_>, model: &Backbone, step: u64) -> Result<Self, Failure> {
        let held_out = measure_held_out(setup, model, step)?;
        let Some(teacher) = &setup.teacher else { return Ok(Self { held_out, retention: IndexMap::new() }) };
        let mut kl = IndexMap::new();
        for (dataset, rows) in &setup.held_out {
            let found = retention::measure_divergence(teacher, model, rows, setup.threads);
            kl.insert(dataset.clone(), found.map_err(stage_failure)?);
        }
        Ok(Self { held_out, retention: kl })
    }

    /// The held-out losses.
    pub(super) fn losses(&self) -> IndexMap<String, f64> {
        self.held_out.iter().map(|(dataset, found)| (dataset.clone(), found.loss)).collect()
    }

    /// Everything by name, for the summary of the stage.
    pub(super) fn metrics(&self) -> IndexMap<String, f64> {
        let losses = self.held_out.iter().map(|(name, found)| (format!("held_out_loss/{name}"), found.loss));
        let retention = self.retention.iter().map(|(name, kl)| (format!("retention_kl/{name}"), *kl));
        losses.chain(retention).collect()
    }

    /// What the model has forgotten, in words; `None` if nothing was measured.
    pub(super) fn describe_retention(&self) -> Option<String> {
        let listed: Vec<String> =
            self.retention.iter().map(|(dataset, kl)| format!("{dataset} {kl:.4}")).collect();
        (!listed.is_empty()).then(|| format!("KL from the teacher: {} nats per token", listed.join(", ")))
    }

    fn is_finite(&self) -> bool {
        self.held_out.values().all(HeldOutLoss::is_finite) && self.retention.values().all(|kl| kl.is_finite())
    }
}

/// Measures the weights that the stage starts from, unless the checkpoint that it continues from says what they were.
pub(super) fn record_start(
    job: &Job<'_>,
    setup: &TrainingSetup<'_>,
    state: &mut TrainingState,
) -> Result<(), Failure> {
    if state.counters.start.is_some() {
        return Ok(());
    }
    let model = &match state.step {
        0 => state.published_model()?,
        // A checkpoint of an earlier version may have diverged already.
        _ => setup.initial_model()?,
    };
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

/// Whether the metrics have what was measured after `done` updates.
pub(super) fn was_validated(job: &Job<'_>, done: u64) -> Result<bool, Failure> {
    let is_its = |line: &String| {
        let line: Option<serde_json::Value> = serde_json::from_str(line).ok();
        line.is_some_and(|line| line.get("held_out_loss").is_some() && line["step"] == done.saturating_sub(1))
    };
    Ok(job.slot.metric_lines()?.iter().any(is_its))
}

/// Measures, records and judges the weights of `state`.
pub(super) fn validate(
    job: &Job<'_>,
    setup: &TrainingSetup<'_>,
    state: &mut TrainingState,
) -> Result<Validation, Failure> {
    let found = Validation::measure(setup, &state.published_model()?, state.step)?;
    // What is not finite is no metric: it ends the stage right below.
    if found.is_finite() {
        let mut line = serde_json::json!({ "step": state.step - 1, "held_out_loss": found.losses() });
        if !found.retention.is_empty() {
            line["retention_kl"] = serde_json::json!(found.retention);
        }
        job.slot.append_metrics(&line.to_string())?;
    }
    let retention = found.describe_retention();
    let rows: Vec<usize> = setup.held_out.values().map(Vec::len).collect();
    let line =
        progress::describe_validation(setup.config, state.step, &found.losses(), &rows, retention.as_deref());
    if let Some(line) = line {
        job.report.event(&line);
    }
    divergence::judge_held_out(job, setup, state, &found.held_out)?;
    divergence::judge_retention(state.step, &found.retention)?;
    Ok(found)
}

/// The loss on held-out rows of every dataset, with the attention that `model` has learned after `step` updates.
fn measure_held_out(
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
