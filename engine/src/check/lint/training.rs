//! Lints of a training stage: contradictions within it, and with the checkpoint it starts from.

use indexmap::IndexMap;

use crate::check::lint::attention;
use crate::check::lint::capacity;
use crate::check::lint::context::KnownContext;
use crate::check::lint::lineage::KnownContract;
use crate::check::lint::lineage::Lineages;
use crate::pipeline::config::train::{Loss, Objective, ProbabilityPath};
use crate::pipeline::config::{LearningRateShape, StageConfig, TrainConfig};
use crate::pipeline::contract::ModelKind;
use crate::pipeline::field_path::{random_init, rows, train};
use crate::pipeline::origins::ContractFact;
use crate::pipeline::path_words::{describe_scheduler, describe_source};
use crate::pipeline::role::InputRole;
use crate::pipeline::stage::Stage;
use crate::text::diagnostic::{Code, Diagnostic, Sink};
use crate::text::display::count_noun;

/// Runs the lints of one training stage.
pub(super) fn lint_training(lineages: &Lineages<'_>, stage: &Stage, config: &TrainConfig, sink: &mut Sink) {
    check_learning_rate_schedule(stage, config, sink);
    check_mixture_phases(stage, config, sink);
    check_micro_batches(stage, config, sink);
    check_time_range(stage, config, sink);
    attention::lint_attention(lineages, stage, config, sink);
    check_loss_source(stage, config, sink);
    check_objective_lineage(lineages, stage, config, sink);
    check_training_rows(lineages, stage, sink);
}

fn check_learning_rate_schedule(stage: &Stage, config: &TrainConfig, sink: &mut Sink) {
    let rate = &config.learning_rate;
    let decay = match rate.shape {
        LearningRateShape::WarmupStableDecay { decay } => decay,
        _ => 0,
    };
    if rate.warmup.saturating_add(decay) <= config.steps {
        return;
    }
    let (what, path) = if decay == 0 {
        (format!("{} of warmup", count_noun(rate.warmup, "update")), train::LEARNING_RATE_WARMUP)
    } else {
        (
            format!("{} of warmup and {decay} of decay", count_noun(rate.warmup, "update")),
            train::LEARNING_RATE_DECAY,
        )
    };
    let share = (config.steps / 10).max(1);
    let fits_beside = |other: u64| share.saturating_add(other) <= config.steps;
    let change = match (fits_beside(decay), fits_beside(rate.warmup)) {
        (true, _) => format!("warmup={share}"),
        (false, true) => format!("decay={share}"),
        (false, false) => format!("warmup={share} decay={share}"),
    };
    let message = format!("{what} do not fit into {} of `{}`", count_noun(config.steps, "step"), stage.name);
    sink.push(
        Diagnostic::new(Code::WarmupOverSteps, message)
            .at(stage.place(path), "longer than the training")
            .also(stage.place(train::STEPS), "total updates")
            .help(format!("write `{change}`, or train for more steps")),
    );
}

/// Reports mixture weights that change only after the training has ended.
fn check_mixture_phases(stage: &Stage, config: &TrainConfig, sink: &mut Sink) {
    let ends = stage.fields.iter().filter_map(|field| {
        let ends = field.path.starts_with("data.mixture.") && field.path.ends_with(".until");
        Some((field, field.value.as_u64().filter(|_| ends)?))
    });
    let ends: Vec<_> = ends.collect();
    let Some((field, until)) = ends.iter().find(|(_, until)| *until >= config.steps) else { return };
    // The phase begins where the one before it ends: a phase of the same node has the same path but for its number.
    let node = find_phase_owner(&field.path);
    let before = ends.iter().filter(|(other, end)| find_phase_owner(&other.path) == node && end < until);
    let start = before.map(|(_, end)| *end).max().unwrap_or(0);
    let middle = start.saturating_add((config.steps.saturating_sub(start) / 2).max(1));
    let help = match middle < config.steps {
        true => format!("write `until={middle}`, or train for more steps"),
        false => format!("write `steps {}`", until.saturating_add(1)),
    };
    let message = format!(
        "the weights of the mixture change after the {} of `{}`",
        count_noun(config.steps, "step"),
        stage.name
    );
    sink.push(
        Diagnostic::new(Code::WarmupOverSteps, message)
            .at(&field.span, "after the last update")
            .also(stage.place(train::STEPS), "total updates")
            .help(help),
    );
}

/// The path of a phase without its number and field: what all phases of one part of a mixture share.
fn find_phase_owner(path: &str) -> &str {
    path.rsplitn(3, '.').last().expect("splitting gives at least one piece")
}

