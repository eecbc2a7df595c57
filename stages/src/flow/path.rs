//! The probability path: draws x_t from x_1, on the host.
//!
//! Position i keeps x_1 with probability kappa(t) and takes a draw from the source otherwise, independently
//! (mixture path of Gat et al., 2024, equation 9). Positions that are not editable keep x_1, so a prompt stays clean.
//!
//! Corruption runs on the host so that x_t is bit-identical on every device; the device only receives the result.

use fmflow_engine::pipeline::config::train::ProbabilityPath;

use super::scheduler::kappa;
use crate::rng::RandomStream;

/// The tokens from which the source draws x_0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SourceTokens {
    /// The mask token.
    pub mask: u32,
    /// A uniform source draws from `0..used` without the mask token.
    pub used: u32,
}

impl SourceTokens {
    /// Draws one token of x_0: the mask with probability `mask_share`, otherwise uniform over the other tokens.
    pub fn draw(&self, mask_share: f64, draws: &mut RandomStream) -> u32 {
        let Self { mask, used } = *self;
        if mask_share >= 1.0 || draws.uniform() < mask_share {
            return mask;
        }
        // The mask is excluded by drawing from one value fewer and moving values from the mask on up by one.
        let within = mask < used;
        let drawn = draws.below(u64::from(used - u32::from(within))) as u32;
        if within && drawn >= mask { drawn + 1 } else { drawn }
    }

    /// p_0(token), the probability that [`SourceTokens::draw`] gives this token.
    #[must_use]
    pub(crate) fn probability(&self, mask_share: f64, token: u32) -> f64 {
        match token {
            token if token == self.mask => mask_share,
            token if token < self.used => {
                (1.0 - mask_share) / f64::from(self.used - u32::from(self.mask < self.used))
            }
            _ => 0.0,
        }
    }
}

/// A corrupted document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Corruption {
    /// x_t, as long as x_1.
    pub x_t: Vec<u32>,
    /// Whether each position was taken from the source, even if the draw equals x_1.
    pub corrupted: Vec<bool>,
}

/// Draws x_t from x_1.
#[derive(Clone, Debug, PartialEq)]
pub struct Corruptor {
    /// The path.
    pub path: ProbabilityPath,
    /// The tokens of its source.
    pub tokens: SourceTokens,
    /// At least this many editable positions are corrupted, or all if there are fewer. Positions beyond those that the
    /// coins chose are drawn uniformly. This gives nearly clean documents something to learn from and biases the ELBO
    /// slightly.
    pub at_least: usize,
}

impl Corruptor {
    /// Draws x_t for one document. `editable[i]` says whether position i may leave x_1, `coins` decides whether it does,
    /// and `draws` decides what it becomes.
    #[must_use]
    pub fn corrupt(
        &self,
        x_1: &[u32],
        editable: &[bool],
        t: f64,
        coins: &mut RandomStream,
        draws: &mut RandomStream,
    ) -> Corruption {
        let keep = kappa(self.path.scheduler, t);
        let mut corrupted: Vec<bool> = editable.iter().map(|&e| coins.uniform() >= keep && e).collect();
        corrupt_more_positions(&mut corrupted, editable, self.at_least, coins);
        let token =
            |(&token, &noise)| if noise { self.tokens.draw(self.path.mask_share, draws) } else { token };
        let x_t = x_1.iter().zip(&corrupted).map(token).collect();
        Corruption { x_t, corrupted }
    }
}

/// Corrupts further editable positions until `at_least` are corrupted.
fn corrupt_more_positions(
    corrupted: &mut [bool],
    editable: &[bool],
    at_least: usize,
    coins: &mut RandomStream,
) {
    let have = corrupted.iter().filter(|&&c| c).count();
    let mut clean: Vec<usize> = (0..editable.len()).filter(|&i| editable[i] && !corrupted[i]).collect();
    for _ in have..at_least.min(have + clean.len()) {
        let chosen = clean.swap_remove(coins.below(clean.len() as u64) as usize);
        corrupted[chosen] = true;
    }
}

