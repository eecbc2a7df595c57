//! Losses of the posterior, as three coefficients per position.
//!
//! Every loss here has the form `a · CE + b · p(x_t) + c` at a position, where CE = -log p(x_1 | x_t, t) and p(x_t) is the
//! posterior's probability of the present token:
//!
//! | loss | a | b | c |
//! |---|---|---|---|
//! | `cross-entropy` | 1 | 0 | 0 |
//! | `elbo` | λ | 0 | 0 |
//! | `gkl` | λ (1 - δ) | -λ | λ δ |
//!
//! with λ = kappa'(t) / (1 - kappa(t)), capped in training, and δ = 1 where x_t = x_1. The generalized KL is equation (25) of
//! Shaul et al., "Flow Matching with General Discrete Paths", 2024; with a mask source and p(mask) = 0 it equals the ELBO of
//! masked diffusion at corrupted positions.

use fmflow_engine::pipeline::config::train::{Loss, LossPositions, Scheduler};

use super::scheduler;

/// The coefficients of one position.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LossCoefficients {
    /// a, the factor of the cross-entropy.
    pub cross_entropy: f64,
    /// b, the factor of the present token's probability.
    pub present: f64,
    /// c, a constant.
    pub constant: f64,
}

/// λ(t), capped at `max_weight`. Near t = 1 it grows without bound, and a single position could dominate an update.
#[must_use]
pub(crate) fn compute_capped_weight(scheduler: Scheduler, t: f64, max_weight: Option<f64>) -> f64 {
    scheduler::compute_weight(scheduler, t).min(max_weight.unwrap_or(f64::INFINITY))
}

/// The coefficients of a position with weight λ; `unchanged` is δ.
#[must_use]
pub(crate) fn compute_coefficients(loss: Loss, weight: f64, unchanged: bool) -> LossCoefficients {
    let delta = f64::from(u8::from(unchanged));
    match loss {
        Loss::CrossEntropy => LossCoefficients { cross_entropy: 1.0, present: 0.0, constant: 0.0 },
        Loss::Elbo => LossCoefficients { cross_entropy: weight, present: 0.0, constant: 0.0 },
        Loss::GeneralizedKl => LossCoefficients {
            cross_entropy: weight * (1.0 - delta),
            present: -weight,
            constant: weight * delta,
        },
    }
}

/// Whether a supervised position contributes to the loss.
#[must_use]
pub(crate) fn is_in_loss(over: LossPositions, corrupted: bool) -> bool {
    match over {
        LossPositions::Corrupted => corrupted,
        LossPositions::Supervised => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The value of a loss for a posterior `p`.
    fn value(c: LossCoefficients, p: &[f64], x_1: usize, x_t: usize) -> f64 {
        c.cross_entropy * -p[x_1].ln() + c.present * p[x_t] + c.constant
    }

    fn polynomial(exponent: f64, t: f64) -> f64 {
        compute_capped_weight(Scheduler::Polynomial { exponent }, t, None)
    }

    #[test]
    fn golden_numbers_of_the_generalized_kl() {
        // Float64 values computed independently for p = [.1, .2, .3, .4], x_1 = 2, x_t = 3, t = .5.
        let p = [0.1, 0.2, 0.3, 0.4];
        let gkl = |weight, unchanged| compute_coefficients(Loss::GeneralizedKl, weight, unchanged);
        assert!((value(gkl(polynomial(1.0, 0.5), false), &p, 2, 3) - 1.607_945_608_651_872).abs() < 1e-12);
        assert!((value(gkl(polynomial(2.0, 0.5), false), &p, 2, 3) - 1.071_963_739_101_248).abs() < 1e-12);
        assert!((value(gkl(polynomial(1.0, 0.5), true), &p, 2, 2) - 1.4).abs() < 1e-12);
    }

    #[test]
    fn the_generalized_kl_is_the_elbo_when_the_mask_has_no_probability() {
        let (p, w) = ([0.2, 0.3, 0.5, 0.0], polynomial(1.0, 0.5));
        let gkl = value(compute_coefficients(Loss::GeneralizedKl, w, false), &p, 2, 3);
        assert!((gkl - 1.386_294_361_119_890_6).abs() < 1e-12);
        assert_eq!(gkl, value(compute_coefficients(Loss::Elbo, w, false), &p, 2, 3));
    }

    #[test]
    fn the_weight_is_capped() {
        assert_eq!(compute_capped_weight(Scheduler::Polynomial { exponent: 1.0 }, 0.99, Some(20.0)), 20.0);
        assert!((polynomial(1.0, 0.75) - 4.0).abs() < 1e-12);
    }
}
