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
mod growth;
mod guard;
mod method;
mod onlooker;
mod reveal;
mod speculative;
mod threshold;
mod writing;

use std::ops::Range;
use std::sync::Arc;

pub use euler::take_euler_step;
pub use filter::{LogitFilter, Pick, RankedLaw};
pub(crate) use growth::Growing;
pub(crate) use guard::Guard;
pub use onlooker::{Nobody, Onlooker};
pub(crate) use writing::{Writing, compute_logits};

use fmflow_engine::pipeline::config::train::Scheduler;
use fmflow_engine::pipeline::config::{GrowthTokens, Sampler};

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
    /// The tokens by which text grows, if the checkpoint learned some: only a canvas that grows holds them, from one pass to the next.
    pub growth: Option<GrowthTokens>,
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
    /// Tells the canvases of a batch apart, from one question to the next.
    pub row: u64,
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
    let shared = SharedSampler { sampler: Arc::new(sampler.clone()), rules: *rules, ends: ends.into() };
    let begin = |(canvas, blocks): (&Canvas, &Vec<Range<usize>>)| {
        Writing::new(canvas.number, canvas.clone(), blocks.clone(), &shared, None)
    };
    let mut writings: Vec<Writing> = canvases.iter().zip(blocks).map(begin).collect();
    write_all(&mut writings, posterior, &mut Nobody)?;
    for (canvas, writing) in canvases.iter_mut().zip(&writings) {
        canvas.clone_from(writing.canvas());
    }
    Ok(writings.iter().map(Writing::passes).collect())
}

/// A sampler as the canvases of a batch share it.
#[derive(Clone, Debug)]
pub(crate) struct SharedSampler {
    /// The method and its settings.
    pub(crate) sampler: Arc<Sampler>,
    /// Facts of the checkpoint, and the seed.
    pub(crate) rules: SamplerRules,
    /// Tokens that end an answer.
    pub(crate) ends: Arc<[u32]>,
}

/// Writes canvases to their ends, or until the onlooker stops it.
///
/// # Errors
/// Any error of the posterior.
pub(crate) fn write_all<P: Posterior>(
    writings: &mut [Writing],
    posterior: &mut P,
    onlooker: &mut dyn Onlooker,
) -> Result<(), P::Error> {
    while onlooker.goes_on() && writing::pass(writings, posterior, onlooker)? {}
    Ok(())
}

#[cfg(test)]
mod tests;