#[cfg(test)]
mod tests {
    use fmflow_engine::pipeline::config::train::Scheduler;

    use super::*;
    use crate::rng::{RandomPurpose, derive_stream};

    const TOKENS: SourceTokens = SourceTokens { mask: 5, used: 8 };

    fn path(mask_share: f64) -> ProbabilityPath {
        ProbabilityPath { mask_share, scheduler: Scheduler::Polynomial { exponent: 2.0 } }
    }

    fn draw(
        x_1: &[u32],
        editable: &[bool],
        t: f64,
        path: &ProbabilityPath,
        at_least: usize,
        seed: u64,
    ) -> Corruption {
        let mut coins = derive_stream(seed, RandomPurpose::Corrupt, [0; 3]);
        let mut draws = derive_stream(seed, RandomPurpose::Source, [0; 3]);
        let corruptor = Corruptor { path: path.clone(), tokens: TOKENS, at_least };
        corruptor.corrupt(x_1, editable, t, &mut coins, &mut draws)
    }

    #[test]
    fn the_ends_of_the_path_are_source_and_data() {
        let x_1 = [1, 2, 3, 4];
        assert_eq!(draw(&x_1, &[true; 4], 0.0, &path(1.0), 0, 1).x_t, [5; 4]);
        assert_eq!(draw(&x_1, &[true; 4], 1.0, &path(1.0), 0, 1).x_t, x_1);
    }

    #[test]
    fn a_prompt_stays_clean() {
        let drawn = draw(&[1, 2, 3, 4], &[false, false, true, true], 0.0, &path(0.0), 0, 1);
        assert_eq!(&drawn.x_t[..2], &[1, 2]);
        assert_eq!(drawn.corrupted, [false, false, true, true]);
    }

    #[test]
    fn the_share_of_data_is_kappa() {
        // 40,000 positions at t = 0.5, kappa = 0.25: standard deviation 87; limit 5 of them.
        let x_1 = vec![1; 40_000];
        let drawn = draw(&x_1, &vec![true; 40_000], 0.5, &path(1.0), 0, 3);
        let kept = drawn.x_t.iter().filter(|&&x| x == 1).count();
        assert!(kept.abs_diff(10_000) < 435, "{kept}");
        assert!(drawn.x_t.iter().zip(&drawn.corrupted).all(|(&x, &c)| (x == 5) == c));
    }

    #[test]
    fn a_uniform_source_never_draws_the_mask() {
        let drawn = draw(&vec![1; 8_000], &vec![true; 8_000], 0.0, &path(0.0), 0, 4);
        let mut counts = [0usize; 8];
        drawn.x_t.iter().for_each(|&x| counts[x as usize] += 1);
        assert_eq!(counts[5], 0);
        // Seven values, 8,000 draws: mean 1,143, standard deviation 31; limit 5 of them.
        assert!(counts.iter().enumerate().all(|(i, &c)| i == 5 || c.abs_diff(1_143) < 157), "{counts:?}");
    }

    #[test]
    fn probabilities_of_the_source_sum_to_one() {
        for tokens in [TOKENS, SourceTokens { mask: 9, used: 8 }] {
            for share in [0.0, 0.3, 1.0] {
                let sum: f64 = (0..12).map(|token| tokens.probability(share, token)).sum();
                assert!((sum - 1.0).abs() < 1e-12, "{tokens:?} {share} {sum}");
            }
        }
    }

    #[test]
    fn at_least_one_position_is_corrupted_where_asked() {
        for seed in 0..50 {
            let drawn = draw(&[1, 2, 3, 4], &[false, true, true, true], 0.999_999, &path(1.0), 1, seed);
            assert_eq!(drawn.corrupted.iter().filter(|&&c| c).count(), 1);
            assert!(!drawn.corrupted[0]);
        }
        let drawn = draw(&[1, 2], &[false, true], 1.0, &path(1.0), 5, 1);
        assert_eq!(drawn.corrupted, [false, true]);
    }
}
