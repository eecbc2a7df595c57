//! Contradictions inside a training stage, and with the checkpoint it starts from.

use indexmap::IndexMap;

use super::contract::Contract;
use super::{Graph, attention, field, place};
use crate::config::train::{Loss, Objective, Path};
use crate::config::{LearningRateShape, StageConfig, TrainConfig};
use crate::contract::{self, Kind};
use crate::diagnostic::{Code, Diagnostic, Sink};
use crate::pipeline::Stage;

/// All lints of one training stage.
pub(super) fn lint(graph: &Graph<'_>, stage: &Stage, config: &TrainConfig, sink: &mut Sink) {
    schedule(stage, config, sink);
    phases(stage, config, sink);
    batch(stage, config, sink);
    time(stage, config, sink);
    attention::lint(graph, stage, config, sink);
    loss(stage, config, sink);
    provenance(graph, stage, config, sink);
    rows(graph, stage, sink);
}

fn schedule(stage: &Stage, config: &TrainConfig, sink: &mut Sink) {
    let rate = &config.learning_rate;
    let decay = match rate.shape {
        LearningRateShape::WarmupStableDecay { decay } => decay,
        _ => 0,
    };
    if rate.warmup.saturating_add(decay) <= config.steps {
        return;
    }
    let (what, path) = if decay == 0 {
        (format!("{} updates of warm-up", rate.warmup), "learning-rate.warmup")
    } else {
        (format!("{} updates of warm-up and {decay} of decay", rate.warmup), "learning-rate.decay")
    };
    let message = format!("{what} do not fit into {} steps of `{}`", config.steps, stage.name);
    sink.push(
        Diagnostic::new(Code::WarmupOverSteps, message)
            .at(place(stage, path), "longer than the training")
            .also(place(stage, "steps"), "updates in all")
            .help(format!("write `warmup={}`, or more steps", (config.steps / 10).max(1))),
    );
}

/// Weights of the mixture that change when everything is over.
fn phases(stage: &Stage, config: &TrainConfig, sink: &mut Sink) {
    let late = stage.fields.iter().find(|field| {
        let ends = field.path.starts_with("data.mixture.") && field.path.ends_with(".until");
        ends && field.value.as_u64().is_some_and(|until| until >= config.steps)
    });
    let Some(field) = late else { return };
    let message =
        format!("the weights of the mixture change after the {} steps of `{}`", config.steps, stage.name);
    sink.push(
        Diagnostic::new(Code::WarmupOverSteps, message)
            .at(&field.span, "longer than the training")
            .also(place(stage, "steps"), "updates in all")
            .help(format!("write `until={}`, or more steps", (config.steps / 2).max(1))),
    );
}

fn batch(stage: &Stage, config: &TrainConfig, sink: &mut Sink) {
    let batch = &config.batch;
    if batch.rows.is_multiple_of(batch.per_device) {
        return;
    }
    let best = (1..=batch.per_device.min(batch.rows)).rev().find(|size| batch.rows.is_multiple_of(*size));
    let message = format!("{} rows cannot be cut into micro-batches of {}", batch.rows, batch.per_device);
    sink.push(
        Diagnostic::new(Code::BatchNotDivisible, message)
            .at(place(stage, "batch.per-device"), format!("does not divide {}", batch.rows))
            .also(place(stage, "batch.rows"), "rows of an update")
            .help(format!("write `per-device={}`", best.unwrap_or(1))),
    );
}

/// A band of times with nothing in it.
fn time(stage: &Stage, config: &TrainConfig, sink: &mut Sink) {
    let (from, to) = (config.time.from, config.time.to);
    if from < to {
        return;
    }
    sink.push(
        Diagnostic::new(Code::OutOfRange, format!("no time lies between {from} and {to}"))
            .at(place(stage, "time.from"), "the smallest t")
            .also(place(stage, "time.to"), format!("the largest is {to}"))
            .help("write a `from=` below `to=` and below 1 - `epsilon=`"),
    );
}

