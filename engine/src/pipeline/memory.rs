//! How much memory a stage needs, from one formula. `benches/memory.py` compares it with what stages take on the CPU.

use std::num::NonZero;

use crate::pipeline::config::TrainConfig;
use crate::pipeline::config::attention::AttentionSchedule;
use crate::pipeline::config::train::{ComputeFormat, Objective};
use crate::pipeline::disk::ModelSize;
use crate::pipeline::shape::{ModelShape, saturating_product, saturating_sum};

/// Bytes of an f32.
const FLOAT: u64 = 4;

/// The most positions whose logits exist at once on the CPU.
const CHUNK: u64 = 256;

/// The most logits that exist at once on a card, in values (`ops/src/cube/loss.rs`).
const MOST_LOGITS: u64 = 1 << 28;

/// The most scores of attention that exist at once on a card, in values (`ops/src/cube/attention.rs`).
const MOST_SCORES: u64 = 1 << 27;

/// Bytes that a process takes beside a model: the program, its threads, and buffers of files. Fitted with the other constants on the
/// shapes of `benches/memory.py` (BENCHMARKS.md).
const PROGRAM: u64 = 24 << 20;

/// Peak memory of a stage in bytes, by what takes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryCost {
    /// The weights: of the model that a training stage trains, and of its teacher.
    pub weights: u64,
    /// The moments of the optimizer, and the moving average of the weights.
    pub moments: u64,
    /// The gradients of the micro-batches that are computed at a time.
    pub gradients: u64,
    /// What a forward pass keeps for the backward pass, and what the backward pass of a block adds.
    pub activations: u64,
    /// Logits, and their gradient.
    pub logits: u64,
}

impl MemoryCost {
    /// Everything together with the program itself, as on the CPU.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.without_program().saturating_add(PROGRAM)
    }

    /// Everything but the program: what is in the memory of an accelerator.
    #[must_use]
    pub(crate) fn without_program(&self) -> u64 {
        saturating_sum(
            [self.weights, self.moments, self.gradients, self.activations, self.logits].into_iter(),
        )
    }

    /// A stage that reads or writes a model part by part.
    #[must_use]
    pub(super) fn of_stream() -> Self {
        Self::default()
    }

    /// Making a model of this size: all values are drawn side by side, then moved one by one.
    #[must_use]
    pub(super) fn of_new_model(size: ModelSize) -> Self {
        Self { weights: size.values().saturating_mul(2 * FLOAT), ..Self::default() }
    }

    /// A conversion with its certificate: the embedding twice, on the host and on the device, one block, and the logits of the
    /// compared batch of both models.
    #[must_use]
    pub(super) fn of_conversion(shape: &ModelShape) -> Self {
        /// Positions of the compared batch.
        const COMPARED: u64 = 64;
        let table = saturating_product(&[shape.vocabulary, shape.hidden]);
        let block = (shape.parameters().saturating_sub(table)) / shape.layers.max(1);
        let weights = saturating_product(&[FLOAT, table.saturating_mul(2).saturating_add(block)]);
        let logits = saturating_product(&[2, FLOAT, COMPARED, shape.vocabulary]);
        Self { weights, logits, ..Self::default() }
    }

    /// Training a model of this shape and size on rows of `length` tokens.
    #[must_use]
    pub(crate) fn of_training(
        shape: &ModelShape,
        size: ModelSize,
        config: &TrainConfig,
        length: u64,
        on_card: bool,
    ) -> Self {
        let lanes = count_lanes(config, on_card);
        let batch = MicroBatchShape::of(config, length);
        let values = size.values();
        let trained = count_trained(shape, size, config);
        let times = |bytes: u64| bytes.saturating_mul(lanes);
        let factor = if config.compute == ComputeFormat::Bf16 { 2 } else { FLOAT };
        let scores = match (&config.attention, on_card) {
            (AttentionSchedule::Annealed { .. }, _) => {
                estimate_annealed_scores(shape, config.recompute, batch)
            }
            (_, true) => estimate_tile_scores(shape, batch, factor),
            (_, false) => 0,
        };
        // The gradient of a teacher's loss is computed beside that of the objective.
        let beside = u64::from(config.teacher.is_some_and(|teacher| teacher.weight.is_some()));
        Self {
            weights: values.saturating_mul((1 + u64::from(config.teacher.is_some())) * FLOAT),
            moments: trained.saturating_mul((2 + u64::from(config.ema.is_some())) * FLOAT),
            gradients: times(trained.saturating_mul(FLOAT))
                .saturating_add(trained.saturating_mul(beside * FLOAT)),
            // Micro-batches side by side are not at the peak of their backward pass together (measured).
            activations: saturating_sum(
                [
                    times(estimate_activations(shape, config.recompute, batch.tokens)),
                    estimate_block_backward(shape, batch.tokens),
                    times(scores),
                ]
                .into_iter(),
            ),
            logits: times(match on_card {
                false => estimate_logits(shape, batch.predicted),
                true => estimate_card_logits(shape, batch.predicted, factor),
            }),
        }
    }
}

