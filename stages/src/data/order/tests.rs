//! Tests of the order of rows.

use std::convert::Infallible;

use super::*;
use proptest::prelude::*;

fn order(shards: u64, per_group: u64) -> RowOrder {
    RowOrder { seed: 3, dataset: 0, shards, per_group, in_order: false }
}

/// The places of these rows.
fn places(order: RowOrder, rows: &[u64], ordinals: impl Iterator<Item = u64>) -> Vec<RowPlace> {
    let mut index = OrderIndex::new(order);
    let rows_of = |shard: u64| Ok::<_, Infallible>(rows[shard as usize]);
    ordinals.map(|ordinal| index.find(ordinal, rows_of).unwrap().unwrap()).collect()
}

fn one_shard(ordinals: std::ops::Range<u64>, rows: u64, seed: u64) -> Vec<u64> {
    places(RowOrder { seed, ..order(1, 1) }, &[rows], ordinals).iter().map(|place| place.row).collect()
}

#[test]
fn the_seed_and_the_pass_change_the_order() {
    let pass = |seed, pass: u64| one_shard(pass * 1000..(pass + 1) * 1000, 1000, seed);
    assert_eq!(pass(1, 0), pass(1, 0));
    assert_ne!(pass(1, 0), pass(2, 0));
    assert_ne!(pass(1, 0), pass(1, 1));
    let shards = |seed, pass| -> Vec<u64> {
        let order = RowOrder { seed, ..order(40, 4) };
        (0..order.groups()).flat_map(|group| order.members(Visit { pass, group })).collect()
    };
    assert_eq!(shards(1, 0), shards(1, 0));
    assert_ne!(shards(1, 0), shards(2, 0));
    assert_ne!(shards(1, 0), shards(1, 1));
}

#[test]
fn a_dataset_of_one_group_is_shuffled_as_a_whole() {
    // The rows of three shards in one group come as those of one shard would, laid end to end.
    let starts = [0, 7, 20];
    let found = places(order(3, 3), &[7, 13, 5], 0..75);
    let found: Vec<u64> = found.iter().map(|place| starts[place.shard as usize] + place.row).collect();
    assert_eq!(found, one_shard(0..75, 25, 3));
}

#[test]
fn neighbors_are_scattered() {
    // In a random permutation of 10,000, |π(i+1) - π(i)| averages n/3 with standard error about 24; limits are 8 of them.
    let n = 10_000;
    let at: Vec<f64> = one_shard(0..n, n, 3).into_iter().map(|row| row as f64).collect();
    let mean = at.windows(2).map(|pair| (pair[1] - pair[0]).abs()).sum::<f64>() / (n - 1) as f64;
    assert!((mean - n as f64 / 3.0).abs() < 190.0, "{mean}");
    let fixed = at.iter().enumerate().filter(|(i, row)| *i as f64 == **row).count();
    assert!(fixed < 10, "{fixed} rows stay in place; one is expected");
}

#[test]
fn a_dataset_without_rows_has_no_place() {
    let none = OrderIndex::new(order(4, 2)).find(0, |_| Ok::<_, Infallible>(0)).unwrap();
    assert_eq!(none, None);
}

proptest! {
    #[test]
    fn every_row_comes_once_in_a_pass_and_groups_follow_each_other(
        rows in proptest::collection::vec(0..30u64, 1..40), per_group in 1..9u64, seed: u64, in_order: bool,
    ) {
        let total: u64 = rows.iter().sum();
        prop_assume!(total > 0);
        let shards = rows.len() as u64;
        let order = RowOrder { seed, in_order, ..order(shards, per_group.min(shards)) };
        for pass in 0..3 {
            let found = places(order, &rows, pass * total..(pass + 1) * total);
            prop_assert!(found.is_sorted_by_key(|place| place.visit));
            prop_assert!(found.iter().all(|place| place.visit.pass == pass));
            prop_assert!(found.iter().all(|place| order.members(place.visit).contains(&place.shard)));
            if in_order {
                prop_assert!(found.iter().all(|place| place.shard / order.per_group == place.visit.group));
            }
            let mut seen: Vec<(u64, u64)> = found.iter().map(|place| (place.shard, place.row)).collect();
            seen.sort_unstable();
            let all = (0..shards).flat_map(|shard| (0..rows[shard as usize]).map(move |row| (shard, row)));
            prop_assert_eq!(seen, all.collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_place_does_not_depend_on_what_was_asked_before(
        rows in proptest::collection::vec(0..20u64, 1..20), asked in proptest::collection::vec(0..900u64, 1..20), seed: u64,
    ) {
        prop_assume!(rows.iter().sum::<u64>() > 0);
        let order = RowOrder { seed, ..order(rows.len() as u64, 3.min(rows.len() as u64)) };
        let together = places(order, &rows, asked.iter().copied());
        let alone: Vec<_> = asked.iter().flat_map(|ordinal| places(order, &rows, *ordinal..ordinal + 1)).collect();
        prop_assert_eq!(together, alone);
    }

    #[test]
    fn shards_are_counted_only_as_far_as_they_are_read(shards in 1..40u64, per_group in 1..9u64, ordinal in 0..400u64) {
        let order = order(shards, per_group.min(shards));
        let mut asked = std::collections::BTreeSet::new();
        let found = OrderIndex::new(order).find(ordinal, |shard| {
            asked.insert(shard);
            Ok::<_, Infallible>(10)
        });
        let visit = found.unwrap().unwrap().visit;
        if visit.pass == 0 {
            let before: std::collections::BTreeSet<u64> =
                (0..=visit.group).flat_map(|group| order.members(Visit { pass: 0, group })).collect();
            prop_assert_eq!(asked, before);
        }
    }

    #[test]
    fn a_permutation_visits_all(n in 1..3000u64, seed: u64, pass: u64) {
        let mut seen = vec![false; n as usize];
        let image = |i| permute_index(i, n, seed, RandomPurpose::Shuffle, [0, pass, 0]);
        (0..n).for_each(|i| seen[image(i) as usize] = true);
        prop_assert!(seen.into_iter().all(|seen| seen));
    }
}
