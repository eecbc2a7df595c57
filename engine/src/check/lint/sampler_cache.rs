//! Lints of a sampler's key-value cache against the checkpoint that it reads.

use crate::check::lint::lineage::KnownContract;
use crate::pipeline::config::{Sampler, SamplerCache, TimeConditioning};
use crate::pipeline::contract::{Attention, Contract};
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
    let found = match sampler.cache {
        SamplerCache::None | SamplerCache::Auto => None,
        SamplerCache::Exact => find_inexact_cache(&known.contract),
        SamplerCache::Prefix | SamplerCache::Dual => find_needless_cache(&known.contract),
    };
    let Some(Misfit { what, marked, help, fact, label }) = found else { return };
    let message = format!("sampler `{}` {}", sampler.name, what(&checkpoint.name));
    let diagnostic = Diagnostic::new(Code::CacheMismatch, message).at(cache, marked).help(help);
    sink.push(known.show_fact(fact, diagnostic, label));
}

/// Why a cache does not suit a checkpoint.
struct Misfit {
    /// What follows the name of the sampler, by the name of the checkpoint.
    what: fn(&str) -> String,
    marked: &'static str,
    help: &'static str,
    /// The fact of the checkpoint that it does not suit, and what to say of it.
    fact: ContractFact,
    label: &'static str,
}

/// An exact cache on a checkpoint that cannot have one: keys and values of written text change with the attention in both directions, or
/// with the time.
fn find_inexact_cache(contract: &Contract) -> Option<Misfit> {
    match (contract.attention, contract.time_conditioning) {
        (Attention::Bidirectional, _) => Some(Misfit {
            what: |name| format!("keeps keys and values, but `{name}` sees every token from every other"),
            marked: "nothing stays the same; with `block`, `prefix` and `dual` approximate it",
            help: "write `cache=\"none\"`, or train with `attention \"block\" size=32`",
            fact: ContractFact::Attention,
            label: "attention in both directions",
        }),
        (_, TimeConditioning::AdaLn { .. }) => Some(Misfit {
            what: |name| {
                let time = "is conditioned on the time, which moves on in every pass";
                format!("keeps keys and values, but `{name}` {time}")
            },
            marked: "nothing stays the same from pass to pass",
            help: "write `cache=\"none\"`",
            fact: ContractFact::TimeConditioning,
            label: "conditioned on the time",
        }),
        (Attention::Causal | Attention::BlockCausal { .. }, TimeConditioning::None) => None,
    }
}

/// An approximate cache on a checkpoint whose finished text never changes.
fn find_needless_cache(contract: &Contract) -> Option<Misfit> {
    let help = match (contract.attention, contract.time_conditioning) {
        (Attention::Bidirectional, _) => return None,
        (_, TimeConditioning::None) => "write `cache=\"exact\"`, which changes no token and costs nothing",
        (_, TimeConditioning::AdaLn { .. }) => "write `cache=\"none\"`",
    };
    Some(Misfit {
        what: |name| format!("approximates keys and values, but in `{name}` no token sees a later block"),
        marked: "for attention in both directions",
        help,
        fact: ContractFact::Attention,
        label: "finished text stays as it is",
    })
}
