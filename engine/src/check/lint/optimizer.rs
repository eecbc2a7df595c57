//! Lints of the optimizer: which parameters decay, and where the learning rate ends.

use crate::check::lint::lineage::Lineages;

use crate::pipeline::config::{LearningRateShape, TrainConfig};
use crate::pipeline::field_path::train;
use crate::pipeline::stage::Stage;
use crate::text::diagnostic::{Code, Diagnostic, Sink};

/// Parameters of an untied Qwen3 with one block, as (name, group).
///
/// The engine knows no tensors, so that it needs its own list; a test of the stages crate compares it with the parameters
/// that are trained.
pub const PARAMETER_GROUPS: &[(&str, &str)] = &[
    ("model.embed_tokens.weight", "embedding"),
    ("model.layers.0.input_layernorm.weight", "norm"),
    ("model.layers.0.self_attn.q_proj.weight", "attention"),
    ("model.layers.0.self_attn.k_proj.weight", "attention"),
    ("model.layers.0.self_attn.v_proj.weight", "attention"),
    ("model.layers.0.self_attn.o_proj.weight", "attention"),
    ("model.layers.0.self_attn.q_norm.weight", "norm"),
    ("model.layers.0.self_attn.k_norm.weight", "norm"),
    ("model.layers.0.post_attention_layernorm.weight", "norm"),
    ("model.layers.0.mlp.gate_proj.weight", "feed-forward"),
    ("model.layers.0.mlp.up_proj.weight", "feed-forward"),
    ("model.layers.0.mlp.down_proj.weight", "feed-forward"),
    ("model.norm.weight", "norm"),
    ("lm_head.weight", "head"),
];

/// Parameters that time conditioning adds, as (name, group).
pub const TIME_PARAMETER_GROUPS: &[(&str, &str)] = &[
    ("time.in.weight", "time"),
    ("time.in.bias", "time"),
    ("time.out.weight", "time"),
    ("time.out.bias", "time"),
    ("time.layers.0.weight", "time"),
];

/// Runs all lints of the optimizer.
pub(super) fn lint_optimizer(lineages: &Lineages<'_>, stage: &Stage, config: &TrainConfig, sink: &mut Sink) {
    check_final_rate(stage, config, sink);
    if !report_unmatched_exemptions(lineages, stage, config, sink) {
        check_decayed_norms(stage, config, sink);
    }
}

/// Warns about a learning rate that ends above its peak.
fn check_final_rate(stage: &Stage, config: &TrainConfig, sink: &mut Sink) {
    let rate = &config.learning_rate;
    if rate.final_value <= rate.peak || rate.shape == LearningRateShape::Constant {
        return;
    }
    let (peak, last) = (format_learning_rate(rate.peak), format_learning_rate(rate.final_value));
    sink.push(
        Diagnostic::new(
            Code::FinalOverPeak,
            format!("the learning rate of `{}` ends above its peak", stage.name),
        )
        .at(stage.place(train::LEARNING_RATE_FINAL), format!("above {peak}"))
        .also(stage.place(train::LEARNING_RATE_PEAK), "the largest value")
        .help(format!("are they swapped? `peak={last} final={peak}`")),
    );
}

/// Reports `no-decay` words that match no parameter: those that were meant to be exempt decay. Returns whether there are
/// any.
fn report_unmatched_exemptions(
    lineages: &Lineages<'_>,
    stage: &Stage,
    config: &TrainConfig,
    sink: &mut Sink,
) -> bool {
    let before = sink.errors();
    let timed = lineages.contract(stage).is_none_or(|known| known.knows_time());
    let time = if timed { TIME_PARAMETER_GROUPS } else { &[] };
    for (at, word) in config.optimizer.no_decay.iter().enumerate() {
        if PARAMETER_GROUPS.iter().chain(time).any(|parameter| exempts_parameter(word, parameter)) {
            continue;
        }
        let message = format!("`no-decay \"{word}\"` exempts no parameter of `{}`", stage.name);
        sink.push(
            Diagnostic::new(Code::NoDecayUnmatched, message)
                .at(stage.place(train::NTH_NO_DECAY.nth(at)), "matches no parameter")
                .help(
                    "write a group, such as `no-decay \"norm\"`; the groups are `embedding`, `attention`, \
                     `feed-forward`, `norm`, `head` and `time`",
                ),
        );
    }
    sink.errors() > before
}

/// Warns if weight decay pulls the scales of norms toward 0.
fn check_decayed_norms(stage: &Stage, config: &TrainConfig, sink: &mut Sink) {
    let optimizer = &config.optimizer;
    let norms = || PARAMETER_GROUPS.iter().filter(|(_, group)| *group == "norm");
    // Of an adapter's model the norms are trained only on request.
    let frozen = config.adapter.as_ref().is_some_and(|adapter| !adapter.norms);
    let exempt = |parameter| optimizer.no_decay.iter().any(|word| exempts_parameter(word, parameter));
    if frozen || optimizer.weight_decay == 0.0 || norms().all(exempt) {
        return;
    }
    let words = optimizer.no_decay.iter().filter(|word| !norms().any(|norm| exempts_parameter(word, norm)));
    let words: String = words.map(|word| format!(" \"{word}\"")).collect();
    sink.push(
        Diagnostic::new(Code::DecayedNorms, format!("`{}` decays the scales of the norms", stage.name))
            .at(stage.place(train::NTH_NO_DECAY.nth(0)), "does not exempt all norms")
            .also(stage.place(train::WEIGHT_DECAY), "pulls toward 0")
            .help(format!("write `no-decay \"norm\"{words}`")),
    );
}

fn exempts_parameter(word: &str, (name, group): &(&str, &str)) -> bool {
    name.contains(word) || *group == word
}

/// Formats a learning rate as people write it: `3e-4`, not `0.0003`.
pub(super) fn format_learning_rate(value: f64) -> String {
    if (1e-2..1e3).contains(&value) { format!("{value}") } else { format!("{value:e}") }
}
