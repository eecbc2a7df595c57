//! Lints of a sampler's key-value cache against the checkpoint that it reads.

use crate::check::lint::lineage::KnownContract;
use crate::pipeline::config::{Sampler, SamplerCache, TimeConditioning};
use crate::pipeline::contract::Attention;
use crate::pipeline::origins::ContractFact;
use crate::pipeline::stage::Stage;
use crate::text::diagnostic::{Code, Diagnostic, Sink};
use crate::text::place::Span;

/// Reports an exact cache on a checkpoint that cannot have one: keys and values of written text change with the attention in
/// both directions, or with the time. A sampler of next tokens always reads under a causal mask, at one time.
pub(super) fn check_sampler_cache(
    checkpoint: &Stage,
    known: &KnownContract<'_>,
    sampler: &Sampler,
    cache: &Span,
    sink: &mut Sink,
) {
    let contract = &known.contract;
    if sampler.cache != SamplerCache::Exact || sampler.reads_next_tokens() {
        return;
    }
    let (what, help, fact, label) = match (contract.attention, contract.time_conditioning) {
        (Attention::Bidirectional, _) => (
            "sees every token from every other",
            "write `cache=\"none\"`, or train with `attention \"block\" size=32`",
            ContractFact::Attention,
            "attention in both directions",
        ),
        (_, TimeConditioning::AdaLn { .. }) => (
            "is conditioned on the time, which moves on in every pass",
            "write `cache=\"none\"`",
            ContractFact::TimeConditioning,
            "conditioned on the time",
        ),
        (Attention::Causal | Attention::BlockCausal { .. }, TimeConditioning::None) => return,
    };
    let message =
        format!("sampler `{}` keeps keys and values, but `{}` {what}", sampler.name, checkpoint.name);
    let diagnostic = Diagnostic::new(Code::CacheMismatch, message)
        .at(cache, "nothing stays the same from pass to pass")
        .help(help);
    sink.push(known.show_fact(fact, diagnostic, label));
}