fn loss(stage: &Stage, config: &TrainConfig, sink: &mut Sink) {
    let Objective::Flow { path, loss, .. } = &config.objective else { return };
    if *loss == Loss::Elbo && path.mask_share < 1.0 {
        sink.push(
            Diagnostic::new(Code::LossMismatch, "the `elbo` weight is defined for a mask source only")
                .at(place(stage, "objective.loss"), "needs a mask source")
                .also(place(stage, "objective.path"), "has uniform noise")
                .help("write `loss=\"gkl\"` or `loss=\"cross-entropy\"`"),
        );
    }
}

/// Objective against what the checkpoint is.
pub(super) fn provenance(graph: &Graph<'_>, stage: &Stage, config: &TrainConfig, sink: &mut Sink) {
    let Some(contract) = graph.input(stage, "from").and_then(|parent| graph.contract(parent)) else { return };
    match (&config.objective, contract.kind.value) {
        (Objective::Flow { .. }, Kind::Autoregressive) => sink.push(not_converted(stage, &contract)),
        (Objective::Autoregressive, Kind::Flow) => sink.push(autoregressive(stage, &contract)),
        (Objective::Flow { path, .. }, Kind::Flow) => {
            sink.extend(uniform(stage, path, &contract));
            sink.extend(other_path(stage, path, &contract));
        }
        (Objective::Autoregressive, Kind::Autoregressive) => {}
    }
}

/// The checkpoint must have been trained on the same path, if on any.
fn other_path(stage: &Stage, path: &Path, contract: &Contract<'_>) -> Option<Diagnostic> {
    let (source, scheduler) = (contract.source.as_ref()?, contract.scheduler.as_ref()?);
    let message = format!("`{}` goes on along another path than its checkpoint", stage.name);
    let same = contract
        .path
        .map_or("use the same source and scheduler".to_owned(), |name| format!("write `path=\"{name}\"`"));
    let at = |label: String| {
        Diagnostic::new(Code::PathMismatch, message.clone())
            .at(place(stage, "objective.path"), label)
            .help(format!("{same}, or start this stage from the converted checkpoint"))
    };
    if source.value != path.mask_share {
        return Some(source.tell(at(format!("source {}", contract::source(path))), "another source"));
    }
    let label = format!("scheduler {}", contract::scheduler(path.scheduler));
    (scheduler.value != path.scheduler).then(|| scheduler.tell(at(label), "another scheduler"))
}

fn not_converted(stage: &Stage, contract: &Contract<'_>) -> Diagnostic {
    let parent = field(stage, "from").and_then(|field| field.value.as_str()).unwrap_or_default();
    let message = format!("`{}` learns a flow, but its checkpoint was never converted", stage.name);
    let diagnostic = Diagnostic::new(Code::NotConverted, message)
        .at(place(stage, "from"), "an autoregressive checkpoint")
        .help(format!("add `convert \"flow\" from=\"{parent}\"` and start from it: `from=\"flow\"`"));
    contract.kind.tell(diagnostic, "its weights start here")
}

/// With a shift it hardly is what was meant; without, the model predicts in place and would be taught something else.
fn autoregressive(stage: &Stage, contract: &Contract<'_>) -> Diagnostic {
    let message = format!("`{}` trains a flow checkpoint to predict the next token", stage.name);
    let help = "start from the checkpoint before the conversion, or write `objective \"flow\" ...`";
    let at = |code| Diagnostic::new(code, message).at(place(stage, "objective"), "autoregressive").help(help);
    match contract.shift.value {
        true => contract.kind.tell(at(Code::AutoregressiveOnFlow), "converted to flow here"),
        false => contract.shift.tell(at(Code::ShiftMismatch), "each token is predicted in its place"),
    }
}