/// Values that are trained.
fn count_trained(shape: &ModelShape, size: ModelSize, config: &TrainConfig) -> u64 {
    let adapter = config.adapter.as_ref();
    adapter.map_or(size, |adapter| ModelSize::of_adapter(shape, adapter)).values()
}

/// Tokens of a micro-batch.
#[derive(Clone, Copy)]
struct MicroBatchShape {
    /// Tokens that pass through the blocks.
    tokens: u64,
    /// Tokens of a row of these.
    length: u64,
    /// Positions that the head may predict.
    predicted: u64,
}

impl MicroBatchShape {
    fn of(config: &TrainConfig, length: u64) -> Self {
        let predicted = saturating_product(&[config.batch.per_device as u64, length]);
        // Block diffusion passes every row twice, noisy and clean, and predicts the noisy half; a clean loss predicts the other, too.
        let halves = if config.attention.has_halves() { 2 } else { 1 };
        let clean = matches!(config.objective, Objective::Flow { clean_weight: Some(_), .. });
        let heads = if clean { 2 } else { 1 };
        Self {
            tokens: predicted.saturating_mul(halves),
            length: length.saturating_mul(halves),
            predicted: predicted.saturating_mul(heads),
        }
    }
}

/// Micro-batches that this machine computes at a time.
fn count_lanes(config: &TrainConfig, on_card: bool) -> u64 {
    let micro_batches = (config.batch.rows / config.batch.per_device.max(1)).max(1) as u64;
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get) as u64;
    if on_card { 1 } else { micro_batches.min(cores) }
}

/// Values that the backward pass of one block needs per token: the inputs of its norms, projections, attention and gate.
fn count_block_values(shape: &ModelShape) -> u64 {
    let queries = saturating_product(&[shape.heads, shape.head_dim]);
    let keys = saturating_product(&[shape.kv_heads, shape.head_dim]);
    saturating_sum(
        [
            // Two inputs of norms and two normed ones; queries and keys before and after they are turned, values, what attention
            // mixed; gate, up, and their product.
            shape.hidden.saturating_mul(4),
            queries.saturating_mul(3),
            keys.saturating_mul(3),
            shape.feed_forward.saturating_mul(3),
        ]
        .into_iter(),
    )
}

/// Bytes that a forward pass of `tokens` keeps.
fn estimate_activations(shape: &ModelShape, recompute: bool, tokens: u64) -> u64 {
    let block = count_block_values(shape);
    let kept = match recompute {
        // All blocks, and hidden states: before and after the last norm, those that count, their gradient, and two steps of it.
        false => saturating_sum(
            [saturating_product(&[shape.layers, block]), shape.hidden.saturating_mul(6)].into_iter(),
        ),
        // The input of every block, and one block.
        true => saturating_product(&[shape.layers.saturating_add(1), shape.hidden]).saturating_add(block),
    };
    saturating_product(&[FLOAT, tokens, kept])
}

/// Bytes that the backward pass of one block adds: gradients of what the block keeps.
fn estimate_block_backward(shape: &ModelShape, tokens: u64) -> u64 {
    saturating_product(&[FLOAT, tokens, count_block_values(shape)])
}

/// Bytes of the scores of annealed attention, which the backward pass needs three times: above their largest, exponentiated, and
/// divided. No other attention keeps scores.
fn estimate_annealed_scores(shape: &ModelShape, recompute: bool, batch: MicroBatchShape) -> u64 {
    let blocks = if recompute { 1 } else { shape.layers };
    saturating_product(&[3 * FLOAT, blocks, shape.heads, batch.tokens, batch.length])
}

/// Bytes of the scores of a tile of attention on a card: they and their gradient, and both as factors.
fn estimate_tile_scores(shape: &ModelShape, batch: MicroBatchShape, factor: u64) -> u64 {
    let scores = saturating_product(&[shape.heads, batch.tokens, batch.length]);
    scores.min(MOST_SCORES).saturating_mul(2 * (FLOAT + factor))
}

/// Bytes of the logits of `positions`, as if all of them counted: those of a chunk become their gradient in place, which a product then
/// copies.
fn estimate_logits(shape: &ModelShape, positions: u64) -> u64 {
    saturating_product(&[2, FLOAT, positions.min(CHUNK), shape.vocabulary])
}

