//! Reveals a fixed share of the masks in every pass, the most certain first (MaskGIT; Chang et al., 2022, and the orders of Dream).

use fmflow_engine::pipeline::config::Certainty;

use super::Canvas;
use super::certainty::{measure_certainty, sort_by_certainty};
use super::method::{Method, Question, Setting};

/// After step s of S, floor(m (S - s) / S) of a block's m masks are left. A step that would reveal none takes no pass.
pub(super) struct RevealShares {
    setting: Setting,
    steps: usize,
    by: Certainty,
    /// m.
    masks: usize,
    /// Number of the first step.
    first: usize,
    /// Steps behind.
    step: usize,
}

impl RevealShares {
    pub(super) fn new(setting: Setting, canvas: &Canvas, steps: usize, by: Certainty, block: usize) -> Self {
        let masks = setting.list_masks(canvas).len();
        Self { setting, steps, by, masks, first: block * steps, step: 0 }
    }

    /// Masks left after the next step.
    fn count_left(&self) -> usize {
        // The product of a canvas and a number of steps fits 64 bits: both are below 2^32.
        (self.masks as u64 * (self.steps - self.step - 1) as u64 / self.steps as u64) as usize
    }
}

impl Method for RevealShares {
    fn ask(&mut self, canvas: &mut Canvas) -> Option<Question> {
        let places = self.setting.list_masks(canvas);
        while self.step < self.steps && !places.is_empty() {
            if self.count_left() < places.len() {
                let t = self.step as f64 / self.steps as f64;
                return Some(Question { places, t });
            }
            self.step += 1;
        }
        None
    }

    fn write(&mut self, canvas: &mut Canvas, question: &Question, logits: &mut [f32]) {
        let count = question.places.len();
        let step = self.first + self.step;
        let picks = self.setting.draw_picks(canvas, &question.places, step, logits);
        let rows = logits.chunks_exact(logits.len() / count);
        let certainties: Vec<f64> =
            picks.iter().zip(rows).map(|(pick, row)| measure_certainty(self.by, pick, row)).collect();
        let mut order = sort_by_certainty(&certainties);
        order.truncate(count - self.count_left());
        self.setting.write_picks(canvas, (&question.places, &picks), &order, Some((step, logits)));
        self.step += 1;
    }
}
