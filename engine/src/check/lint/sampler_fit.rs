//! Lints of a sampler against the checkpoint that it reads.

use crate::check::lint::attention;
use crate::check::lint::lineage::{KnownContract, Lineages};
use crate::check::lint::sampler_cache::check_sampler_cache;
use crate::pipeline::config::{Sampler, SamplerKind};
use crate::pipeline::contract::ModelKind;
use crate::pipeline::origins::ContractFact;
use crate::pipeline::stage::Stage;
use crate::text::diagnostic::{Code, Diagnostic, Sink};
use crate::text::place::Span;

/// Where a sampler and its settings are named.
pub(super) struct SamplerPlaces<'a> {
    pub(super) sampler: &'a Span,
    pub(super) block: &'a Span,
    pub(super) cache: &'a Span,
    /// Where its kind is written, if that is another place.
    pub(super) kind: Option<&'a Span>,
}

/// Reports a sampler that does not fit `checkpoint`.
pub(super) fn check_sampler_fit(
    lineages: &Lineages<'_>,
    checkpoint: &Stage,
    sampler: &Sampler,
    places: &SamplerPlaces<'_>,
    sink: &mut Sink,
) {
    let span = places.sampler;
    attention::check_sampler_blocks(lineages, checkpoint, sampler, places.block, sink);
    let Some(known) = lineages.contract(checkpoint) else { return };
    check_sampler_cache(checkpoint, known, sampler, places.cache, sink);
    let autoregressive = sampler.kind == SamplerKind::Autoregressive;
    let found = match known.contract.kind {
        ModelKind::Autoregressive if !autoregressive => {
            Some(flow_sampler_on_autoregressive(checkpoint, known, sampler, span))
        }
        // Without masks it is an autoregressive model.
        ModelKind::Flow if autoregressive && known.contract.stride.is_some() => None,
        ModelKind::Flow if autoregressive => {
            Some(autoregressive_sampler_on_flow(checkpoint, known, sampler, span))
        }
        ModelKind::Flow if sampler.reads_next_tokens() && known.contract.stride.is_none() => {
            Some(drafts_without_stride(checkpoint, known, sampler, span))
        }
        ModelKind::Flow if sampler.reads_next_tokens() => {
            drafts_beyond_stride(checkpoint, known, sampler, span)
        }
        ModelKind::Flow if sampler.reveals_masks() => sampler_without_masks(checkpoint, known, sampler, span),
        _ => None,
    };
    sink.extend(found.map(|found| match places.kind {
        Some(kind) => found.also(kind, "the kind of the sampler"),
        None => found,
    }));
}

fn flow_sampler_on_autoregressive(
    checkpoint: &Stage,
    known: &KnownContract<'_>,
    sampler: &Sampler,
    span: &Span,
) -> Diagnostic {
    let message = format!(
        "sampler `{}` needs a flow checkpoint, but `{}` was never converted",
        sampler.name, checkpoint.name
    );
    let diagnostic = Diagnostic::new(Code::NotConverted, message)
        .at(span, "a flow sampler")
        .help("use a checkpoint that is made by a conversion, or declare `sampler \"next-token\" kind=\"autoregressive\"` and write `sampler=\"next-token\"`");
    known.show_fact(
        ContractFact::Kind,
        diagnostic,
        format!("the weights of `{}` start here", checkpoint.name),
    )
}

/// With a shift, the sampler works but is probably not what was meant. Without, it contradicts the model.
fn autoregressive_sampler_on_flow(
    checkpoint: &Stage,
    known: &KnownContract<'_>,
    sampler: &Sampler,
    span: &Span,
) -> Diagnostic {
    let (sampler, checkpoint) = (&sampler.name, &checkpoint.name);
    let help = "declare `sampler \"by-confidence\" kind=\"confidence\" passes=16` and write `sampler=\"by-confidence\"`";
    let at = |code, message| Diagnostic::new(code, message).at(span, "an autoregressive sampler");
    match known.contract.shift {
        true => {
            let message =
                format!("sampler `{sampler}` reads the flow checkpoint `{checkpoint}` from left to right");
            let diagnostic = at(Code::AutoregressiveOnFlow, message).help(help);
            known.show_fact(ContractFact::Kind, diagnostic, "converted to flow here")
        }
        false => {
            let message = format!(
                "sampler `{sampler}` reads the next token, but `{checkpoint}` predicts each token in place"
            );
            let help = format!("{help}, or convert with `shift #true`");
            let diagnostic = at(Code::ShiftMismatch, message).help(help);
            known.show_fact(ContractFact::Shift, diagnostic, "without a shift")
        }
    }
}

/// Reports a sampler that accepts drafts by the law of the next token, where the model without masks was not trained for it.
fn drafts_without_stride(
    checkpoint: &Stage,
    known: &KnownContract<'_>,
    sampler: &Sampler,
    span: &Span,
) -> Diagnostic {
    let (name, checkpoint) = (&sampler.name, &checkpoint.name);
    let message = format!(
        "sampler `{name}` accepts drafts by the law of the next token, which `{checkpoint}` was not trained for"
    );
    let diagnostic = Diagnostic::new(Code::SamplerMismatch, message).at(span, "a speculative sampler").help(
        "declare `sampler \"by-confidence\" kind=\"confidence\" passes=16` and write `sampler=\"by-confidence\"`, or train with strides",
    );
    known.show_fact(ContractFact::Attention, diagnostic, "trained without strides")
}

/// Reports a sampler with more masks in a row than the checkpoint has seen. Its text has the same law.
fn drafts_beyond_stride(
    checkpoint: &Stage,
    known: &KnownContract<'_>,
    sampler: &Sampler,
    span: &Span,
) -> Option<Diagnostic> {
    let (SamplerKind::Speculative { stride }, Some(trained)) = (sampler.kind, known.contract.stride) else {
        return None;
    };
    let (name, checkpoint) = (&sampler.name, &checkpoint.name);
    let message =
        format!("sampler `{name}` drafts {stride} tokens at once, but `{checkpoint}` learned {trained}");
    let diagnostic = Diagnostic::new(Code::StrideBeyondTraining, message)
        .at(span, "seldom accepted")
        .help(format!("write `stride={trained}`, or train with `stride {stride}`"));
    (stride > trained).then(|| known.show_fact(ContractFact::Attention, diagnostic, "the stride it learned"))
}

/// Reports a sampler that finds noise by its mask tokens, where some of the noise is ordinary tokens.
fn sampler_without_masks(
    checkpoint: &Stage,
    known: &KnownContract<'_>,
    sampler: &Sampler,
    span: &Span,
) -> Option<Diagnostic> {
    known.contract.path.as_ref().filter(|path| path.mask_share < 1.0)?;
    let (name, checkpoint) = (&sampler.name, &checkpoint.name);
    let message =
        format!("sampler `{name}` looks for mask tokens, but not all noise of `{checkpoint}` is masks");
    let help = match sampler.kind {
        SamplerKind::Euler { .. } => {
            "write `kernel=\"rate\"` and `corrector \"div-free\" weight=1.0`, or remove `corrector`"
        }
        _ => "declare `sampler \"simulated\" kind=\"euler\" passes=32` and write `sampler=\"simulated\"`",
    };
    let diagnostic =
        Diagnostic::new(Code::SamplerMismatch, message).at(span, "sees only masks as noise").help(help);
    Some(known.show_fact(ContractFact::Source, diagnostic, "has uniform noise"))
}