fn uniform(stage: &Stage, path: &Path, contract: &Contract<'_>) -> Option<Diagnostic> {
    // A checkpoint that was trained with such noise has been told of where that was done.
    let before = contract.source.as_ref().is_some_and(|source| source.value < 1.0);
    if path.mask_share >= 1.0 || contract.timed.value || before {
        return None;
    }
    let message = format!("`{}` adds uniform noise, but the model cannot tell the time", stage.name);
    let diagnostic = Diagnostic::new(Code::UniformWithoutTime, message)
        .at(place(stage, "objective.path"), "noise that looks like data")
        .help("write `time-conditioning \"adaln\" rank=64` in the conversion, or use a mask source");
    Some(contract.timed.tell(diagnostic, "no time conditioning"))
}

/// Rows whose tokenizer is not the checkpoint's, by their digests.
pub(super) fn tokenizers(graph: &Graph<'_>, stage: &Stage, rows: &IndexMap<String, String>, sink: &mut Sink) {
    let contract = graph.input(stage, "from").and_then(|parent| graph.contract(parent));
    let Some(carried) = contract.and_then(|contract| contract.tokenizer) else { return };
    for (role, digest) in rows.iter().filter(|(_, digest)| **digest != carried.value) {
        let message =
            format!("rows of `{}` are ids of another tokenizer than the checkpoint's", dataset(role));
        let diagnostic = Diagnostic::new(Code::TokenizerMismatch, message)
            .at(place(stage, "data.rows"), format!("tokenizer {}", digest.get(..12).unwrap_or(digest)))
            .help("give `rows` the tokenizer that the checkpoint carries, by the name of its stage");
        sink.push(carried.tell(diagnostic, "another tokenizer"));
    }
}

/// The dataset of a role `rows/<dataset>`.
fn dataset(role: &str) -> &str {
    role.split_once('/').map_or(role, |(_, dataset)| dataset)
}

/// Rows against the model at the start of the chain: context and tokenizer.
fn rows(graph: &Graph<'_>, stage: &Stage, sink: &mut Sink) {
    let Some(root) = graph.ancestors(stage).last() else { return };
    for input in stage.inputs.iter().filter(|input| input.role.starts_with("rows/")) {
        let Some(rows) = graph.input(stage, &input.role) else { continue };
        if let (StageConfig::Rows(config), StageConfig::RandomInit(model)) = (&rows.config, &root.config) {
            if config.length > model.context {
                sink.push(over_context(stage, rows, root, config.length, model.context));
            }
            tokenizer(graph, stage, rows, root, sink);
        }
    }
}

fn over_context(stage: &Stage, rows: &Stage, root: &Stage, length: usize, context: usize) -> Diagnostic {
    let message = format!("rows of {length} tokens do not fit the context of `{}`: {context}", root.name);
    Diagnostic::new(Code::RowOverContext, message)
        .at(place(rows, "length"), format!("over {context}"))
        .also(place(root, "shape.context"), "the model's context")
        .also(place(stage, "data.rows"), format!("used by `{}`", stage.name))
        .help(format!("write `context={length}` in the shape, or shorter rows"))
}

fn tokenizer(graph: &Graph<'_>, stage: &Stage, rows: &Stage, root: &Stage, sink: &mut Sink) {
    let (Some(mine), Some(its)) = (graph.input(rows, "tokenizer"), graph.input(root, "tokenizer")) else {
        return;
    };
    if mine.id == its.id {
        return;
    }
    let message = format!("rows of tokenizer `{}` train a model of tokenizer `{}`", mine.name, its.name);
    sink.push(
        Diagnostic::new(Code::TokenizerMismatch, message)
            .at(place(rows, "tokenizer"), "the rows' tokenizer")
            .also(place(root, "tokenizer"), "the model's tokenizer")
            .also(place(stage, "data.rows"), format!("used by `{}`", stage.name))
            .help(format!("write `tokenizer=\"{}\"` in the rows", its.name)),
    );
}
