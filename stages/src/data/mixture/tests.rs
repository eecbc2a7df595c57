//! Tests of the mixture.

use super::*;
use proptest::prelude::*;

fn part(weight: f64, rows: u64, tokens_per_row: f64) -> MixtureRows {
    MixtureRows { weights: vec![weight], rows, tokens_per_row }
}

fn mixture(parts: &[MixtureRows], seed: u64) -> Result<Mixture, MixtureError> {
    Mixture::new(parts, &[0], seed)
}

/// Shares of rows in the first phase.
fn row_shares(mixture: &Mixture) -> Vec<f64> {
    mixture.phases[0].shares.iter().map(|&share| share as f64 / CYCLE as f64).collect()
}

fn counts(mixture: &Mixture, rows: std::ops::Range<u64>) -> Vec<u64> {
    let mut counts = vec![0; mixture.rows.len()];
    rows.for_each(|i| counts[mixture.row(i).0] += 1);
    counts
}

#[test]
fn weights_are_shares_of_tokens() {
    // Rows of the second dataset hold half the tokens, so it gets twice the rows.
    let mixture = mixture(&[part(1.0, 100, 128.0), part(1.0, 100, 64.0)], 1).unwrap();
    let shares = row_shares(&mixture);
    assert!((shares[0] - 1.0 / 3.0).abs() < 1.0 / CYCLE as f64, "{shares:?}"); // one row of a cycle
    assert_eq!(counts(&mixture, 0..BLOCK * 3), [BLOCK, 2 * BLOCK]);
}

#[test]
fn a_cycle_gives_the_shares_exactly_and_continues() {
    let mixture = mixture(&[part(3.0, 7, 1.0), part(1.0, 5, 1.0), part(0.5, 11, 1.0)], 9).unwrap();
    let phase = &mixture.phases[0];
    assert_eq!(phase.dealt[PERIOD as usize], phase.shares);
    assert_eq!(phase.shares.iter().sum::<u64>(), CYCLE);
    // Rows of dataset 0 around the end of a cycle still make whole epochs of 7.
    let ordinals: Vec<u64> = (CYCLE - 2 * BLOCK..CYCLE + 2 * BLOCK)
        .map(|i| mixture.row(i))
        .filter(|row| row.0 == 1)
        .map(|row| row.1)
        .collect();
    let mut seen = [0u64; 5];
    ordinals.iter().for_each(|&row| seen[row as usize] += 1);
    let (low, high) = (seen.iter().min().unwrap(), seen.iter().max().unwrap());
    assert!(high - low <= 2, "{seen:?}"); // an epoch may be cut at either end
}

#[test]
fn impossible_mixtures_are_refused() {
    let good = part(1.0, 10, 128.0);
    let with = |other: MixtureRows| mixture(&[good.clone(), other], 1);
    assert_eq!(mixture(&[], 1).unwrap_err(), MixtureError::Empty);
    for weight in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(matches!(with(part(weight, 10, 1.0)), Err(MixtureError::Weight(1, _))), "{weight}");
    }
    // Divided by the tokens of a row, the first overflows, and the second, the smallest number above 0, becomes 0.
    for (weight, tokens) in [(f64::MAX, 0.5), (f64::from_bits(1), 1024.0)] {
        let extreme = part(weight, 10, tokens);
        let refused = mixture(&[extreme.clone(), extreme], 1);
        assert!(matches!(refused, Err(MixtureError::Weight(0, _))), "{weight:e}");
    }
    assert_eq!(mixture(&[part(1.0, 0, 128.0)], 1).unwrap_err(), MixtureError::NoRows(0));
    assert_eq!(mixture(&[part(1.0, 3, 0.0)], 1).unwrap_err(), MixtureError::NoRows(0));
    assert_eq!(with(part(1e-9, 3, 128.0)).unwrap_err(), MixtureError::TooRare(1));
    let late = MixtureRows { weights: vec![0.0, 1.0], ..good.clone() };
    assert!(matches!(Mixture::new(&[late.clone(), late], &[0, 9], 1), Err(MixtureError::Weight(..))));
}

#[test]
fn the_seed_and_the_epoch_change_the_order() {
    let order = |seed, epoch: u64| -> Vec<u64> {
        let mixture = mixture(&[part(1.0, 1000, 1.0)], seed).unwrap();
        let mut rows: Vec<_> = (0..3000).map(|i| mixture.dealt_row(i)).collect();
        rows.drain(..epoch as usize * 1000);
        rows.truncate(1000);
        rows
    };
    assert_eq!(order(1, 0), order(1, 0));
    assert_ne!(order(1, 0), order(2, 0));
    assert_ne!(order(1, 0), order(1, 1));
}

#[test]
fn neighbors_are_scattered() {
    // In a random permutation of 10,000, |π(i+1) - π(i)| averages n/3 with standard error about 24; limits are 8 of them.
    let n = 10_000;
    let at = |i| permute_index(i, n, 3, [0, 0, 0]) as f64;
    let mean = (0..n - 1).map(|i| (at(i + 1) - at(i)).abs()).sum::<f64>() / (n - 1) as f64;
    assert!((mean - n as f64 / 3.0).abs() < 190.0, "{mean}");
    let fixed = (0..n).filter(|&i| at(i) == i as f64).count();
    assert!(fixed < 10, "{fixed} rows stay in place; one is expected");
}

