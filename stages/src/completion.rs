//! Text from a checkpoint: joins the backbone and the samplers.

use std::ops::Range;
use std::time::Instant;

use fmflow_engine::error::Failure;
use fmflow_engine::pipeline::config::{Sampler, SamplerKind};

use crate::backbone::{Attention, BackboneError, Context, PADDING, TimeConditioning};
use crate::failure::{input, stage};
use crate::flow::kernel::Kernel;
use crate::flow::sampler::{Canvas, Filter, Posterior, Rules, sample, sample_in_blocks};
use crate::model::Model;
use crate::rng::{Purpose, stream};
use crate::threads::side_by_side;
use crate::train::gradient::integers;

/// Canvases that go through the backbone together.
const BATCH: usize = 64;

/// What is asked of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Tokens before.
    pub prefix: Vec<u32>,
    /// New tokens wanted.
    pub length: usize,
    /// Tokens after; of use to a flow sampler only.
    pub suffix: Vec<u32>,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Completion {
    /// The new tokens: as many as wanted, fewer where an answer ended before its last blocks.
    pub tokens: Vec<u32>,
}

/// Completions and what they cost.
#[derive(Clone, Debug, PartialEq)]
pub struct Answers {
    /// In the order of the requests.
    pub completions: Vec<Completion>,
    /// Forward passes of the slowest batch (NFE).
    pub passes: usize,
    /// Wall seconds.
    pub seconds: f64,
}

impl Completion {
    /// The tokens before the first one that ends a turn or a document.
    #[must_use]
    pub fn until_end(&self, ends: &[u32]) -> &[u32] {
        let end = self.tokens.iter().position(|token| ends.contains(token));
        &self.tokens[..end.unwrap_or(self.tokens.len())]
    }

    /// New tokens up to the end of turn, that token included: what counts for tokens per second.
    #[must_use]
    pub fn generated(&self, ends: &[u32]) -> usize {
        (self.until_end(ends).len() + 1).min(self.tokens.len())
    }
}

/// Answers all requests. Batches run side by side on `threads` threads; a completion depends on its request, its number and
/// the seed alone.
///
/// # Errors
/// A sampler that does not fit the checkpoint, or a failing device.
pub fn complete(
    model: &Model,
    requests: &[Request],
    sampler: &Sampler,
    seed: u64,
    threads: usize,
) -> Result<Answers, Failure> {
    let start = Instant::now();
    let rules = rules(model, sampler, seed)?;
    let numbered: Vec<(u64, &Request)> = requests.iter().enumerate().map(|(i, r)| (i as u64, r)).collect();
    let batches: Vec<&[(u64, &Request)]> = numbered.chunks(BATCH).collect();
    let (mut completions, mut passes) = (Vec::with_capacity(requests.len()), 0);
    for wave in batches.chunks(threads.max(1)) {
        let work = |batch: &&[(u64, &Request)]| match sampler.kind {
            SamplerKind::Autoregressive => autoregressive(model, batch, sampler, &rules),
            _ => parallel(model, batch, sampler, &rules),
        };
        for result in side_by_side(wave, work) {
            let (found, own) = result.map_err(stage)?;
            completions.extend(found);
            passes = passes.max(own);
        }
    }
    Ok(Answers { completions, passes, seconds: start.elapsed().as_secs_f64() })
}

type Batch = Result<(Vec<Completion>, usize), BackboneError>;

