//! Draws text from the posterior, by discrete Euler simulation or by revealing the most confident tokens first.
//!
//! Both run over all of [0, 1] in `steps` equal steps; a grid that ends before 1 would leave noise.
//!
//! A [`Canvas`] is a row with positions that may be written. Every method asks for the posterior at chosen positions, never
//! writes a position that is not editable, and never emits the mask token. In block-by-block sampling, each block is a
//! separate simulation from t = 0 to 1, given the blocks before it.

mod euler;
mod filter;

use std::ops::Range;

pub use euler::take_euler_step;
pub use filter::{LogitFilter, Pick};

use fmflow_engine::pipeline::config::train::Scheduler;
use fmflow_engine::pipeline::config::{Sampler, SamplerKind};

use super::kernel::EulerKernel;
use super::path::SourceTokens;
use crate::rng::{RandomPurpose, derive_stream};

/// A row being written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Canvas {
    /// The present tokens.
    pub tokens: Vec<u32>,
    /// Which positions may be written.
    pub editable: Vec<bool>,
    /// Number that selects the random draws of this canvas; different canvases have different numbers.
    pub number: u64,
}

/// What the sampler must know about the checkpoint.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SamplerRules {
    /// The mask token.
    pub mask: u32,
    /// Ids from here on are reserved and never emitted.
    pub used: u32,
    /// The scheduler of the path.
    pub scheduler: Scheduler,
    /// Share of the mask token in the source; at 1 every noisy position holds it.
    pub mask_share: f64,
    /// How the Euler simulation moves a position.
    pub kernel: EulerKernel,
    /// Seed of the draws.
    pub seed: u64,
}

impl SamplerRules {
    /// Whether the source is the mask token alone, so that every noisy position holds it.
    #[must_use]
    pub(crate) fn mask_source(&self) -> bool {
        self.mask_share >= 1.0
    }

    /// The tokens of the source.
    #[must_use]
    pub fn source(&self) -> SourceTokens {
        SourceTokens { mask: self.mask, used: self.used }
    }
}

/// The posterior: logits at places (canvas, position), flat [places, V], at time t.
pub trait Posterior {
    /// Error of the backbone or its device.
    type Error;

    /// Logits at `places`, in their order.
    ///
    /// # Errors
    /// If the backbone or its device fails.
    fn logits(
        &mut self,
        canvases: &[Canvas],
        places: &[(usize, usize)],
        t: f64,
    ) -> Result<Vec<f32>, Self::Error>;
}

/// Writes all editable positions of all canvases at once; returns the number of forward passes (NFE).
///
/// # Errors
/// Any error of the posterior.
///
/// # Panics
/// On an autoregressive sampler, which needs no simulation, and on a threshold sampler, which is not supported yet.
pub fn sample_canvases<P: Posterior>(
    canvases: &mut [Canvas],
    sampler: &Sampler,
    rules: &SamplerRules,
    posterior: &mut P,
) -> Result<usize, P::Error> {
    let filter = LogitFilter::new(sampler, rules);
    simulate_wave(canvases, 0, sampler, &filter, rules, posterior)
}

/// Writes the editable positions of each canvas block by block, in the order of its `blocks`; returns the number of forward
/// passes (NFE). A finished block is never touched again, and a position outside all blocks is not written. If nothing
/// follows the answer, a block that contains one of `ends` is the last.
///
/// # Errors
/// Any error of the posterior.
///
/// # Panics
/// As [`sample_canvases`].
pub(crate) fn sample_canvases_in_blocks<P: Posterior>(
    canvases: &mut [Canvas],
    blocks: &[Vec<Range<usize>>],
    ends: &[u32],
    sampler: &Sampler,
    rules: &SamplerRules,
    posterior: &mut P,
) -> Result<usize, P::Error> {
    let filter = LogitFilter::new(sampler, rules);
    let editable: Vec<Vec<bool>> = canvases.iter().map(|canvas| canvas.editable.clone()).collect();
    let (mut passes, most) = (0, blocks.iter().map(Vec::len).max().unwrap_or(0));
    for wave in 0..most {
        for ((canvas, editable), blocks) in canvases.iter_mut().zip(&editable).zip(blocks) {
            let before = blocks.iter().take(wave).flat_map(|block| &canvas.tokens[block.clone()]);
            let ended =
                editable.last() == Some(&true) && before.into_iter().any(|token| ends.contains(token));
            let open = |i| !ended && blocks.get(wave).is_some_and(|block| block.contains(&i));
            canvas.editable = (0..editable.len()).map(|i| editable[i] && open(i)).collect();
        }
        passes += simulate_wave(canvases, wave, sampler, &filter, rules, posterior)?;
    }
    canvases.iter_mut().zip(editable).for_each(|(canvas, editable)| canvas.editable = editable);
    Ok(passes)
}

