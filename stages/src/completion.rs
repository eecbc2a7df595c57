//! Generates completions from a checkpoint by connecting the backbone with the samplers.

mod canvases;
mod fit;
mod frozen;
mod memory;
mod posterior;
mod prefixes;
mod request;
mod row_logits;
mod together;
mod turns;

use std::time::Instant;

use fmflow_engine::error::Failure;
use fmflow_engine::pipeline::config::Sampler;

use crate::backbone::{Attention, BackboneError, KeyValueCache};
pub use posterior::BackbonePosterior;
pub(crate) use request::{Completion, CompletionRequest, GivenTokens, TimedCompletions};
pub(crate) use together::{Left, Together};

use crate::failure::{BEYOND_F32, input_failure, stage_failure};
use crate::flow::sampler::{Nobody, Onlooker, SamplerRules, Writing, write_all};
use crate::model::Model;
use crate::threads::map_in_parallel;
use canvases::{begin_writing, read_completion, share_sampler};
use fit::{KeptCache, build_sampler_rules, find_cache};

/// Most canvases in a forward pass.
pub(crate) const BATCH: usize = 64;

/// Most bytes that the caches of all batches at work take together, unless a single row needs more; of requests that come and go, those of
/// each kind of cache.
const CACHE_BYTES: usize = 1 << 30;

/// Answers all requests. Batches run in parallel on `threads` threads. A completion depends only on its request, its number
/// and the seed: neither on other requests, nor on a cache, nor on the number of threads.
///
/// # Errors
/// If the sampler does not fit the checkpoint, or the device fails.
pub(crate) fn complete_requests(
    model: &Model,
    requests: &[CompletionRequest],
    sampler: &Sampler,
    seed: u64,
    threads: usize,
) -> Result<TimedCompletions, Failure> {
    let start = Instant::now();
    let completions = complete_from(model, (0, requests), sampler, (seed, threads))?;
    Ok(TimedCompletions { completions, seconds: start.elapsed().as_secs_f64() })
}

/// As [`complete_requests`], with numbers from `first` and without the time.
///
/// # Errors
/// As [`complete_requests`].
pub(crate) fn complete_from(
    model: &Model,
    (first, requests): (u64, &[CompletionRequest]),
    sampler: &Sampler,
    (seed, threads): (u64, usize),
) -> Result<Vec<Completion>, Failure> {
    let numbered: Vec<(u64, &CompletionRequest)> = (first..).zip(requests).collect();
    complete_listed(model, &numbered, sampler, (seed, threads))
}

/// As [`complete_from`], for requests that have numbers of their own: a part of many gives what it gives among all.
///
/// # Errors
/// As [`complete_requests`].
pub(crate) fn complete_listed(
    model: &Model,
    numbered: &[(u64, &CompletionRequest)],
    sampler: &Sampler,
    (seed, threads): (u64, usize),
) -> Result<Vec<Completion>, Failure> {
    let found = complete_batches(model, numbered, sampler, (seed, threads), || Nobody)?;
    Ok(found.into_iter().flat_map(|(completions, _)| completions).collect())
}

/// Answers numbered requests in one batch.
///
/// # Errors
/// As [`complete_requests`].
pub(crate) fn complete_numbered(
    model: &Model,
    batch: &[(u64, &CompletionRequest)],
    sampler: &Sampler,
    seed: u64,
) -> Result<Vec<Completion>, Failure> {
    let rules = build_sampler_rules(model, sampler, seed)?;
    complete_batch(model, batch, sampler, &rules, &mut Nobody)
}

/// Answers one request, number `number`, while somebody looks on. If the onlooker stops it, tokens that are not settled mean
/// nothing.
///
/// # Errors
/// As [`complete_requests`].
pub(crate) fn complete_watched(
    model: &Model,
    (number, request): (u64, &CompletionRequest),
    sampler: &Sampler,
    seed: u64,
    onlooker: &mut dyn Onlooker,
) -> Result<Completion, Failure> {
    let rules = build_sampler_rules(model, sampler, seed)?;
    let mut found = complete_batch(model, &[(number, request)], sampler, &rules, onlooker)?;
    Ok(found.remove(0))
}

