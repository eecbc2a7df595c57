//! How often an approximate cache changes what is written.

use fmflow_engine::error::Failure;
use fmflow_engine::pipeline::config::{Prompt, Sampler, SamplerCache};
use fmflow_engine::run::text::{CacheDisagreement, DISAGREEMENT_TEXTS, TextAnswer, TextAnswers};

use super::answering::{Asker, answer_prompt, read_answer};
use crate::completion::{Completion, CompletionRequest, complete_from};
use crate::model::Model;

/// Compares the first answers to a prompt with those of the same seed without a cache. `None` if the cache is not approximate.
///
/// # Errors
/// As [`answer_prompt`].
pub(crate) fn measure_disagreement(
    model: &Model,
    prompt: &Prompt,
    answers: &TextAnswers,
    seed: u64,
) -> Result<Option<CacheDisagreement>, Failure> {
    let cache = prompt.sampler.cache;
    if !cache.is_approximate() {
        return Ok(None);
    }
    let samples = answers.answers.len().min(DISAGREEMENT_TEXTS);
    let uncached = Prompt { sampler: without_cache(&prompt.sampler), ..prompt.clone() };
    let uncached = answer_prompt(model, &uncached, Asker { seed, samples, threads: 1, listener: None })?;
    Ok(Some(CacheDisagreement::compare(cache, &answers.answers, &uncached.answers)))
}

/// The same for answers to many prompts, the first of which were given by `requests` in their order.
///
/// # Errors
/// As [`answer_prompt`].
pub(super) fn measure_disagreements(
    model: &Model,
    (prompts, requests): (&[Prompt], &[CompletionRequest]),
    answers: &[TextAnswer],
    (sampler, seed): (&Sampler, u64),
) -> Result<Option<CacheDisagreement>, Failure> {
    if !sampler.cache.is_approximate() {
        return Ok(None);
    }
    let requests = &requests[..requests.len().min(DISAGREEMENT_TEXTS)];
    let found = complete_from(model, (0, requests), &without_cache(sampler), (seed, 1))?;
    let pairs = prompts.iter().zip(&found);
    let uncached: Vec<TextAnswer> =
        pairs.map(|(prompt, completion)| read_answer(model, prompt, completion)).collect::<Result<_, _>>()?;
    Ok(Some(CacheDisagreement::compare(sampler.cache, answers, &uncached)))
}

/// The same for completions of `requests`, whose texts end at the model's ends.
///
/// # Errors
/// As [`answer_prompt`].
pub(crate) fn compare_completions(
    model: &Model,
    (requests, found): (&[CompletionRequest], &[Completion]),
    sampler: &Sampler,
    (seed, threads): (u64, usize),
) -> Result<Option<CacheDisagreement>, Failure> {
    if !sampler.cache.is_approximate() {
        return Ok(None);
    }
    let requests = &requests[..requests.len().min(DISAGREEMENT_TEXTS)];
    let uncached = complete_from(model, (0, requests), &without_cache(sampler), (seed, threads))?;
    let (mut all, ends) = (CacheDisagreement::new(sampler.cache), model.ends());
    for (one, other) in found.iter().zip(&uncached) {
        let [own, others] = [one, other].map(|text| &text.tokens[..text.generated(&ends)]);
        all.note((own, others), own.len().max(others.len()));
    }
    Ok(Some(all))
}

fn without_cache(sampler: &Sampler) -> Sampler {
    Sampler { cache: SamplerCache::None, ..sampler.clone() }
}