/// One simulation. Steps are numbered across all waves, so that no two steps draw the same random numbers.
fn simulate_wave<P: Posterior>(
    canvases: &mut [Canvas],
    wave: usize,
    sampler: &Sampler,
    filter: &LogitFilter,
    rules: &SamplerRules,
    posterior: &mut P,
) -> Result<usize, P::Error> {
    match sampler.kind {
        SamplerKind::Confidence { steps } => {
            reveal_by_confidence(canvases, steps, wave * steps, filter, rules, posterior)
        }
        SamplerKind::Euler { steps, .. } => {
            euler::simulate_euler(canvases, steps, wave * steps, filter, rules, posterior)
        }
        SamplerKind::Autoregressive | SamplerKind::Threshold { .. } => {
            unreachable!("{:?} is not simulated", sampler.kind)
        }
    }
}

/// Editable positions for which `open` holds, in order of canvas and position.
fn list_open_places(canvases: &[Canvas], open: impl Fn(&Canvas, usize) -> bool) -> Vec<(usize, usize)> {
    let of = |(number, canvas): (usize, &Canvas)| {
        let places = (0..canvas.tokens.len()).filter(|&i| canvas.editable[i] && open(canvas, i));
        places.map(|i| (number, i)).collect::<Vec<_>>()
    };
    canvases.iter().enumerate().flat_map(of).collect()
}

/// Reveals the most confident masks first, in steps numbered from `first`. After step s of S, floor(m (S - s) / S) of a
/// canvas's m masks are left.
fn reveal_by_confidence<P: Posterior>(
    canvases: &mut [Canvas],
    steps: usize,
    first: usize,
    filter: &LogitFilter,
    rules: &SamplerRules,
    posterior: &mut P,
) -> Result<usize, P::Error> {
    let masked = |canvas: &Canvas| (0..canvas.tokens.len()).filter(|&i| is_masked(canvas, i, rules)).count();
    let total: Vec<usize> = canvases.iter().map(masked).collect();
    let mut passes = 0;
    for step in 0..steps {
        let places = list_open_places(canvases, |canvas, i| is_masked(canvas, i, rules));
        if places.is_empty() {
            break;
        }
        passes += 1;
        let t = step as f64 / steps as f64;
        let logits = posterior.logits(canvases, &places, t)?;
        let picks = draw_picks(canvases, &places, logits, filter, rules.seed, first + step);
        for run in picks.chunk_by(|a, b| a.0.0 == b.0.0) {
            let canvas = run[0].0.0;
            let left = total[canvas] * (steps - step - 1) / steps;
            reveal_most_confident(&mut canvases[canvas], run, run.len().saturating_sub(left));
        }
    }
    Ok(passes)
}

fn is_masked(canvas: &Canvas, i: usize, rules: &SamplerRules) -> bool {
    canvas.editable[i] && canvas.tokens[i] == rules.mask
}

/// Writes the `count` most confident picks. Earlier positions win ties.
fn reveal_most_confident(canvas: &mut Canvas, picks: &[((usize, usize), Pick)], count: usize) {
    let mut order: Vec<&((usize, usize), Pick)> = picks.iter().collect();
    order.sort_by(|a, b| b.1.confidence.total_cmp(&a.1.confidence));
    for ((_, position), pick) in order.into_iter().take(count) {
        canvas.tokens[*position] = pick.token;
    }
}

/// Draws once from the filtered posterior at each place.
fn draw_picks(
    canvases: &[Canvas],
    places: &[(usize, usize)],
    mut logits: Vec<f32>,
    filter: &LogitFilter,
    seed: u64,
    step: usize,
) -> Vec<((usize, usize), Pick)> {
    let width = logits.len() / places.len().max(1);
    let mut picks = Vec::with_capacity(places.len());
    let mut rows = logits.chunks_exact_mut(width.max(1));
    for run in places.chunk_by(|a, b| a.0 == b.0) {
        let number = canvases[run[0].0].number;
        let mut random = derive_stream(seed, RandomPurpose::Sample, [number, 2 * step as u64 + 1, 0]);
        for (&place, row) in run.iter().zip(rows.by_ref()) {
            picks.push((place, filter.pick(row, &mut random)));
        }
    }
    picks
}

#[cfg(test)]
mod tests;
