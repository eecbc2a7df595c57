//! The scheduler kappa(t) of a convex path, its derivative and its inverse.
//!
//! kappa increases from kappa(0) = 0 to kappa(1) = 1. Convex means that x_t mixes x_0 and x_1 with weights 1 - kappa and
//! kappa (Gat et al., "Discrete Flow Matching", 2024, section 3).

use std::f64::consts::{FRAC_PI_2, PI};

pub(crate) use fmflow_engine::pipeline::config::train::Scheduler;

/// Parses the name of a scheduler: `polynomial` with its exponent, `cosine` or `sine-squared`.
///
/// The names of Gaussian schedules are recognized only to refuse them with a reason: a path of tokens mixes x_0 and x_1 with
/// weights that sum to 1, and theirs do not.
///
/// # Errors
/// A message if the kind is unknown or not convex, or the parameters do not fit it.
pub fn parse_scheduler(kind: &str, parameters: &[f64]) -> Result<Scheduler, String> {
    let not_convex = |formula: &str| {
        let weights = format!("its weights for data and noise, {formula}, do not sum to 1");
        Err(format!("the scheduler `{kind}` is not convex: {weights}"))
    };
    match (kind, parameters) {
        ("polynomial", &[exponent]) if exponent > 0.0 && exponent.is_finite() => {
            Ok(Scheduler::Polynomial { exponent })
        }
        ("polynomial", _) => Err(format!("`polynomial` takes one exponent above 0, not {parameters:?}")),
        ("cosine", []) => Ok(Scheduler::Cosine),
        ("sine-squared", []) => Ok(Scheduler::SineSquared),
        ("cosine" | "sine-squared", _) => Err(format!("`{kind}` takes no parameters, not {parameters:?}")),
        ("sine", _) => not_convex("sin(pi t / 2) and cos(pi t / 2)"),
        ("linear-vp", _) => not_convex("t and sqrt(1 - t^2)"),
        ("vp", _) => not_convex("exp(-T / 2) and sqrt(1 - exp(-T))"),
        _ => Err(format!("unknown scheduler `{kind}`; write `polynomial`, `cosine` or `sine-squared`")),
    }
}

/// kappa(t), for t in [0, 1].
#[must_use]
pub fn kappa(scheduler: Scheduler, t: f64) -> f64 {
    match scheduler {
        Scheduler::Polynomial { exponent } => t.powf(exponent),
        // 2 sin^2(x / 2) is 1 - cos(x) without the cancellation near 0.
        Scheduler::Cosine => 2.0 * (FRAC_PI_2 * t / 2.0).sin().powi(2),
        Scheduler::SineSquared => (FRAC_PI_2 * t).sin().powi(2),
    }
}

/// 1 - kappa(t) without cancellation near t = 1.
#[must_use]
pub fn compute_noise_share(scheduler: Scheduler, t: f64) -> f64 {
    match scheduler {
        Scheduler::Polynomial { exponent } => -(exponent * t.ln()).exp_m1(),
        // cos(pi t / 2) = sin(pi (1 - t) / 2): the second form keeps its digits as t approaches 1.
        Scheduler::Cosine => (FRAC_PI_2 * (1.0 - t)).sin(),
        Scheduler::SineSquared => (FRAC_PI_2 * (1.0 - t)).sin().powi(2),
    }
}

/// kappa'(t).
#[must_use]
pub fn compute_kappa_derivative(scheduler: Scheduler, t: f64) -> f64 {
    match scheduler {
        Scheduler::Polynomial { exponent } => exponent * t.powf(exponent - 1.0),
        Scheduler::Cosine => FRAC_PI_2 * (FRAC_PI_2 * t).sin(),
        Scheduler::SineSquared => FRAC_PI_2 * (PI * t).sin(),
    }
}

/// The time at which kappa(t) is `k`, for k in [0, 1].
#[must_use]
pub fn invert_kappa(scheduler: Scheduler, k: f64) -> f64 {
    match scheduler {
        Scheduler::Polynomial { exponent } => k.powf(1.0 / exponent),
        Scheduler::Cosine => (1.0 - k).acos() / FRAC_PI_2,
        Scheduler::SineSquared => k.sqrt().asin() / FRAC_PI_2,
    }
}

/// The time at which kappa / (1 - kappa), the ratio of signal to noise, is `ratio`, for ratios in [0, inf].
#[must_use]
pub fn invert_noise_ratio(scheduler: Scheduler, ratio: f64) -> f64 {
    // 1 / (1 + 1 / r) is r / (1 + r) and holds at both ends.
    invert_kappa(scheduler, 1.0 / (1.0 + 1.0 / ratio))
}

/// The weight kappa'(t) / (1 - kappa(t)) of the ELBO and of the generalized KL; 1 / (1 - t) for kappa = t.
#[must_use]
pub fn compute_weight(scheduler: Scheduler, t: f64) -> f64 {
    compute_kappa_derivative(scheduler, t) / compute_noise_share(scheduler, t)
}

