//! Reveals by a threshold, and masks tokens again that the rest of the text has made improbable.
//!
//! In every pass the posterior is also asked for the positions of the block that were written before: a token whose probability
//! is now below `revise` goes back to the mask. As that happens once at most at each position, every block ends: each pass
//! writes one token at least, and a block of n positions takes at most 2 n passes. A constraint stays kept: what could be completed
//! still can when a token is masked again.

use super::Canvas;
use super::method::{Method, Question, Setting};
use super::threshold::choose_confident;

/// The method `edit`.
pub(super) struct EditThreshold {
    setting: Setting,
    threshold: f64,
    revise: f64,
    /// Positions that may still go back to the mask.
    revisable: Vec<bool>,
    /// Number of the next pass.
    pass: usize,
}

impl EditThreshold {
    pub(super) fn new(setting: Setting, [threshold, revise]: [f64; 2], length: usize, pass: usize) -> Self {
        Self { setting, threshold, revise, revisable: vec![true; length], pass }
    }

    /// Written positions whose token is improbable under `logits`, flat [places, V].
    fn list_improbable(&self, canvas: &Canvas, places: &[usize], logits: &[f32]) -> Vec<usize> {
        let rows = places.iter().zip(logits.chunks_exact(logits.len() / places.len()));
        let written =
            rows.filter(|(i, _)| canvas.tokens[**i] != self.setting.rules.mask && self.revisable[**i]);
        let improbable = |(i, row): &(&usize, &[f32])| {
            self.setting.filter.find_probability(row, canvas.tokens[**i]) < self.revise
        };
        written.filter(improbable).map(|(i, _)| *i).collect()
    }
}

impl Method for EditThreshold {
    fn ask(&mut self, canvas: &mut Canvas) -> Option<Question> {
        if self.setting.list_masks(canvas).is_empty() {
            return None;
        }
        let places = Setting::list_places(canvas, |_| true);
        Some(Question { places, t: self.setting.find_time(canvas) })
    }

    fn write(&mut self, canvas: &mut Canvas, question: &Question, logits: &mut [f32]) {
        let improbable = self.list_improbable(canvas, &question.places, logits);
        let picks = self.setting.draw_picks(canvas, &question.places, self.pass, logits);
        let masks = question.places.iter().zip(picks);
        let masks = masks.filter(|(i, _)| canvas.tokens[**i] == self.setting.rules.mask);
        let (places, picks): (Vec<usize>, Vec<_>) = masks.unzip();
        let order = choose_confident(&picks, self.threshold);
        self.setting.write_picks(canvas, (&places, &picks), &order, None);
        for i in improbable {
            canvas.tokens[i] = self.setting.rules.mask;
            self.revisable[i] = false;
        }
        self.pass += 1;
    }
}
