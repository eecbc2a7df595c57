//! Lints of a sampler's key-value cache against the checkpoint that it reads.

use crate::check::lint::lineage::KnownContract;
use crate::pipeline::config::{Sampler, SamplerCache, TimeConditioning};
use crate::pipeline::contract::Attention;
use crate::pipeline::origins::ContractFact;
use crate::pipeline::stage::Stage;
use crate::text::diagnostic::{Code, Diagnostic, Sink};
use crate::text::place::Span;

/// Reports a cache that does not suit the checkpoint. A sampler of next tokens always reads under a causal mask, at one time.
pub(super) fn check_sampler_cache(
    checkpoint: &Stage,
    known: &KnownContract<'_>,
    sampler: &Sampler,
    cache: &Span,
    sink: &mut Sink,
) {
    if sampler.reads_next_tokens() {
        return;
    }
    sink.extend(match sampler.cache {
        SamplerCache::None | SamplerCache::Auto => None,
        SamplerCache::Exact => find_inexact_cache(checkpoint, known, sampler, cache),
        SamplerCache::Prefix | SamplerCache::Dual => find_needless_cache(checkpoint, known, sampler, cache),
    });
}

/// An exact cache on a checkpoint that cannot have one: keys and values of written text change with the attention in both directions, or
/// with the time.
fn find_inexact_cache(
    checkpoint: &Stage,
    known: &KnownContract<'_>,
    sampler: &Sampler,
    cache: &Span,
) -> Option<Diagnostic> {
    let contract = &known.contract;
    let (what, marked, help, fact, label) = match (contract.attention, contract.time_conditioning) {
        (Attention::Bidirectional, _) => (
            "sees every token from every other",
            "nothing stays the same; with `block`, `prefix` and `dual` approximate it",
            "write `cache=\"none\"`, or train with `attention \"block\" size=32`",
            ContractFact::Attention,
            "attention in both directions",
        ),
        (_, TimeConditioning::AdaLn { .. }) => (
            "is conditioned on the time, which moves on in every pass",
            "nothing stays the same from pass to pass",
            "write `cache=\"none\"`",
            ContractFact::TimeConditioning,
            "conditioned on the time",
        ),
        (Attention::Causal | Attention::BlockCausal { .. }, TimeConditioning::None) => return None,
    };
    let message =
        format!("sampler `{}` keeps keys and values, but `{}` {what}", sampler.name, checkpoint.name);
    let diagnostic = Diagnostic::new(Code::CacheMismatch, message).at(cache, marked).help(help);
    Some(known.show_fact(fact, diagnostic, label))
}

/// An approximate cache on a checkpoint whose finished text never changes.
fn find_needless_cache(
    checkpoint: &Stage,
    known: &KnownContract<'_>,
    sampler: &Sampler,
    cache: &Span,
) -> Option<Diagnostic> {
    let contract = &known.contract;
    if contract.attention == Attention::Bidirectional {
        return None;
    }
    let help = match contract.time_conditioning {
        TimeConditioning::None => "write `cache=\"exact\"`, which changes no token and costs nothing",
        TimeConditioning::AdaLn { .. } => "write `cache=\"none\"`",
    };
    let message = format!(
        "sampler `{}` approximates keys and values, but in `{}` no token sees a later block",
        sampler.name, checkpoint.name
    );
    let diagnostic = Diagnostic::new(Code::CacheMismatch, message)
        .at(cache, "for attention in both directions")
        .help(help);
    Some(known.show_fact(ContractFact::Attention, diagnostic, "finished text stays as it is"))
}
