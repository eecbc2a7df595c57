//! Reveals as many masks as an entropy allows: in the order of their entropies H_1 <= H_2 <= .., the first k with
//! H_1 + .. + H_(k-1) <= bound. The sum without the largest bounds what revealing them together, instead of one by one,
//! ignores of their dependence (Ben-Hamu et al., "Accelerated sampling by entropy bounded unmasking", 2025).

use super::Canvas;
use super::certainty::{compute_entropy, sort_by_certainty};
use super::method::{Method, Question, Setting};

/// The method `entropy-bound`.
pub(super) struct BoundEntropy {
    setting: Setting,
    bound: f64,
    /// Number of the next pass.
    pass: usize,
}

impl BoundEntropy {
    pub(super) fn new(setting: Setting, bound: f64, pass: usize) -> Self {
        Self { setting, bound, pass }
    }
}

/// Which positions to reveal, given their entropies: always at least one; earlier ones win ties.
fn choose_within_bound(entropies: &[f64], bound: f64) -> Vec<usize> {
    let certainties: Vec<f64> = entropies.iter().map(|entropy| -entropy).collect();
    let mut before = 0.0;
    let within = |i: &usize| {
        let keep = before <= bound;
        before += entropies[*i];
        keep
    };
    sort_by_certainty(&certainties).into_iter().take_while(within).collect()
}

impl Method for BoundEntropy {
    fn ask(&mut self, canvas: &mut Canvas) -> Option<Question> {
        let places = self.setting.list_masks(canvas);
        (!places.is_empty()).then(|| Question { places, t: self.setting.find_time(canvas) })
    }

    fn write(&mut self, canvas: &mut Canvas, question: &Question, logits: &mut [f32]) {
        let count = question.places.len();
        let picks = self.setting.draw_picks(canvas, &question.places, self.pass, logits);
        let entropies: Vec<f64> = logits.chunks_exact(logits.len() / count).map(compute_entropy).collect();
        let order = choose_within_bound(&entropies, self.bound);
        self.setting.write_picks(canvas, (&question.places, &picks), &order, None);
        self.pass += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_without_the_largest_stays_within_the_bound() {
        let entropies = [0.3, 0.05, 0.2, 0.0, 0.9];
        // In order: 0, 0.05, 0.2, 0.3, 0.9; sums of those before: 0, 0, 0.05, 0.25, 0.55.
        let chosen = |bound| choose_within_bound(&entropies, bound);
        assert_eq!(chosen(0.0), [3, 1]);
        assert_eq!(chosen(0.05), [3, 1, 2]);
        assert_eq!(chosen(0.24), [3, 1, 2]);
        assert_eq!(chosen(0.3), [3, 1, 2, 0]);
        assert_eq!(chosen(0.6), [3, 1, 2, 0, 4]);
        assert_eq!(choose_within_bound(&[2.0, 2.0], 0.0), [0]);
    }
}
