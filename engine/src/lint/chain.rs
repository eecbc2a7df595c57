//! Where checkpoints come from: conversions, samplers, required scores.

use super::{Conversion, Graph, attention, field, place};
use crate::config::{
    ConvertConfig, EvaluateConfig, GenerateConfig, MaskToken, Sampler, SamplerKind, StageConfig,
    TokenizerChoice,
};
use crate::diagnostic::{Code, Diagnostic, Sink};
use crate::pipeline::{Span, Stage};

/// A conversion of a checkpoint that is converted already, or whose mask token nobody can find.
pub(super) fn convert(graph: &Graph<'_>, stage: &Stage, config: &ConvertConfig, sink: &mut Sink) {
    if config.mask_token == MaskToken::Reserved && config.tokenizer == TokenizerChoice::None {
        sink.push(
            Diagnostic::new(
                Code::ConflictingFields,
                "without a tokenizer nobody knows which row is reserved",
            )
            .at(place(stage, "mask-token"), "the first row that no token uses")
            .also(place(stage, "tokenizer"), "no tokens")
            .help("write the number of a row, such as `mask-token 151669`, or name a tokenizer"),
        );
    }
    let Some(parent) = graph.input(stage, "from") else { return };
    if let Conversion::By(first) = graph.conversion(parent) {
        let message = format!("`{}` converts a checkpoint that `{}` has converted", stage.name, first.name);
        sink.push(
            Diagnostic::new(Code::AlreadyConverted, message)
                .at(place(stage, "from"), "a flow checkpoint")
                .also(&first.span, "converted here")
                .help(format!(
                    "remove `convert \"{}\"`, and start from `{}` itself",
                    stage.name, parent.name
                )),
        );
    }
}

/// Samplers that do not fit, and scores required of what is not measured.
pub(super) fn evaluate(graph: &Graph<'_>, stage: &Stage, config: &EvaluateConfig, sink: &mut Sink) {
    for (at, exact) in config.exact_match.iter().enumerate() {
        let path = format!("exact-match.{at}.sampler");
        for name in &config.checkpoints {
            if let Some(checkpoint) = graph.input(stage, &format!("checkpoint/{name}")) {
                sampler(graph, checkpoint, &exact.sampler, (stage, &path), sink);
            }
        }
    }
    let likelihoods =
        config.held_out.iter().enumerate().map(|(at, one)| (format!("held-out.{at}"), &one.role));
    let matches =
        config.exact_match.iter().enumerate().map(|(at, one)| (format!("exact-match.{at}"), &one.role));
    for (path, role) in likelihoods.chain(matches) {
        held_out(graph, stage, &path, role, sink);
    }
    for (at, require) in config.require.iter().enumerate() {
        if !config.checkpoints.contains(&require.checkpoint) {
            let span = place(stage, &format!("require.{at}"));
            sink.push(not_measured(stage, &require.checkpoint, span));
        } else if config.exact_match.is_empty() {
            let span = place(stage, &format!("require.{at}.at-least"));
            sink.push(nothing_measured(stage, span));
        }
    }
}

/// A measurement of a dataset that keeps no documents for it.
fn held_out(graph: &Graph<'_>, stage: &Stage, path: &str, role: &str, sink: &mut Sink) {
    let Some(rows) = graph.input(stage, role) else { return };
    let StageConfig::Rows(config) = &rows.config else { return };
    if config.dataset.held_out > 0.0 {
        return;
    }
    let name = &config.dataset.name;
    sink.push(
        Diagnostic::new(Code::NothingHeldOut, format!("dataset `{name}` holds no documents out to measure"))
            .at(place(stage, &format!("{path}.dataset")), "only held-out documents are measured")
            .also(place(rows, "dataset.held-out"), "nothing is held out")
            .help(format!("write `held-out=\"2%\"` in dataset `{name}`")),
    );
}

fn not_measured(stage: &Stage, name: &str, span: &Span) -> Diagnostic {
    let message = format!("`{}` requires a score of `{name}`, which it does not measure", stage.name);
    Diagnostic::new(Code::RequireNotMeasured, message)
        .at(span, "not among the checkpoints")
        .also(place(stage, "checkpoint.0"), "the checkpoints")
        .help(format!("add `\"{name}\"` to `checkpoint`, or remove the `require`"))
}