fn check_micro_batches(stage: &Stage, config: &TrainConfig, sink: &mut Sink) {
    let batch = &config.batch;
    if batch.rows.is_multiple_of(batch.per_device) {
        return;
    }
    let best = (1..=batch.per_device.min(batch.rows)).rev().find(|size| batch.rows.is_multiple_of(*size));
    let message =
        format!("{} cannot be cut into micro-batches of {}", count_noun(batch.rows, "row"), batch.per_device);
    sink.push(
        Diagnostic::new(Code::BatchNotDivisible, message)
            .at(stage.place(train::BATCH_PER_DEVICE), format!("does not divide {}", batch.rows))
            .also(stage.place(train::BATCH_ROWS), "rows of an update")
            .help(format!("write `per-device={}`", best.expect("1 divides every number"))),
    );
}

/// Reports an empty range of times t. `time.to` is already capped at 1 - `epsilon`.
fn check_time_range(stage: &Stage, config: &TrainConfig, sink: &mut Sink) {
    let (from, to) = (config.time.from, config.time.to);
    if from < to {
        return;
    }
    sink.push(
        Diagnostic::new(Code::OutOfRange, format!("the range of times is empty: {from} is not below {to}"))
            .at(stage.place(train::TIME_FROM), "the smallest t")
            .also(stage.place(train::TIME_TO), format!("the largest is {to}"))
            .help("write `from=0.0`, or a larger `to=`"),
    );
}

fn check_loss_source(stage: &Stage, config: &TrainConfig, sink: &mut Sink) {
    let Objective::Flow { path, loss, .. } = &config.objective else { return };
    if *loss == Loss::Elbo && path.mask_share < 1.0 {
        let capped = stage.field(train::OBJECTIVE_MAX_WEIGHT).is_some();
        sink.push(
            Diagnostic::new(Code::LossMismatch, "the `elbo` weight is defined only for a mask source")
                .at(stage.place(train::OBJECTIVE_LOSS), "needs a mask source")
                .also(stage.place(train::OBJECTIVE_PATH), "has uniform noise")
                .help(match capped {
                    true => "write `loss=\"gkl\"`",
                    false => "write `loss=\"gkl\"` or `loss=\"cross-entropy\"`",
                }),
        );
    }
}

/// Reports an objective that contradicts the checkpoint.
pub(super) fn check_objective_lineage(
    lineages: &Lineages<'_>,
    stage: &Stage,
    config: &TrainConfig,
    sink: &mut Sink,
) {
    let Some(known) = lineages.parent(stage).and_then(|parent| lineages.contract(parent)) else { return };
    match (&config.objective, known.contract.kind) {
        (Objective::Flow { .. }, ModelKind::Autoregressive) => {
            sink.push(flow_on_autoregressive(stage, known))
        }
        (Objective::Autoregressive, ModelKind::Flow) => sink.push(autoregressive_on_flow(stage, known)),
        (Objective::Flow { path, .. }, ModelKind::Flow) => {
            sink.extend(uniform_without_time(stage, path, known));
            sink.extend(path_mismatch(stage, path, known));
        }
        (Objective::Autoregressive, ModelKind::Autoregressive) => {}
    }
}

/// A checkpoint that was trained on a path must be trained on along the same path.
fn path_mismatch(stage: &Stage, path: &ProbabilityPath, known: &KnownContract<'_>) -> Option<Diagnostic> {
    let trained = known.contract.path.as_ref()?;
    let message = format!("`{}` trains on a different path than its checkpoint", stage.name);
    let same = known
        .path_name
        .map_or("use the same source and scheduler".to_owned(), |name| format!("write `path=\"{name}\"`"));
    let at = |label: String| {
        Diagnostic::new(Code::PathMismatch, message.clone())
            .at(stage.place(train::OBJECTIVE_PATH), label)
            .help(format!("{same}, or start this stage from the converted checkpoint"))
    };
    if trained.mask_share != path.mask_share {
        let diagnostic = at(format!("source {}", describe_source(path)));
        return Some(known.show_fact(ContractFact::Source, diagnostic, "a different source"));
    }
    let label = format!("scheduler {}", describe_scheduler(path.scheduler));
    (trained.scheduler != path.scheduler)
        .then(|| known.show_fact(ContractFact::Scheduler, at(label), "a different scheduler"))
}

fn flow_on_autoregressive(stage: &Stage, known: &KnownContract<'_>) -> Diagnostic {
    let parent = stage.field(train::FROM).and_then(|field| field.value.as_str());
    let parent = parent.expect("a training stage names its checkpoint");
    let message = format!("`{}` learns a flow, but its checkpoint was never converted", stage.name);
    let diagnostic = Diagnostic::new(Code::NotConverted, message)
        .at(stage.place(train::FROM), "an autoregressive checkpoint")
        .help(format!("add `convert \"flow\" from=\"{parent}\"` and start from it: `from=\"flow\"`"));
    known.show_fact(ContractFact::Kind, diagnostic, "its weights start here")
}

