//! Lints of attention: a training stage's attention against its objective, length and rows, and a sampler's blocks against
//! those of its checkpoint.

use std::iter;

use fmflow_grade::problem::Layout;
use serde_json::json;

use crate::check::lint::lineage::Lineages;
use crate::check::lint::sampler_paths::number_requests;

use crate::pipeline::config::sample::{ExactMatch, FrontierConfig};
use crate::pipeline::config::train::Objective;
use crate::pipeline::config::{
    AttentionSchedule, BlockPhase, EvaluateConfig, GenerateConfig, Sampler, StageConfig, TrainConfig,
};
use crate::pipeline::config::{EndOfTurn, Packing, RowsConfig};
use crate::pipeline::field_path::{FieldPath, evaluate, frontier, generate, rows, train};
use crate::pipeline::origins::ContractFact;
use crate::pipeline::role::InputRole;
use crate::pipeline::stage::{FieldValue, Stage};
use crate::text::diagnostic::{Code, Diagnostic, Sink};
use crate::text::display::count_noun;
use crate::text::place::{Origin, Span};

/// Runs all attention lints of one training stage.
pub(super) fn lint_attention(lineages: &Lineages<'_>, stage: &Stage, config: &TrainConfig, sink: &mut Sink) {
    check_attention_objective(stage, config, sink);
    check_corrupted_positions(stage, config, sink);
    match &config.attention {
        AttentionSchedule::Annealed { until } if *until > config.steps => {
            let what = "attention annealing";
            sink.push(schedule_beyond_steps(stage, config, train::ATTENTION_ANNEAL_UNTIL, what, (0, *until)));
        }
        AttentionSchedule::Block { phases } => {
            if let Some((at, span)) = find_late_phase(phases, config.steps) {
                let path = train::ATTENTION_NTH_SIZE_UNTIL.nth(at);
                sink.push(schedule_beyond_steps(stage, config, path, "the schedule of block sizes", span));
            }
            check_block_rows(lineages, stage, phases, sink);
            check_answer_blocks(lineages, stage, phases, sink);
        }
        AttentionSchedule::Strided { phases } => {
            if let Some((at, span)) = find_late_phase(phases, config.steps) {
                let path = train::ATTENTION_NTH_STRIDE_UNTIL.nth(at);
                sink.push(schedule_beyond_steps(stage, config, path, "the schedule of strides", span));
            }
        }
        _ => {}
    }
}

/// The number of the first phase that does not end within `steps`, with its first update and its end.
fn find_late_phase(phases: &[BlockPhase], steps: u64) -> Option<(usize, (u64, u64))> {
    let ends = || phases.iter().filter_map(|phase| phase.until);
    let begins = iter::once(0).chain(ends());
    begins.zip(ends()).enumerate().find(|(_, (_, until))| *until >= steps)
}

fn check_attention_objective(stage: &Stage, config: &TrainConfig, sink: &mut Sink) {
    let causal = matches!(config.attention, AttentionSchedule::Causal | AttentionSchedule::Strided { .. });
    if config.objective == Objective::Autoregressive && !causal {
        sink.push(
            Diagnostic::new(
                Code::AttentionMismatch,
                "an autoregressive model would see the token it predicts",
            )
            .at(stage.place(train::ATTENTION), "sees later positions")
            .also(stage.place(train::OBJECTIVE), "predicts the next token")
            .help("write `attention \"causal\"`"),
        );
    }
}

/// Warns about a minimum of masked positions for pieces that this attention does not have: segments with block attention,
/// blocks with any other.
fn check_corrupted_positions(stage: &Stage, config: &TrainConfig, sink: &mut Sink) {
    if config.objective == Objective::Autoregressive || config.attention.stride_at(0).is_some() {
        return;
    }
    let (path, idle, instead, label) = match config.attention {
        AttentionSchedule::Block { .. } => {
            (train::MASKED_PER_SEGMENT, "masked-per-segment", "masked-per-block", "times belong to blocks")
        }
        _ => (train::MASKED_PER_BLOCK, "masked-per-block", "masked-per-segment", "no blocks"),
    };
    let written = |field: &&FieldValue| field.origin != Origin::Default;
    let Some(leaf) = stage.field(path).filter(written) else { return };
    sink.push(
        Diagnostic::new(Code::FieldDoesNotApply, format!("`{idle}` has no effect with this attention"))
            .at(&leaf.span, "no effect")
            .also(stage.place(train::ATTENTION), label)
            .help(format!("write `{instead}={}`", leaf.value)),
    );
}