/// Refuses a request of which no answer can match the constraint of its sampler. Joins that with the vocabulary, if nobody did before.
///
/// # Errors
/// Why not.
pub(crate) fn refuse_unmatched(
    model: &Model,
    request: &CompletionRequest,
    sampler: &Sampler,
) -> Result<(), Failure> {
    // Where noise stands is open, whatever the seed.
    let rules = build_sampler_rules(model, sampler, 0)?;
    let shared = share_sampler(model, sampler, rules);
    begin_writing(model, (0, 0), request, &shared).map(drop)
}

/// Answers numbered requests, as [`complete_requests`]; returns the completions of each batch, with its onlooker.
///
/// # Errors
/// As [`complete_requests`].
pub(crate) fn complete_batches<O: Onlooker + Send>(
    model: &Model,
    numbered: &[(u64, &CompletionRequest)],
    sampler: &Sampler,
    (seed, threads): (u64, usize),
    onlooker: impl Fn() -> O + Sync,
) -> Result<Vec<(Vec<Completion>, O)>, Failure> {
    let rules = build_sampler_rules(model, sampler, seed)?;
    let batches: Vec<&[(u64, &CompletionRequest)]> =
        numbered.chunks(count_batch(model, numbered, sampler, threads)).collect();
    let complete = |batch: &&[(u64, &CompletionRequest)]| {
        let mut onlooker = onlooker();
        complete_batch(model, batch, sampler, &rules, &mut onlooker).map(|found| (found, onlooker))
    };
    let mut all = Vec::with_capacity(batches.len());
    for wave in batches.chunks(threads.max(1)) {
        for result in map_in_parallel(wave, complete) {
            all.push(result?);
        }
    }
    Ok(all)
}

/// Canvases in a forward pass: fewer if their caches would take too much memory.
fn count_batch(
    model: &Model,
    numbered: &[(u64, &CompletionRequest)],
    sampler: &Sampler,
    threads: usize,
) -> usize {
    let cache = find_cache(model, sampler);
    if cache == KeptCache::Nothing {
        return BATCH;
    }
    let longest = numbered.iter().map(|(_, request)| request.most_tokens()).max().unwrap_or(1).max(1);
    let token = cache.copies() * KeyValueCache::count_bytes(model.backbone.config());
    let row = longest.saturating_mul(token);
    (CACHE_BYTES / threads.max(1) / row.max(1)).clamp(1, BATCH)
}

/// A failure of a forward pass: of the checkpoint if its logits are not finite, otherwise of the stage.
fn forward_failure(error: BackboneError) -> Failure {
    match error {
        BackboneError::NotFiniteIn(number) => {
            let what =
                format!("the forward pass yields logits that are not finite for request {}", number + 1);
            input_failure(what, BEYOND_F32)
        }
        _ => stage_failure(error),
    }
}

/// Completes one batch.
///
/// # Errors
/// As [`complete_requests`].
fn complete_batch(
    model: &Model,
    batch: &[(u64, &CompletionRequest)],
    sampler: &Sampler,
    rules: &SamplerRules,
    onlooker: &mut dyn Onlooker,
) -> Result<Vec<Completion>, Failure> {
    let shared = share_sampler(model, sampler, *rules);
    let begin = |(number, request): &(u64, &CompletionRequest)| {
        begin_writing(model, (*number, *number), request, &shared)
    };
    let mut writings: Vec<Writing> = batch.iter().map(begin).collect::<Result<_, _>>()?;
    let mut posterior = open_posterior(model, sampler).map_err(forward_failure)?;
    write_all(&mut writings, &mut posterior, onlooker).map_err(forward_failure)?;
    let read = |(writing, (_, request)): (&Writing, &(u64, &CompletionRequest))| {
        read_completion(writing, request, &shared)
    };
    Ok(writings.iter().zip(batch).map(read).collect())
}

/// The posterior that a sampler asks, with its cache.
fn open_posterior<'a>(model: &'a Model, sampler: &Sampler) -> Result<BackbonePosterior<'a>, BackboneError> {
    let posterior = match sampler.reads_next_tokens() {
        true => BackbonePosterior::new(&model.backbone, Attention::Causal, true),
        false => BackbonePosterior::new(&model.backbone, model.attention(), model.contract.shift),
    };
    match find_cache(model, sampler) {
        KeptCache::Nothing => Ok(posterior),
        KeptCache::Exact => posterior.with_cache(),
        KeptCache::Frozen(extent) => Ok(posterior.with_frozen(extent)),
    }
}

#[cfg(test)]
mod tests;
