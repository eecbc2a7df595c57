//! In which order the rows of a dataset are learned: a pure function of (seed, i) and of the number of rows in each shard.
//!
//! A pass visits all shards once, in an order that the seed permutes, in groups of a fixed number of shards; the rows of a group
//! are permuted together (a Feistel network with cycle walking). So only the rows of one group have to be at hand at a time, and
//! of the shards before it only how many rows they have. Nothing else is stored, and every row comes once in a pass.
//!
//! With a cap on its tokens, a dataset ends at a document that nobody knows before those in front of it are encoded. Its shards
//! are therefore visited in the order of their documents.

use crate::rng::{RandomPurpose, derive_stream};

/// Rounds of the Feistel network. Four suffice in theory; narrow halves (small datasets) benefit from more.
const ROUNDS: usize = 8;

/// Passes whose groups are remembered: around the end of one, rows of two are read.
const REMEMBERED: usize = 2;

/// The order of the shards of a dataset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RowOrder {
    /// The seed of the pipeline.
    pub seed: u64,
    /// The number of the dataset in its mixture.
    pub dataset: u64,
    /// Shards of the dataset, at least 1.
    pub shards: u64,
    /// Shards in a group, at least 1.
    pub per_group: u64,
    /// Whether shards are visited in the order of their documents.
    pub in_order: bool,
}

/// A group in a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Visit {
    /// Number of the pass, from 0.
    pub pass: u64,
    /// Number of the group in the order of the pass.
    pub group: u64,
}

/// Where a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RowPlace {
    /// The group in which it is learned.
    pub visit: Visit,
    /// Its shard.
    pub shard: u64,
    /// Its number in the shard.
    pub row: u64,
}

impl RowOrder {
    /// Groups in a pass.
    #[must_use]
    pub(crate) fn groups(&self) -> u64 {
        self.shards.div_ceil(self.per_group)
    }

    /// The shards of a group, by number.
    #[must_use]
    pub(crate) fn members(&self, visit: Visit) -> Vec<u64> {
        let first = visit.group * self.per_group;
        let places = first..(first + self.per_group).min(self.shards);
        let mut members: Vec<u64> = places.map(|at| self.shard_at(visit.pass, at)).collect();
        members.sort_unstable();
        members
    }

    /// The group after this one.
    #[must_use]
    pub(crate) fn after(&self, visit: Visit) -> Visit {
        match visit.group + 1 < self.groups() {
            true => Visit { group: visit.group + 1, ..visit },
            false => Visit { pass: visit.pass + 1, group: 0 },
        }
    }

    fn shard_at(&self, pass: u64, at: u64) -> u64 {
        let Self { seed, dataset, shards, .. } = *self;
        match self.in_order {
            true => at,
            false => permute_index(at, shards, seed, RandomPurpose::Shards, [dataset, pass, 0]),
        }
    }

    /// Row `rank` of a group whose members have these numbers of rows, given by (shard, rows).
    fn place(&self, visit: Visit, rank: u64, members: &[(u64, u64)]) -> RowPlace {
        let all = members.iter().map(|(_, rows)| rows).sum();
        let at = [self.dataset, visit.pass, visit.group];
        let mut row = permute_index(rank, all, self.seed, RandomPurpose::Shuffle, at);
        for &(shard, rows) in members {
            if row < rows {
                return RowPlace { visit, shard, row };
            }
            row -= rows;
        }
        unreachable!("a permutation of the rows of a group stays among them")
    }
}

/// Finds rows by their number in the endless sequence of passes.
#[derive(Debug)]
pub(crate) struct OrderIndex {
    order: RowOrder,
    /// Rows in a pass, once every shard was counted.
    total: Option<u64>,
    /// Of some passes, how many rows come before the end of each of their first groups.
    passes: Vec<(u64, Vec<u64>)>,
}

impl OrderIndex {
    /// An index that has counted nothing yet.
    #[must_use]
    pub(crate) fn new(order: RowOrder) -> Self {
        Self { order, total: None, passes: Vec::new() }
    }

    /// The order.
    #[must_use]
    pub(crate) fn order(&self) -> RowOrder {
        self.order
    }

