//! How certain the posterior is of a position: at temperature 1, among the tokens that may be emitted.

use fmflow_engine::pipeline::config::Certainty;

use super::Pick;
use super::filter::log_sum_exp;

/// How certain a position is; larger is more certain. `logits`, `[V]`, are -inf where a token may not be emitted.
pub(super) fn measure_certainty(by: Certainty, pick: &Pick, logits: &[f32]) -> f64 {
    match by {
        Certainty::Confidence => pick.confidence,
        Certainty::Entropy => -compute_entropy(logits),
        Certainty::Margin => compute_margin(logits),
    }
}

/// The entropy of softmax(logits), in nats.
pub(super) fn compute_entropy(logits: &[f32]) -> f64 {
    let log_sum = log_sum_exp(logits);
    let terms = logits.iter().filter(|logit| logit.is_finite()).map(|logit| {
        let log = f64::from(*logit) - log_sum;
        -log * log.exp()
    });
    terms.sum()
}

/// The largest probability minus the second largest.
fn compute_margin(logits: &[f32]) -> f64 {
    let log_sum = log_sum_exp(logits);
    let mut best = [f32::NEG_INFINITY; 2];
    for &logit in logits {
        if logit > best[0] {
            best = [logit, best[0]];
        } else if logit > best[1] {
            best[1] = logit;
        }
    }
    let [first, second] = best.map(|logit| (f64::from(logit) - log_sum).exp());
    first - second
}

/// Indexes in the order of certainty, the most certain first; earlier ones win ties.
pub(super) fn sort_by_certainty(certainties: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..certainties.len()).collect();
    order.sort_by(|a, b| certainties[*b].total_cmp(&certainties[*a]));
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certainties_are_those_of_the_law() {
        let logits = [0.25f32.ln(), f32::NEG_INFINITY, 0.5f32.ln(), 0.125f32.ln(), 0.125f32.ln()];
        let pick = Pick { token: 0, confidence: 0.25 };
        let found = |by| measure_certainty(by, &pick, &logits);
        // H = 1/2 ln 2 + 1/4 ln 4 + 2/8 ln 8 = 1.75 ln 2; logits are rounded to f32.
        assert_eq!(found(Certainty::Confidence), 0.25);
        assert!((found(Certainty::Entropy) + 1.75 * 2f64.ln()).abs() < 1e-7);
        assert!((found(Certainty::Margin) - 0.25).abs() < 1e-7);
        let sure = [f32::NEG_INFINITY, 3.0];
        assert_eq!([compute_entropy(&sure), compute_margin(&sure)], [0.0, 1.0]);
        assert_eq!(compute_margin(&[2.0, 2.0]), 0.0);
    }
}