/// The exact probability that a position that is noise at `t` is data at `s`, t <= s <= 1:
/// (kappa(s) - kappa(t)) / (1 - kappa(t)).
///
/// ```
/// use fmflow_engine::pipeline::config::train::Scheduler;
/// use fmflow_stages::flow::scheduler::compute_jump_probability;
///
/// // Half of what is noise at t = 0.5 is data at t = 0.75: 1 - kappa falls from 0.5 to 0.25.
/// let linear = Scheduler::Polynomial { exponent: 1.0 };
/// assert!((compute_jump_probability(linear, 0.5, 0.75) - 0.5).abs() < 1e-12);
/// assert_eq!(compute_jump_probability(linear, 0.5, 1.0), 1.0);
/// ```
#[must_use]
pub fn compute_jump_probability(scheduler: Scheduler, t: f64, s: f64) -> f64 {
    if s >= 1.0 {
        return 1.0;
    }
    1.0 - compute_noise_share(scheduler, s) / compute_noise_share(scheduler, t)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Scheduler; 5] = [
        Scheduler::Polynomial { exponent: 1.0 },
        Scheduler::Polynomial { exponent: 2.5 },
        Scheduler::Polynomial { exponent: 0.5 },
        Scheduler::Cosine,
        Scheduler::SineSquared,
    ];

    #[test]
    fn ends_are_exact_and_the_inverse_inverts() {
        for scheduler in ALL {
            assert_eq!(kappa(scheduler, 0.0), 0.0);
            assert!((kappa(scheduler, 1.0) - 1.0).abs() < 1e-15);
            for t in [0.01, 0.3, 0.5, 0.77, 0.99] {
                // acos and asin lose half the digits near their ends: 1e-12 instead of 1e-15.
                assert!(
                    (invert_kappa(scheduler, kappa(scheduler, t)) - t).abs() < 1e-12,
                    "{scheduler:?} {t}"
                );
                assert!((kappa(scheduler, t) + compute_noise_share(scheduler, t) - 1.0).abs() < 1e-14);
            }
        }
    }

    #[test]
    fn kinds_have_names_and_others_reasons() {
        for scheduler in ALL {
            let again = match scheduler {
                Scheduler::Polynomial { exponent } => parse_scheduler("polynomial", &[exponent]),
                Scheduler::Cosine => parse_scheduler("cosine", &[]),
                Scheduler::SineSquared => parse_scheduler("sine-squared", &[]),
            };
            assert_eq!(again, Ok(scheduler));
            let odds = kappa(scheduler, 0.3) / compute_noise_share(scheduler, 0.3);
            assert!((invert_noise_ratio(scheduler, odds) - 0.3).abs() < 1e-12);
            assert_eq!(
                [0.0, f64::INFINITY].map(|r| (invert_noise_ratio(scheduler, r) * 1e15).round()),
                [0.0, 1e15]
            );
        }
        for (kind, parameters) in [("polynomial", vec![]), ("polynomial", vec![0.0]), ("cosine", vec![1.0])] {
            assert!(parse_scheduler(kind, &parameters).unwrap_err().contains("take"));
        }
        assert!(
            ["vp", "linear-vp", "sine"]
                .iter()
                .all(|k| parse_scheduler(k, &[]).unwrap_err().contains("convex"))
        );
        assert!(parse_scheduler("linear", &[]).unwrap_err().contains("unknown"));
    }

    #[test]
    fn the_derivative_is_the_slope() {
        for scheduler in ALL {
            for t in [0.1, 0.5, 0.9] {
                let slope = (kappa(scheduler, t + 1e-6) - kappa(scheduler, t - 1e-6)) / 2e-6;
                // Central differences with h = 1e-6: truncation about 1e-11, rounding about 1e-10.
                assert!((slope - compute_kappa_derivative(scheduler, t)).abs() < 1e-8, "{scheduler:?} {t}");
            }
        }
    }

    #[test]
    fn golden_numbers_of_the_convex_cosine() {
        // Float64 values computed independently: kappa(.25), weight(.25), kappa(.5), weight(.5).
        let c = Scheduler::Cosine;
        assert!((kappa(c, 0.25) - 0.07612047).abs() < 1e-8);
        assert!((compute_weight(c, 0.25) - 0.65064514).abs() < 1e-8);
        assert!((kappa(c, 0.5) - 0.29289322).abs() < 1e-8);
        assert!((compute_weight(c, 0.5) - FRAC_PI_2).abs() < 1e-12);
    }

    #[test]
    fn jumps_compose_to_the_schedule() {
        // The share of noise left after all jumps of a grid is 1 - kappa at its end.
        for scheduler in ALL {
            let left: f64 = (0..9)
                .map(|i| {
                    1.0 - compute_jump_probability(scheduler, f64::from(i) / 10.0, f64::from(i + 1) / 10.0)
                })
                .product();
            assert!((left - compute_noise_share(scheduler, 0.9)).abs() < 1e-12, "{scheduler:?}");
            assert_eq!(compute_jump_probability(scheduler, 0.9, 1.0), 1.0);
        }
    }
}
