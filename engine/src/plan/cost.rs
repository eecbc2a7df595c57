//! What stages take: updates, tokens, parameters, arithmetic, disk.

use crate::config::{Attention, ExportDtype, RandomInitConfig, StageConfig, TrainConfig};
use crate::pipeline::{Pipeline, Stage, StageId};

use super::facts::Facts;

/// The numbers that a Qwen3's parameters follow from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Rows of the embedding.
    pub vocabulary: u64,
    /// Width of the residual stream.
    pub hidden: u64,
    /// Transformer blocks.
    pub layers: u64,
    /// Query heads.
    pub heads: u64,
    /// Key and value heads.
    pub kv_heads: u64,
    /// Width of a head.
    pub head_dim: u64,
    /// Width of the feed-forward layer.
    pub feed_forward: u64,
    /// Whether the head shares the embedding's matrix.
    pub tied: bool,
}

impl Shape {
    /// The shape of a published Qwen3, by its name on the hub (with or without `-Base`), from its `config.json`.
    #[must_use]
    pub fn published(from: &str) -> Option<Self> {
        let name = from.rsplit('/').next()?.trim_end_matches("-Base");
        let (hidden, layers, heads, feed_forward, tied) = match name {
            "Qwen3-0.6B" => (1024, 28, 16, 3072, true),
            "Qwen3-1.7B" => (2048, 28, 16, 6144, true),
            "Qwen3-4B" => (2560, 36, 32, 9728, true),
            "Qwen3-8B" => (4096, 36, 32, 12288, false),
            _ => return None,
        };
        let (vocabulary, kv_heads, head_dim) = (151_936, 8, 128);
        Some(Self { vocabulary, hidden, layers, heads, kv_heads, head_dim, feed_forward, tied })
    }

    /// Parameters by group.
    #[must_use]
    pub fn groups(&self) -> [(&'static str, u64); 5] {
        let table = product(&[self.vocabulary, self.hidden]);
        let queries = product(&[2, self.hidden, self.heads, self.head_dim]);
        let keys = product(&[2, self.hidden, self.kv_heads, self.head_dim]);
        let norms = product(&[2, self.hidden.saturating_add(self.head_dim)]);
        [
            ("embedding", table),
            ("attention", product(&[self.layers, queries.saturating_add(keys)])),
            ("feed-forward", product(&[self.layers, 3, self.hidden, self.feed_forward])),
            ("norms", product(&[self.layers, norms]).saturating_add(self.hidden)),
            ("head", if self.tied { 0 } else { table }),
        ]
    }

    /// All parameters.
    #[must_use]
    pub fn parameters(&self) -> u64 {
        total(self.groups().into_iter().map(|(_, count)| count))
    }

    /// Floating-point operations of training on one token in rows of `length`:
    /// `6 N + 12 layers heads head_dim length` (Chowdhery et al., 2022, PaLM, appendix B).
    ///
    /// N counts the parameters that are multiplied: an input embedding with a matrix of its own is only looked up.
    /// Every position attends to every other; a causal mask is not given a discount. Recomputed blocks are not counted.
    #[must_use]
    pub fn flops_per_token(&self, length: u64) -> f64 {
        self.dense() + self.attention(length)
    }

    /// The same for block diffusion: every token goes through the blocks of the model twice, noisy and clean, and through the head
    /// once. Both halves see half of the clean tokens on average, so that attention takes what it takes once without halves.
    #[must_use]
    pub fn flops_per_token_of_blocks(&self, length: u64) -> f64 {
        let head = 6.0 * product(&[self.vocabulary, self.hidden]) as f64;
        2.0 * self.dense() - head + self.attention(length)
    }

    fn dense(&self) -> f64 {
        let looked_up = if self.tied { 0 } else { product(&[self.vocabulary, self.hidden]) };
        6.0 * self.parameters().saturating_sub(looked_up) as f64
    }

    fn attention(&self, length: u64) -> f64 {
        12.0 * product(&[self.layers, self.heads, self.head_dim]) as f64 * length as f64
    }
}

/// The product, as far as 64 bits hold it: shapes of files from elsewhere may be nonsense.
fn product(factors: &[u64]) -> u64 {
    factors.iter().fold(1, |all, factor| all.saturating_mul(*factor))
}

/// The sum, as far as 64 bits hold it.
pub(crate) fn total(parts: impl Iterator<Item = u64>) -> u64 {
    parts.fold(0, u64::saturating_add)
}

/// What a stage takes from nothing. Unknown parts are `None`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cost {
    /// The model it makes or trains.
    pub shape: Option<Shape>,
    /// Of a training stage.
    pub training: Option<Training>,
    /// Bytes of the artifact, about.
    pub artifact_bytes: u64,
    /// Bytes of checkpoints while it runs, about.
    pub work_bytes: u64,
}

/// What a training stage takes.
#[derive(Clone, Debug, PartialEq)]
pub struct Training {
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
    pub attention: Attention,
    /// Learning rate at 0, 1, 25, 50, 75 and 100 % of the updates.
    pub learning_rate: [f64; 6],
}

/// Percentages of the updates at which the learning rate is shown.
pub const SHOWN: [u64; 6] = [0, 1, 25, 50, 75, 100];

