//! Samplers against what they are asked for: how many tokens, how many samples, from which noise.

use super::{Graph, field, place};
use crate::config::{EvaluateConfig, GenerateConfig, PromptKind, Sampler, SamplerKind, StageConfig};
use crate::diagnostic::{Code, Diagnostic, Sink};
use crate::pipeline::Stage;
use crate::record::Record;
use crate::schema::Value;

/// `top-k` and `top-p` beside the arg max.
pub(super) fn filters(record: &Record, sink: &mut Sink) {
    let Some(temperature) = record.leaf("temperature").filter(|leaf| leaf.value == Value::Number(0.0)) else {
        return;
    };
    for name in ["top-k", "top-p"] {
        let Some(leaf) = record.leaf(name) else { continue };
        sink.push(
            Diagnostic::new(
                Code::FieldDoesNotApply,
                format!("`{name}` counts only when `temperature` is above 0"),
            )
            .at(&leaf.span, "of no effect")
            .also(&temperature.span, "the arg max is taken")
            .help(format!("write `temperature=0.7`, or remove `{name}`")),
        );
    }
}

/// Lints of an evaluation.
pub(super) fn evaluate(graph: &Graph<'_>, stage: &Stage, config: &EvaluateConfig, sink: &mut Sink) {
    for (at, exact) in config.exact_match.iter().enumerate() {
        let path = format!("exact-match.{at}");
        let Some(rows) = graph.input(stage, &exact.role) else { continue };
        let StageConfig::Rows(settings) = &rows.config else { continue };
        match settings.canvas {
            None => sink.push(no_canvas(stage, rows, &path)),
            Some(canvas) => {
                steps(stage, &exact.sampler, &format!("{path}.sampler"), canvas, place(rows, "canvas"), sink);
            }
        }
    }
    for at in 0..config.benchmarks.len() {
        samples(stage, &format!("benchmark.{at}"), sink);
    }
}

fn no_canvas(stage: &Stage, rows: &Stage, path: &str) -> Diagnostic {
    let name = rows.name.split('/').next().unwrap_or_default();
    Diagnostic::new(
        Code::NoCanvas,
        format!("nothing says how many tokens an answer may have in `{}`", stage.name),
    )
    .at(place(stage, &format!("{path}.dataset")), "answers of which length?")
    .also(&rows.span, "rows without a canvas")
    .help(format!("add `canvas=16` to rows `{name}`"))
}

/// Lints of requests.
pub(super) fn generate(graph: &Graph<'_>, stage: &Stage, config: &GenerateConfig, sink: &mut Sink) {
    let Some(checkpoint) = graph.input(stage, "from") else { return };
    let canvas = trained_canvas(graph, checkpoint);
    let mut seen = [0, 0, 0];
    for prompt in &config.prompts {
        let (word, kind, length) = match prompt.kind {
            PromptKind::Chat(_) => ("chat", 0, "new-tokens"),
            PromptKind::Text(_) => ("prompt", 1, "new-tokens"),
            PromptKind::Infill { .. } => ("infill", 2, "length"),
        };
        let Some(number) = seen.get_mut(kind) else { continue };
        let path = format!("{word}.{number}");
        *number += 1;
        let own = format!("{path}.sampler");
        let sampler = if field(stage, &own).is_some() { own } else { "sampler".to_owned() };
        match (prompt.new_tokens, canvas) {
            (Some(tokens), _) => {
                let place = place(stage, &format!("{path}.{length}"));
                steps(stage, &prompt.sampler, &sampler, tokens, place, sink);
            }
            (None, Canvas::Of(rows, tokens)) => {
                steps(stage, &prompt.sampler, &sampler, tokens, place(rows, "canvas"), sink);
            }
            (None, Canvas::None) => sink.push(no_length(stage, checkpoint, &path)),
            (None, Canvas::Unknown) => {}
        }
    }
}

/// The canvas that a checkpoint has learnt to fill.
#[derive(Clone, Copy)]
enum Canvas<'a> {
    Of(&'a Stage, usize),
    None,
    Unknown,
}

fn trained_canvas<'a>(graph: &Graph<'a>, checkpoint: &'a Stage) -> Canvas<'a> {
    for stage in graph.ancestors(checkpoint) {
        let rows = stage.inputs.iter().filter(|input| input.role.starts_with("rows/"));
        let rows: Vec<_> = rows.filter_map(|input| graph.input(stage, &input.role)).collect();
        let canvas = |rows: &&'a Stage| match &rows.config {
            StageConfig::Rows(config) => Some((*rows, config.canvas?)),
            _ => None,
        };
        match (&stage.config, rows.iter().filter_map(canvas).max_by_key(|(_, canvas)| *canvas)) {
            (StageConfig::Train(config), _) if rows.len() < config.parts.len() => return Canvas::Unknown,
            (_, Some((rows, canvas))) => return Canvas::Of(rows, canvas),
            (StageConfig::RandomInit(_), None) => return Canvas::None,
            _ => {}
        }
    }
    Canvas::Unknown
}

fn no_length(stage: &Stage, checkpoint: &Stage, path: &str) -> Diagnostic {
    let message = format!("nothing says how long the answer to a `chat` of `{}` may be", stage.name);
    Diagnostic::new(Code::NoCanvas, message)
        .at(place(stage, path), "an answer of which length?")
        .also(&checkpoint.span, "never trained with a canvas")
        .help("add `new-tokens=64`")
}

/// A confidence sampler that has revealed everything before its last steps.
fn steps(
    stage: &Stage,
    sampler: &Sampler,
    path: &str,
    tokens: usize,
    length: &crate::pipeline::Span,
    sink: &mut Sink,
) {
    let SamplerKind::Confidence { steps } = sampler.kind else { return };
    let (tokens, length) = match sampler.block.filter(|block| *block < tokens) {
        Some(block) => (block, place(stage, &format!("{path}.block"))),
        None => (tokens, length),
    };
    if steps <= tokens {
        return;
    }
    let message = format!("sampler `{}` takes {steps} steps for {tokens} tokens", sampler.name);
    sink.push(
        Diagnostic::new(Code::MoreStepsThanTokens, message)
            .at(place(stage, &format!("{path}.steps")), "every step reveals at least one token")
            .also(length, "tokens to reveal")
            .help(format!("write `steps={tokens}`")),
    );
}

/// The same text several times.
fn samples(stage: &Stage, path: &str, sink: &mut Sink) {
    let value = |name: &str| field(stage, &format!("{path}.{name}"));
    let (Some(samples), Some(temperature)) = (value("samples"), value("sampler.temperature")) else { return };
    let count = samples.value.as_u64().unwrap_or(1);
    let random = value("sampler.kind").is_some_and(|kind| kind.value == "euler");
    if count < 2 || random || temperature.value.as_f64() != Some(0.0) {
        return;
    }
    let message = format!("{count} samples without randomness are {count} times the same");
    sink.push(
        Diagnostic::new(Code::EqualSamples, message)
            .at(&samples.span, "one would do")
            .also(&temperature.span, "the arg max is taken")
            .help("write `samples=1`, or a sampler with `temperature=0.8`"),
    );
}
