//! From a request to a canvas with blocks, and back to the length of an answer.

use std::ops::Range;
use std::sync::Arc;

use fmflow_engine::error::Failure;
use fmflow_engine::pipeline::config::Sampler;
use fmflow_engine::text::display::count_noun;

use super::request::{Completion, CompletionRequest};
use crate::failure::input_failure;
use crate::flow::sampler::{Canvas, Growing, Guard, SamplerRules, SharedSampler, Writing};
use crate::model::Model;
use crate::rng::{RandomPurpose, derive_stream};

/// What an autoregressive canvas holds where nothing is written yet. No token: nobody looks there.
const UNWRITTEN: u32 = u32::MAX;

/// What all requests with a sampler and a seed share.
pub(super) fn share_sampler(model: &Model, sampler: &Sampler, rules: SamplerRules) -> SharedSampler {
    let in_parts = sampler.reads_next_tokens() || find_block_size(model, sampler).is_some();
    let ends = if in_parts { model.ends() } else { Vec::new() };
    SharedSampler { sampler: Arc::new(sampler.clone()), rules, ends: ends.into() }
}

/// Tokens in a block of an answer; `None`: the whole answer, or a token at a time.
fn find_block_size(model: &Model, sampler: &Sampler) -> Option<usize> {
    sampler.block.or(model.block()).filter(|_| !sampler.reads_next_tokens())
}

/// A request before its first pass: row `row` of a batch, request number `number` of its seed.
///
/// # Errors
/// If no answer of its length matches the sampler's constraint, or none can be kept.
pub(super) fn begin_writing(
    model: &Model,
    (row, number): (u64, u64),
    request: &CompletionRequest,
    shared: &SharedSampler,
) -> Result<Writing, Failure> {
    let canvas = match shared.sampler.reads_next_tokens() {
        true => build_growing_canvas(number, request),
        false => build_canvas(number, request, &shared.rules),
    };
    let blocks = split_answer_into_blocks(request, find_block_size(model, &shared.sampler), model);
    let guard = open_guard(model, request, &canvas, shared)?;
    let growing = find_growth(model, request, shared)?;
    let writing = Writing::new(row, canvas, blocks, shared, guard);
    Ok(match growing {
        Some(growing) => writing.growing(growing),
        None => writing,
    })
}

/// How the gap of a request grows, if it shall.
fn find_growth(
    model: &Model,
    request: &CompletionRequest,
    shared: &SharedSampler,
) -> Result<Option<Growing>, Failure> {
    let Some(budget) = request.grow else { return Ok(None) };
    let name = &shared.sampler.name;
    let Some(tokens) = model.contract.growth else {
        let what = "the checkpoint was not trained for text that grows";
        return Err(input_failure(what, "ask for a range of lengths, of which the likeliest is kept"));
    };
    if !shared.sampler.lets_grow() || shared.sampler.constraint.is_some() || !request.given.is_empty() {
        let what = format!("with sampler `{name}` no gap of this text can grow");
        let cure = "fill one gap with a sampler of kind \"threshold\" or \"entropy-bound\", without blocks and without a constraint";
        return Err(input_failure(what, cure));
    }
    Ok(Some(Growing { tokens, budget }))
}

/// The constraint of a sampler, for the answer of a request. If text stands behind it, it fills all its places; otherwise it may stop at an
/// end, behind which only ends stand.
fn open_guard(
    model: &Model,
    request: &CompletionRequest,
    canvas: &Canvas,
    shared: &SharedSampler,
) -> Result<Option<Guard>, Failure> {
    let Some(constraint) = &shared.sampler.constraint else { return Ok(None) };
    let (rules, name) = (&shared.rules, &shared.sampler.name);
    if !request.given.is_empty() {
        let what = format!(
            "sampler `{name}` has a constraint, which is that of one text, and this one has several gaps"
        );
        return Err(input_failure(what, "fill one gap at a time"));
    }
    let tokens = model.tokenizer()?.constrain(constraint, &model.ends(), rules.mask);
    let tokens = tokens.map_err(|error| {
        input_failure(error, "use a smaller constraint, or a checkpoint whose tokens are bytes")
    })?;
    let answer = request.prefix.len()..request.prefix.len() + request.length;
    let ends = request.is_open_behind(answer.start);
    let guard = Guard::new(tokens, answer, ends, rules);
    if guard.admits(&canvas.tokens) {
        return Ok(Some(guard));
    }
    let exactly = if ends { "at most" } else { "exactly" };
    let what = format!(
        "no text of {exactly} {} matches the constraint of sampler `{name}`",
        count_noun(request.length, "token")
    );
    Err(input_failure(what, "give the answer another length, or let the constraint allow more"))
}