impl Mixture {
    /// Row `i` of the first dataset before blocks are shuffled.
    fn dealt_row(&self, i: u64) -> u64 {
        permute_index(i % self.rows[0], self.rows[0], self.seed, [0, i / self.rows[0], 0])
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))] // dealing a cycle takes a moment in a debug build

    #[test]
    fn no_dataset_is_ever_a_row_off_its_share(
        weights in proptest::collection::vec(0.001..10.0f64, 1..7), seed: u64,
    ) {
        let parts: Vec<_> = weights.iter().map(|&weight| part(weight, 50, 100.0)).collect();
        let mixture = mixture(&parts, seed).unwrap();
        for (block, dealt) in mixture.phases[0].dealt.iter().enumerate() {
            prop_assert_eq!(dealt.iter().sum::<u64>(), block as u64 * BLOCK);
            for (&count, &share) in dealt.iter().zip(&mixture.phases[0].shares) {
                let target = i128::from(share) * block as i128; // in 1 / PERIOD rows
                let off = i128::from(count) * i128::from(PERIOD) - target;
                prop_assert!(off.abs() < i128::from(PERIOD), "block {}: {} of {}", block, count, target);
            }
        }
    }

    #[test]
    fn every_row_comes_once_per_epoch(rows in 1..600u64, other in 1..50u64, weight in 0.05..5.0f64, seed: u64) {
        let mixture = mixture(&[part(weight, rows, 1.0), part(1.0, other, 1.0)], seed).unwrap();
        // Rows are shuffled within blocks, so epochs are counted over complete blocks.
        let mut seen = vec![0u64; rows as usize];
        (0..16 * BLOCK).map(|i| mixture.row(i)).filter(|row| row.0 == 0).for_each(|row| seen[row.1 as usize] += 1);
        let epochs = seen.iter().sum::<u64>() / rows;
        prop_assert!(seen.iter().all(|&count| count == epochs || count == epochs + 1));
    }

    #[test]
    fn every_phase_has_its_shares_and_no_row_is_lost_between_them(
        first in 1..2000u64, second in 1..2000u64, weights in proptest::collection::vec(0.1..5.0f64, 4), seed: u64,
    ) {
        let phased = |weights: Vec<f64>, rows| MixtureRows { weights, rows, tokens_per_row: 1.0 };
        let parts = [
            phased(vec![weights[0], weights[1], 0.0], 37),
            phased(vec![weights[2], 0.0, 1.0], 11),
            phased(vec![0.0, weights[3], 1.0], 5),
        ];
        let starts = [0, first, first + second];
        let mixture = Mixture::new(&parts, &starts, seed).unwrap();
        let later = Mixture::new(&parts, &[0, 1 << 40, 1 << 41], seed).unwrap();
        // Before the block in which the first phase ends, nothing depends on the second phase.
        for i in (0..first / BLOCK * BLOCK).step_by(7) {
            prop_assert_eq!(mixture.row(i), later.row(i));
        }
        for (phase, range) in [0..first, first..first + second, first + second..first + second + 3 * BLOCK].into_iter().enumerate() {
            let all: f64 = parts.iter().map(|part| part.weights[phase]).sum();
            let length = range.end - range.start;
            // After every whole block, and at the end of the phase.
            for end in (0..=length).step_by(BLOCK as usize).chain([length]) {
                let found = counts(&mixture, range.start..range.start + end);
                for (part, count) in parts.iter().zip(found) {
                    let share = part.weights[phase] / all * end as f64;
                    prop_assert!((count as f64 - share).abs() <= 1.0, "phase {} row {}: {} of {}", phase, end, count, share);
                }
            }
        }
        // Over all blocks, complete or cut, each dataset's rows come in whole passes.
        let end = first + second + 3 * BLOCK;
        for (dataset, part) in parts.iter().enumerate() {
            let mut seen = vec![0u64; part.rows as usize];
            (0..end).map(|i| mixture.row(i)).filter(|row| row.0 == dataset).for_each(|row| seen[row.1 as usize] += 1);
            let passes = seen.iter().sum::<u64>() / part.rows;
            prop_assert!(seen.iter().all(|&count| count == passes || count == passes + 1), "{:?}", seen);
        }
    }

    #[test]
    fn a_permutation_visits_all(n in 1..3000u64, seed: u64, epoch: u64) {
        let mut seen = vec![false; n as usize];
        (0..n).for_each(|i| seen[permute_index(i, n, seed, [0, epoch, 0]) as usize] = true);
        prop_assert!(seen.into_iter().all(|seen| seen));
    }

    #[test]
    fn any_place_can_be_asked_for(i: u64, seed: u64) {
        let mixture = mixture(&[part(1.0, 12, 3.0), part(2.0, 5, 4.0)], seed).unwrap();
        let (dataset, row) = mixture.row(i);
        prop_assert!(dataset < 2 && row < [12, 5][dataset]);
        prop_assert_eq!((dataset, row), mixture.clone().row(i));
    }
}
