//! Lints of causal [x_t, x_0]: strides and the loss of the clean half, against objective, path, checkpoint and rows.

use std::path::PathBuf;

use crate::check::lint::lineage::Lineages;
use crate::check::lint::rows::find_rows_name;
use crate::language::decode::find_shortest_answer;
use crate::pipeline::config::train::{Loss, Objective};
use crate::pipeline::config::{AttentionSchedule, EndOfTurn, RowsConfig, StageConfig, TrainConfig};
use crate::pipeline::field_path::{FieldPath, rows, train};
use crate::pipeline::origins::ContractFact;
use crate::pipeline::stage::Stage;
use crate::text::diagnostic::{Code, Diagnostic, Sink};
use crate::text::display::count_noun;
use crate::text::place::Origin;

/// Settings of `time` that say nothing where every noisy token is masked.
const IDLE_TIMES: [FieldPath; 6] = [
    train::TIME_SAMPLING,
    train::TIME_EPSILON,
    train::TIME_FROM,
    train::TIME_TO,
    train::MASKED_PER_SEGMENT,
    train::MASKED_PER_BLOCK,
];

/// Runs all of them on one training stage.
pub(super) fn lint_strides(lineages: &Lineages<'_>, stage: &Stage, config: &TrainConfig, sink: &mut Sink) {
    let AttentionSchedule::Strided { phases } = &config.attention else {
        if let Objective::Flow { clean_weight: Some(_), .. } = &config.objective {
            sink.push(report_missing_clean_half(stage));
        }
        return;
    };
    check_objective(stage, config, sink);
    check_checkpoint(lineages, stage, sink);
    let longest = phases.iter().enumerate().max_by_key(|(_, phase)| phase.size);
    if let Some((at, phase)) = longest {
        check_row_length(lineages, stage, (at, phase.size), sink);
        check_answers(lineages, stage, (at, phase.size), sink);
        check_shortest_answer(lineages, stage, (at, phase.size), sink);
    }
    for field in IDLE_TIMES.iter().filter_map(|path| stage.field(*path)) {
        if field.origin != Origin::Default {
            sink.push(
                Diagnostic::new(Code::FieldDoesNotApply, "with strides every noisy token is masked")
                    .at(&field.span, "no effect")
                    .also(stage.place(train::ATTENTION), "causal [x_t, x_0]")
                    .help("remove it"),
            );
        }
    }
}

fn report_missing_clean_half(stage: &Stage) -> Diagnostic {
    Diagnostic::new(Code::StrideMismatch, "`clean-loss` needs a clean half that sees no later tokens")
        .at(stage.place(train::CLEAN_WEIGHT), "no such half")
        .also(stage.place(train::ATTENTION), "rows are not causal [x_t, x_0]")
        .help("write `attention \"causal\" { stride 1 }`, or remove `clean-loss`")
}

/// The objective must predict masks, all of them, and once.
fn check_objective(stage: &Stage, config: &TrainConfig, sink: &mut Sink) {
    let report = |path, label: &str, help: &str| {
        Diagnostic::new(Code::StrideMismatch, "strides do not fit the objective")
            .at(stage.place(path), label)
            .also(stage.place(train::ATTENTION_NTH_STRIDE.nth(0)), "every noisy token is masked")
            .help(help)
    };
    match &config.objective {
        Objective::Autoregressive => {
            sink.push(report(train::OBJECTIVE, "nothing is noisy", "remove `stride`"));
        }
        Objective::Flow { path, .. } if path.mask_share < 1.0 => {
            sink.push(report(
                train::OBJECTIVE_PATH,
                "some noise is not the mask",
                "use a path with `source \"mask\"`",
            ));
        }
        Objective::Flow { loss, max_weight, .. } if *loss != Loss::CrossEntropy => {
            let help = match max_weight {
                Some(_) => "write `loss=\"cross-entropy\"` and remove `max-weight`",
                None => "write `loss=\"cross-entropy\"`",
            };
            sink.push(report(train::OBJECTIVE_LOSS, "weighs times", help));
        }
        Objective::Flow { .. } => {}
    }
}

