//! Random numbers as pure functions of their use.
//!
//! A stream is named by (seed, purpose, coordinates), for instance (42, `Corrupt`, [step, row, document]). No generator
//! state is kept between updates, so there is nothing to save, and a resumed run draws what the uninterrupted one would
//! have drawn. Numbers are drawn on the host, so they are the same on every device.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};

/// The use of a stream of random numbers. Two purposes never share numbers.
///
/// The discriminants are part of every result: never renumber them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum RandomPurpose {
    /// Initial weights; coordinates: [tensor number, 0, 0].
    Init = 1,
    /// Order of the rows of a group of shards; coordinates: [dataset, pass, group].
    Shuffle = 2,
    /// Order of rows within a block of a mixture; coordinates: [block, phase, 0].
    Mixture = 3,
    /// Times t of an update; coordinates: [step, 0, 0].
    Time = 4,
    /// Which positions leave x_1 for x_0; coordinates: [step, row of the update, document or block].
    Corrupt = 5,
    /// Tokens of x_0 for a uniform source; coordinates: [step, row of the update, document or block].
    Source = 6,
    /// Held-out corruption for validation and likelihood; coordinates: [row, time index, document or block].
    Validate = 7,
    /// Sampling of completions; coordinates: [prompt, step counted over all blocks, kind of draw]. The samplers double the
    /// step, to separate coins from tokens.
    Sample = 8,
    /// Noise on a new mask row; coordinates: [0, 0, 0].
    MaskRow = 9,
    /// Later positions that annealed attention opens; coordinates: [step, row of the update, query].
    Anneal = 10,
    /// Initial values of adapters; coordinates: [number of the projection, updates before the stage, 0].
    Adapter = 11,
    /// Order of a dataset's shards in a pass; coordinates: [dataset, pass, 0].
    Shards = 12,
    /// Masks that are merged and appended; coordinates: [step, row of the update, document].
    Grow = 13,
}

/// A stream of random numbers (ChaCha8).
#[derive(Clone, Debug)]
pub struct RandomStream(ChaCha8Rng);

/// The stream named by `seed`, `purpose` and `at`.
///
/// The key is the BLAKE3 digest of the name, so that neighboring coordinates give unrelated streams.
#[must_use]
pub fn derive_stream(seed: u64, purpose: RandomPurpose, at: [u64; 3]) -> RandomStream {
    let mut name = blake3::Hasher::new();
    for word in [seed, purpose as u64, at[0], at[1], at[2]] {
        name.update(&word.to_le_bytes());
    }
    RandomStream(ChaCha8Rng::from_seed(*name.finalize().as_bytes()))
}

impl RandomStream {
    /// The next 64 random bits.
    pub(crate) fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A uniform number in [0, 1) with 53 random bits.
    pub(crate) fn uniform(&mut self) -> f64 {
        // 2^-53 times the upper 53 bits: every value is representable, and 1.0 never occurs.
        (self.bits() >> 11) as f64 * (1.0 / 9_007_199_254_740_992.0)
    }

    /// A uniform integer in `0..n`, without bias (Lemire, 2019). `n` must not be 0.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        debug_assert!(n > 0, "an empty range has no element");
        let threshold = n.wrapping_neg() % n;
        loop {
            let product = u128::from(self.bits()) * u128::from(n);
            if product as u64 >= threshold {
                return (product >> 64) as u64;
            }
        }
    }

    /// A standard normal number (Box and Muller, 1958).
    pub(crate) fn normal(&mut self) -> f64 {
        // 1 - u is in (0, 1], so the logarithm is finite.
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_a_function_of_its_name() {
        let draw = |seed, purpose, at| {
            let mut s = derive_stream(seed, purpose, at);
            [s.bits(), s.bits()]
        };
        let first = draw(1, RandomPurpose::Time, [3, 0, 0]);
        assert_eq!(first, draw(1, RandomPurpose::Time, [3, 0, 0]));
        for other in [
            draw(2, RandomPurpose::Time, [3, 0, 0]),
            draw(1, RandomPurpose::Corrupt, [3, 0, 0]),
            draw(1, RandomPurpose::Time, [0, 3, 0]),
        ] {
            assert_ne!(first, other);
        }
    }

    #[test]
    fn moments_are_those_of_the_laws() {
        // 100,000 draws: the standard error of the uniform mean is 0.0009, of the normal mean 0.0032; limits are 5 of them.
        let (mut s, n) = (derive_stream(7, RandomPurpose::Init, [0; 3]), 100_000);
        let uniform: f64 = (0..n).map(|_| s.uniform()).sum::<f64>() / f64::from(n);
        let normal: Vec<f64> = (0..n).map(|_| s.normal()).collect();
        let mean = normal.iter().sum::<f64>() / f64::from(n);
        let square = normal.iter().map(|x| x * x).sum::<f64>() / f64::from(n);
        assert!((uniform - 0.5).abs() < 0.0046, "{uniform}");
        assert!(mean.abs() < 0.016, "{mean}");
        assert!((square - 1.0).abs() < 0.023, "{square}");
    }

    #[test]
    fn below_covers_its_range_evenly() {
        let (mut s, mut counts) = (derive_stream(1, RandomPurpose::Source, [0; 3]), [0u32; 7]);
        (0..70_000).for_each(|_| counts[s.below(7) as usize] += 1);
        // Standard deviation of one count is 93; limit 5 of them.
        assert!(counts.iter().all(|&c| c.abs_diff(10_000) < 465), "{counts:?}");
    }
}
