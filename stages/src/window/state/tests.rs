//! Decisions of a window, without threads: what is made, kept and dropped while rows are read.

use std::cell::RefCell;
use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::data::order::RowOrder;

/// Files that are only names. Every open one is the same empty file.
#[derive(Default)]
struct Names {
    there: RefCell<BTreeSet<u64>>,
    /// Shards that turn out to be damaged when they are opened next.
    damaged: RefCell<BTreeSet<u64>>,
}

impl ShardFiles for Names {
    fn open_shard(&self, entry: &ShardEntry) -> Result<Option<File>, Failure> {
        if self.damaged.borrow_mut().remove(&entry.shard) {
            self.there.borrow_mut().remove(&entry.shard);
        }
        if !self.there.borrow().contains(&entry.shard) {
            return Ok(None);
        }
        Ok(Some(tempfile::tempfile().unwrap()))
    }

    fn drop_shard(&self, shard: u64) -> Result<(), Failure> {
        self.there.borrow_mut().remove(&shard);
        Ok(())
    }
}

/// A dataset whose shards have these rows, each of ten bytes.
struct Dataset {
    rows: Vec<u64>,
    order: RowOrder,
}

impl Dataset {
    fn new(rows: Vec<u64>, per_group: u64, in_order: bool) -> Self {
        let order = RowOrder { seed: 3, dataset: 0, shards: rows.len() as u64, per_group, in_order };
        Self { rows, order }
    }

    fn entry(&self, shard: u64) -> ShardEntry {
        let rows = self.rows[shard as usize];
        let (tokens, bytes) = (rows * 4, rows * 10);
        let (left_out, ends_the_dataset, blake3) = (0, false, String::new());
        ShardEntry { shard, rows, tokens, left_out, ends_the_dataset, bytes, blake3 }
    }

    /// Where row `ordinal` is, if everything is known.
    fn place(&self, ordinal: u64) -> (u64, u64) {
        let rows = |shard: u64| Ok::<_, ()>(self.rows[shard as usize]);
        let place = OrderIndex::new(self.order).find(ordinal, rows).unwrap().unwrap();
        (place.shard, place.row)
    }

    fn open(&self, disk: u64, entries: BTreeMap<u64, ShardEntry>, names: &Names) -> WindowState {
        let present = names.there.borrow().iter().copied().collect();
        let mean = self.rows.iter().sum::<u64>() * 10 / self.rows.len() as u64;
        WindowState::new(OrderIndex::new(self.order), disk, entries, present).with_guess(mean)
    }

    /// Makes shards until there is nothing to do; at most `most` of them.
    fn make(&self, state: &mut WindowState, names: &Names, most: usize) -> Vec<u64> {
        let mut made = Vec::new();
        while made.len() < most {
            let Some((shard, before)) = state.choose(names).unwrap() else { break };
            let expected: u64 =
                (0..shard).filter(|s| state.entry(*s).is_some()).map(|s| self.entry(s).tokens).sum();
            assert_eq!(before, expected);
            assert!(!names.there.borrow().contains(&shard), "shard {shard} is there");
            names.there.borrow_mut().insert(shard);
            state.add(self.entry(shard), names).unwrap();
            made.push(shard);
        }
        made
    }

    /// Reads a row, making what it waits for.
    fn read(&self, state: &mut WindowState, names: &Names, ordinal: u64) -> (u64, u64) {
        for _ in 0..=self.rows.len() * 3 {
            match state.find(ordinal, names).unwrap() {
                Found::Row(_, row) => {
                    let (shard, expected) = self.place(ordinal);
                    assert!(row == expected && names.there.borrow().contains(&shard));
                    return (shard, row);
                }
                Found::Absent(shard) => {
                    state.want(shard);
                    assert_eq!(self.make(state, names, 1).len(), 1, "nobody makes shard {shard}");
                }
                Found::NoRows => panic!("it has rows"),
            }
        }
        panic!("row {ordinal} never came");
    }
}

#[test]
fn shards_are_made_ahead_within_the_space_and_no_farther_than_they_are_read() {
    let (data, names) = (Dataset::new(vec![4; 12], 3, false), Names::default());
    let mut state = data.open(240, BTreeMap::new(), &names);
    assert_eq!(data.make(&mut state, &names, 99), [0_u64; 0], "nobody reads yet");
    // Two groups fit; the second is made once the first is counted.
    state.need(0, 1000);
    let made = data.make(&mut state, &names, 99);
    let visits = [0, 1].map(|group| data.order.members(Visit { pass: 0, group })).concat();
    assert_eq!((made, state.bytes()), (visits, 240));
    assert_eq!(data.make(&mut state, &names, 99), [0_u64; 0], "it is full");
    // The first group was read: it makes room for the third.
    state.need(12, 1000);
    assert_eq!(data.make(&mut state, &names, 99), data.order.members(Visit { pass: 0, group: 2 }));
    assert_eq!(state.bytes(), 240);
    // Nothing behind the last row that is read is made.
    let (names, mut state) = (Names::default(), data.open(1 << 20, BTreeMap::new(), &Names::default()));
    state.need(0, 13);
    assert_eq!(data.make(&mut state, &names, 99).len(), 6);
}