/// With a shift, the training works but is probably not what was meant. Without, it contradicts the model, which predicts
/// each token in place.
fn autoregressive_on_flow(stage: &Stage, known: &KnownContract<'_>) -> Diagnostic {
    let message = format!("`{}` trains a flow checkpoint to predict the next token", stage.name);
    let help = match known.path_name {
        Some(path) => format!(
            "start from the checkpoint before the conversion, or write `objective \"flow\" path=\"{path}\" loss=\"gkl\"`"
        ),
        None => {
            "start from the checkpoint before the conversion, or learn a flow: `fmflow explain objective` \
                 shows how"
                .to_owned()
        }
    };
    let at =
        |code| Diagnostic::new(code, message).at(stage.place(train::OBJECTIVE), "autoregressive").help(help);
    match known.contract.shift {
        true => known.show_fact(ContractFact::Kind, at(Code::AutoregressiveOnFlow), "converted to flow here"),
        false => {
            known.show_fact(ContractFact::Shift, at(Code::ShiftMismatch), "each token is predicted in place")
        }
    }
}

fn uniform_without_time(
    stage: &Stage,
    path: &ProbabilityPath,
    known: &KnownContract<'_>,
) -> Option<Diagnostic> {
    // If the checkpoint was trained with such noise before, the stage that did so has been reported.
    let before = known.contract.path.as_ref().is_some_and(|path| path.mask_share < 1.0);
    if path.mask_share >= 1.0 || known.knows_time() || before {
        return None;
    }
    let message = format!("`{}` adds uniform noise, but the model is not given the time", stage.name);
    let diagnostic = Diagnostic::new(Code::UniformWithoutTime, message)
        .at(stage.place(train::OBJECTIVE_PATH), "noise that looks like data")
        .help("write `time-conditioning \"adaln\" rank=64` in the conversion, or use a mask source");
    Some(known.show_fact(ContractFact::TimeConditioning, diagnostic, "no time conditioning"))
}

/// Reports rows whose tokenizer digest is not the checkpoint's.
pub(super) fn check_tokenizer_digests(
    lineages: &Lineages<'_>,
    stage: &Stage,
    rows: &IndexMap<InputRole, String>,
    sink: &mut Sink,
) {
    let Some(known) = lineages.parent(stage).and_then(|parent| lineages.contract(parent)) else { return };
    let Some(carried) = &known.contract.tokenizer else { return };
    for (role, digest) in rows.iter().filter(|(_, digest)| *digest != carried) {
        let InputRole::Rows { dataset, .. } = role else { continue };
        let message = format!("rows of `{dataset}` use a different tokenizer than the checkpoint");
        let diagnostic = Diagnostic::new(Code::TokenizerMismatch, message)
            .at(stage.place(train::DATA_ROWS), format!("tokenizer {}", digest.get(..12).unwrap_or(digest)))
            .help("give `rows` the checkpoint's own tokenizer, by the name of the checkpoint's stage");
        sink.push(known.show_fact(ContractFact::Tokenizer, diagnostic, "a different tokenizer"));
    }
}

/// Compares the context and the tokenizer of the rows with those of the model that the weights start from.
fn check_training_rows(lineages: &Lineages<'_>, stage: &Stage, sink: &mut Sink) {
    let root = lineages.root(stage);
    let context = KnownContext::find(lineages, root);
    for rows in lineages.rows(stage) {
        if let Some(context) = context {
            capacity::check_row_length(rows, context, (stage, stage.place(train::DATA_ROWS)), sink);
        }
        if let StageConfig::RandomInit(_) = &root.config {
            check_rows_tokenizer(lineages, stage, rows, root, sink);
        }
    }
}

fn check_rows_tokenizer(lineages: &Lineages<'_>, stage: &Stage, rows: &Stage, root: &Stage, sink: &mut Sink) {
    let (Some(mine), Some(its)) =
        (lineages.input(rows, &InputRole::Tokenizer), lineages.input(root, &InputRole::Tokenizer))
    else {
        return;
    };
    if mine.id == its.id {
        return;
    }
    let message =
        format!("rows made with tokenizer `{}` train a model of tokenizer `{}`", mine.name, its.name);
    sink.push(
        Diagnostic::new(Code::TokenizerMismatch, message)
            .at(rows.place(rows::TOKENIZER), "the rows' tokenizer")
            .also(root.place(random_init::TOKENIZER), "the model's tokenizer")
            .also(stage.place(train::DATA_ROWS), format!("used by `{}`", stage.name))
            .help(format!("write `tokenizer=\"{}\"` in the rows", its.name)),
    );
}
