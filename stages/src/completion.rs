//! Generates completions from a checkpoint by connecting the backbone with the samplers.

mod request;
mod row_logits;

use std::ops::Range;
use std::time::Instant;

use fmflow_engine::error::Failure;
use fmflow_engine::pipeline::config::{Sampler, SamplerKind};

use crate::backbone::BackboneError;
pub(crate) use request::{Completion, CompletionRequest, TimedCompletions};

use request::BatchResult;
use row_logits::{complete_autoregressively, compute_row_logits};

use crate::failure::{BEYOND_F32, input_failure, stage_failure};
use crate::flow::kernel::EulerKernel;
use crate::flow::sampler::{Canvas, Posterior, SamplerRules, sample_canvases, sample_canvases_in_blocks};
use crate::model::Model;
use crate::rng::{RandomPurpose, derive_stream};
use crate::threads::map_in_parallel;

/// Canvases per forward pass.
const BATCH: usize = 64;

/// Answers all requests. Batches run in parallel on `threads` threads. A completion depends only on its request, its number
/// and the seed, not on the number of threads.
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
    let rules = build_sampler_rules(model, sampler, seed)?;
    let numbered: Vec<(u64, &CompletionRequest)> =
        requests.iter().enumerate().map(|(i, r)| (i as u64, r)).collect();
    let batches: Vec<&[(u64, &CompletionRequest)]> = numbered.chunks(BATCH).collect();
    let (mut completions, mut passes) = (Vec::with_capacity(requests.len()), 0);
    for wave in batches.chunks(threads.max(1)) {
        let work = |batch: &&[(u64, &CompletionRequest)]| match sampler.kind {
            SamplerKind::Autoregressive => complete_autoregressively(model, batch, sampler, &rules),
            _ => complete_with_flow(model, batch, sampler, &rules),
        };
        for result in map_in_parallel(wave, work) {
            let (found, own) = result.map_err(forward_failure)?;
            completions.extend(found);
            passes = passes.max(own);
        }
    }
    Ok(TimedCompletions { completions, passes, seconds: start.elapsed().as_secs_f64() })
}

/// A failure of a forward pass: of the checkpoint if its logits are not finite, otherwise of the stage.
fn forward_failure(error: BackboneError) -> Failure {
    match error {
        BackboneError::NotFinite => input_failure(error, BEYOND_F32),
        _ => stage_failure(error),
    }
}

/// The facts of the checkpoint's contract that the sampler needs.
fn build_sampler_rules(model: &Model, sampler: &Sampler, seed: u64) -> Result<SamplerRules, Failure> {
    let scheduler = fmflow_engine::pipeline::config::train::Scheduler::Polynomial { exponent: 1.0 };
    if sampler.kind == SamplerKind::Autoregressive {
        let used = model.used();
        return Ok(SamplerRules {
            mask: used,
            used,
            scheduler,
            mask_share: 1.0,
            kernel: EulerKernel::Exact,
            seed,
        });
    }
    let (contract, path) = (model.flow_contract()?, model.path()?);
    let kernel = match sampler.kind {
        SamplerKind::Euler { kernel, .. } => kernel,
        _ => EulerKernel::Exact,
    };
    if path.mask_share < 1.0 && sampler.reveals_masks() {
        let what = format!(
            "sampler `{}` reveals masks, but the checkpoint's source is not masks alone",
            sampler.name
        );
        return Err(input_failure(what, "use a sampler of kind \"euler\" without the corrector \"remask\""));
    }
    if let (Some(block), Some(own)) = (sampler.block, model.block())
        && !own.is_multiple_of(block)
    {
        let what = format!(
            "sampler `{}` writes blocks of {block} tokens, but the checkpoint was trained in blocks of {own}",
            sampler.name
        );
        return Err(input_failure(
            what,
            format!("write `block={own}` or a divisor of it, or leave `block=` out"),
        ));
    }
    let (scheduler, mask_share) = (path.scheduler, path.mask_share);
    Ok(SamplerRules { mask: contract.mask, used: contract.used, scheduler, mask_share, kernel, seed })
}

