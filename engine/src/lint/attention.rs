//! Attention of a training stage: against its objective, its length, its rows; and blocks of samplers against it.

use std::iter;

use super::{Graph, field, place};
use crate::config::train::Objective;
use crate::config::{Attention, BlockPhase, Sampler, StageConfig, TrainConfig};
use crate::config::{Packing, RowsConfig};
use crate::diagnostic::{Code, Diagnostic, Sink};
use crate::pipeline::{Origin, Span, Stage};

/// All lints of one training stage's attention.
pub(super) fn lint(graph: &Graph<'_>, stage: &Stage, config: &TrainConfig, sink: &mut Sink) {
    objective(stage, config, sink);
    corrupted_positions(stage, config, sink);
    match &config.attention {
        Attention::Annealed { until } if *until > config.steps => {
            let what = "the annealing of attention";
            sink.push(beyond(stage, config, "attention.anneal.until", what, (0, *until)));
        }
        Attention::Block { phases } => {
            let ends = || phases.iter().filter_map(|phase| phase.until);
            let begins = iter::once(0).chain(ends());
            let late = begins.zip(ends()).enumerate().find(|(_, (_, until))| *until >= config.steps);
            if let Some((at, span)) = late {
                let path = format!("attention.size.{at}.until");
                sink.push(beyond(stage, config, &path, "the schedule of block sizes", span));
            }
            rows(graph, stage, phases, sink);
        }
        _ => {}
    }
}

fn objective(stage: &Stage, config: &TrainConfig, sink: &mut Sink) {
    if config.objective == Objective::Autoregressive && config.attention != Attention::Causal {
        sink.push(
            Diagnostic::new(
                Code::AttentionMismatch,
                "an autoregressive model would see the token it predicts",
            )
            .at(place(stage, "attention"), "sees later positions")
            .also(place(stage, "objective"), "predicts the next token")
            .help("write `attention \"causal\"`"),
        );
    }
}

/// A least number of corrupted positions for pieces that this attention does not have.
fn corrupted_positions(stage: &Stage, config: &TrainConfig, sink: &mut Sink) {
    if config.objective == Objective::Autoregressive {
        return;
    }
    let (idle, instead, label) = match config.attention {
        Attention::Block { .. } => ("masked-per-segment", "masked-per-block", "times belong to blocks"),
        _ => ("masked-per-block", "masked-per-segment", "no blocks"),
    };
    let written = |field: &&crate::pipeline::FieldValue| field.origin != Origin::Default;
    let Some(leaf) = field(stage, &format!("time.{idle}")).filter(written) else { return };
    sink.push(
        Diagnostic::new(Code::FieldDoesNotApply, format!("`{idle}` has no effect with this attention"))
            .at(&leaf.span, "of no effect")
            .also(place(stage, "attention"), label)
            .help(format!("write `{instead}={}`", leaf.value)),
    );
}

/// A part of the training, from update `span.0` to `span.1`, that is longer than it.
fn beyond(stage: &Stage, config: &TrainConfig, path: &str, what: &str, span: (u64, u64)) -> Diagnostic {
    let message = format!("{what} does not end within {} steps of `{}`", config.steps, stage.name);
    let middle = span.0 + (config.steps.saturating_sub(span.0) / 2).max(1);
    let help = match middle < config.steps {
        true => format!("write `until={middle}`, or more steps"),
        false => format!("write `steps {}`", span.1.saturating_add(1)),
    };
    Diagnostic::new(Code::WarmupOverSteps, message)
        .at(place(stage, path), "longer than the training")
        .also(place(stage, "steps"), "updates in all")
        .help(help)
}

/// A row of one long document ends in a shorter block where the size does not divide it.
fn rows(graph: &Graph<'_>, stage: &Stage, phases: &[BlockPhase], sink: &mut Sink) {
    let inputs = stage.inputs.iter().filter(|input| input.role.starts_with("rows/"));
    let cut = inputs.filter_map(|input| cut_rows(graph.input(stage, &input.role)?)).next();
    let Some((rows, config)) = cut else { return };
    for (at, phase) in phases.iter().enumerate() {
        if config.length.is_multiple_of(phase.size) {
            continue;
        }
        let message = format!("blocks of {} tokens do not divide rows of {}", phase.size, config.length);
        let single = field(stage, "attention.size").map(|field| &field.span);
        let written = if single.is_some() { "size=" } else { "size " };
        let best = (1..=phase.size.min(config.length)).rev().find(|size| config.length.is_multiple_of(*size));
        sink.push(
            Diagnostic::new(Code::BlockNotDividingRows, message)
                .at(
                    single.unwrap_or_else(|| place(stage, &format!("attention.size.{at}"))),
                    "the last block of a row is shorter",
                )
                .also(place(rows, "length"), "tokens in a row")
                .help(format!("write `{written}{}`", best.unwrap_or(1))),
        );
    }
}

/// Rows that cut documents at their length.
fn cut_rows(rows: &Stage) -> Option<(&Stage, &RowsConfig)> {
    match &rows.config {
        StageConfig::Rows(config) if config.packing == Packing::Concat => Some((rows, config)),
        _ => None,
    }
}

/// A sampler that writes in blocks which the checkpoint's own are not made of.
pub(super) fn sampler(
    graph: &Graph<'_>,
    checkpoint: &Stage,
    sampler: &Sampler,
    span: &Span,
    sink: &mut Sink,
) {
    let trained = graph.contract(checkpoint).and_then(|contract| contract.block);
    let (Some(block), Some(trained)) = (sampler.block, trained) else { return };
    let size = trained.value;
    if size.is_multiple_of(block) {
        return;
    }
    let message = format!("sampler `{}` writes other blocks than `{}` learnt", sampler.name, checkpoint.name);
    let diagnostic = Diagnostic::new(Code::BlockMismatch, message)
        .at(span, format!("blocks of {block} tokens"))
        .help(format!("write `block={size}` or a divisor of it, or leave `block=` out"));
    sink.push(trained.tell(diagnostic, format!("blocks of {size} tokens in the end")));
}

/// Gaps before text that the checkpoint cannot see.
pub(super) fn infills(graph: &Graph<'_>, stage: &Stage, checkpoint: &Stage, sink: &mut Sink) {
    let Some(trained) = graph.contract(checkpoint).and_then(|contract| contract.block) else { return };
    let suffixes = stage.fields.iter().filter(|field| {
        field.path.starts_with("infill.") && field.path.ends_with(".suffix") && field.value != ""
    });
    let mut found = None::<Diagnostic>;
    for suffix in suffixes {
        found = Some(match found {
            None => {
                let name = &checkpoint.name;
                let message = format!("`{}` fills gaps, and `{name}` does not see what follows", stage.name);
                let label = format!("visible in the gap's last block of {} tokens at most", trained.value);
                let diagnostic = Diagnostic::new(Code::SuffixUnseen, message)
                    .at(&suffix.span, label)
                    .help("fill gaps with a checkpoint of `attention \"bidirectional\"`");
                trained.tell(diagnostic, "sees no later block")
            }
            Some(found) => found.also(&suffix.span, "nor this"),
        });
    }
    found.into_iter().for_each(|found| sink.push(found));
}