/// What every stage takes, in the pipeline's order.
#[must_use]
pub fn of(pipeline: &Pipeline, facts: &Facts) -> Vec<Cost> {
    let mut costs: Vec<Cost> = Vec::new();
    for stage in &pipeline.stages {
        let shape = shape(stage, facts, &costs);
        costs.push(cost(pipeline, stage, facts, shape));
    }
    costs
}

/// The model of a stage: its own, or that of the stage it starts from.
fn shape(stage: &Stage, facts: &Facts, before: &[Cost]) -> Option<Shape> {
    let role = |name: &str| stage.inputs.iter().find(|input| input.role == name).map(|input| input.stage);
    match &stage.config {
        StageConfig::Fetch(_) => facts.of(stage.id).shape,
        StageConfig::RandomInit(config) => Some(random(config, facts.of(role("tokenizer")?).vocabulary?)),
        _ => before.get(role("from")?.0 as usize)?.shape,
    }
}

fn random(config: &RandomInitConfig, vocabulary: u64) -> Shape {
    Shape {
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
fn cost(pipeline: &Pipeline, stage: &Stage, facts: &Facts, shape: Option<Shape>) -> Cost {
    let weights = shape.map_or(0, |shape| product(&[4, shape.parameters()]));
    let mut cost = Cost { shape, ..Cost::default() };
    match &stage.config {
        StageConfig::Train(config) => {
            cost.training = Some(training(pipeline, stage, config, shape));
            cost.artifact_bytes = weights;
            cost.work_bytes = product(&[3, weights, config.checkpoint.keep as u64 + 1]);
        }
        StageConfig::RandomInit(_) | StageConfig::Convert(_) => cost.artifact_bytes = weights,
        StageConfig::Export(config) => {
            cost.artifact_bytes = if config.dtype == ExportDtype::Bf16 { weights / 2 } else { weights };
        }
        StageConfig::Fetch(_) => cost.artifact_bytes = facts.of(stage.id).bytes.max(weights / 2),
        // A token is about four bytes of text and is kept in two to four.
        StageConfig::Rows(_) => cost.artifact_bytes = facts.of(stage.id).bytes,
        StageConfig::Tokenizer(_) | StageConfig::Evaluate(_) | StageConfig::Generate(_) => {}
    }
    cost
}

fn training(pipeline: &Pipeline, stage: &Stage, config: &TrainConfig, shape: Option<Shape>) -> Training {
    let rows = stage.inputs.iter().find(|input| input.role.starts_with("rows/"));
    let length = rows.and_then(|input| row_length(pipeline, input.stage)).unwrap_or(0);
    let tokens = config.steps.saturating_mul(config.batch.rows as u64).saturating_mul(length);
    let per_token = |shape: Shape| match config.attention {
        Attention::Block { .. } => shape.flops_per_token_of_blocks(length),
        _ => shape.flops_per_token(length),
    };
    let flops = shape.map(|shape| per_token(shape) * tokens as f64);
    let machine = peak(pipeline.budget.gpu.as_deref()).zip(pipeline.budget.mfu);
    let seconds = flops.zip(machine).map(|(flops, (peak, share))| flops / (peak * share));
    let at = |percent: u64| {
        let step = u128::from(config.steps) * u128::from(percent) / 100;
        config.learning_rate.at(u64::try_from(step).unwrap_or(u64::MAX), config.steps)
    };
    let (updates, attention) = (config.steps, config.attention.clone());
    Training { updates, length, tokens, flops, seconds, attention, learning_rate: SHOWN.map(at) }
}

fn row_length(pipeline: &Pipeline, id: StageId) -> Option<u64> {
    match &pipeline.stages.get(id.0 as usize)?.config {
        StageConfig::Rows(config) => Some(config.length as u64),
        _ => None,
    }
}

/// Dense bf16 operations per second of one device, from NVIDIA's data sheets.
pub const DEVICES: [(&str, f64); 4] =
    [("H100", 989e12), ("H200", 989e12), ("A100", 312e12), ("B200", 2250e12)];

/// How many devices a machine such as `4xH100-80GB` has, and what they are.
#[must_use]
pub fn devices(machine: &str) -> (u64, &str) {
    let (count, name) = machine.split_once('x').unwrap_or(("1", machine));
    count.parse().map_or((1, machine), |count| (count, name))
}

/// Dense bf16 operations per second of a machine, if its devices are known.
#[must_use]
pub fn peak(machine: Option<&str>) -> Option<f64> {
    let (count, name) = devices(machine?);
    DEVICES.iter().find(|(known, _)| name.starts_with(known)).map(|(_, peak)| count as f64 * peak)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn qwen3_1_7b_takes_15_96_gflop_per_token_at_8192() {
        let shape = Shape::published("hf:Qwen/Qwen3-1.7B").unwrap();
        assert_eq!(shape.parameters(), 1_720_574_976);
        assert_eq!((shape.flops_per_token(8192) / 1e7).round() / 100.0, 15.96);
        assert_eq!((shape.flops_per_token_of_blocks(8192) / 1e7).round() / 100.0, 24.42);
        assert_eq!(Shape::published("hf:Qwen/Qwen3-1.7B-Base"), Some(shape));
    }

    #[test]
    fn machines_are_read() {
        assert_eq!(peak(Some("4xH100-80GB")), Some(4.0 * 989e12));
        assert_eq!(peak(Some("A100")), Some(312e12));
        assert_eq!(peak(Some("abacus")), None);
    }
}
