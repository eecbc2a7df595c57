//! The autoregressive baseline of a checkpoint: what its speed is held against.

use fmflow_engine::error::Failure;
use fmflow_engine::pipeline::config::{Sampler, SamplerCache, SamplerKind};

use crate::completion::{CompletionRequest, complete_requests};
use crate::model::Model;

/// Tokens per second of the same weights that continue the beginnings of `requests` autoregressively, each by as many tokens as
/// its length, in the same batches. Measured after a warm-up.
///
/// # Errors
/// If the device fails.
pub(crate) fn measure_twins(
    model: &Model,
    (requests, lengths): (&[CompletionRequest], &[usize]),
    sampler: &Sampler,
    seed: u64,
) -> Result<f64, Failure> {
    let ends = model.ends();
    let ask = |(request, length): (&CompletionRequest, &usize)| {
        let prefix = find_baseline_start(request, &ends);
        CompletionRequest { prefix, length: *length, ..CompletionRequest::default() }
    };
    let requests: Vec<CompletionRequest> = requests.iter().zip(lengths).map(ask).collect();
    let twin = build_twin(sampler);
    complete_requests(model, &requests, &twin, seed, 1)?;
    let found = complete_requests(model, &requests, &twin, seed, 1)?;
    let made: usize = found.completions.iter().map(|completion| completion.tokens.len()).sum();
    Ok(made as f64 / found.seconds)
}

/// The sampler of the autoregressive baseline: greedy, without a constraint, and with the cache that every autoregressive server has. An
/// exact cache changes no token, and without one the comparison would flatter the flow model.
fn build_twin(sampler: &Sampler) -> Sampler {
    let (kind, cache) = (SamplerKind::Autoregressive, SamplerCache::Exact);
    Sampler { kind, cache, temperature: 0.0, repetition_penalty: 1.0, constraint: None, ..sampler.clone() }
}

/// What the autoregressive baseline continues. It needs a token to start from, and a gap may have none before it.
fn find_baseline_start(request: &CompletionRequest, ends: &[u32]) -> Vec<u32> {
    match request.prefix.as_slice() {
        [] => vec![ends.last().copied().unwrap_or(0)],
        prefix => prefix.to_vec(),
    }
}
