//! Settings of a training stage: two updates that pass through everything that the stage has.

use crate::pipeline::config::train::{CheckpointInterval, Objective, TrainConfig};
use crate::pipeline::config::{AttentionSchedule, AverageConfig, BlockPhase, LearningRateShape};
use crate::pipeline::role::InputRole;
use crate::pipeline::stage::StageInput;
use crate::smoke::changes::Changes;
use crate::smoke::settings::{shrink_benchmark, shrink_match, shrink_prompt};
use crate::smoke::sizes::shrink_block;

/// Updates of a training stage.
const UPDATES: u64 = 2;
/// Most rows at a time, and most micro-batches of an update.
const ROWS: usize = 2;
/// Most rows and times of a validation.
const MEASURED: usize = 2;
/// Largest rank of an adapter.
const RANK: usize = 4;

pub(super) fn shrink_training(config: &mut TrainConfig, changes: &mut Changes) {
    changes.lower("steps", &mut config.steps, UPDATES);
    // An update is made of several micro-batches if it was before.
    let micro = (config.batch.rows / config.batch.per_device).min(ROWS);
    changes.lower("per-device", &mut config.batch.per_device, ROWS);
    let rows = micro * config.batch.per_device;
    changes.lower("batch rows", &mut config.batch.rows, rows);
    shrink_phases(config);
    shrink_attention(config, changes);
    rename_growth(config, changes);
    shrink_rates(config, changes);
    shrink_watching(config, changes);
    if let Some(adapter) = &mut config.adapter {
        let scale = adapter.scale();
        changes.lower("adapter rank", &mut adapter.rank, RANK);
        adapter.alpha = scale * adapter.rank as f64;
    }
}

/// The first and the last of several phases have an update each.
fn keep_ends<T: Clone>(phases: &[T], updates: u64) -> Vec<T> {
    match phases {
        [first, .., last] if updates > 1 => vec![first.clone(), last.clone()],
        [first, ..] => vec![first.clone()],
        [] => Vec::new(),
    }
}

fn shrink_phases(config: &mut TrainConfig) {
    config.phases = (0..).take(keep_ends(&config.phases, config.steps).len()).collect();
    config.parts.iter_mut().for_each(|part| part.weights = keep_ends(&part.weights, config.steps));
}

fn shrink_attention(config: &mut TrainConfig, changes: &mut Changes) {
    let steps = config.steps;
    let shrink = |phases: &mut Vec<BlockPhase>, size: fn(usize) -> usize| {
        let kept = keep_ends(phases, steps);
        let last = kept.len().saturating_sub(1);
        let small = |(at, phase): (usize, BlockPhase)| BlockPhase {
            size: size(phase.size),
            until: (at < last).then_some(1),
        };
        *phases = kept.into_iter().enumerate().map(small).collect();
    };
    match &mut config.attention {
        AttentionSchedule::Block { phases } => shrink(phases, shrink_block),
        AttentionSchedule::Strided { phases } => shrink(phases, |size| size),
        AttentionSchedule::Annealed { until } => changes.lower("anneal until", until, steps),
        AttentionSchedule::Causal | AttentionSchedule::Bidirectional => {}
    }
}

/// A small tokenizer has the special tokens of Qwen3 alone.
fn rename_growth(config: &mut TrainConfig, changes: &mut Changes) {
    const TOKENS: [&str; 2] = ["<|fim_middle|>", "<|fim_pad|>"];
    let Objective::Flow { growth: Some(growth), .. } = &mut config.objective else { return };
    for (word, token, small) in [
        ("expand-token", &mut growth.expand_token, TOKENS[0]),
        ("delete-token", &mut growth.delete_token, TOKENS[1]),
    ] {
        if token != small {
            changes.say(format!("{word} {small}"));
            small.clone_into(token);
        }
    }
}

/// The second update has a learning rate above 0.
fn shrink_rates(config: &mut TrainConfig, changes: &mut Changes) {
    changes.lower("warmup", &mut config.learning_rate.warmup, 1);
    if let LearningRateShape::WarmupStableDecay { decay } = &mut config.learning_rate.shape {
        changes.lower("decay", decay, 1);
    }
}

/// A small training keeps the checkpoints after both of its updates.
pub(super) fn shrink_average(
    config: &mut AverageConfig,
    inputs: &mut Vec<StageInput>,
    changes: &mut Changes,
) {
    let updates: Vec<u64> = (1..=UPDATES).collect();
    if config.updates == updates {
        return;
    }
    changes.say(format!("last {UPDATES}"));
    let mut kept = updates.iter();
    inputs.retain_mut(|input| match &mut input.role {
        InputRole::Permanent(update) => kept.next().map(|next| *update = *next).is_some(),
        _ => true,
    });
    config.updates = updates;
}

fn shrink_watching(config: &mut TrainConfig, changes: &mut Changes) {
    config.checkpoint.every = CheckpointInterval::Updates(1);
    changes.lower_some("permanent every", &mut config.checkpoint.permanent, 1);
    if let Some(branch) = &mut config.branch {
        changes.lower("at", &mut branch.at, 1);
    }
    changes.lower("validate every", &mut config.validate.every, UPDATES);
    changes.lower("validate rows", &mut config.validate.rows, MEASURED);
    changes.lower("validate times", &mut config.validate.times, MEASURED);
    config.log_every = 1;
    let Some(probe) = &mut config.probe else { return };
    changes.lower("probe every", &mut probe.every, 1);
    probe.prompts.iter_mut().for_each(|prompt| shrink_prompt(prompt, changes));
    probe.exact_match.iter_mut().for_each(|asked| shrink_match(asked, changes));
    probe.benchmarks.iter_mut().for_each(|benchmark| shrink_benchmark(benchmark, changes));
}
