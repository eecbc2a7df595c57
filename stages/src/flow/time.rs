//! Times t of an update, one for every document of its rows.

use fmflow_engine::config::train::{Time, TimeSampling};

use crate::rng::{Purpose, Stream, stream};

/// The `n` times of update `step`, each in [0, 1 - epsilon).
///
/// Stratified: one draw in each of n equal bands, the bands shuffled, so that every update sees all noise levels and the
/// weighted loss varies less (low-discrepancy sampling of Kingma et al., "Variational Diffusion Models", 2021, appendix I.1).
#[must_use]
pub fn times(seed: u64, step: u64, n: usize, time: &Time) -> Vec<f64> {
    let mut random = stream(seed, Purpose::Time, [step, 0, 0]);
    let bands = match time.sampling {
        TimeSampling::Uniform => return (0..n).map(|_| random.uniform() * (1.0 - time.epsilon)).collect(),
        TimeSampling::Stratified => permutation(n, &mut random),
    };
    bands.into_iter().map(|band| (band as f64 + random.uniform()) / n as f64 * (1.0 - time.epsilon)).collect()
}

/// The fixed times of held-out document number `document`: `count` equal bands with one common offset.
///
/// The offset differs between documents, so that over many documents all times are covered.
#[must_use]
pub fn validation_times(seed: u64, document: u64, count: usize) -> Vec<f64> {
    let offset = stream(seed, Purpose::Validate, [document, u64::MAX, 0]).uniform();
    (0..count).map(|band| (band as f64 + offset) / count as f64).collect()
}

/// A uniform permutation of `0..n` (Fisher and Yates).
fn permutation(n: usize, random: &mut Stream) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    for i in (1..n).rev() {
        order.swap(i, random.below(i as u64 + 1) as usize);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    fn law(sampling: TimeSampling) -> Time {
        Time { sampling, epsilon: 1e-3, at_least_masked: 0 }
    }

    #[test]
    fn every_band_is_drawn_once() {
        let mut drawn = times(1, 5, 32, &law(TimeSampling::Stratified));
        drawn.sort_by(f64::total_cmp);
        for (band, t) in drawn.iter().enumerate() {
            let scaled = t / (1.0 - 1e-3) * 32.0;
            assert!((band as f64..band as f64 + 1.0).contains(&scaled), "{band} {scaled}");
        }
    }

    #[test]
    fn times_are_a_function_of_the_step() {
        for sampling in [TimeSampling::Uniform, TimeSampling::Stratified] {
            assert_eq!(times(1, 5, 8, &law(sampling)), times(1, 5, 8, &law(sampling)));
            assert_ne!(times(1, 5, 8, &law(sampling)), times(1, 6, 8, &law(sampling)));
            assert!(times(1, 5, 1000, &law(sampling)).iter().all(|t| (0.0..1.0 - 1e-3).contains(t)));
        }
    }

    #[test]
    fn validation_times_are_evenly_spaced() {
        let t = validation_times(1, 3, 4);
        assert!(t.windows(2).all(|w| (w[1] - w[0] - 0.25).abs() < 1e-12));
        assert!(t.iter().all(|t| (0.0..1.0).contains(t)));
    }
}
