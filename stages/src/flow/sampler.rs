//! Draws text from the posterior: by discrete Euler simulation, by revealing the most certain tokens first, or token by token.
//!
//! A [`Canvas`] is a row with positions that may be written. A *method* writes one block of one canvas: it asks for the posterior
//! at chosen positions and gets logits, again and again ([`method`]). No method writes a position that is not editable, and
//! none that fills masks emits the mask. Canvases know nothing of each other, so a text is a function of its canvas,
//! number and seed; asking for many at once only saves time.
//!
//! | method | file | in a pass it writes |
//! |---|---|---|
//! | `confidence`, `entropy`, `margin` | `reveal` | a fixed share of the masks, the most certain first |
//! | `threshold` | `threshold` | masks whose confidence reaches a limit, at least one |
//! | `entropy-bound` | `entropy_bound` | masks, the lowest entropy first, up to a sum |
//! | `edit` | `edit` | as `threshold`; improbable tokens are masked again |
//! | `euler` | `euler` | what jumps in a step from t to s |
//! | `autoregressive` | `autoregressive` | the next token |
//! | `speculative` | `speculative` | drafts that are accepted, and the next token |

mod autoregressive;
mod certainty;
mod edit;
mod entropy_bound;
mod euler;
mod filter;
mod method;
mod onlooker;
mod reveal;
mod speculative;
mod threshold;
mod writing;

use std::ops::Range;

pub use euler::take_euler_step;
pub use filter::{LogitFilter, Pick};
pub use onlooker::{Nobody, Onlooker};

use fmflow_engine::pipeline::config::Sampler;
use fmflow_engine::pipeline::config::train::Scheduler;

use method::Setting;
use writing::Writing;

use super::kernel::EulerKernel;
use super::path::SourceTokens;

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

/// A question about one canvas: the posterior at some of its positions.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// The canvas as it is now.
    pub canvas: &'a Canvas,
    /// Positions, in ascending order; at least one.
    pub places: &'a [usize],
    /// Time t.
    pub t: f64,
    /// This many tokens at the beginning will not change any more. All places are behind them.
    pub settled: usize,
}

/// The posterior p(x_1 | x_t, t).
pub trait Posterior {
    /// Error of the backbone or its device.
    type Error;

    /// Logits at the places of all questions, in their order, flat [places, V].
    ///
    /// # Errors
    /// If the backbone or its device fails.
    fn logits(&mut self, asks: &[Ask<'_>]) -> Result<Vec<f32>, Self::Error>;
}

/// Writes all editable positions of all canvases, each as one block; returns the forward passes (NFE) of the canvas that took
/// most.
///
/// # Errors
/// Any error of the posterior.
pub fn sample_canvases<P: Posterior>(
    canvases: &mut [Canvas],
    sampler: &Sampler,
    rules: &SamplerRules,
    posterior: &mut P,
) -> Result<usize, P::Error> {
    let blocks: Vec<_> =
        canvases.iter().map(|canvas| std::iter::once(0..canvas.tokens.len()).collect()).collect();
    let passes = sample_canvases_in_blocks(canvases, &blocks, &[], sampler, rules, posterior)?;
    Ok(passes.into_iter().max().unwrap_or(0))
}

/// Writes the editable positions of each canvas block by block, in the order of its `blocks`; returns the forward passes (NFE)
/// of each. A finished block is never touched again, and a position outside all blocks is not written. If nothing
/// follows the answer, a block that contains one of `ends` is the last, and of an autoregressive sampler that token is.
///
/// # Errors
/// Any error of the posterior.
pub fn sample_canvases_in_blocks<P: Posterior>(
    canvases: &mut [Canvas],
    blocks: &[Vec<Range<usize>>],
    ends: &[u32],
    sampler: &Sampler,
    rules: &SamplerRules,
    posterior: &mut P,
) -> Result<Vec<usize>, P::Error> {
    let job = WritingJob { blocks, ends, sampler, rules };
    sample_canvases_watched(canvases, job, posterior, &mut Nobody)
}

/// How canvases are written: see [`sample_canvases_in_blocks`].
#[derive(Clone, Copy, Debug)]
pub struct WritingJob<'a> {
    /// The blocks of each canvas.
    pub blocks: &'a [Vec<Range<usize>>],
    /// Tokens that end an answer.
    pub ends: &'a [u32],
    /// The method and its settings.
    pub sampler: &'a Sampler,
    /// Facts of the checkpoint.
    pub rules: &'a SamplerRules,
}

/// As [`sample_canvases_in_blocks`], with somebody who looks on. What is written does not depend on that, unless the onlooker
/// stops it: then canvases stay as they are.
///
/// # Errors
/// Any error of the posterior.
pub fn sample_canvases_watched<P: Posterior>(
    canvases: &mut [Canvas],
    job: WritingJob<'_>,
    posterior: &mut P,
    onlooker: &mut dyn Onlooker,
) -> Result<Vec<usize>, P::Error> {
    let WritingJob { blocks, ends, sampler, rules } = job;
    let setting = Setting { sampler, rules, filter: LogitFilter::new(sampler, rules), ends };
    let canvases = canvases.iter_mut().zip(blocks);
    let mut writings: Vec<Writing<'_>> =
        canvases.map(|(canvas, blocks)| Writing::new(canvas, blocks, &setting)).collect();
    while onlooker.goes_on() && writing::pass(&mut writings, posterior, onlooker)? {}
    Ok(writings.iter().map(Writing::passes).collect())
}

#[cfg(test)]
mod tests;
