//! Reveals every mask whose confidence reaches a threshold, and at least the most confident one (Fast-dLLM; Wu et al., 2025).

use super::certainty::sort_by_certainty;
use super::method::{Method, Question, Setting};
use super::{Canvas, Pick};

/// The method `threshold`.
pub(super) struct RevealAbove {
    setting: Setting,
    threshold: f64,
    /// Number of the next pass.
    pass: usize,
}

impl RevealAbove {
    pub(super) fn new(setting: Setting, threshold: f64, pass: usize) -> Self {
        Self { setting, threshold, pass }
    }
}

/// Which of the picks to keep: those whose confidence reaches `threshold`, and at least the most confident; earlier ones win
/// ties.
pub(super) fn choose_confident(picks: &[Pick], threshold: f64) -> Vec<usize> {
    let confidences: Vec<f64> = picks.iter().map(|pick| pick.confidence).collect();
    let order = sort_by_certainty(&confidences);
    let sure = order.iter().take_while(|i| confidences[**i] >= threshold).count().max(1);
    order.into_iter().take(sure).collect()
}

impl Method for RevealAbove {
    fn ask(&mut self, canvas: &mut Canvas) -> Option<Question> {
        let places = self.setting.list_masks(canvas);
        (!places.is_empty()).then(|| Question { places, t: self.setting.find_time(canvas) })
    }

    fn write(&mut self, canvas: &mut Canvas, question: &Question, logits: &mut [f32]) {
        let picks = self.setting.draw_picks(canvas, &question.places, self.pass, logits);
        let order = choose_confident(&picks, self.threshold);
        self.setting.write_picks(canvas, (&question.places, &picks), &order, None);
        self.pass += 1;
    }
}