/// As [`estimate_logits`], on a card: logits and their gradient, a factor; the head as a factor, and what a chunk adds to its gradient.
fn estimate_card_logits(shape: &ModelShape, positions: u64, factor: u64) -> u64 {
    let logits = saturating_product(&[positions, shape.vocabulary]).min(MOST_LOGITS);
    let head = saturating_product(&[shape.vocabulary, shape.hidden]);
    let rounded = if factor == FLOAT { 0 } else { factor };
    logits.saturating_mul(FLOAT + factor).saturating_add(head.saturating_mul(FLOAT + rounded))
}

/// Memory of accelerators in bytes, from NVIDIA's data sheets; the smaller one where there are two.
const CARD_MEMORY: [(&str, u64); 4] = [
    ("H100", 80_000_000_000),
    ("H200", 141_000_000_000),
    ("A100", 40_000_000_000),
    ("B200", 180_000_000_000),
];

/// Memory of one device of a machine such as `4xH100-80GB`: the one that its name says, or that of its kind; `None` if unknown.
#[must_use]
pub(crate) fn find_card_memory(device: &str) -> Option<u64> {
    let said = device.rsplit_once('-').and_then(|(_, size)| size.strip_suffix("GB")?.parse::<u64>().ok());
    let usual = || CARD_MEMORY.iter().find(|(name, _)| device.starts_with(name)).map(|(_, bytes)| *bytes);
    said.map(|gigabytes| gigabytes.saturating_mul(1_000_000_000)).or_else(usual)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cards_are_known_by_name_or_by_what_their_name_says() {
        assert_eq!(find_card_memory("H100-80GB"), Some(80_000_000_000));
        assert_eq!(find_card_memory("A100-80GB"), Some(80_000_000_000));
        assert_eq!(find_card_memory("A100"), Some(40_000_000_000));
        assert_eq!(find_card_memory("RTX4090-24GB"), Some(24_000_000_000));
        assert_eq!(find_card_memory("abacus"), None);
    }

    /// hidden 128, 4 layers, 4 heads of 32, 2 key and value heads, feed-forward 384, vocabulary 1,024.
    const SHAPE: ModelShape = ModelShape {
        vocabulary: 1024,
        hidden: 128,
        layers: 4,
        heads: 4,
        kv_heads: 2,
        head_dim: 32,
        feed_forward: 384,
        tied: true,
    };

    #[test]
    fn activations_are_those_of_the_saved_tensors() {
        // 4 x 128 + 3 x 128 + 3 x 64 + 3 x 384 values for each block.
        assert_eq!(count_block_values(&SHAPE), 2240);
        assert_eq!(estimate_activations(&SHAPE, false, 10), 4 * 10 * (4 * 2240 + 6 * 128));
        assert_eq!(estimate_activations(&SHAPE, true, 10), 4 * 10 * (5 * 128 + 2240));
        let deep = ModelShape { layers: 16, ..SHAPE };
        // Another recomputed block costs its input only.
        let more = estimate_activations(&deep, true, 10) - estimate_activations(&SHAPE, true, 10);
        assert_eq!(more, 4 * 10 * 12 * 128);
    }

    #[test]
    fn scores_grow_with_the_square_of_the_row_only_where_they_are_kept() {
        let batch = |length: u64| MicroBatchShape { tokens: 2 * length, length, predicted: 2 * length };
        assert_eq!(estimate_annealed_scores(&SHAPE, false, batch(10)), 12 * 4 * 4 * 20 * 10);
        assert_eq!(estimate_annealed_scores(&SHAPE, true, batch(10)), 12 * 4 * 20 * 10);
        assert_eq!(estimate_tile_scores(&SHAPE, batch(10), 2), 12 * 4 * 20 * 10);
        assert_eq!(estimate_tile_scores(&SHAPE, batch(1 << 20), 4), 16 * MOST_SCORES);
    }

    #[test]
    fn logits_never_exceed_their_chunk() {
        assert_eq!(estimate_logits(&SHAPE, 100), 2 * 4 * 100 * 1024);
        assert_eq!(estimate_logits(&SHAPE, 1 << 40), 2 * 4 * 256 * 1024);
        let head = 1024 * 128;
        assert_eq!(estimate_card_logits(&SHAPE, 100, 4), 8 * 100 * 1024 + 4 * head);
        assert_eq!(estimate_card_logits(&SHAPE, 100, 2), 6 * 100 * 1024 + 6 * head);
        assert_eq!(estimate_card_logits(&SHAPE, 1 << 40, 4), 8 * MOST_LOGITS + 4 * head);
    }
}