/// Reports a phase from update `span.0` to `span.1` that does not end before the training does.
fn schedule_beyond_steps(
    stage: &Stage,
    config: &TrainConfig,
    path: FieldPath,
    what: &str,
    span: (u64, u64),
) -> Diagnostic {
    let message =
        format!("{what} does not end within {} of `{}`", count_noun(config.steps, "step"), stage.name);
    let middle = span.0 + (config.steps.saturating_sub(span.0) / 2).max(1);
    let help = match middle < config.steps {
        true => format!("write `until={middle}`, or train for more steps"),
        false => format!("write `steps {}`", span.1.saturating_add(1)),
    };
    Diagnostic::new(Code::WarmupOverSteps, message)
        .at(stage.place(path), "never reached")
        .also(stage.place(train::STEPS), "total updates")
        .help(help)
}

/// Warns if the block size does not divide the row length: a row that is one long document then ends in a shorter block.
fn check_block_rows(lineages: &Lineages<'_>, stage: &Stage, phases: &[BlockPhase], sink: &mut Sink) {
    let Some((rows, config)) = lineages.rows(stage).find_map(as_cut_rows) else { return };
    for (at, phase) in phases.iter().enumerate() {
        if config.length.is_multiple_of(phase.size) {
            continue;
        }
        let message =
            format!("blocks of {} do not divide rows of {}", count_noun(phase.size, "token"), config.length);
        let single = stage.field(train::ATTENTION_SIZE).map(|field| &field.span);
        let written = if single.is_some() { "size=" } else { "size " };
        let best = (1..=phase.size.min(config.length)).rev().find(|size| config.length.is_multiple_of(*size));
        sink.push(
            Diagnostic::new(Code::BlockNotDividingRows, message)
                .at(
                    single.unwrap_or_else(|| stage.place(train::ATTENTION_NTH_SIZE.nth(at))),
                    "the last block of a row is shorter",
                )
                .also(rows.place(rows::LENGTH), "tokens in a row")
                .help(format!("write `{written}{}`", best.expect("1 divides every number"))),
        );
    }
}

/// Reports answers that are filled to the end of blocks of another size: the fill would end within a block.
fn check_answer_blocks(lineages: &Lineages<'_>, stage: &Stage, phases: &[BlockPhase], sink: &mut Sink) {
    let filled = |rows| Some((rows, as_rows(rows).end_of_turn.and_then(EndOfTurn::block)?));
    let Some((rows, block)) = lineages.rows(stage).find_map(filled) else { return };
    let Some(at) = phases.iter().position(|phase| !block.is_multiple_of(phase.size)) else { return };
    let size = phases[at].size;
    let message = format!(
        "blocks of {} do not divide the blocks of {block} to whose end `{}` fills answers",
        count_noun(size, "token"),
        rows.name
    );
    let single = stage.field(train::ATTENTION_SIZE).map(|field| &field.span);
    let fits = phases.iter().fold(1, |multiple, phase| find_common_multiple(multiple, phase.size));
    sink.push(
        Diagnostic::new(Code::BlockMismatch, message)
            .at(
                single.unwrap_or_else(|| stage.place(train::ATTENTION_NTH_SIZE.nth(at))),
                "answers end within such a block",
            )
            .also(rows.place(rows::END_OF_TURN_BLOCK), "filled to the end of these")
            .help(format!("write `block={fits}` in the rows, which every size divides")),
    );
}

/// The smallest number that both divide; neither is 0.
fn find_common_multiple(a: usize, b: usize) -> usize {
    let (mut divisor, mut rest) = (a, b);
    while rest > 0 {
        (divisor, rest) = (rest, divisor % rest);
    }
    (a / divisor).saturating_mul(b)
}

fn as_rows(rows: &Stage) -> &RowsConfig {
    match &rows.config {
        StageConfig::Rows(config) => config,
        _ => unreachable!("the rows of a training are made by a rows stage"),
    }
}

/// Returns the stage and its settings if its rows cut documents at the row length.
fn as_cut_rows(rows: &Stage) -> Option<(&Stage, &RowsConfig)> {
    let config = as_rows(rows);
    (config.packing == Packing::Concat).then_some((rows, config))
}

