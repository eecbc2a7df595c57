//! One step of the jump process that carries noise to data, at one position.
//!
//! Between t and s a position that holds x_t may jump. Given a draw x_1 of the posterior p(x_1 | x_t, t), with
//! λ = κ'(t) / (1 - κ(t)) and h = s - t:
//!
//! | kernel | probability of the jump | where to |
//! |---|---|---|
//! | `exact` | (κ(s) - κ(t)) / (1 - κ(t)) | x_1 |
//! | `rate`, c = 0 | 1 - exp(-h λ) where x_1 ≠ x_t | x_1 |
//! | `rate`, c > 0 | 1 - exp(-h Λ), Λ = Σ_{y ≠ x_t} u(y) | y with probability u(y) / Λ |
//!
//! where u(y) = λ (1 + c) [y = x_1] + c κ'(t) / κ(t) · p_0(y): the velocity with a divergence-free part of weight c (Gat et al.,
//! "Discrete Flow Matching", 2024, equations 24 and 26; Shaul et al., 2024), which also carries data back to noise and so
//! corrects earlier jumps. The last step of either kernel goes to x_1.
//!
//! `rate` is the kernel of the reference implementation, there to be compared with; it leaves more noise than the schedule says.
//! Where its rates are not finite (λ at t = 0 for an exponent below 1, the corrector at κ = 0) it stands still, as the
//! reference does.

use super::scheduler::{Scheduler, derivative, jump, kappa, noise_share, weight};

/// How a position moves within a step.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Kernel {
    /// With the exact probability of the path.
    #[default]
    Exact,
    /// With constant rates over the step, those of its start.
    Rate {
        /// Weight c >= 0 of the divergence-free part.
        div_free: f64,
    },
}

impl Kernel {
    /// The kernel called `name`: `exact`, or `rate` with the weight of its divergence-free part.
    ///
    /// # Errors
    /// An unknown name, or a weight that the kernel does not have, as a sentence.
    pub fn by_name(name: &str, div_free: f64) -> Result<Self, String> {
        match name {
            "exact" if div_free == 0.0 => Ok(Self::Exact),
            "exact" => Err("the exact kernel has no divergence-free part".to_owned()),
            "rate" if div_free >= 0.0 && div_free.is_finite() => Ok(Self::Rate { div_free }),
            "rate" => Err(format!("the weight of a divergence-free part is 0 or more, not {div_free}")),
            _ => Err(format!("unknown kernel `{name}`; write `exact` or `rate`")),
        }
    }
}

/// What may happen between two times.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    law: Law,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Law {
    /// To x_1, with this probability.
    Plain(f64),
    /// At these rates times h: to x_1, and to p_0.
    Rates { data: f64, noise: f64 },
}

impl Step {
    /// The step from `t` to `s`, 0 <= t < s <= 1; the step to 1 is the last one.
    #[must_use]
    pub fn new(kernel: Kernel, scheduler: Scheduler, t: f64, s: f64) -> Self {
        let law = match kernel {
            Kernel::Rate { div_free } if s < 1.0 => rates(scheduler, t, s - t, div_free),
            _ => Law::Plain(jump(scheduler, t, s)),
        };
        Self { law }
    }

    /// The probability of a jump. `same`: whether x_1 = x_t. `p0`: p_0(x_t), the source's probability of the present token.
    ///
    /// It is largest where x_1 ≠ x_t, so that a coin above that value needs no posterior.
    #[must_use]
    pub fn jump(&self, same: bool, p0: f64) -> f64 {
        match self.law {
            Law::Plain(probability) => probability,
            Law::Rates { data, noise } => {
                let data = if same { 0.0 } else { data };
                -(-(data + noise * (1.0 - p0))).exp_m1()
            }
        }
    }

    /// The share of jumps that go to x_1; the others go to p_0 without x_t. Arguments as for [`Step::jump`].
    #[must_use]
    pub fn data_share(&self, same: bool, p0: f64) -> f64 {
        match self.law {
            Law::Plain(_) => 1.0,
            Law::Rates { .. } if same => 0.0,
            Law::Rates { data, noise } if noise > 0.0 => data / (data + noise * (1.0 - p0)),
            Law::Rates { .. } => 1.0,
        }
    }

    /// The law of the token after the step, [V].
    ///
    /// # Shapes
    /// `posterior`: p(x_1 | x_t, t), [V]; `source`: p_0, [V]; `present`: x_t, below V.
    #[must_use]
    pub fn law(&self, posterior: &[f64], source: &[f64], present: usize) -> Vec<f64> {
        let (mut law, p0) = (vec![0.0; posterior.len()], source[present]);
        for (x_1, p) in posterior.iter().enumerate().filter(|(_, p)| **p > 0.0) {
            let same = x_1 == present;
            let (jump, data) = (self.jump(same, p0), self.data_share(same, p0));
            law[present] += p * (1.0 - jump);
            law[x_1] += p * jump * data;
            let back = p * jump * (1.0 - data);
            if back > 0.0 {
                let others = source.iter().enumerate().filter(|(y, _)| *y != present);
                others.for_each(|(y, share)| law[y] += back * share / (1.0 - p0));
            }
        }
        law
    }
}

