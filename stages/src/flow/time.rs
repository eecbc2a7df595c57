//! Draws the times t of an update, one per document of its rows, or one per block in block diffusion.

use fmflow_engine::pipeline::config::train::{TimeSampling, TimeSettings};

use crate::rng::{RandomPurpose, RandomStream, derive_stream};

/// The `n` times of update `step`. Each is uniform over [from, to) by itself; the sampling decides how they depend on each
/// other.
///
/// | sampling | u of the n documents or blocks, in a random order; t = from + u (to - from) |
/// |---|---|
/// | uniform | n independent draws |
/// | stratified | (i + U_i) / n: one draw in each of n equal bands |
/// | low-discrepancy | (i + U) / n: the same with one U (Kingma et al., "Variational Diffusion Models", 2021, appendix I.1) |
/// | antithetic | U_j and its mirror image 1 - U_j, for each pair j; if n is odd, the last one has no partner |
///
/// With all but the first, every update sees all noise levels, so the weighted loss varies less from update to update.
#[must_use]
pub(crate) fn draw_update_times(seed: u64, step: u64, n: usize, time: &TimeSettings) -> Vec<f64> {
    let mut random = derive_stream(seed, RandomPurpose::Time, [step, 0, 0]);
    let shares = draw_shares(time.sampling, n, &mut random);
    // Rounding may reach the end of the band, where the weight λ can be infinite.
    let below = time.to.next_down();
    shares.into_iter().map(|u| (time.from + u * (time.to - time.from)).min(below)).collect()
}

/// n numbers in [0, 1).
fn draw_shares(sampling: TimeSampling, n: usize, random: &mut RandomStream) -> Vec<f64> {
    if sampling == TimeSampling::Uniform {
        return (0..n).map(|_| random.uniform()).collect();
    }
    let places = draw_permutation(n, random);
    let common = if sampling == TimeSampling::LowDiscrepancy { random.uniform() } else { 0.0 };
    let draws: Vec<f64> = match sampling {
        TimeSampling::Antithetic => (0..n.div_ceil(2)).map(|_| random.uniform()).collect(),
        _ => Vec::new(),
    };
    let share = |place: usize| match sampling {
        TimeSampling::Uniform | TimeSampling::Stratified => (place as f64 + random.uniform()) / n as f64,
        TimeSampling::LowDiscrepancy => (place as f64 + common) / n as f64,
        TimeSampling::Antithetic if place.is_multiple_of(2) => draws[place / 2],
        TimeSampling::Antithetic => mirror_draw(draws[place / 2]),
    };
    places.into_iter().map(share).collect()
}

/// The mirror image of a draw: draws are multiples of 2^-53 in [0, 1), and 0 becomes the largest of them.
fn mirror_draw(u: f64) -> f64 {
    (1.0 - f64::EPSILON / 2.0) - u
}

/// The fixed times of held-out document number `document`: `count` equal bands with one common offset.
///
/// The offset differs between documents, so that over many documents all times are covered.
#[must_use]
pub(crate) fn draw_validation_times(seed: u64, document: u64, count: usize) -> Vec<f64> {
    let offset = derive_stream(seed, RandomPurpose::Validate, [document, u64::MAX, 0]).uniform();
    (0..count).map(|band| (band as f64 + offset) / count as f64).collect()
}

