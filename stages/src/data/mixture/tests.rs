//! Tests of the mixture.

use super::*;
use proptest::prelude::*;

fn part(weight: f64, tokens_per_row: f64) -> MixtureRows {
    MixtureRows { weights: vec![weight], tokens_per_row }
}

fn mixture(parts: &[MixtureRows], seed: u64) -> Result<Mixture, MixtureError> {
    Mixture::new(parts, &[0], seed)
}

/// Shares of rows in the first phase.
fn row_shares(mixture: &Mixture) -> Vec<f64> {
    mixture.phases[0].shares.iter().map(|&share| share as f64 / CYCLE as f64).collect()
}

fn counts(mixture: &Mixture, rows: std::ops::Range<u64>) -> Vec<u64> {
    let mut counts = vec![0; mixture.phases[0].shares.len()];
    rows.for_each(|i| counts[mixture.row(i).0] += 1);
    counts
}

#[test]
fn weights_are_shares_of_tokens() {
    // Rows of the second dataset hold half the tokens, so it gets twice the rows.
    let mixture = mixture(&[part(1.0, 128.0), part(1.0, 64.0)], 1).unwrap();
    let shares = row_shares(&mixture);
    assert!((shares[0] - 1.0 / 3.0).abs() < 1.0 / CYCLE as f64, "{shares:?}"); // one row of a cycle
    assert_eq!(counts(&mixture, 0..BLOCK * 3), [BLOCK, 2 * BLOCK]);
}

#[test]
fn a_cycle_gives_the_shares_exactly_and_continues() {
    let mixture = mixture(&[part(3.0, 1.0), part(1.0, 1.0), part(0.5, 1.0)], 9).unwrap();
    let phase = &mixture.phases[0];
    assert_eq!(phase.dealt[PERIOD as usize], phase.shares);
    assert_eq!(phase.shares.iter().sum::<u64>(), CYCLE);
    // The numbers of a dataset's rows around the end of a cycle have no gap.
    let range = CYCLE - 2 * BLOCK..CYCLE + 2 * BLOCK;
    let mut numbers: Vec<u64> =
        range.map(|i| mixture.row(i)).filter(|row| row.0 == 1).map(|row| row.1).collect();
    numbers.sort_unstable();
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "{numbers:?}");
}

#[test]
fn impossible_mixtures_are_refused() {
    let good = part(1.0, 128.0);
    let with = |other: MixtureRows| mixture(&[good.clone(), other], 1);
    assert_eq!(mixture(&[], 1).unwrap_err(), MixtureError::Empty);
    for weight in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(matches!(with(part(weight, 1.0)), Err(MixtureError::Weight(1, _))), "{weight}");
    }
    // Divided by the tokens of a row, the first overflows, and the second, the smallest number above 0, becomes 0.
    for (weight, tokens) in [(f64::MAX, 0.5), (f64::from_bits(1), 1024.0)] {
        let extreme = part(weight, tokens);
        let refused = mixture(&[extreme.clone(), extreme], 1);
        assert!(matches!(refused, Err(MixtureError::Weight(0, _))), "{weight:e}");
    }
    assert_eq!(mixture(&[part(1.0, 0.0)], 1).unwrap_err(), MixtureError::NoRows(0));
    assert_eq!(with(part(1e-9, 128.0)).unwrap_err(), MixtureError::TooRare(1));
    let late = MixtureRows { weights: vec![0.0, 1.0], ..good.clone() };
    assert!(matches!(Mixture::new(&[late.clone(), late], &[0, 9], 1), Err(MixtureError::Weight(..))));
}

#[test]
fn the_seed_changes_the_order_and_not_the_shares() {
    let order = |seed| -> Vec<usize> {
        let mixture = mixture(&[part(1.0, 1.0), part(2.0, 1.0)], seed).unwrap();
        (0..3 * BLOCK).map(|i| mixture.row(i).0).collect()
    };
    assert_eq!(order(1), order(1));
    assert_ne!(order(1), order(2));
    let sorted = |seed| {
        let mut order = order(seed);
        order.sort_unstable();
        order
    };
    assert_eq!(sorted(1), sorted(2));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))] // dealing a cycle takes a moment in a debug build

    #[test]
    fn no_dataset_is_ever_a_row_off_its_share(
        weights in proptest::collection::vec(0.001..10.0f64, 1..7), seed: u64,
    ) {
        let parts: Vec<_> = weights.iter().map(|&weight| part(weight, 100.0)).collect();
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
    fn the_rows_of_a_dataset_are_numbered_without_gaps(weight in 0.05..5.0f64, seed: u64) {
        let mixture = mixture(&[part(weight, 1.0), part(1.0, 1.0)], seed).unwrap();
        // Rows are shuffled within blocks, so numbers are compared over complete blocks.
        let mut numbers: Vec<u64> =
            (0..16 * BLOCK).map(|i| mixture.row(i)).filter(|row| row.0 == 0).map(|row| row.1).collect();
        numbers.sort_unstable();
        prop_assert_eq!(&numbers, &(0..numbers.len() as u64).collect::<Vec<_>>());
    }

    #[test]
    fn no_later_row_has_a_smaller_number(weight in 0.05..5.0f64, from in 0..3000u64, seed: u64) {
        let phased = |weights: Vec<f64>| MixtureRows { weights, tokens_per_row: 1.0 };
        let parts = [phased(vec![weight, 1.0]), phased(vec![1.0, 3.0])];
        let mixture = Mixture::new(&parts, &[0, 1000], seed).unwrap();
        let later: Vec<_> = (from..from + 600).map(|i| mixture.row(i)).collect();
        for dataset in 0..2 {
            let first = mixture.first_from(dataset, from);
            let smallest = later.iter().filter(|row| row.0 == dataset).map(|row| row.1).min().unwrap();
            prop_assert!(first <= smallest && smallest < first + 2 * BLOCK, "{} {}", first, smallest);
        }
    }

    #[test]
    fn every_phase_has_its_shares_and_no_row_is_lost_between_them(
        first in 1..2000u64, second in 1..2000u64, weights in proptest::collection::vec(0.1..5.0f64, 4), seed: u64,
    ) {
        let phased = |weights: Vec<f64>| MixtureRows { weights, tokens_per_row: 1.0 };
        let parts = [
            phased(vec![weights[0], weights[1], 0.0]),
            phased(vec![weights[2], 0.0, 1.0]),
            phased(vec![0.0, weights[3], 1.0]),
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
        // Over all blocks, complete or cut, the numbers of each dataset's rows have no gap.
        let end = first + second + 3 * BLOCK;
        for dataset in 0..parts.len() {
            let mut numbers: Vec<u64> =
                (0..end).map(|i| mixture.row(i)).filter(|row| row.0 == dataset).map(|row| row.1).collect();
            numbers.sort_unstable();
            prop_assert_eq!(&numbers, &(0..numbers.len() as u64).collect::<Vec<_>>());
        }
    }

    #[test]
    fn any_place_can_be_asked_for(i: u64, seed: u64) {
        let mixture = mixture(&[part(1.0, 3.0), part(2.0, 4.0)], seed).unwrap();
        let (dataset, number) = mixture.row(i);
        prop_assert!(dataset < 2 && number <= i);
        prop_assert_eq!((dataset, number), mixture.clone().row(i));
    }
}
