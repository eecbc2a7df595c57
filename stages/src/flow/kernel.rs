//! One step of the jump process that carries noise to data, at one position.
//!
//! Between t and s a position that holds x_t may jump. Given a draw x_1 of the posterior p(x_1 | x_t, t), with
//! λ = κ'(t) / (1 - κ(t)) and h = s - t:
//!
//! | kernel | probability of the jump | target |
//! |---|---|---|
//! | `exact` | (κ(s) - κ(t)) / (1 - κ(t)) | x_1 |
//! | `rate`, c = 0 | 1 - exp(-h λ) where x_1 ≠ x_t | x_1 |
//! | `rate`, c > 0 | 1 - exp(-h Λ), Λ = Σ_{y ≠ x_t} u(y) | y with probability u(y) / Λ |
//! | `remask`, at the mask | (κ(s) - (1 - σ) κ(t)) / (1 - κ(t)) | x_1 |
//! | `remask`, elsewhere | σ | the mask |
//!
//! where u(y) = λ (1 + c) [y = x_1] + c κ'(t) / κ(t) · p_0(y): the velocity with a divergence-free part of weight c (Gat et
//! al., "Discrete Flow Matching", 2024, equations 24 and 26; Shaul et al., 2024), which also carries data back to noise and
//! so corrects earlier jumps. The last step of either kernel goes to x_1.
//!
//! `remask` is the exact kernel with ReMDM's corrector (Wang et al., "Remasking Discrete Diffusion Models with
//! Inference-Time Scaling", 2025, equations 5 to 9; their α is κ, their time runs the other way), for a mask source. Masks
//! are written more often to make up for the tokens that go back, so the share of data stays κ. σ is at most
//! σ_max = min(1, (1 - κ(s)) / κ(t)), at which masks would have to be written with certainty: `cap` uses min(cap, σ_max),
//! `rescale` uses rescale · σ_max. σ_max is 0 in the last step, which therefore leaves no mask.
//!
//! `rate` is the kernel of the reference implementation, provided for comparison; it leaves more noise than the schedule
//! says. Where its rates are not finite (λ at t = 0 for an exponent below 1, the corrector at κ = 0) it does not move, as
//! in the reference.

pub use fmflow_engine::pipeline::config::{EulerKernel, RemaskSettings};

use super::scheduler::{
    Scheduler, compute_jump_probability, compute_kappa_derivative, compute_noise_share, compute_weight, kappa,
};

/// Parses the name of a kernel as the oracle sets write it: `exact`, or `rate` with the weight of its divergence-free part.
///
/// # Errors
/// A message if the name is unknown or the kernel does not take this weight.
pub fn parse_kernel(name: &str, div_free: f64) -> Result<EulerKernel, String> {
    match name {
        "exact" if div_free == 0.0 => Ok(EulerKernel::Exact),
        "exact" => Err("the exact kernel has no divergence-free part".to_owned()),
        "rate" if div_free >= 0.0 && div_free.is_finite() => Ok(EulerKernel::Rate { div_free }),
        "rate" => Err(format!("the weight of a divergence-free part must be 0 or more, not {div_free}")),
        _ => Err(format!("unknown kernel `{name}`; write `exact` or `rate`")),
    }
}

/// The jumps that are possible between two times.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KernelStep {
    law: JumpLaw,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum JumpLaw {
    /// To x_1, with this probability.
    Plain(f64),
    /// To x_1 and to p_0, with these rates (already multiplied by h).
    Rates { data: f64, noise: f64 },
    /// From the mask to x_1 with probability `data`, and from any other token to the mask with probability `mask`.
    Remask { data: f64, mask: f64 },
}