/// Reports a sampler whose block size does not divide the checkpoint's.
pub(super) fn check_sampler_blocks(
    lineages: &Lineages<'_>,
    checkpoint: &Stage,
    sampler: &Sampler,
    span: &Span,
    sink: &mut Sink,
) {
    let (Some(block), Some(known)) = (sampler.block, lineages.contract(checkpoint)) else { return };
    let Some(size) = known.contract.block else { return };
    if size.is_multiple_of(block) {
        return;
    }
    let message =
        format!("the blocks of sampler `{}` do not divide those of `{}`", sampler.name, checkpoint.name);
    let diagnostic = Diagnostic::new(Code::BlockMismatch, message)
        .at(span, format!("blocks of {}", count_noun(block, "token")))
        .help(format!("write `block={size}` or a divisor of it, or leave `block=` out"));
    sink.push(known.show_fact(
        ContractFact::Block,
        diagnostic,
        format!("trained last on blocks of {}", count_noun(size, "token")),
    ));
}

/// As [`check_sampler_blocks`], of the sizes that a frontier puts in the place of each sampler's own.
pub(super) fn check_frontier_blocks(
    lineages: &Lineages<'_>,
    stage: &Stage,
    config: &FrontierConfig,
    sink: &mut Sink,
) {
    let named = config.declared.checkpoints.iter().map(|name| InputRole::Checkpoint(name.clone()));
    let Some(checkpoint) = named.filter_map(|role| lineages.input(stage, &role)).next() else { return };
    let fields = (0..).map_while(|at| stage.field(frontier::NTH_BLOCK.nth(at)));
    for field in fields {
        let uses = |point: &&ExactMatch| field.value == json!(point.sampler.block);
        // One report for each size, however many samplers get it.
        if let Some(point) = config.points.iter().find(uses) {
            check_sampler_blocks(lineages, checkpoint, &point.sampler, &field.span, sink);
        }
    }
}

/// Reports gaps that a checkpoint trained in blocks fills without seeing what follows them.
pub(super) fn check_infill_suffixes(
    lineages: &Lineages<'_>,
    stage: &Stage,
    config: &GenerateConfig,
    checkpoint: &Stage,
    sink: &mut Sink,
) {
    let numbered = config.prompts.iter().zip(number_requests(&config.prompts));
    let suffixes = numbered.filter(|(prompt, _)| prompt.kind.has_text_behind());
    let suffixes = suffixes.map(|(_, infill)| stage.place(generate::NTH_INFILL_SUFFIX.nth(infill.number)));
    report_unseen_suffixes(lineages, (stage, checkpoint), suffixes, sink);
}

/// As [`check_infill_suffixes`], for infilling benchmarks.
pub(super) fn check_measured_suffixes(
    lineages: &Lineages<'_>,
    stage: &Stage,
    config: &EvaluateConfig,
    checkpoint: &Stage,
    sink: &mut Sink,
) {
    let numbered = config.benchmarks.iter().enumerate();
    let gaps = numbered.filter(|(_, benchmark)| benchmark.layout == Layout::Infilling);
    let places = gaps.map(|(at, _)| stage.place(evaluate::NTH_BENCHMARK.nth(at)));
    report_unseen_suffixes(lineages, (stage, checkpoint), places, sink);
}

fn report_unseen_suffixes<'a>(
    lineages: &Lineages<'_>,
    (stage, checkpoint): (&Stage, &Stage),
    suffixes: impl Iterator<Item = &'a Span>,
    sink: &mut Sink,
) {
    let Some(known) = lineages.contract(checkpoint) else { return };
    let Some(block) = known.contract.block else { return };
    let mut found = None::<Diagnostic>;
    for suffix in suffixes {
        found = Some(match found {
            None => {
                let name = &checkpoint.name;
                let message = format!("`{}` fills gaps, but `{name}` does not see what follows", stage.name);
                let label =
                    format!("visible at most in the gap's last block of {}", count_noun(block, "token"));
                let diagnostic = Diagnostic::new(Code::SuffixUnseen, message)
                    .at(suffix, label)
                    .help("fill gaps with a checkpoint trained with `attention \"bidirectional\"`");
                known.show_fact(ContractFact::Block, diagnostic, "sees no later block")
            }
            Some(found) => found.also(suffix, "nor this"),
        });
    }
    found.into_iter().for_each(|found| sink.push(found));
}