/// What the sampler must know, from the checkpoint's contract.
fn rules(model: &Model, sampler: &Sampler, seed: u64) -> Result<Rules, Failure> {
    let scheduler = fmflow_engine::pipeline::config::train::Scheduler::Polynomial { exponent: 1.0 };
    if sampler.kind == SamplerKind::Autoregressive {
        let used = model.used();
        return Ok(Rules { mask: used, used, scheduler, mask_share: 1.0, kernel: Kernel::Exact, seed });
    }
    let (contract, path) = (model.flow_contract()?, model.path()?);
    let kernel = match sampler.kind {
        SamplerKind::Euler { kernel, .. } => kernel,
        _ => Kernel::Exact,
    };
    if path.mask_share < 1.0 && sampler.reveals_masks() {
        let what = format!(
            "sampler `{}` reveals masks, but the checkpoint's source is not the mask alone",
            sampler.name
        );
        return Err(input(what, "use a sampler of kind \"euler\" without the corrector \"remask\""));
    }
    if let (Some(block), Some(own)) = (sampler.block, model.block())
        && !own.is_multiple_of(block)
    {
        let what = format!(
            "sampler `{}` writes blocks of {block} tokens, the checkpoint was trained in blocks of {own}",
            sampler.name
        );
        return Err(input(what, format!("write `block={own}` or a divisor of it, or leave `block=` out")));
    }
    let (scheduler, mask_share) = (path.scheduler, path.mask_share);
    Ok(Rules { mask: contract.mask, used: contract.used, scheduler, mask_share, kernel, seed })
}

/// A flow sampler on one batch.
fn parallel(model: &Model, batch: &[(u64, &Request)], sampler: &Sampler, rules: &Rules) -> Batch {
    let mut canvases: Vec<Canvas> =
        batch.iter().map(|(number, request)| canvas(*number, request, rules)).collect();
    let (posterior, ends) = (&mut FromBackbone { model }, model.ends());
    let Some(size) = sampler.block.or(model.block()) else {
        let passes = sample(&mut canvases, sampler, rules, posterior)?;
        let whole =
            |(canvas, (_, request)): (Canvas, &(u64, &Request))| cut(&canvas, request, request.length);
        return Ok((canvases.into_iter().zip(batch).map(whole).collect(), passes));
    };
    let blocks: Vec<_> = batch.iter().map(|(_, request)| blocks(request, size, model)).collect();
    let passes = sample_in_blocks(&mut canvases, &blocks, &ends, sampler, rules, posterior)?;
    let written = |(row, canvas): (usize, &Canvas)| {
        let (request, blocks) = (batch[row].1, &blocks[row]);
        let ended = |block: &&Range<usize>| canvas.tokens[(*block).clone()].iter().any(|t| ends.contains(t));
        let last = blocks.iter().find(ended).filter(|_| request.suffix.is_empty());
        cut(canvas, request, last.map_or(request.length, |block| block.end - request.prefix.len()))
    };
    Ok((canvases.iter().enumerate().map(written).collect(), passes))
}

/// The first `length` tokens of an answer.
fn cut(canvas: &Canvas, request: &Request, length: usize) -> Completion {
    Completion { tokens: canvas.tokens[request.prefix.len()..][..length].to_vec() }
}

/// Prefix, noise, suffix.
fn canvas(number: u64, request: &Request, rules: &Rules) -> Canvas {
    let mut random = stream(rules.seed, Purpose::Source, [number, u64::MAX, 0]);
    let noise: Vec<u32> =
        (0..request.length).map(|_| rules.source().draw(rules.mask_share, &mut random)).collect();
    let tokens = [request.prefix.as_slice(), &noise, &request.suffix].concat();
    let inside = request.prefix.len()..request.prefix.len() + request.length;
    Canvas { editable: (0..tokens.len()).map(|i| inside.contains(&i)).collect(), tokens, number }
}

/// The blocks of `size` tokens in which an answer is written: of a checkpoint that was trained in blocks those of the document,
/// of which the first may hold the end of the prompt; of another one those of the answer alone.
fn blocks(request: &Request, size: usize, model: &Model) -> Vec<Range<usize>> {
    let answer = request.prefix.len()..request.prefix.len() + request.length;
    let origin = if model.block().is_some() { 0 } else { answer.start };
    let number = |i: usize| (i - origin) / size;
    let block = |n: usize| answer.start.max(origin + n * size)..answer.end.min(origin + (n + 1) * size);
    match answer.is_empty() {
        true => Vec::new(),
        false => (number(answer.start)..=number(answer.end - 1)).map(block).collect(),
    }
}

