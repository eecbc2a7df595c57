//! The seam of the sampling methods.

use std::sync::Arc;

use fmflow_engine::pipeline::config::{Sampler, SamplerKind};

use super::autoregressive::NextToken;
use super::edit::EditThreshold;
use super::entropy_bound::BoundEntropy;
use super::euler::Simulation;
use super::reveal::RevealShares;
use super::speculative::DraftAndAccept;
use super::threshold::RevealAbove;
use super::{Canvas, Guard, LogitFilter, Pick, SamplerRules};
use crate::flow::scheduler::invert_kappa;
use crate::rng::{RandomPurpose, derive_stream};

/// What all methods at work on one canvas share.
#[derive(Clone, Debug)]
pub(super) struct Setting {
    pub(super) sampler: Arc<Sampler>,
    pub(super) rules: SamplerRules,
    pub(super) filter: LogitFilter,
    pub(super) ends: Arc<[u32]>,
    /// What the answer has to match.
    pub(super) guard: Option<Guard>,
}

/// Positions whose posterior the next pass computes, and at which time.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Question {
    /// In ascending order; at least one.
    pub(super) places: Vec<usize>,
    /// Time t.
    pub(super) t: f64,
}

/// A sampling method, at work on the editable positions of a canvas. Passes are numbered over all blocks of a canvas, so that
/// no two of them draw the same random numbers.
pub(super) trait Method {
    /// What the next pass shall compute; `None` if the block is finished. May write what needs no posterior.
    fn ask(&mut self, canvas: &mut Canvas) -> Option<Question>;

    /// Writes, given the logits at the places of the question, flat [places, V].
    fn write(&mut self, canvas: &mut Canvas, question: &Question, logits: &mut [f32]);

    /// How many tokens at the beginning will not change any more, if that is more than those before the block.
    fn settled(&self) -> Option<usize> {
        None
    }
}

/// The method of `setting`, for block number `block` of `canvas`, which took `passes` so far.
pub(super) fn start_block(setting: Setting, canvas: &Canvas, block: usize, passes: usize) -> Box<dyn Method> {
    match setting.sampler.kind {
        SamplerKind::Reveal { passes, by } => Box::new(RevealShares::new(setting, canvas, passes, by, block)),
        SamplerKind::Threshold { threshold } => Box::new(RevealAbove::new(setting, threshold, passes)),
        SamplerKind::EntropyBound { bound } => Box::new(BoundEntropy::new(setting, bound, passes)),
        SamplerKind::Edit { threshold, revise } => {
            Box::new(EditThreshold::new(setting, [threshold, revise], canvas.tokens.len(), passes))
        }
        SamplerKind::Euler { passes, .. } => Box::new(Simulation::new(setting, passes, block)),
        SamplerKind::Autoregressive => Box::new(NextToken::new(setting)),
        SamplerKind::Speculative { stride } => Box::new(DraftAndAccept::new(setting, stride)),
    }
}

impl Setting {
    /// Editable positions for which `open` holds, in ascending order.
    pub(super) fn list_places(canvas: &Canvas, open: impl Fn(u32) -> bool) -> Vec<usize> {
        (0..canvas.tokens.len()).filter(|&i| canvas.editable[i] && open(canvas.tokens[i])).collect()
    }

    /// Editable positions that hold the mask.
    pub(super) fn list_masks(&self, canvas: &Canvas) -> Vec<usize> {
        Self::list_places(canvas, |token| token == self.rules.mask)
    }

    /// The time at which the path leaves as large a share of masks as the editable positions have.
    pub(super) fn find_time(&self, canvas: &Canvas) -> f64 {
        let all = canvas.editable.iter().filter(|editable| **editable).count();
        let masks = self.list_masks(canvas).len();
        invert_kappa(self.rules.scheduler, 1.0 - masks as f64 / all.max(1) as f64)
    }

    /// Draws once from the filtered posterior at each of the places, in ascending order, in pass or step number `step`. Forbids in
    /// `logits` what may not be drawn.
    pub(super) fn draw_picks(
        &self,
        canvas: &Canvas,
        places: &[usize],
        step: usize,
        logits: &mut [f32],
    ) -> Vec<Pick> {
        self.restrict(canvas, places, logits);
        let at = [canvas.number, 2 * step as u64 + 1, 0];
        let mut random = derive_stream(self.rules.seed, RandomPurpose::Sample, at);
        let width = (logits.len() / places.len().max(1)).max(1);
        logits.chunks_exact_mut(width).map(|row| self.filter.pick(row, &mut random)).collect()
    }
}
