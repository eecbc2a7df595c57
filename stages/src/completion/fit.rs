//! Whether a sampler fits a checkpoint, and what it keeps from pass to pass.

use fmflow_engine::error::Failure;
use fmflow_engine::pipeline::config::train::Scheduler;
use fmflow_engine::pipeline::config::{Sampler, SamplerCache, SamplerKind};

use super::frozen::FrozenExtent;
use crate::backbone::{Attention, TimeConditioning};
use crate::failure::input_failure;
use crate::flow::kernel::EulerKernel;
use crate::flow::sampler::SamplerRules;
use crate::model::Model;

/// The facts of the checkpoint's contract that the sampler needs.
pub(super) fn build_sampler_rules(
    model: &Model,
    sampler: &Sampler,
    seed: u64,
) -> Result<SamplerRules, Failure> {
    let growth = model.contract.growth;
    if sampler.kind == SamplerKind::Autoregressive {
        let (used, scheduler) = (model.used(), Scheduler::Polynomial { exponent: 1.0 });
        let (mask_share, kernel) = (1.0, EulerKernel::Exact);
        // Without a mask, an id that is not used stands for it.
        let mask = model.contract.mask_token.unwrap_or(used);
        return Ok(SamplerRules { mask, used, scheduler, mask_share, kernel, growth, seed });
    }
    let (contract, path) = (model.flow_contract()?, model.path()?);
    let kernel = match sampler.kind {
        SamplerKind::Euler { kernel, .. } => kernel,
        _ => EulerKernel::Exact,
    };
    refuse_sampler(model, sampler, path.mask_share)?;
    let (scheduler, mask_share) = (path.scheduler, path.mask_share);
    Ok(SamplerRules { mask: contract.mask, used: contract.used, scheduler, mask_share, kernel, growth, seed })
}

/// Refuses a flow sampler that does not fit the checkpoint.
fn refuse_sampler(model: &Model, sampler: &Sampler, mask_share: f64) -> Result<(), Failure> {
    let name = &sampler.name;
    if sampler.constraint.is_some() && !sampler.keeps_constraints() {
        let what = format!("sampler `{name}` rewrites what it has written, so that it keeps no constraint");
        return Err(input_failure(what, "use a sampler of another kind, such as \"threshold\""));
    }
    if sampler.reads_next_tokens() && model.contract.stride.is_none() {
        let what = format!(
            "sampler `{name}` accepts drafts by the law of the next token, but the checkpoint was not trained with strides"
        );
        return Err(input_failure(what, "train it with `attention \"causal\" { stride 3 }`"));
    }
    if mask_share < 1.0 && sampler.reveals_masks() {
        let what = format!("sampler `{name}` reveals masks, but the checkpoint's source is not masks alone");
        return Err(input_failure(what, "use a sampler of kind \"euler\" without the corrector \"remask\""));
    }
    if let (Some(block), Some(own)) = (sampler.block, model.block())
        && !own.is_multiple_of(block)
    {
        let what = format!(
            "sampler `{name}` writes blocks of {block} tokens, but the checkpoint was trained in blocks of {own}"
        );
        let fix = format!("write `block={own}` or a divisor of it, or leave `block=` out");
        return Err(input_failure(what, fix));
    }
    refuse_cache(model, sampler)
}

/// Refuses a cache with which the checkpoint cannot work, or would lose for nothing.
fn refuse_cache(model: &Model, sampler: &Sampler) -> Result<(), Failure> {
    match sampler.cache {
        SamplerCache::None | SamplerCache::Auto => Ok(()),
        SamplerCache::Exact => refuse_exact_cache(model, sampler),
        SamplerCache::Prefix | SamplerCache::Dual => refuse_frozen_cache(model, sampler),
    }
}

/// Refuses an exact cache for a checkpoint with which nothing stays exact.
fn refuse_exact_cache(model: &Model, sampler: &Sampler) -> Result<(), Failure> {
    let name = &sampler.name;
    if model.attention() == Attention::Bidirectional {
        let what = format!(
            "sampler `{name}` has an exact cache, but with the checkpoint's attention in both directions every token may change the keys and values of all others"
        );
        let fix = "write `cache=\"none\"`, or `block=32 cache=\"prefix\"`, which is approximate, or train with `attention \"block\"`";
        return Err(input_failure(what, fix));
    }
    if model.backbone.time_conditioning() != TimeConditioning::None {
        let what = format!(
            "sampler `{name}` has an exact cache, but the checkpoint is conditioned on the time, so that keys and values change in every pass"
        );
        return Err(input_failure(what, "write `cache=\"none\"`"));
    }
    Ok(())
}

/// Refuses an approximate cache where an exact one costs nothing, and without blocks.
fn refuse_frozen_cache(model: &Model, sampler: &Sampler) -> Result<(), Failure> {
    let (name, word) = (&sampler.name, sampler.cache.word());
    if model.attention() != Attention::Bidirectional || sampler.reads_next_tokens() {
        let what = format!(
            "sampler `{name}` has the approximate cache `{word}`, but it reads the checkpoint with attention that never changes finished text"
        );
        let fix = match sampler.reads_next_tokens() || model.allows_exact_cache() {
            true => "write `cache=\"exact\"`: it changes no token, and costs nothing",
            false => "write `cache=\"none\"`",
        };
        return Err(input_failure(what, fix));
    }
    if sampler.block.is_none() {
        let what =
            format!("sampler `{name}` has the cache `{word}`, which is filled at the start of each block");
        return Err(input_failure(what, "write `block=32`, or `cache=\"none\"`"));
    }
    Ok(())
}

/// What is kept from pass to pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeptCache {
    Nothing,
    /// What cannot change any more.
    Exact,
    /// What the first pass of a block computed.
    Frozen(FrozenExtent),
}

impl KeptCache {
    /// How often a row's keys and values may be in memory at once: first passes of some rows have a cache of their own.
    pub(super) fn copies(self) -> usize {
        match self {
            Self::Nothing | Self::Exact => 1,
            Self::Frozen(_) => 2,
        }
    }
}

/// What a sampler keeps. One of next tokens always reads under a causal mask, at one time.
pub(super) fn find_cache(model: &Model, sampler: &Sampler) -> KeptCache {
    match sampler.cache {
        SamplerCache::None => KeptCache::Nothing,
        SamplerCache::Exact => KeptCache::Exact,
        SamplerCache::Auto if sampler.reads_next_tokens() || model.allows_exact_cache() => KeptCache::Exact,
        SamplerCache::Auto => KeptCache::Nothing,
        SamplerCache::Prefix => KeptCache::Frozen(FrozenExtent::Before),
        SamplerCache::Dual => KeptCache::Frozen(FrozenExtent::Around),
    }
}
