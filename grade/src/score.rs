//! Scores of benchmarks: pass@k with an interval, and the test of two evaluations.

/// Resamples of a bootstrap.
const RESAMPLES: usize = 2_000;

/// The unbiased estimate of pass@k from `passed` of `samples` programs: 1 - C(n - c, k) / C(n, k) (Chen et al., "Evaluating Large Language
/// Models Trained on Code", 2021, equation 1). `None` if there are fewer than k samples.
#[must_use]
pub fn estimate_pass_at(k: usize, samples: usize, passed: usize) -> Option<f64> {
    if k == 0 || samples < k || passed > samples {
        return None;
    }
    let failed = samples - passed;
    if failed < k {
        return Some(1.0);
    }
    Some(1.0 - (failed + 1..=samples).map(|i| 1.0 - k as f64 / i as f64).product::<f64>())
}

/// The mean of all values; 0 without any.
#[must_use]
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// The interval of 95 % of the mean over problems, by a percentile bootstrap with fixed random numbers: equal values have equal
/// intervals.
#[must_use]
pub fn bootstrap_interval(values: &[f64]) -> (f64, f64) {
    if values.is_empty() {
        return (0.0, 0.0);
    }
    let resample = |resample: usize| {
        let draw = |i: usize| values[draw_below(values.len(), (resample * values.len() + i) as u64)];
        (0..values.len()).map(draw).sum::<f64>() / values.len() as f64
    };
    let mut means: Vec<f64> = (0..RESAMPLES).map(resample).collect();
    means.sort_by(f64::total_cmp);
    let at = |share: f64| means[((RESAMPLES - 1) as f64 * share).round() as usize];
    (at(0.025), at(0.975))
}

/// The number `counter` of a fixed stream, below `count`: SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number
/// generators", 2014), and the high half of a product.
fn draw_below(count: usize, counter: u64) -> usize {
    let mut z = counter.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^= z >> 31;
    usize::try_from((u128::from(z) * count as u128) >> 64).expect("it is below a usize")
}

/// McNemar's exact test: the probability of a difference at least this large if both are equally good, from the problems that only one of
/// two solves (McNemar, "Note on the sampling error of the difference between correlated proportions", 1947; exact by the binomial law).
#[must_use]
pub fn compare_paired(only_first: usize, only_second: usize) -> f64 {
    let (all, fewer) = (only_first + only_second, only_first.min(only_second));
    let mut term = (all as f64) * -std::f64::consts::LN_2;
    let mut sum = 0.0;
    for i in 0..=fewer {
        sum += term.exp();
        term += ((all - i) as f64 / (i + 1) as f64).ln();
    }
    (2.0 * sum).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By enumeration of all subsets of k samples.
    fn pass_at_by_counting(k: usize, samples: usize, passed: usize) -> f64 {
        let subsets = (0_u32..1 << samples).filter(|set| set.count_ones() as usize == k);
        let (mut all, mut good) = (0, 0);
        for set in subsets {
            all += 1;
            good += usize::from(set & ((1 << passed) - 1) != 0);
        }
        f64::from(all).recip() * good as f64
    }

    #[test]
    fn pass_at_k_is_the_share_of_subsets_with_a_passing_program() {
        for samples in 1..=8 {
            for passed in 0..=samples {
                for k in 1..=samples {
                    let found = estimate_pass_at(k, samples, passed).unwrap();
                    let counted = pass_at_by_counting(k, samples, passed);
                    assert!((found - counted).abs() < 1e-12, "{k} {samples} {passed}: {found} {counted}");
                }
            }
        }
        assert_eq!(estimate_pass_at(2, 1, 1), None);
        assert_eq!(estimate_pass_at(0, 1, 1), None);
    }

    #[test]
    fn the_interval_is_that_of_the_binomial_law() {
        let values: Vec<f64> = (0..100).map(|i| f64::from(u8::from(i < 30))).collect();
        let (low, high) = bootstrap_interval(&values);
        // Normal approximation: 0.3 -+ 1.96 * sqrt(0.3 * 0.7 / 100) = 0.21 .. 0.39; a bootstrap moves in steps of 0.01.
        assert!((low - 0.21).abs() < 0.015 && (high - 0.39).abs() < 0.015, "{low} {high}");
        assert_eq!(bootstrap_interval(&values), (low, high));
        assert_eq!(bootstrap_interval(&[1.0; 9]), (1.0, 1.0));
        assert_eq!(bootstrap_interval(&[]), (0.0, 0.0));
    }

    #[test]
    fn the_paired_test_is_the_binomial_law() {
        // 2 * (C(10, 0) + C(10, 1) + C(10, 2)) / 2^10
        assert!((compare_paired(2, 8) - 2.0 * 56.0 / 1024.0).abs() < 1e-12);
        assert!((compare_paired(8, 2) - compare_paired(2, 8)).abs() < 1e-15);
        assert_eq!([compare_paired(0, 0), compare_paired(3, 3)], [1.0, 1.0]);
        assert!(compare_paired(0, 2_000) < 1e-300 || compare_paired(0, 2_000) == 0.0);
    }
}
