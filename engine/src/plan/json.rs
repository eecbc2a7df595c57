//! Renders the plan as JSON, for programs.

use indexmap::IndexMap;
use serde_json::{Value, json};

use crate::pipeline::Pipeline;
use crate::pipeline::config::StageConfig;
use crate::pipeline::cost::TrainingCost;
use crate::pipeline::repository::PinnedRepository;
use crate::plan::approximate::list_approximate_caches;
use crate::plan::measured::TimeEstimate;
use crate::plan::planned::{Plan, PlanState, PlannedStage};

/// The plan as one object, schema `fmflow.plan/1`.
#[must_use]
pub fn render_plan_json(pipeline: &Pipeline, plan: &Plan) -> Value {
    json!({
        "schema": "fmflow.plan/1",
        "pipeline": pipeline.name,
        "seed": pipeline.seed,
        "work": plan.count_stages_to_run(),
        "needs-yes": plan.describe_large_loss().is_some(),
        "disk-bytes": plan.disk_bytes(),
        "likely-disk-bytes": plan.likely_bytes(),
        "pins": pipeline.pins.iter().map(render_pinned_json).collect::<Vec<_>>(),
        "stages": plan.wanted().map(|planned| render_stage_json(pipeline, planned)).collect::<Vec<_>>(),
    })
}

fn render_pinned_json(pin: &PinnedRepository) -> Value {
    let PinnedRepository { asked, commit } = pin;
    json!({
        "kind": asked.kind.word(), "repository": asked.name, "revision": asked.revision, "commit": commit,
    })
}

fn render_stage_json(pipeline: &Pipeline, planned: &PlannedStage) -> Value {
    let own = pipeline.stage(planned.id);
    let step = match planned.state {
        PlanState::Resume { step, .. } => Some(step),
        _ => None,
    };
    json!({
        "name": planned.key.name,
        "kind": planned.key.kind,
        "fingerprint": planned.key.fingerprint,
        "state": planned.state.word(),
        "step": step,
        "reasons": planned.reasons,
        "unused": planned.unused.as_ref().map(|work| json!({
            "updates": work.updates,
            "seconds": work.seconds,
            "changes": work.changes,
            "mistakable": work.mistakable,
        })),
        "unsupported": own.unsupported,
        "inputs": planned.key.inputs,
        "parameters": planned.cost.shape.map(|shape| shape.parameters()),
        "memory": planned.cost.memory.map(|memory| json!({
            "weights": memory.weights,
            "moments": memory.moments,
            "gradients": memory.gradients,
            "activations": memory.activations,
            "logits": memory.logits,
            "total": memory.total(),
        })),
        "artifact-bytes": planned.cost.artifact_bytes,
        "work-bytes": planned.cost.work_bytes,
        "weights-bytes": planned.cost.size.map(|size| size.weights()),
        "optimizer-bytes": planned.cost.training.as_ref().and(planned.cost.size).map(|size| size.moments()),
        "training": planned.cost.training.as_ref().map(render_training_json),
        "mixture": render_mixture_json(&own.config),
        "approximate-caches": render_caches_json(&own.config),
    })
}

/// The approximate caches of a stage, by the name of the sampler.
fn render_caches_json(config: &StageConfig) -> IndexMap<&str, &'static str> {
    let caches = list_approximate_caches(config).into_iter();
    caches.map(|(name, cache)| (name, cache.word())).collect()
}

/// Token shares of a training stage's datasets, phase by phase.
fn render_mixture_json(config: &StageConfig) -> Option<Value> {
    let StageConfig::Train(config) = config else { return None };
    let phase = |(at, start): (usize, &u64)| {
        let names = config.parts.iter().map(|part| part.dataset.clone());
        let shares: IndexMap<_, _> = names.zip(config.shares(at)).collect();
        json!({ "from-update": start, "shares": shares })
    };
    Some(config.phases.iter().enumerate().map(phase).collect())
}

/// The time left of trainings, by name.
#[must_use]
pub(crate) fn render_times_json(times: &IndexMap<String, TimeEstimate>) -> Value {
    let of = |(name, time): (&String, &TimeEstimate)| {
        let TimeEstimate { updates, seconds, measured, source } = time;
        let value = json!({ "updates": updates, "seconds": seconds, "measured": measured, "from": source });
        (name.clone(), value)
    };
    Value::Object(times.iter().map(of).collect())
}

fn render_training_json(training: &TrainingCost) -> Value {
    json!({
        "updates": training.updates,
        "row-length": training.length,
        "tokens": training.tokens,
        "flops": training.flops,
        "seconds": training.seconds,
        "attention": training.attention.to_string(),
        "learning-rate": training.learning_rate,
    })
}