/// A uniform permutation of `0..n` (Fisher and Yates).
fn draw_permutation(n: usize, random: &mut RandomStream) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    for i in (1..n).rev() {
        order.swap(i, random.below(i as u64 + 1) as usize);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [TimeSampling; 4] = [
        TimeSampling::Uniform,
        TimeSampling::Stratified,
        TimeSampling::LowDiscrepancy,
        TimeSampling::Antithetic,
    ];

    fn law(sampling: TimeSampling) -> TimeSettings {
        TimeSettings { sampling, from: 0.0, to: 1.0 - 1e-3, at_least_masked: 0 }
    }

    fn sorted(sampling: TimeSampling, n: usize, time: TimeSettings) -> Vec<f64> {
        let mut drawn = draw_update_times(1, 5, n, &TimeSettings { sampling, ..time });
        drawn.sort_by(f64::total_cmp);
        drawn
    }

    #[test]
    fn every_band_is_drawn_once() {
        for sampling in [TimeSampling::Stratified, TimeSampling::LowDiscrepancy] {
            for (band, t) in sorted(sampling, 32, law(sampling)).iter().enumerate() {
                let scaled = t / (1.0 - 1e-3) * 32.0;
                assert!((band as f64..band as f64 + 1.0).contains(&scaled), "{band} {scaled}");
            }
        }
    }

    #[test]
    fn low_discrepancy_is_evenly_spaced() {
        let drawn = sorted(TimeSampling::LowDiscrepancy, 33, TimeSettings { to: 1.0, ..law(ALL[0]) });
        assert!(drawn.windows(2).all(|w| (w[1] - w[0] - 1.0 / 33.0).abs() < 1e-15), "{drawn:?}");
    }

    #[test]
    fn antithetic_times_come_in_pairs() {
        let whole = TimeSettings { to: 1.0, ..law(ALL[0]) };
        let drawn = sorted(TimeSampling::Antithetic, 32, whole);
        // The i-th smallest and the i-th largest mirror each other exactly.
        assert!(drawn.iter().zip(drawn.iter().rev()).all(|(a, b)| *a == mirror_draw(*b)), "{drawn:?}");
        assert_eq!(sorted(TimeSampling::Antithetic, 33, whole).len(), 33);
        assert_eq!(mirror_draw(0.0), 1.0f64.next_down());
        assert_eq!(mirror_draw(1.0f64.next_down()), 0.0);
    }

    #[test]
    fn every_time_is_uniform_over_its_band() {
        // Kolmogorov and Smirnov: of 20,000 independent uniform draws the largest distance to the law is above 0.0195 once
        // in a million; the first time of as many updates is such a sample, whatever the times of one update have in
        // common.
        let band = TimeSettings { from: 0.2, to: 0.7, ..law(ALL[0]) };
        for sampling in ALL {
            for at in [0, 4] {
                let time = TimeSettings { sampling, ..band };
                let mut drawn: Vec<f64> =
                    (0..20_000).map(|step| draw_update_times(7, step, 5, &time)[at]).collect();
                drawn.sort_by(f64::total_cmp);
                let share = |t: f64| (t - 0.2) / 0.5;
                let apart = |(i, t): (usize, &f64)| (share(*t) - (i as f64 + 0.5) / 20_000.0).abs();
                let distance = drawn.iter().enumerate().map(apart).fold(0.0, f64::max);
                assert!(distance < 0.0195, "{sampling:?} {at}: {distance}");
                assert!(drawn.iter().all(|t| (0.2..0.7).contains(t)), "{sampling:?}");
            }
        }
    }

    #[test]
    fn times_are_a_function_of_the_step() {
        for sampling in ALL {
            assert_eq!(
                draw_update_times(1, 5, 8, &law(sampling)),
                draw_update_times(1, 5, 8, &law(sampling))
            );
            assert_ne!(
                draw_update_times(1, 5, 8, &law(sampling)),
                draw_update_times(1, 6, 8, &law(sampling))
            );
            assert!(
                draw_update_times(1, 5, 1000, &law(sampling)).iter().all(|t| (0.0..1.0 - 1e-3).contains(t))
            );
            assert!(draw_update_times(1, 5, 0, &law(sampling)).is_empty());
        }
    }

    #[test]
    fn validation_times_are_evenly_spaced() {
        let t = draw_validation_times(1, 3, 4);
        assert!(t.windows(2).all(|w| (w[1] - w[0] - 0.25).abs() < 1e-12));
        assert!(t.iter().all(|t| (0.0..1.0).contains(t)));
    }
}
