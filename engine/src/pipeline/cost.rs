//! Estimates what stages cost: updates, tokens, parameters, arithmetic, disk.

use crate::pipeline::Pipeline;
use crate::pipeline::config::{AttentionSchedule, ExportDtype, RandomInitConfig, StageConfig, TrainConfig};
use crate::pipeline::role::InputRole;
use crate::pipeline::shape::{ModelShape, saturating_product};
use crate::pipeline::source_facts::PipelineFacts;
use crate::pipeline::stage::Stage;

/// Estimated cost of a stage that runs from the start, with nothing cached.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StageCost {
    /// Shape of the model that the stage makes or trains; `None` if unknown.
    pub shape: Option<ModelShape>,
    /// For a training stage.
    pub training: Option<TrainingCost>,
    /// Approximate size of the artifact in bytes.
    pub artifact_bytes: u64,
    /// Approximate size in bytes of the checkpoints that exist at a time while the stage runs.
    pub work_bytes: u64,
}

/// Estimated cost of a training stage. Unknown parts are `None`.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainingCost {
    /// Optimizer updates.
    pub updates: u64,
    /// Tokens in a row.
    pub length: u64,
    /// Tokens of all rows of all updates.
    pub tokens: u64,
    /// Total floating-point operations.
    pub flops: Option<f64>,
    /// Seconds on the budget's machine at the assumed utilization.
    pub seconds: Option<f64>,
    /// Which positions see which.
    pub attention: AttentionSchedule,
    /// Learning rate at 0, 1, 25, 50, 75 and 100 % of the updates.
    pub learning_rate: [f64; 6],
}

/// Percentages of the updates at which the learning rate is shown.
pub(crate) const LEARNING_RATE_PERCENTAGES: [u64; 6] = [0, 1, 25, 50, 75, 100];

/// Estimates the cost of every stage, in the pipeline's order.
#[must_use]
pub(crate) fn estimate_costs(pipeline: &Pipeline) -> Vec<StageCost> {
    let facts = &PipelineFacts::collect(pipeline);
    let mut costs: Vec<StageCost> = Vec::new();
    for stage in &pipeline.stages {
        let shape = find_model_shape(stage, facts, &costs);
        costs.push(estimate_stage_cost(pipeline, stage, facts, shape));
    }
    costs
}

/// Shape of a stage's model: the one it brings or makes, or that of the stage it starts from.
fn find_model_shape(stage: &Stage, facts: &PipelineFacts, before: &[StageCost]) -> Option<ModelShape> {
    match &stage.config {
        StageConfig::Fetch(_) => facts.get(stage.id).shape,
        StageConfig::RandomInit(config) => {
            Some(build_random_shape(config, facts.get(stage.input(&InputRole::Tokenizer)?).vocabulary?))
        }
        _ => before[stage.parent()?.index()].shape,
    }
}

fn build_random_shape(config: &RandomInitConfig, vocabulary: u64) -> ModelShape {
    ModelShape {
        vocabulary,
        hidden: config.hidden as u64,
        layers: config.layers as u64,
        heads: config.heads as u64,
        kv_heads: config.kv_heads as u64,
        head_dim: config.head_dim as u64,
        feed_forward: config.feed_forward as u64,
        tied: config.tied,
    }
}

/// Weights take 4 bytes per parameter, and a checkpoint adds two moments of 4 bytes each. While a new checkpoint is written,
/// there is one more than `keep`.
fn estimate_stage_cost(
    pipeline: &Pipeline,
    stage: &Stage,
    facts: &PipelineFacts,
    shape: Option<ModelShape>,
) -> StageCost {
    let weights = shape.map_or(0, |shape| saturating_product(&[4, shape.parameters()]));
    let mut cost = StageCost { shape, ..StageCost::default() };
    match &stage.config {
        StageConfig::Train(config) => {
            cost.training = Some(estimate_training_cost(pipeline, stage, config, shape));
            cost.artifact_bytes = weights;
            cost.work_bytes = saturating_product(&[3, weights, config.checkpoint.keep as u64 + 1]);
        }
        StageConfig::RandomInit(_) | StageConfig::Convert(_) => cost.artifact_bytes = weights,
        StageConfig::Export(config) => {
            cost.artifact_bytes = if config.dtype == ExportDtype::Bf16 { weights / 2 } else { weights };
        }
        StageConfig::Fetch(_) => cost.artifact_bytes = facts.get(stage.id).bytes.max(weights / 2),
        // A token is about four bytes of text and is stored in two to four.
        StageConfig::Rows(_) => cost.artifact_bytes = facts.get(stage.id).bytes,
        StageConfig::Tokenizer(_) | StageConfig::Evaluate(_) | StageConfig::Generate(_) => {}
    }
    cost
}

fn estimate_training_cost(
    pipeline: &Pipeline,
    stage: &Stage,
    config: &TrainConfig,
    shape: Option<ModelShape>,
) -> TrainingCost {
    let length = stage.rows().next().and_then(|id| find_row_length(&pipeline.stages[id])).unwrap_or(0);
    let tokens = config.steps.saturating_mul(config.batch.rows as u64).saturating_mul(length);
    let per_token = |shape: ModelShape| match config.attention {
        AttentionSchedule::Block { .. } => shape.flops_per_token_of_blocks(length),
        _ => shape.flops_per_token(length),
    };
    let flops = shape.map(|shape| per_token(shape) * tokens as f64);
    let machine = compute_peak_flops(pipeline.budget.gpu.as_deref()).zip(pipeline.budget.mfu);
    let seconds = flops.zip(machine).map(|(flops, (peak, share))| flops / (peak * share));
    let at = |percent: u64| {
        let step = u128::from(config.steps) * u128::from(percent) / 100;
        let step = u64::try_from(step).expect("a share of the updates is at most all of them");
        config.learning_rate.at(step, config.steps)
    };
    let (updates, attention) = (config.steps, config.attention.clone());
    TrainingCost {
        updates,
        length,
        tokens,
        flops,
        seconds,
        attention,
        learning_rate: LEARNING_RATE_PERCENTAGES.map(at),
    }
}

fn find_row_length(rows: &Stage) -> Option<u64> {
    match &rows.config {
        StageConfig::Rows(config) => Some(config.length as u64),
        _ => None,
    }
}

/// Peak dense bf16 operations per second of one device, from NVIDIA's data sheets.
pub(crate) const DEVICE_FLOPS: [(&str, f64); 4] =
    [("H100", 989e12), ("H200", 989e12), ("A100", 312e12), ("B200", 2250e12)];

/// Splits a machine such as `4xH100-80GB` into the number of devices and their name. Without a number it is one device.
#[must_use]
pub(crate) fn parse_machine(machine: &str) -> (u64, &str) {
    let (count, name) = machine.split_once('x').unwrap_or(("1", machine));
    count.parse().map_or((1, machine), |count| (count, name))
}

/// Peak dense bf16 operations per second of a machine; `None` if its devices are not in [`DEVICE_FLOPS`].
#[must_use]
pub(crate) fn compute_peak_flops(machine: Option<&str>) -> Option<f64> {
    let (count, name) = parse_machine(machine?);
    DEVICE_FLOPS.iter().find(|(known, _)| name.starts_with(known)).map(|(_, peak)| count as f64 * peak)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_are_read() {
        assert_eq!(compute_peak_flops(Some("4xH100-80GB")), Some(4.0 * 989e12));
        assert_eq!(compute_peak_flops(Some("A100")), Some(312e12));
        assert_eq!(compute_peak_flops(Some("abacus")), None);
    }
}