    /// The place of row `ordinal`; `None` if the dataset has no row at all. `rows_of` is asked for the rows of every shard of the
    /// groups up to that row, but not beyond its group.
    ///
    /// # Errors
    /// That of `rows_of`.
    pub(crate) fn find<E>(
        &mut self,
        ordinal: u64,
        mut rows_of: impl FnMut(u64) -> Result<u64, E>,
    ) -> Result<Option<RowPlace>, E> {
        if self.total.is_none() {
            let beyond = |ends: &[u64]| reaches(ends, ordinal);
            let counted = self.count_groups(0, beyond, &mut rows_of)?.last().copied().unwrap_or(0);
            if counted <= ordinal {
                self.total = Some(counted);
            }
        }
        let (pass, rest) = match self.total {
            None => (0, ordinal),
            Some(0) => return Ok(None),
            Some(total) => (ordinal / total, ordinal % total),
        };
        let ends = self.count_groups(pass, |ends| reaches(ends, rest), &mut rows_of)?;
        let group = ends.partition_point(|end| *end <= rest);
        let start = group.checked_sub(1).map_or(0, |before| ends[before]);
        let visit = Visit { pass, group: group as u64 };
        let members = self.order.members(visit).into_iter();
        let members = members.map(|shard| Ok((shard, rows_of(shard)?))).collect::<Result<Vec<_>, E>>()?;
        Ok(Some(self.order.place(visit, rest - start, &members)))
    }

    /// The number of the first row of a group, counted through all passes.
    ///
    /// # Errors
    /// That of `rows_of`, which is asked for all groups before it.
    pub(crate) fn count_before<E>(
        &mut self,
        visit: Visit,
        mut rows_of: impl FnMut(u64) -> Result<u64, E>,
    ) -> Result<u64, E> {
        let passes = match (visit.pass, self.total) {
            (0, _) => 0,
            (_, Some(total)) => total,
            (_, None) => self.count_groups(0, |_| false, &mut rows_of)?.last().copied().unwrap_or(0),
        };
        let before = visit.group as usize;
        let ends = self.count_groups(visit.pass, |ends| ends.len() >= before, &mut rows_of)?;
        let here = before.checked_sub(1).map_or(0, |last| ends[last]);
        Ok(passes.saturating_mul(visit.pass).saturating_add(here))
    }

    /// The ends of the first groups of a pass, until they are `enough` or all.
    fn count_groups<E>(
        &mut self,
        pass: u64,
        enough: impl Fn(&[u64]) -> bool,
        rows_of: &mut impl FnMut(u64) -> Result<u64, E>,
    ) -> Result<&[u64], E> {
        let at = match self.passes.iter().position(|(known, _)| *known == pass) {
            Some(at) => at,
            None => {
                if self.passes.len() == REMEMBERED {
                    self.passes.remove(0);
                }
                self.passes.push((pass, Vec::new()));
                self.passes.len() - 1
            }
        };
        let (order, ends) = (self.order, &mut self.passes[at].1);
        while (ends.len() as u64) < order.groups() && !enough(ends) {
            let visit = Visit { pass, group: ends.len() as u64 };
            let mut end = ends.last().copied().unwrap_or(0);
            for shard in order.members(visit) {
                end = end.saturating_add(rows_of(shard)?);
            }
            ends.push(end);
        }
        Ok(ends)
    }
}

/// Whether row `row` of a pass is in one of the groups with these ends.
fn reaches(ends: &[u64], row: u64) -> bool {
    ends.last().is_some_and(|end| *end > row)
}

/// The image of `index` in `0..n` under the permutation that `seed`, `purpose` and `at` name.
fn permute_index(index: u64, n: u64, seed: u64, purpose: RandomPurpose, at: [u64; 3]) -> u64 {
    let mut random = derive_stream(seed, purpose, at);
    let keys: [u64; ROUNDS] = std::array::from_fn(|_| random.bits());
    let half = (u64::BITS - (n - 1).leading_zeros()).div_ceil(2).max(1);
    let mut value = index;
    loop {
        value = apply_feistel(value, half, &keys);
        if value < n {
            return value; // cycle walking turns a permutation of 0..4^half into one of 0..n
        }
    }
}

/// A permutation of `0..4^half`.
fn apply_feistel(value: u64, half: u32, keys: &[u64; ROUNDS]) -> u64 {
    let mask = (1 << half) - 1;
    let (mut left, mut right) = (value >> half, value & mask);
    for key in keys {
        (left, right) = (right, left ^ (mix_bits(right ^ key) & mask));
    }
    left << half | right
}

/// The finalizer of SplitMix64 (Steele et al., 2014).
fn mix_bits(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests;
