//! `fmflow verify --batches`: the same request and seed give the same tokens, whatever else is in the batch, in whatever order, with
//! and without an exact cache; with an approximate one, the same as the request gets alone with it.

use std::path::Path;

use fmflow_engine::error::{Failure, FailureKind};
use fmflow_engine::pipeline::config::{Certainty, Sampler, SamplerCache, SamplerKind};
use fmflow_engine::pipeline::contract::ModelKind;
use fmflow_engine::text::display::count_noun;
use fmflow_engine::text::escape::show_path;

use crate::backbone::Attention;
use crate::completion::{Completion, CompletionRequest, complete_numbered};
use crate::device::Device;
use crate::flow::kernel::EulerKernel;
use crate::model::Model;
use crate::rng::{RandomPurpose, derive_stream};

/// Tokens of the prefix, the gap and the suffix of each request.
const SHAPES: [[usize; 3]; 6] = [[9, 14, 0], [1, 6, 0], [17, 3, 0], [4, 11, 5], [12, 9, 0], [3, 1, 2]];

/// Seed of the requests and of their answers.
const SEED: u64 = 1;

/// Tokens in a block with an approximate cache.
const BLOCK: usize = 4;

/// How a batch is put together: the numbers of its requests.
type Arrangement = (&'static str, Vec<Vec<usize>>);

/// Answers six requests of random tokens with every sampler that suits the checkpoint: each alone and without a cache, then in batches.
/// Returns a description of what was compared.
///
/// # Errors
/// A failure that names sampler, request and token if an answer differs; or if the checkpoint is refused.
pub(crate) fn verify_batches(folder: &Path, device: &Device) -> Result<String, Failure> {
    let model = Model::open(folder, device)?.for_text();
    let (requests, samplers) = (make_requests(&model), list_samplers(&model)?);
    let (caches, told) = list_caches(&model);
    for sampler in &samplers {
        let exact = answer_alone(&model, &requests, sampler)?;
        for cache in caches {
            let block = if cache.is_approximate() { Some(BLOCK) } else { sampler.block };
            let sampler = Sampler { cache: *cache, block, ..sampler.clone() };
            let alone = match cache.is_approximate() {
                true => answer_alone(&model, &requests, &sampler)?,
                false => exact.clone(),
            };
            for (name, batches) in arrange(requests.len()) {
                compare(folder, &model, &requests, (&sampler, &alone), (name, &batches))?;
            }
        }
    }
    Ok(format!(
        "{} of {}: the same tokens alone, in batches of two and of all, and in reverse, {told}",
        count_noun(requests.len(), "request"),
        count_noun(samplers.len(), "sampler")
    ))
}

/// Caches that suit the checkpoint, and how they are called.
fn list_caches(model: &Model) -> (&'static [SamplerCache], &'static str) {
    match (model.allows_exact_cache(), model.attention()) {
        (true, _) => (&[SamplerCache::None, SamplerCache::Exact], "with and without a cache"),
        (false, Attention::Bidirectional) => (
            &[SamplerCache::None, SamplerCache::Prefix, SamplerCache::Dual],
            "without a cache and, each by itself, with `prefix` and `dual`",
        ),
        (false, Attention::Causal | Attention::BlockCausal { .. }) => {
            (&[SamplerCache::None], "without a cache")
        }
    }
}

/// Requests of unequal lengths, whose tokens have a text if the checkpoint has a tokenizer.
fn make_requests(model: &Model) -> Vec<CompletionRequest> {
    let (context, used) = (model.backbone.config().max_position_embeddings, u64::from(model.used()));
    let fits = |shape: &&[usize; 3]| shape.iter().sum::<usize>() <= context;
    let build = |(number, [prefix, length, suffix]): (usize, &[usize; 3])| {
        let mut random = derive_stream(SEED, RandomPurpose::Validate, [number as u64, 0, 0]);
        let mut draw = |count: usize| (0..count).map(|_| random.below(used) as u32).collect::<Vec<_>>();
        let (prefix, suffix) = (draw(*prefix), draw(*suffix));
        CompletionRequest { prefix, length: *length, given: Vec::new(), grow: None, suffix }
    };
    SHAPES.iter().filter(fits).enumerate().map(build).collect()
}

/// Samplers that suit the checkpoint, all with random draws.
fn list_samplers(model: &Model) -> Result<Vec<Sampler>, Failure> {
    let euler = SamplerKind::Euler { passes: 4, kernel: EulerKernel::Exact };
    let kinds = match model.contract.kind {
        ModelKind::Autoregressive => vec![SamplerKind::Autoregressive],
        ModelKind::Flow if model.path()?.mask_share < 1.0 => vec![euler],
        ModelKind::Flow => vec![
            SamplerKind::Reveal { passes: 3, by: Certainty::Confidence },
            SamplerKind::Reveal { passes: 3, by: Certainty::Entropy },
            SamplerKind::Threshold { threshold: 0.5 },
            SamplerKind::EntropyBound { bound: 1.0 },
            SamplerKind::Edit { threshold: 0.5, revise: 0.1 },
            euler,
        ],
    };
    Ok(kinds.into_iter().map(make_sampler).collect())
}

fn make_sampler(kind: SamplerKind) -> Sampler {
    Sampler::new(format!("{kind:?}"), kind)
}

fn answer_alone(
    model: &Model,
    requests: &[CompletionRequest],
    sampler: &Sampler,
) -> Result<Vec<Completion>, Failure> {
    let answer = |(number, request): (usize, &CompletionRequest)| {
        complete_numbered(model, &[(number as u64, request)], sampler, SEED).map(|mut found| found.remove(0))
    };
    requests.iter().enumerate().map(answer).collect()
}

/// Batches of all requests, in several orders.
fn arrange(requests: usize) -> Vec<Arrangement> {
    let all: Vec<usize> = (0..requests).collect();
    let backwards: Vec<usize> = all.iter().rev().copied().collect();
    vec![
        ("alone", all.chunks(1).map(<[usize]>::to_vec).collect()),
        ("in a batch of two", backwards.chunks(2).map(<[usize]>::to_vec).collect()),
        ("in a batch of all", vec![all]),
        ("in a batch of all in reverse", vec![backwards]),
    ]
}

fn compare(
    folder: &Path,
    model: &Model,
    requests: &[CompletionRequest],
    (sampler, alone): (&Sampler, &[Completion]),
    (name, batches): (&str, &[Vec<usize>]),
) -> Result<(), Failure> {
    for batch in batches {
        let numbered: Vec<_> = batch.iter().map(|number| (*number as u64, &requests[*number])).collect();
        let found = complete_numbered(model, &numbered, sampler, SEED)?;
        for (number, found) in batch.iter().zip(&found) {
            if found != &alone[*number] {
                return Err(differing(folder, sampler, (*number, name), found, &alone[*number]));
            }
        }
    }
    Ok(())
}

fn differing(
    folder: &Path,
    sampler: &Sampler,
    (number, name): (usize, &str),
    found: &Completion,
    alone: &Completion,
) -> Failure {
    let pairs = found.tokens.iter().zip(&alone.tokens);
    let at = pairs.take_while(|(a, b)| a == b).count();
    let cache = match sampler.cache {
        SamplerCache::None => "without a cache".to_owned(),
        cache => format!("with the cache `{}`", cache.word()),
    };
    let message = format!(
        "{}: sampler {}: request {} {name} {cache} differs from the same alone at token {}: {:?} and {:?}, in {} and {} passes",
        show_path(folder),
        sampler.name,
        number + 1,
        at + 1,
        found.tokens.get(at),
        alone.tokens.get(at),
        found.passes,
        alone.passes
    );
    let help = "on the CPU this is a bug in fmflow: please report it; on another device logits may differ by rounding";
    Failure { kind: FailureKind::Stage, message, help: Some(help.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_arrangement_has_every_request_once() {
        for (name, batches) in arrange(5) {
            let mut all = batches.concat();
            all.sort_unstable();
            assert_eq!(all, [0, 1, 2, 3, 4], "{name}");
        }
    }

    #[test]
    fn a_difference_names_its_token() {
        let completion =
            |tokens: &[u32], passes| Completion { tokens: tokens.to_vec(), gaps: Vec::new(), passes };
        let sampler = make_sampler(SamplerKind::Threshold { threshold: 0.5 });
        let (found, alone) = (completion(&[1, 2, 9], 2), completion(&[1, 2, 3], 2));
        let failure = differing(Path::new("f"), &sampler, (1, "in a batch of two"), &found, &alone);
        assert!(
            failure.message.contains("request 2 in a batch of two without a cache"),
            "{}",
            failure.message
        );
        assert!(failure.message.contains("at token 3: Some(9) and Some(3)"), "{}", failure.message);
    }
}