impl KernelStep {
    /// The step from `t` to `s`, 0 <= t < s <= 1; the step to 1 is the last one.
    #[must_use]
    pub fn new(kernel: EulerKernel, scheduler: Scheduler, t: f64, s: f64) -> Self {
        let law = match kernel {
            EulerKernel::Rate { div_free } if s < 1.0 => compute_rates_law(scheduler, t, s - t, div_free),
            EulerKernel::Remask(remask) => compute_remasking_law(scheduler, t, s, remask),
            _ => JumpLaw::Plain(compute_jump_probability(scheduler, t, s)),
        };
        Self { law }
    }

    /// The probability of a jump. `same`: whether x_1 = x_t. `p0`: p_0(x_t), the source's probability of the present token.
    ///
    /// It is largest for x_1 ≠ x_t, so a position whose coin is above that value needs no posterior.
    #[must_use]
    pub fn jump(&self, same: bool, p0: f64) -> f64 {
        match self.law {
            JumpLaw::Plain(probability) => probability,
            JumpLaw::Rates { data, noise } => {
                let data = if same { 0.0 } else { data };
                -(-(data + noise * (1.0 - p0))).exp_m1()
            }
            JumpLaw::Remask { data, .. } if p0 >= 1.0 => data,
            JumpLaw::Remask { mask, .. } => mask,
        }
    }

    /// The share of jumps that go to x_1; the others go to p_0 without x_t. Arguments as for [`KernelStep::jump`].
    #[must_use]
    pub(crate) fn data_share(&self, same: bool, p0: f64) -> f64 {
        match self.law {
            JumpLaw::Plain(_) => 1.0,
            JumpLaw::Rates { .. } if same => 0.0,
            JumpLaw::Rates { data, noise } if noise > 0.0 => data / (data + noise * (1.0 - p0)),
            JumpLaw::Rates { .. } => 1.0,
            JumpLaw::Remask { .. } if p0 >= 1.0 => 1.0,
            JumpLaw::Remask { .. } => 0.0,
        }
    }

    /// Whether a jump from a token with p_0(x_t) = `p0` depends on the draw x_1. A jump to the mask does not.
    #[must_use]
    pub(crate) fn asks(&self, p0: f64) -> bool {
        !matches!(self.law, JumpLaw::Remask { .. }) || p0 >= 1.0
    }

