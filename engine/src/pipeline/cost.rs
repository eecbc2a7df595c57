//! Estimates what stages cost: updates, tokens, parameters, arithmetic, disk.

use crate::pipeline::Pipeline;
use crate::pipeline::config::{
    AttentionSchedule, RandomInitConfig, RowsConfig, StageConfig, TokenizerConfig, TrainConfig,
};
use crate::pipeline::disk::{self, ModelSize};
use crate::pipeline::machine::compute_peak_flops;
use crate::pipeline::memory::MemoryCost;
use crate::pipeline::role::InputRole;
use crate::pipeline::shape::{ModelShape, saturating_product, saturating_sum};
use crate::pipeline::source_facts::{
    self, PipelineFacts, SourceFacts, count_download_bytes, estimate_compared_text_bytes, estimate_text_bytes,
};
use crate::pipeline::stage::{SourceFiles, Stage, StageId};
use crate::pipeline::window::find_window_share;

/// Estimated cost of a stage that runs from the start, with nothing cached.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StageCost {
    /// Shape of the model that the stage makes or trains; `None` if unknown.
    pub shape: Option<ModelShape>,
    /// For a training stage.
    pub training: Option<TrainingCost>,
    /// What a file system sees of the model that the stage makes or trains; `None` if unknown.
    pub(crate) size: Option<ModelSize>,
    /// Whether its result is an adapter beside the weights of another stage, which are stored once.
    adapted: bool,
    /// Peak memory; `None` if unknown, or if the stage holds no model.
    pub memory: Option<MemoryCost>,
    /// Size of the artifact and of the permanent checkpoints in bytes, at most.
    pub artifact_bytes: u64,
    /// Size of the artifact in bytes where the bound is far off, as it is for rows: what is likely.
    pub likely_bytes: u64,
    /// Size in bytes of the checkpoints and metrics that exist at a time while the stage runs, at most.
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

impl TrainingCost {
    /// Seconds of an update at the peak of a device, which does `peak` operations per second; divided by the seconds that it took, they are
    /// its utilization (MFU; Chowdhery et al., 2022, PaLM, appendix B). The operations are those of [`Self::flops`]: with both halves of block
    /// diffusion and a teacher's, without what frozen weights save. `None` if the model is unknown.
    #[must_use]
    pub(crate) fn count_seconds_at_peak(&self, peak: f64) -> Option<f64> {
        Some(self.flops? / self.updates.max(1) as f64 / peak)
    }
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
        let mut cost =
            StageCost { shape, size: find_model_size(stage, shape, &costs), ..StageCost::default() };
        estimate_bytes(&mut cost, stage, facts, &costs);
        if let Some(share) = find_window_share(pipeline, stage) {
            cost.limit_to_window(share, count_plan_downloads(stage));
        }
        if let StageConfig::Train(config) = &stage.config {
            cost.training = Some(estimate_training_cost(pipeline, stage, config, shape));
        }
        cost.memory = estimate_memory(pipeline, stage, &cost);
        costs.push(cost);
    }
    costs
}

/// Bytes that the plan of a window downloads at most: the files of the first shards.
fn count_plan_downloads(stage: &Stage) -> u64 {
    let StageConfig::Rows(config) = &stage.config else { return 0 };
    let remote = stage.main_sources().filter(|source| source.remote.is_some());
    let plan = |source| source_facts::plan_shards(source, &config.dataset, config.shard_bytes);
    saturating_sum(remote.map(|source| plan(source).opening_bytes()))
}

impl StageCost {
    /// Rows that are made while training reads them take as much as their window, and what is downloaded for them goes shard by shard.
    fn limit_to_window(&mut self, share: u64, downloads: u64) {
        self.artifact_bytes = self.artifact_bytes.min(share);
        self.likely_bytes = self.likely_bytes.min(share);
        self.work_bytes = self.work_bytes.min(downloads);
    }
}