/// Completes one batch with a flow sampler.
fn complete_with_flow(
    model: &Model,
    batch: &[(u64, &CompletionRequest)],
    sampler: &Sampler,
    rules: &SamplerRules,
) -> BatchResult {
    let mut canvases: Vec<Canvas> =
        batch.iter().map(|(number, request)| build_canvas(*number, request, rules)).collect();
    let (posterior, ends) = (&mut FromBackbone { model }, model.ends());
    let Some(size) = sampler.block.or(model.block()) else {
        let passes = sample_canvases(&mut canvases, sampler, rules, posterior)?;
        let whole = |(canvas, (_, request)): (Canvas, &(u64, &CompletionRequest))| {
            extract_completion(&canvas, request, request.length)
        };
        return Ok((canvases.into_iter().zip(batch).map(whole).collect(), passes));
    };
    let blocks: Vec<_> =
        batch.iter().map(|(_, request)| split_answer_into_blocks(request, size, model)).collect();
    let passes = sample_canvases_in_blocks(&mut canvases, &blocks, &ends, sampler, rules, posterior)?;
    let written = |(row, canvas): (usize, &Canvas)| {
        let (request, blocks) = (batch[row].1, &blocks[row]);
        let ended = |block: &&Range<usize>| canvas.tokens[(*block).clone()].iter().any(|t| ends.contains(t));
        let last = blocks.iter().find(ended).filter(|_| request.suffix.is_empty());
        extract_completion(
            canvas,
            request,
            last.map_or(request.length, |block| block.end - request.prefix.len()),
        )
    };
    Ok((canvases.iter().enumerate().map(written).collect(), passes))
}

/// The first `length` tokens of an answer.
fn extract_completion(canvas: &Canvas, request: &CompletionRequest, length: usize) -> Completion {
    Completion { tokens: canvas.tokens[request.prefix.len()..][..length].to_vec() }
}

/// Prefix, noise, suffix; only the noise is editable.
fn build_canvas(number: u64, request: &CompletionRequest, rules: &SamplerRules) -> Canvas {
    let mut random = derive_stream(rules.seed, RandomPurpose::Source, [number, u64::MAX, 0]);
    let noise: Vec<u32> =
        (0..request.length).map(|_| rules.source().draw(rules.mask_share, &mut random)).collect();
    let tokens = [request.prefix.as_slice(), &noise, &request.suffix].concat();
    let inside = request.prefix.len()..request.prefix.len() + request.length;
    Canvas { editable: (0..tokens.len()).map(|i| inside.contains(&i)).collect(), tokens, number }
}

/// Splits the answer into the blocks of `size` tokens in which it is written.
///
/// A checkpoint trained in blocks counts them from the start of the document, so the first block may also contain the end
/// of the prompt. For any other checkpoint the first block begins with the answer.
fn split_answer_into_blocks(request: &CompletionRequest, size: usize, model: &Model) -> Vec<Range<usize>> {
    let answer = request.prefix.len()..request.prefix.len() + request.length;
    let origin = if model.block().is_some() { 0 } else { answer.start };
    let number = |i: usize| (i - origin) / size;
    let block = |n: usize| answer.start.max(origin + n * size)..answer.end.min(origin + (n + 1) * size);
    match answer.is_empty() {
        true => Vec::new(),
        false => (number(answer.start)..=number(answer.end - 1)).map(block).collect(),
    }
}

/// The part of a canvas that the posterior at `places` depends on. With block-causal attention no position sees a later
/// block, so tokens after the last requested block need not be computed.
fn find_visible_tokens<'a>(
    canvas: &'a Canvas,
    row: usize,
    places: &[(usize, usize)],
    block: Option<usize>,
) -> &'a [u32] {
    let Some(block) = block else { return &canvas.tokens };
    let last = places.iter().filter(|place| place.0 == row).map(|place| place.1).max().unwrap_or(0);
    &canvas.tokens[..canvas.tokens.len().min((last / block + 1) * block)]
}

/// The posterior that a checkpoint's backbone gives.
struct FromBackbone<'a> {
    model: &'a Model,
}

impl Posterior for FromBackbone<'_> {
    type Error = BackboneError;

    fn logits(
        &mut self,
        canvases: &[Canvas],
        places: &[(usize, usize)],
        t: f64,
    ) -> Result<Vec<f32>, BackboneError> {
        let shift = usize::from(self.model.contract.shift);
        let block = self.model.block();
        let rows = canvases.iter().enumerate().map(|(row, c)| find_visible_tokens(c, row, places, block));
        let rows: Vec<&[u32]> = rows.collect();
        // With a shift, as in an autoregressive model, the logits for position i are computed at position i - 1.
        let places: Vec<(usize, usize)> =
            places.iter().map(|&(row, i)| (row, i.saturating_sub(shift))).collect();
        compute_row_logits(self.model, &rows, &places, self.model.attention(), t)
    }
}

#[cfg(test)]
mod tests;