/// A position must predict the next token, and both halves of a row have the same weights but not the same time.
fn check_checkpoint(lineages: &Lineages<'_>, stage: &Stage, sink: &mut Sink) {
    let Some(known) = lineages.parent(stage).and_then(|parent| lineages.contract(parent)) else { return };
    let report = |fact, label, help: &str| {
        let diagnostic = Diagnostic::new(Code::StrideMismatch, "strides do not fit the checkpoint")
            .at(stage.place(train::ATTENTION_NTH_STRIDE.nth(0)), "both halves predict the next token")
            .help(help);
        known.show_fact(fact, diagnostic, label)
    };
    if !known.contract.shift {
        let help = "write `shift #true` in the conversion";
        sink.push(report(ContractFact::Shift, "predicts the token at its own place", help));
    }
    if known.knows_time() {
        let help = "write `time-conditioning \"none\"` in the conversion";
        sink.push(report(ContractFact::TimeConditioning, "is given one time a row", help));
    }
}

/// Masks stand for one answer at a time, so that no more of them are ever seen in a row than its canvas has.
fn check_answers(lineages: &Lineages<'_>, stage: &Stage, (at, stride): (usize, usize), sink: &mut Sink) {
    let canvas = |rows: &'_ Stage| match &rows.config {
        StageConfig::Rows(config) => config.canvas,
        _ => None,
    };
    // Rows without a canvas may show it whole.
    let found: Option<Vec<_>> = lineages.rows(stage).map(|rows| Some((rows, canvas(rows)?))).collect();
    let longest = found.into_iter().flatten().max_by_key(|(_, canvas)| *canvas);
    let Some((rows, canvas)) = longest.filter(|(_, canvas)| *canvas < stride) else { return };
    let message =
        format!("a stride of {stride} is longer than an answer, which has {}", count_noun(canvas, "token"));
    sink.push(
        Diagnostic::new(Code::StrideMismatch, message)
            .at(stage.place(train::ATTENTION_NTH_STRIDE.nth(at)), "never seen whole")
            .also(rows.place(rows::CANVAS), "tokens of an answer")
            .help(format!("write `stride {canvas}` or less")),
    );
}

/// Without a canvas an answer ends with its turn: one of fewer bytes than masks, with its end, does not show them all.
fn check_shortest_answer(
    lineages: &Lineages<'_>,
    stage: &Stage,
    (at, stride): (usize, usize),
    sink: &mut Sink,
) {
    let shortest = |rows: &'_ Stage| match &rows.config {
        StageConfig::Rows(config) if config.canvas.is_none() && !pads_answers(config) => {
            let files: Vec<PathBuf> = rows.main_sources().flat_map(|source| source.files.clone()).collect();
            find_shortest_answer(&files, &config.dataset)
        }
        _ => None,
    };
    let found = lineages.rows(stage).filter_map(|rows| Some((rows, shortest(rows)?)));
    let shortest = found.min_by_key(|(_, bytes)| *bytes);
    let Some((rows, bytes)) = shortest.filter(|(_, bytes)| bytes + 1 < stride) else { return };
    let message = format!(
        "a stride of {stride} is longer than the shortest answer, which has {}",
        count_noun(bytes, "byte")
    );
    sink.push(
        Diagnostic::new(Code::StrideBeyondAnswers, message)
            .at(stage.place(train::ATTENTION_NTH_STRIDE.nth(at)), "not seen whole in that answer")
            .also(&rows.span, "answers without a canvas")
            .help(format!(
                "write `stride {}` or less, or add `canvas={stride}` to rows `{}`",
                bytes + 1,
                find_rows_name(rows)
            )),
    );
}

/// Whether more than one token after an answer is supervised.
fn pads_answers(config: &RowsConfig) -> bool {
    matches!(config.end_of_turn, Some(EndOfTurn::ToBlockBoundary { .. }))
}

fn check_row_length(lineages: &Lineages<'_>, stage: &Stage, (at, stride): (usize, usize), sink: &mut Sink) {
    let length = |rows: &'_ Stage| match &rows.config {
        StageConfig::Rows(config) => Some(config.length),
        _ => None,
    };
    let short = lineages.rows(stage).filter_map(|rows| Some((rows, length(rows)?)));
    let Some((rows, length)) = short.min_by_key(|(_, length)| *length).filter(|(_, n)| *n <= stride) else {
        return;
    };
    let message =
        format!("a stride of {stride} is as long as the rows, which have {}", count_noun(length, "token"));
    sink.push(
        Diagnostic::new(Code::StrideMismatch, message)
            .at(stage.place(train::ATTENTION_NTH_STRIDE.nth(at)), "no token is seen before it")
            .also(rows.place(rows::LENGTH), "tokens in a row")
            .help("write `stride 3`"),
    );
}
