//! The plan for programs.

use indexmap::IndexMap;
use serde_json::{Value, json};

use crate::pipeline::Pipeline;
use crate::pipeline::config::StageConfig;
use crate::pipeline::cost::Training;
use crate::pipeline::repository::Pinned;
use crate::plan::planned::{Plan, Planned, State};

/// The plan as one object, schema `fmflow.plan/1`.
#[must_use]
pub fn render(pipeline: &Pipeline, plan: &Plan) -> Value {
    json!({
        "schema": "fmflow.plan/1",
        "pipeline": pipeline.name,
        "seed": pipeline.seed,
        "work": plan.work(),
        "disk-bytes": plan.disk(),
        "pins": pipeline.pins.iter().map(pin).collect::<Vec<_>>(),
        "stages": plan.wanted().map(|planned| stage(pipeline, planned)).collect::<Vec<_>>(),
    })
}

fn pin(pin: &Pinned) -> Value {
    let Pinned { asked, commit } = pin;
    json!({
        "kind": asked.kind.word(), "repository": asked.name, "revision": asked.revision, "commit": commit,
    })
}

fn stage(pipeline: &Pipeline, planned: &Planned) -> Value {
    let own = pipeline.stage(planned.id);
    let step = match planned.state {
        State::Resume { step } => Some(step),
        _ => None,
    };
    json!({
        "name": planned.key.name,
        "kind": planned.key.kind,
        "fingerprint": planned.key.fingerprint,
        "state": planned.state.word(),
        "step": step,
        "reasons": planned.reasons,
        "unsupported": own.unsupported,
        "inputs": planned.key.inputs,
        "parameters": planned.cost.shape.map(|shape| shape.parameters()),
        "artifact-bytes": planned.cost.artifact_bytes,
        "work-bytes": planned.cost.work_bytes,
        "training": planned.cost.training.as_ref().map(training),
        "mixture": mixture(&own.config),
    })
}

/// Shares of tokens of a training stage's datasets, phase by phase.
fn mixture(config: &StageConfig) -> Option<Value> {
    let StageConfig::Train(config) = config else { return None };
    let phase = |(at, start): (usize, &u64)| {
        let names = config.parts.iter().map(|part| part.dataset.clone());
        let shares: IndexMap<_, _> = names.zip(config.shares(at)).collect();
        json!({ "from-update": start, "shares": shares })
    };
    Some(config.phases.iter().enumerate().map(phase).collect())
}

fn training(training: &Training) -> Value {
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
