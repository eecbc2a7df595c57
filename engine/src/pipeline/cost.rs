//! What stages take: updates, tokens, parameters, arithmetic, disk.

use crate::pipeline::Pipeline;
use crate::pipeline::config::{AttentionSchedule, ExportDtype, RandomInitConfig, StageConfig, TrainConfig};
use crate::pipeline::role::InputRole;
use crate::pipeline::shape::{ModelShape, saturating_product};
use crate::pipeline::source_facts::PipelineFacts;
use crate::pipeline::stage::Stage;

/// What a stage takes from nothing. Unknown parts are `None`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StageCost {
    /// The model it makes or trains.
    pub shape: Option<ModelShape>,
    /// Of a training stage.
    pub training: Option<TrainingCost>,
    /// Bytes of the artifact, about.
    pub artifact_bytes: u64,
    /// Bytes of checkpoints while it runs, about.
    pub work_bytes: u64,
}

/// What a training stage takes.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainingCost {
    /// Optimizer updates.
    pub updates: u64,
    /// Tokens in a row.
    pub length: u64,
    /// Tokens of all rows of all updates.
    pub tokens: u64,
    /// Floating-point operations.
    pub flops: Option<f64>,
    /// Seconds on the budget's machine at its assumed utilisation.
    pub seconds: Option<f64>,
    /// Which positions see which, as the updates go by.
    pub attention: AttentionSchedule,
    /// Learning rate at 0, 1, 25, 50, 75 and 100 % of the updates.
    pub learning_rate: [f64; 6],
}

/// Percentages of the updates at which the learning rate is shown.
pub const LEARNING_RATE_PERCENTAGES: [u64; 6] = [0, 1, 25, 50, 75, 100];

/// What every stage takes, in the pipeline's order.
#[must_use]
pub fn estimate_costs(pipeline: &Pipeline) -> Vec<StageCost> {
    let facts = &PipelineFacts::collect(pipeline);
    let mut costs: Vec<StageCost> = Vec::new();
    for stage in &pipeline.stages {
        let shape = find_model_shape(stage, facts, &costs);
        costs.push(estimate_stage_cost(pipeline, stage, facts, shape));
    }
    costs
}

/// The model of a stage: its own, or that of the stage it starts from.
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

/// Weights are 4 bytes a parameter; a checkpoint adds two moments of 4 bytes each; one more is there while it is written.
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
        // A token is about four bytes of text and is kept in two to four.
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

/// Dense bf16 operations per second of one device, from NVIDIA's data sheets.
pub const DEVICE_FLOPS: [(&str, f64); 4] =
    [("H100", 989e12), ("H200", 989e12), ("A100", 312e12), ("B200", 2250e12)];

/// How many devices a machine such as `4xH100-80GB` has, and what they are.
#[must_use]
pub fn parse_machine(machine: &str) -> (u64, &str) {
    let (count, name) = machine.split_once('x').unwrap_or(("1", machine));
    count.parse().map_or((1, machine), |count| (count, name))
}

/// Dense bf16 operations per second of a machine, if its devices are known.
#[must_use]
pub fn compute_peak_flops(machine: Option<&str>) -> Option<f64> {
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