    /// The law of the token after the step, `[V]`.
    ///
    /// # Shapes
    /// `posterior`: p(x_1 | x_t, t), `[V]`; `source`: p_0, `[V]`; `present`: x_t, below V.
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

fn compute_remasking_law(scheduler: Scheduler, t: f64, s: f64, remask: RemaskSettings) -> JumpLaw {
    let (before, left) = (kappa(scheduler, t), compute_noise_share(scheduler, s));
    let most = if s < 1.0 { (left / before).min(1.0) } else { 0.0 };
    let mask = match remask {
        RemaskSettings::Cap(cap) => most.min(cap),
        RemaskSettings::Rescale(share) => most * share,
    };
    // (κ(s) - (1 - σ) κ(t)) / (1 - κ(t)) = jump + σ κ(t) / (1 - κ(t)).
    let data = compute_jump_probability(scheduler, t, s) + mask * before / compute_noise_share(scheduler, t);
    JumpLaw::Remask { data: data.min(1.0), mask }
}

fn compute_rates_law(scheduler: Scheduler, t: f64, h: f64, c: f64) -> JumpLaw {
    let data = compute_weight(scheduler, t);
    // c κ' / (κ (1 - κ)) [(1 - κ) p_0 + κ δ(x_1)] = c κ' / κ p_0 + c λ δ(x_1).
    let noise = if c > 0.0 { c * compute_kappa_derivative(scheduler, t) / kappa(scheduler, t) } else { 0.0 };
    match data.is_finite() && noise.is_finite() {
        true => JumpLaw::Rates { data: h * data * (1.0 + c), noise: h * noise },
        false => JumpLaw::Rates { data: 0.0, noise: 0.0 },
    }
}

/// The velocity u(y) = κ'(t) / (1 - κ(t)) · (p(y | x_t, t) - [y = x_t]) that carries the path (Gat et al., 2024,
/// equation 14).
///
/// # Shapes
/// `posterior`: `[V]`; returns `[V]`.
///
/// # Errors
/// A message where the velocity is not finite: at t = 1 no noise is left, and at t = 0 an exponent below 1 starts
/// infinitely fast.
pub fn compute_velocity(
    scheduler: Scheduler,
    t: f64,
    posterior: &[f64],
    present: usize,
) -> Result<Vec<f64>, String> {
    let rate = compute_weight(scheduler, t);
    if !rate.is_finite() {
        return Err(format!(
            "the velocity is not finite at t = {t} (noise left: {})",
            compute_noise_share(scheduler, t)
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
        assert_eq!(parse_kernel("exact", 0.0), Ok(EulerKernel::Exact));
        assert_eq!(parse_kernel("rate", 0.5), Ok(EulerKernel::Rate { div_free: 0.5 }));
        for (name, c) in [("exact", 1.0), ("rate", -1.0), ("rate", f64::NAN), ("euler", 0.0)] {
            assert!(parse_kernel(name, c).is_err(), "{name} {c}");
        }
    }

    #[test]
    fn every_law_is_a_law() {
        let remask = EulerKernel::Remask(RemaskSettings::Rescale(1.0));
        for kernel in [
            EulerKernel::Exact,
            EulerKernel::Rate { div_free: 0.0 },
            EulerKernel::Rate { div_free: 2.0 },
            remask,
        ] {
            for (t, s) in [(0.0, 0.1), (0.3, 0.4), (0.9, 1.0)] {
                for scheduler in [LINEAR, ROOT, Scheduler::Cosine] {
                    let law = KernelStep::new(kernel, scheduler, t, s).law(&POSTERIOR, &SOURCE, 2);
                    assert!((law.iter().sum::<f64>() - 1.0).abs() < 1e-12, "{kernel:?} {t} {law:?}");
                    assert!(law.iter().all(|p| (0.0..=1.0).contains(p)), "{kernel:?} {t} {law:?}");
                }
            }
        }
    }

    /// The law after `steps` steps of one position that starts at the mask, 3, given what it does from each token.
    fn laws(steps: usize, next: impl Fn(f64, f64, usize) -> Vec<f64>) -> Vec<(f64, Vec<f64>)> {
        let (mut law, mut found) = (vec![0.0, 0.0, 0.0, 1.0], Vec::new());
        for step in 0..steps {
            let [t, s] = [step, step + 1].map(|n| n as f64 / steps as f64);
            let rows: Vec<Vec<f64>> = (0..4).map(|x| next(t, s, x)).collect();
            law = (0..4).map(|y| (0..4).map(|x| law[x] * rows[x][y]).sum()).collect();
            found.push((s, law.clone()));
        }
        found
    }

    const REMASKS: [RemaskSettings; 4] = [
        RemaskSettings::Cap(0.02),
        RemaskSettings::Cap(1.0),
        RemaskSettings::Rescale(0.5),
        RemaskSettings::Rescale(1.0),
    ];

    #[test]
    fn remasking_keeps_the_marginal_of_the_path() {
        let (p, mask) = ([0.2, 0.5, 0.3, 0.0], [0.0, 0.0, 0.0, 1.0]);
        for scheduler in [LINEAR, ROOT, Scheduler::Cosine, Scheduler::SineSquared] {
            for remask in REMASKS {
                let next =
                    |t, s, x| KernelStep::new(EulerKernel::Remask(remask), scheduler, t, s).law(&p, &mask, x);
                for (s, law) in laws(9, next) {
                    // x_t is the mask with 1 - κ(t), and token v with κ(t) p(v).
                    assert!(
                        (law[3] - compute_noise_share(scheduler, s)).abs() < 1e-12,
                        "{remask:?} {s} {law:?}"
                    );
                    let marginal = |v: usize| kappa(scheduler, s) * p[v];
                    assert!((0..3).all(|v| (law[v] - marginal(v)).abs() < 1e-12), "{remask:?} {s} {law:?}");
                }
            }
        }
    }

    /// The probability that two sampled positions agree if they always agree in the data: (0, 0) or (1, 1). The tokens are
    /// 0, 1 and the mask 2.
    fn agreement(kernel: EulerKernel, steps: usize) -> f64 {
        let posterior = |own: usize, other: usize| match if own < 2 { own } else { other } {
            2 => [0.5, 0.5, 0.0],
            token => [0, 1, 2].map(|v| f64::from(u8::from(v == token))),
        };
        let mut law = [[0.0; 3]; 3];
        law[2][2] = 1.0;
        for number in 0..steps {
            let [t, s] = [number, number + 1].map(|n| n as f64 / steps as f64);
            let step = KernelStep::new(kernel, LINEAR, t, s);
            let mut next = [[0.0; 3]; 3];
            for (a, b) in (0..3).flat_map(|a| (0..3).map(move |b| (a, b))) {
                let [to_a, to_b] = [(a, b), (b, a)]
                    .map(|(own, other)| step.law(&posterior(own, other), &[0.0, 0.0, 1.0], own));
                (0..3).for_each(|y| (0..3).for_each(|z| next[y][z] += law[a][b] * to_a[y] * to_b[z]));
            }
            law = next;
        }
        law[0][0] + law[1][1]
    }

    #[test]
    fn more_steps_bring_every_kernel_closer_to_a_target_whose_positions_agree() {
        let remasks = REMASKS.map(EulerKernel::Remask).into_iter();
        for kernel in remasks.chain([
            EulerKernel::Exact,
            EulerKernel::Rate { div_free: 0.0 },
            EulerKernel::Rate { div_free: 1.0 },
        ]) {
            let found = [4, 16, 64, 256].map(|steps| agreement(kernel, steps));
            assert!(found.is_sorted() && found[3] > 0.98 && found[3] < 1.0, "{kernel:?}: {found:?}");
        }
        // Two positions that are written in the same of n steps agree by chance: 1 - 1 / (2 n).
        assert!((agreement(EulerKernel::Exact, 4) - 0.875).abs() < 1e-12);
        // Computed independently: σ = σ_max, and σ = 0.02 at most.
        assert!((agreement(EulerKernel::Remask(RemaskSettings::Rescale(1.0)), 64) - 0.96796).abs() < 5e-6);
        assert!((agreement(EulerKernel::Remask(RemaskSettings::Cap(0.02)), 64) - 0.98980).abs() < 5e-6);
    }

    #[test]
    fn rates_that_are_not_finite_stand_still_and_the_exact_kernel_does_not() {
        let still = [0.0, 1.0, 0.0];
        let rate = |c, scheduler| KernelStep::new(EulerKernel::Rate { div_free: c }, scheduler, 0.0, 0.25);
        assert_eq!(rate(0.0, ROOT).law(&POSTERIOR, &SOURCE, 1), still);
        assert_eq!(rate(1.0, LINEAR).law(&POSTERIOR, &SOURCE, 1), still);
        assert_eq!(KernelStep::new(EulerKernel::Exact, ROOT, 0.0, 0.25).jump(false, 0.0), 0.5);
    }

    #[test]
    fn the_velocity_sums_to_zero_and_is_refused_where_it_is_infinite() {
        let u = compute_velocity(LINEAR, 0.5, &POSTERIOR, 0).unwrap();
        assert!(u.iter().sum::<f64>().abs() < 1e-15 && u[0] == -1.6, "{u:?}");
        assert!(compute_velocity(LINEAR, 1.0, &POSTERIOR, 0).is_err());
        assert!(compute_velocity(ROOT, 0.0, &POSTERIOR, 0).is_err());
    }
}