/// What a finished request has.
pub(super) fn read_completion(
    writing: &Writing,
    request: &CompletionRequest,
    shared: &SharedSampler,
) -> Completion {
    let canvas = writing.canvas();
    let length = match shared.sampler.reads_next_tokens() {
        true => count_written(canvas, request),
        false if request.grow.is_some() => canvas.tokens.len() - request.prefix.len() - request.suffix.len(),
        false => count_in_blocks(canvas, request, writing.blocks(), &shared.ends),
    };
    let tokens = canvas.tokens[request.prefix.len()..][..length].to_vec();
    let gaps = if request.given.is_empty() { Vec::new() } else { request.gaps() };
    Completion { tokens, gaps, passes: writing.passes() }
}

/// Tokens of an answer written from left to right.
fn count_written(canvas: &Canvas, request: &CompletionRequest) -> usize {
    let answer = &canvas.tokens[request.prefix.len()..];
    answer.iter().position(|token| *token == UNWRITTEN).unwrap_or(answer.len())
}

/// Tokens of an answer up to the end of the block that holds its end, if it has one and nothing follows it.
fn count_in_blocks(
    canvas: &Canvas,
    request: &CompletionRequest,
    blocks: &[Range<usize>],
    ends: &[u32],
) -> usize {
    let ended = |block: &&Range<usize>| canvas.tokens[(*block).clone()].iter().any(|t| ends.contains(t));
    let last = blocks.iter().find(|block| ended(block) && request.is_open_behind(block.start));
    last.map_or(request.length, |block| block.end - request.prefix.len())
}

/// The prefix, and room for the answer. What follows is not seen from left to right.
fn build_growing_canvas(number: u64, request: &CompletionRequest) -> Canvas {
    let (prefix, all) = (request.prefix.len(), request.prefix.len() + request.length);
    let mut tokens = request.prefix.clone();
    tokens.resize(all, UNWRITTEN);
    Canvas { tokens, editable: (0..all).map(|i| i >= prefix).collect(), number }
}

/// Prefix, noise with what is given among it, suffix; only the noise is editable.
fn build_canvas(number: u64, request: &CompletionRequest, rules: &SamplerRules) -> Canvas {
    let mut random = derive_stream(rules.seed, RandomPurpose::Source, [number, u64::MAX, 0]);
    let noise: Vec<u32> =
        (0..request.length).map(|_| rules.source().draw(rules.mask_share, &mut random)).collect();
    let mut tokens = [request.prefix.as_slice(), &noise, &request.suffix].concat();
    let start = request.prefix.len();
    for given in &request.given {
        tokens[start + given.start..][..given.tokens.len()].copy_from_slice(&given.tokens);
    }
    let mut editable = vec![false; tokens.len()];
    for gap in request.gaps() {
        editable[start + gap.start..start + gap.end].fill(true);
    }
    Canvas { editable, tokens, number }
}

/// Splits the answer into the blocks of `size` tokens in which it is written; without a size it is one block.
///
/// A checkpoint trained in blocks counts them from the start of the document, so the first block may also contain the end
/// of the prompt. For any other checkpoint the first block begins with the answer.
pub(super) fn split_answer_into_blocks(
    request: &CompletionRequest,
    size: Option<usize>,
    model: &Model,
) -> Vec<Range<usize>> {
    let answer = request.prefix.len()..request.prefix.len() + request.length;
    let Some(size) = size else { return vec![answer] };
    let origin = if model.block().is_some() { 0 } else { answer.start };
    let number = |i: usize| (i - origin) / size;
    let block = |n: usize| answer.start.max(origin + n * size)..answer.end.min(origin + (n + 1) * size);
    match answer.is_empty() {
        true => Vec::new(),
        false => (number(answer.start)..=number(answer.end - 1)).map(block).collect(),
    }
}