#[test]
fn a_window_that_became_smaller_drops_what_it_needs_last() {
    let (data, names) = (Dataset::new(vec![4; 12], 3, false), Names::default());
    let mut state = data.open(480, BTreeMap::new(), &names);
    state.need(0, 1000);
    data.make(&mut state, &names, 99);
    assert_eq!(state.bytes(), 480);
    let entries = (0..12).map(|shard| (shard, data.entry(shard))).collect();
    let mut smaller = data.open(240, entries, &names);
    assert_eq!(data.make(&mut smaller, &names, 99), [0_u64; 0]);
    assert_eq!(smaller.bytes(), 480, "nobody has said what is read");
    smaller.need(24, 1000);
    assert_eq!(data.make(&mut smaller, &names, 99), [0_u64; 0], "what is needed is there");
    assert_eq!(smaller.bytes(), 240);
    let kept = [2, 3].map(|group| data.order.members(Visit { pass: 0, group })).concat();
    assert_eq!(*names.there.borrow(), kept.into_iter().collect());
}

#[test]
fn a_stage_that_begins_deep_in_the_order_follows_as_soon_as_it_can() {
    let (data, names) = (Dataset::new(vec![4; 12], 3, false), Names::default());
    let mut state = data.open(240, BTreeMap::new(), &names);
    // Row 40 is in the last group, and nothing before it is counted.
    state.need(40, 48);
    assert!(matches!(state.find(40, &names).unwrap(), Found::Absent(_)));
    data.read(&mut state, &names, 40);
    // Without another word of the training, the rest of its own group is made, and not what comes behind row 0.
    let last = data.order.members(Visit { pass: 0, group: 3 });
    data.make(&mut state, &names, 99);
    assert!(last.iter().all(|shard| names.there.borrow().contains(shard)), "{last:?} {:?}", names.there);
    for ordinal in 40..48 {
        data.read(&mut state, &names, ordinal);
    }
    assert_eq!(state.made_again, 0);
}

#[test]
fn a_damaged_shard_and_one_that_is_too_large_are_told() {
    let (data, names) = (Dataset::new(vec![4; 6], 3, false), Names::default());
    let mut state = data.open(240, BTreeMap::new(), &names);
    state.need(0, 20);
    data.make(&mut state, &names, 99);
    let (shard, _) = data.place(5);
    names.damaged.borrow_mut().insert(shard);
    data.read(&mut state, &names, 5);
    assert_eq!(state.made_again, 1);
    let mut small = data.open(30, BTreeMap::new(), &names);
    let error = small.add(data.entry(0), &names).unwrap_err();
    assert!(error.message.contains("shard 0 takes 40 B, but the window leaves 30 B"), "{}", error.message);
}

#[test]
fn with_a_cap_shards_are_made_in_their_order_and_none_behind_its_end() {
    let (data, names) = (Dataset::new(vec![4; 9], 3, true), Names::default());
    let mut state = data.open(1 << 20, BTreeMap::new(), &names);
    state.need(0, 1000);
    let mut made = Vec::new();
    while let Some((shard, _)) = state.choose(&names).unwrap() {
        names.there.borrow_mut().insert(shard);
        let ends_the_dataset = shard == 4;
        state.add(ShardEntry { ends_the_dataset, ..data.entry(shard) }, &names).unwrap();
        made.push(shard);
    }
    assert_eq!(made, [0, 1, 2, 3, 4]);
    assert!(matches!(state.find(20, &names).unwrap(), Found::Row(..)), "the next pass begins");
}

proptest! {
    /// Whatever the shards are like, every row is found, and the files never take more than the window has.
    #[test]
    fn every_row_is_found_within_the_space(
        rows in proptest::collection::vec(0_u64..6, 1..14),
        per_group in 1_u64..5,
        in_order: bool,
        start in 0_u64..60,
        spare in 0_u64..100,
        cut in proptest::option::of(1_u64..40),
    ) {
        prop_assume!(rows.iter().sum::<u64>() > 0);
        let per_group = per_group.min(rows.len() as u64);
        let (data, names) = (Dataset::new(rows, per_group, in_order), Names::default());
        let largest = |data: &Dataset| -> u64 {
            let mut sizes: Vec<u64> = data.rows.iter().map(|rows| rows * 10).collect();
            sizes.sort_unstable_by(|a, b| b.cmp(a));
            sizes.iter().take(per_group as usize).sum()
        };
        let disk = largest(&data) + spare;
        let mut state = data.open(disk, BTreeMap::new(), &names);
        for ordinal in start..start + 40 {
            if cut == Some(ordinal - start) {
                // Another run, with what is known and there.
                let entries = data.rows.iter().enumerate().map(|(shard, _)| shard as u64);
                let entries = entries.filter_map(|shard| Some((shard, state.entry(shard)?.clone()))).collect();
                state = data.open(disk, entries, &names);
            }
            state.need(ordinal, start + 40);
            data.make(&mut state, &names, 2);
            data.read(&mut state, &names, ordinal);
            let there: u64 = names.there.borrow().iter().map(|shard| data.entry(*shard).bytes).sum();
            prop_assert_eq!(there, state.bytes());
            prop_assert!(there <= disk, "{} of {}", there, disk);
        }
    }
}