/// What of a canvas the posterior at `places` depends on: with blocks, nothing after the last block asked for.
fn visible<'a>(canvas: &'a Canvas, row: usize, places: &[(usize, usize)], block: Option<usize>) -> &'a [u32] {
    let Some(block) = block else { return &canvas.tokens };
    let last = places.iter().filter(|place| place.0 == row).map(|place| place.1).max().unwrap_or(0);
    &canvas.tokens[..canvas.tokens.len().min((last / block + 1) * block)]
}

/// The posterior of a checkpoint.
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
        let rows = canvases.iter().enumerate().map(|(row, c)| visible(c, row, places, block));
        let rows: Vec<&[u32]> = rows.collect();
        let places: Vec<(usize, usize)> =
            places.iter().map(|&(row, i)| (row, i.saturating_sub(shift))).collect();
        logits(self.model, &rows, &places, self.model.attention(), t)
    }
}

/// Logits at places of rows of any lengths, flat [places, V].
fn logits(
    model: &Model,
    rows: &[&[u32]],
    places: &[(usize, usize)],
    attention: Attention,
    t: f64,
) -> Result<Vec<f32>, BackboneError> {
    let length = rows.iter().map(|row| row.len()).max().unwrap_or(0);
    let (mut tokens, mut segments) = (Vec::new(), Vec::new());
    for row in rows {
        tokens.extend_from_slice(row);
        tokens.resize(tokens.len() + length - row.len(), 0);
        segments.extend((0..length).map(|i| if i < row.len() { 0 } else { PADDING }));
    }
    let device = model.backbone.device();
    let mut context = Context::new(attention, rows.len(), length).with_segments(segments);
    if model.backbone.time_conditioning() != TimeConditioning::None {
        context = context.with_time(vec![t as f32; rows.len()]);
    }
    let tokens = integers(tokens.into_iter(), &device).reshape([rows.len(), length]);
    let hidden = model.backbone.hidden(tokens, &context)?;
    let [b, l, d] = hidden.dims();
    let wanted = integers(places.iter().map(|&(row, i)| (row * l + i) as u32), &device);
    let logits = model.backbone.logits(hidden.reshape([b * l, d]).select(0, wanted));
    logits.try_into_vec_as::<f32>().map_err(|e| BackboneError::Device(e.to_string()))
}

/// One token after another under a causal mask, without a cache of keys and values.
fn autoregressive(model: &Model, batch: &[(u64, &Request)], sampler: &Sampler, rules: &Rules) -> Batch {
    let filter = Filter::autoregressive(sampler, rules.used);
    let ends = model.ends();
    let mut rows: Vec<Vec<u32>> = batch.iter().map(|(_, request)| request.prefix.clone()).collect();
    let longest = batch.iter().map(|(_, request)| request.length).max().unwrap_or(0);
    let mut passes = 0;
    for step in 0..longest {
        let unfinished = |&i: &usize| {
            let (row, request) = (&rows[i], batch[i].1);
            let new = &row[request.prefix.len()..];
            new.len() < request.length && !new.iter().any(|token| ends.contains(token))
        };
        let active: Vec<usize> = (0..rows.len()).filter(unfinished).collect();
        if active.is_empty() {
            break;
        }
        passes += 1;
        let shown: Vec<&[u32]> = active.iter().map(|&i| rows[i].as_slice()).collect();
        let places: Vec<(usize, usize)> =
            shown.iter().enumerate().map(|(i, row)| (i, row.len() - 1)).collect();
        let mut values = logits(model, &shown, &places, Attention::Causal, 1.0)?;
        let width = values.len() / active.len();
        for (&i, logits) in active.iter().zip(values.chunks_exact_mut(width)) {
            let mut random = stream(rules.seed, Purpose::Sample, [batch[i].0, step as u64, 1]);
            rows[i].push(filter.pick(logits, &mut random).token);
        }
    }
    let new = |(row, (_, request)): (Vec<u32>, &(u64, &Request))| Completion {
        tokens: row[request.prefix.len()..].to_vec(),
    };
    Ok((rows.into_iter().zip(batch).map(new).collect(), passes))
}

#[cfg(test)]
mod tests;