/// Peak memory of a stage that makes, changes or copies a model.
fn estimate_memory(pipeline: &Pipeline, stage: &Stage, cost: &StageCost) -> Option<MemoryCost> {
    let (shape, size) = (cost.shape?, cost.size?);
    match &stage.config {
        StageConfig::Train(config) => {
            let length = cost.training.as_ref()?.length;
            let on_card = pipeline.budget.gpu.is_some();
            Some(MemoryCost::of_training(&shape, size, config, length, on_card))
        }
        StageConfig::RandomInit(_) => Some(MemoryCost::of_new_model(size)),
        StageConfig::Convert(_) => Some(MemoryCost::of_conversion(&shape)),
        StageConfig::Fetch(_) | StageConfig::Export(_) | StageConfig::Average(_) => {
            Some(MemoryCost::of_stream())
        }
        StageConfig::Rows(_)
        | StageConfig::Tokenizer(_)
        | StageConfig::Evaluate(_)
        | StageConfig::Frontier(_)
        | StageConfig::Generate(_)
        | StageConfig::Command(_)
        | StageConfig::Report => None,
    }
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

/// Size of a stage's model: conditioning, once added, stays.
fn find_model_size(stage: &Stage, shape: Option<ModelShape>, before: &[StageCost]) -> Option<ModelSize> {
    let shape = shape?;
    let inherited = match &stage.config {
        StageConfig::Fetch(_) | StageConfig::RandomInit(_) => None,
        _ => stage.parent().and_then(|parent| before[parent.index()].size),
    };
    let size = inherited.unwrap_or_else(|| ModelSize::of(&shape));
    Some(match &stage.config {
        StageConfig::Convert(config) => size.with_conditioning(&shape, config.time_conditioning),
        _ => size,
    })
}

/// Rows of the embedding that a stage's tokenizer needs, if known.
fn find_vocabulary(stage: &Stage, facts: &PipelineFacts, before: &[StageCost]) -> Option<u64> {
    let tokenizer = stage.input(&InputRole::Tokenizer)?;
    let shape = before.get(tokenizer.index()).and_then(|cost| cost.shape);
    facts.get(tokenizer).vocabulary.or(shape.map(|shape| shape.vocabulary))
}

/// Whether the checkpoint of an input has an adapter beside the weights of another one.
fn is_adapted(input: Option<StageId>, before: &[StageCost]) -> bool {
    input.and_then(|id| before.get(id.index())).is_some_and(|cost| cost.adapted)
}

/// Fills in the bytes of a stage. Permanent checkpoints stay as the artifact does. While a new checkpoint is written, there is one more than `keep`; the metrics are copied into the
/// artifact while the unfinished work still has them.
fn estimate_bytes(cost: &mut StageCost, stage: &Stage, facts: &PipelineFacts, before: &[StageCost]) {
    let (size, source) = (cost.size.unwrap_or_default(), facts.get(stage.id));
    cost.artifact_bytes = match &stage.config {
        StageConfig::Train(config) => {
            let metrics = disk::bound_metrics(config.steps, config.parts.len());
            let kept = (config.checkpoint.keep as u64).saturating_add(1 + config.guard.count_rewind_states());
            let adapter = cost.shape.zip(config.adapter.as_ref());
            let adapter = adapter.map(|(shape, adapter)| ModelSize::of_adapter(&shape, adapter));
            // The weights under an adapter are stored once, unless they are another adapter's.
            cost.adapted = adapter.is_some() && !is_adapted(stage.parent(), before);
            let saved = adapter.unwrap_or(size).checkpoint(config.ema.is_some());
            cost.work_bytes = saturating_product(&[saved, kept]).saturating_add(metrics);
            let permanent = config.count_kept_checkpoints();
            let weights = if cost.adapted { size.companions() } else { size.folder() };
            let beside = adapter.map_or(0, ModelSize::weights);
            let whole = match adapter {
                Some(adapter) => weights.saturating_add(adapter.checkpoint(config.ema.is_some())),
                None => size.checkpoint(config.ema.is_some()),
            };
            let permanent = saturating_product(&[whole, permanent]);
            saturating_sum([weights, beside, metrics, permanent].into_iter())
        }
        StageConfig::RandomInit(_) | StageConfig::Convert(_) | StageConfig::Average(_) => size.folder(),
        StageConfig::Export(config) => size.export(config.dtype),
        StageConfig::Fetch(_) => source.bytes.max(size.folder()),
        StageConfig::Rows(config) => {
            bound_rows_bytes(stage, config, source, find_vocabulary(stage, facts, before))
        }
        StageConfig::Tokenizer(TokenizerConfig::File(_)) => {
            source.bytes.saturating_add(disk::bound_report(&stage.config))
        }
        StageConfig::Tokenizer(_) => disk::bound_tokenizer(source.vocabulary.unwrap_or(0)),
        StageConfig::Evaluate(_)
        | StageConfig::Frontier(_)
        | StageConfig::Generate(_)
        | StageConfig::Report => disk::bound_report(&stage.config),
        // Nobody knows what a program makes; many make about as much as they read.
        StageConfig::Command(_) => source.bytes,
    };
    // What is downloaded stays until the stage is finished, so that a killed one need not download it again.
    cost.work_bytes = cost.work_bytes.saturating_add(count_download_bytes(stage));
    if let StageConfig::Rows(config) = &stage.config {
        let digests = disk::estimate_digests(estimate_compared_text_bytes(stage, config));
        cost.work_bytes = cost.work_bytes.saturating_add(digests);
    }
    cost.likely_bytes = match &stage.config {
        // A token is about four bytes of text and is stored in two to four.
        StageConfig::Rows(_) => {
            source.bytes.saturating_add(disk::bound_report(&stage.config)).min(cost.artifact_bytes)
        }
        _ => cost.artifact_bytes,
    };
}

/// Bytes of rows at most. A hub dataset that is not pinned yet has no files; its estimate is what it declares to read.
fn bound_rows_bytes(
    stage: &Stage,
    config: &RowsConfig,
    source: &SourceFacts,
    vocabulary: Option<u64>,
) -> u64 {
    let remote = |source: &SourceFiles| source.remote.as_ref().map_or(0, |remote| remote.files.len());
    let files = stage.main_sources().map(|source| (source.files.len() + remote(source)) as u64).sum();
    let read = estimate_text_bytes(stage);
    disk::bound_rows(config, read, files, vocabulary).max(source.bytes)
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
        _ if config.attention.has_halves() => shape.flops_per_token_of_blocks(length),
        _ => shape.flops_per_token(length),
    };
    let saved = |shape: ModelShape| match config.adapter {
        Some(_) => shape.frozen_flops(config.attention.has_halves()),
        None => 0.0,
    };
    let taught = |shape: ModelShape| match config.teacher.and_then(|teacher| teacher.weight) {
        Some(_) => shape.flops_of_teacher(length, config.adapter.is_some()),
        None => 0.0,
    };
    let flops_of = |shape| per_token(shape) - saved(shape) + taught(shape);
    let flops = shape.map(|shape| flops_of(shape) * tokens as f64);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_update_at_the_peak_takes_its_share_of_all_operations() {
        let cost = |flops| TrainingCost {
            updates: 40,
            length: 64,
            tokens: 10_240,
            flops,
            seconds: None,
            attention: AttentionSchedule::Causal,
            learning_rate: [0.0; 6],
        };
        assert_eq!(cost(Some(4e15)).count_seconds_at_peak(1e12), Some(100.0));
        assert_eq!(cost(None).count_seconds_at_peak(1e12), None);
    }
}
