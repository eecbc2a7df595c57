//! Where checkpoints come from: conversions, samplers, required scores.

use super::contract::Contract;
use super::{Graph, attention, field, place};
use crate::config::{
    ConvertConfig, EvaluateConfig, GenerateConfig, MaskToken, Sampler, SamplerKind, StageConfig,
    TokenizerChoice,
};
use crate::contract::Kind;
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
    converted_before(graph, stage, sink);
}

/// A conversion of a flow checkpoint.
pub(super) fn converted_before(graph: &Graph<'_>, stage: &Stage, sink: &mut Sink) {
    let Some(parent) = graph.input(stage, "from") else { return };
    let Some(contract) = graph.contract(parent) else { return };
    if contract.kind.value == Kind::Flow {
        let message = format!("`{}` converts a checkpoint that is converted already", stage.name);
        let help = format!("remove `convert \"{}\"`, and start from `{}` itself", stage.name, parent.name);
        let diagnostic = Diagnostic::new(Code::AlreadyConverted, message)
            .at(place(stage, "from"), "a flow checkpoint")
            .help(help);
        sink.push(contract.kind.tell(diagnostic, "converted here"));
    }
}

/// Samplers that do not fit, and scores required of what is not measured.
pub(super) fn evaluate(graph: &Graph<'_>, stage: &Stage, config: &EvaluateConfig, sink: &mut Sink) {
    measured(graph, stage, config, sink);
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

/// Samplers that do not fit the checkpoints.
pub(super) fn measured(graph: &Graph<'_>, stage: &Stage, config: &EvaluateConfig, sink: &mut Sink) {
    for (at, exact) in config.exact_match.iter().enumerate() {
        let path = format!("exact-match.{at}.sampler");
        for name in &config.checkpoints {
            if let Some(checkpoint) = graph.input(stage, &format!("checkpoint/{name}")) {
                sampler(graph, checkpoint, &exact.sampler, (stage, &path), sink);
            }
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
    let Some(contract) = graph.contract(checkpoint) else { return };
    let autoregressive = sampler.kind == SamplerKind::Autoregressive;
    match contract.kind.value {
        Kind::Autoregressive if !autoregressive => {
            sink.push(flow_sampler(checkpoint, &contract, sampler, span));
        }
        Kind::Flow if autoregressive && contract.shift.value => {
            sink.push(autoregressive_sampler(checkpoint, &contract, sampler, span));
        }
        Kind::Flow if autoregressive => sink.push(unshifted(checkpoint, &contract, sampler, span)),
        Kind::Flow if sampler.reveals_masks() => {
            sink.extend(unmaskable(checkpoint, &contract, sampler, span));
        }
        _ => {}
    }
}

fn flow_sampler(checkpoint: &Stage, contract: &Contract<'_>, sampler: &Sampler, span: &Span) -> Diagnostic {
    let message = format!(
        "sampler `{}` needs a flow checkpoint, and `{}` was never converted",
        sampler.name, checkpoint.name
    );
    let diagnostic = Diagnostic::new(Code::NotConverted, message)
        .at(span, "a flow sampler")
        .help("use a sampler of `kind=\"autoregressive\"`, or a checkpoint made from a `convert` stage");
    contract.kind.tell(diagnostic, format!("`{}` starts here", checkpoint.name))
}

fn autoregressive_sampler(
    checkpoint: &Stage,
    contract: &Contract<'_>,
    sampler: &Sampler,
    span: &Span,
) -> Diagnostic {
    let message = format!("sampler `{}` reads `{}` from left to right", sampler.name, checkpoint.name);
    let diagnostic = Diagnostic::new(Code::AutoregressiveOnFlow, message)
        .at(span, "an autoregressive sampler")
        .help("use a sampler of `kind=\"confidence\"` or `kind=\"euler\"`");
    contract.kind.tell(diagnostic, "converted to flow here")
}

fn unshifted(checkpoint: &Stage, contract: &Contract<'_>, sampler: &Sampler, span: &Span) -> Diagnostic {
    let message = format!(
        "sampler `{}` reads the next token, and `{}` predicts each token in its place",
        sampler.name, checkpoint.name
    );
    let diagnostic = Diagnostic::new(Code::ShiftMismatch, message)
        .at(span, "an autoregressive sampler")
        .help("use a sampler of `kind=\"confidence\"` or `kind=\"euler\"`, or convert with `shift #true`");
    contract.shift.tell(diagnostic, "without a shift")
}

/// A sampler that looks for masks where noise looks like data.
fn unmaskable(
    checkpoint: &Stage,
    contract: &Contract<'_>,
    sampler: &Sampler,
    span: &Span,
) -> Option<Diagnostic> {
    let source = contract.source.as_ref().filter(|source| source.value < 1.0)?;
    let (name, checkpoint) = (&sampler.name, &checkpoint.name);
    let message =
        format!("sampler `{name}` looks for masks, and the noise of `{checkpoint}` is not the mask alone");
    let help = match sampler.kind {
        SamplerKind::Euler { .. } => {
            "write `kernel=\"rate\"` with `corrector \"div-free\" weight=1.0`, or no corrector"
        }
        _ => "use a sampler of `kind=\"euler\"`",
    };
    let diagnostic =
        Diagnostic::new(Code::SamplerMismatch, message).at(span, "sees noise by the mask").help(help);
    Some(source.tell(diagnostic, "has uniform noise"))
}