fn nothing_measured(stage: &Stage, span: &Span) -> Diagnostic {
    let message = format!("`{}` requires an exact match, which it does not measure", stage.name);
    Diagnostic::new(Code::RequireNotMeasured, message)
        .at(span, "a score of what?")
        .help("add `exact-match dataset=\"...\" sampler=\"...\"`")
}

/// Samplers that do not fit.
pub(super) fn generate(graph: &Graph<'_>, stage: &Stage, config: &GenerateConfig, sink: &mut Sink) {
    let Some(checkpoint) = graph.input(stage, "from") else { return };
    attention::infills(graph, stage, checkpoint, sink);
    let written: Vec<_> = stage.fields.iter().filter(|field| field.path.ends_with(".sampler")).collect();
    for prompt in &config.prompts {
        let name = prompt.sampler.name.as_str();
        let own = written.iter().find(|field| field.value.as_str() == Some(name));
        let path = own.map_or("sampler", |field| field.path.as_str());
        sampler(graph, checkpoint, &prompt.sampler, (stage, path), sink);
    }
}

/// A sampler named at a path of a stage, against a checkpoint.
fn sampler(
    graph: &Graph<'_>,
    checkpoint: &Stage,
    sampler: &Sampler,
    (stage, path): (&Stage, &str),
    sink: &mut Sink,
) {
    let span = place(stage, path);
    let block = field(stage, &format!("{path}.block"));
    attention::sampler(graph, checkpoint, sampler, block.map_or(span, |field| &field.span), sink);
    let autoregressive = sampler.kind == SamplerKind::Autoregressive;
    match graph.conversion(checkpoint) {
        Conversion::None(root) if !autoregressive && graph.path(checkpoint).is_none() => {
            sink.push(flow_sampler(checkpoint, root, sampler, span));
        }
        Conversion::By(convert) if autoregressive => {
            sink.push(autoregressive_sampler(checkpoint, convert, sampler, span));
        }
        _ => {}
    }
    if let Some((trained, path)) = graph.path(checkpoint)
        && path.mask_share < 1.0
        && sampler.reveals_masks()
    {
        sink.push(unmaskable(checkpoint, trained, sampler, span));
    }
}

fn unmaskable(checkpoint: &Stage, trained: &Stage, sampler: &Sampler, span: &Span) -> Diagnostic {
    let (name, checkpoint) = (&sampler.name, &checkpoint.name);
    let message =
        format!("sampler `{name}` looks for masks, and the noise of `{checkpoint}` is not the mask alone");
    let diagnostic = Diagnostic::new(Code::SamplerMismatch, message)
        .at(span, "sees noise by the mask")
        .also(place(trained, "objective.path"), "has uniform noise");
    diagnostic.help(match sampler.kind {
        SamplerKind::Euler { .. } => {
            "write `kernel=\"rate\"` with `corrector \"div-free\" weight=1.0`, or no corrector"
        }
        _ => "use a sampler of `kind=\"euler\"`",
    })
}

fn flow_sampler(checkpoint: &Stage, root: &Stage, sampler: &Sampler, span: &Span) -> Diagnostic {
    let message = format!(
        "sampler `{}` needs a flow checkpoint, and `{}` was never converted",
        sampler.name, checkpoint.name
    );
    Diagnostic::new(Code::NotConverted, message)
        .at(span, "a flow sampler")
        .also(&root.span, format!("`{}` starts here", checkpoint.name))
        .help("use a sampler of `kind=\"autoregressive\"`, or a checkpoint made from a `convert` stage")
}

fn autoregressive_sampler(checkpoint: &Stage, convert: &Stage, sampler: &Sampler, span: &Span) -> Diagnostic {
    let message = format!("sampler `{}` reads `{}` from left to right", sampler.name, checkpoint.name);
    Diagnostic::new(Code::AutoregressiveOnFlow, message)
        .at(span, "an autoregressive sampler")
        .also(&convert.span, "converted to flow here")
        .help("use a sampler of `kind=\"confidence\"` or `kind=\"euler\"`")
}