fn rates(scheduler: Scheduler, t: f64, h: f64, c: f64) -> Law {
    let data = weight(scheduler, t);
    // c κ' / (κ (1 - κ)) [(1 - κ) p_0 + κ δ(x_1)] = c κ' / κ p_0 + c λ δ(x_1).
    let noise = if c > 0.0 { c * derivative(scheduler, t) / kappa(scheduler, t) } else { 0.0 };
    match data.is_finite() && noise.is_finite() {
        true => Law::Rates { data: h * data * (1.0 + c), noise: h * noise },
        false => Law::Rates { data: 0.0, noise: 0.0 },
    }
}

/// The velocity u(y) = κ'(t) / (1 - κ(t)) · (p(y | x_t, t) - [y = x_t]) that carries the path (Gat et al., 2024, equation 14).
///
/// # Shapes
/// `posterior`: [V]; returns [V].
///
/// # Errors
/// Where it is not finite, as a sentence: at t = 1 nothing is left to carry, and at t = 0 an exponent below 1 starts
/// infinitely fast.
pub fn velocity(scheduler: Scheduler, t: f64, posterior: &[f64], present: usize) -> Result<Vec<f64>, String> {
    let rate = weight(scheduler, t);
    if !rate.is_finite() {
        return Err(format!(
            "the velocity is not finite at t = {t} (noise left: {})",
            noise_share(scheduler, t)
        ));
    }
    let of = |(y, p): (usize, &f64)| rate * (p - f64::from(u8::from(y == present)));
    Ok(posterior.iter().enumerate().map(of).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINEAR: Scheduler = Scheduler::Polynomial { exponent: 1.0 };
    const ROOT: Scheduler = Scheduler::Polynomial { exponent: 0.5 };
    const POSTERIOR: [f64; 3] = [0.2, 0.5, 0.3];
    const SOURCE: [f64; 3] = [0.25, 0.25, 0.5];

    #[test]
    fn a_kernel_has_a_name_or_a_reason() {
        assert_eq!(Kernel::by_name("exact", 0.0), Ok(Kernel::Exact));
        assert_eq!(Kernel::by_name("rate", 0.5), Ok(Kernel::Rate { div_free: 0.5 }));
        for (name, c) in [("exact", 1.0), ("rate", -1.0), ("rate", f64::NAN), ("euler", 0.0)] {
            assert!(Kernel::by_name(name, c).is_err(), "{name} {c}");
        }
    }

    #[test]
    fn every_law_is_a_law() {
        for kernel in [Kernel::Exact, Kernel::Rate { div_free: 0.0 }, Kernel::Rate { div_free: 2.0 }] {
            for (t, s) in [(0.0, 0.1), (0.3, 0.4), (0.9, 1.0)] {
                for scheduler in [LINEAR, ROOT, Scheduler::Cosine] {
                    let law = Step::new(kernel, scheduler, t, s).law(&POSTERIOR, &SOURCE, 2);
                    assert!((law.iter().sum::<f64>() - 1.0).abs() < 1e-12, "{kernel:?} {t} {law:?}");
                    assert!(law.iter().all(|p| (0.0..=1.0).contains(p)), "{kernel:?} {t} {law:?}");
                }
            }
        }
    }

    #[test]
    fn rates_that_are_not_finite_stand_still_and_the_exact_kernel_does_not() {
        let still = [0.0, 1.0, 0.0];
        let rate = |c, scheduler| Step::new(Kernel::Rate { div_free: c }, scheduler, 0.0, 0.25);
        assert_eq!(rate(0.0, ROOT).law(&POSTERIOR, &SOURCE, 1), still);
        assert_eq!(rate(1.0, LINEAR).law(&POSTERIOR, &SOURCE, 1), still);
        assert_eq!(Step::new(Kernel::Exact, ROOT, 0.0, 0.25).jump(false, 0.0), 0.5);
    }

    #[test]
    fn the_velocity_sums_to_zero_and_is_refused_where_it_is_infinite() {
        let u = velocity(LINEAR, 0.5, &POSTERIOR, 0).unwrap();
        assert!(u.iter().sum::<f64>().abs() < 1e-15 && u[0] == -1.6, "{u:?}");
        assert!(velocity(LINEAR, 1.0, &POSTERIOR, 0).is_err());
        assert!(velocity(ROOT, 0.0, &POSTERIOR, 0).is_err());
    }
}
