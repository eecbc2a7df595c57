//! Which row of which dataset comes i-th: a pure function of (seed, i).
//!
//! Weights are shares of tokens. Rows are dealt by Tijdeman's rule (The chairman assignment problem, 1980), which keeps
//! every dataset within one row of its share after any number of rows; within a block of [`BLOCK`] rows the order is
//! then shuffled. Each pass through a dataset is a permutation of its rows (a Feistel network with cycle walking), so
//! nothing has to be stored and any i costs the same.

use crate::rng::{Purpose, stream};

/// Rows whose datasets are shuffled together; at its end every dataset is within one row of its share.
pub const BLOCK: u64 = 256;

/// Blocks after which dealing starts anew. Shares are multiples of 1 / (`PERIOD` * [`BLOCK`]), about one in a million.
const PERIOD: u64 = 4096;

const CYCLE: u64 = PERIOD * BLOCK;

/// Rounds of the Feistel network; four suffice in theory, narrow halves profit from more.
const ROUNDS: usize = 8;

/// A dataset in a mixture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Part {
    /// Share of the tokens, in any unit, above 0.
    pub weight: f64,
    /// Rows of the dataset.
    pub rows: u64,
    /// Mean tokens of a row, padding not counted.
    pub tokens_per_row: f64,
}

/// Why a mixture cannot be made.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum MixtureError {
    /// No dataset.
    #[error("the mixture has no dataset; name at least one")]
    Empty,
    /// A weight that is no share.
    #[error("dataset {0} of the mixture has weight {1}; give it a number above 0 or leave it out")]
    Weight(usize, f64),
    /// A dataset without rows or tokens.
    #[error("dataset {0} of the mixture has no rows with tokens; check its held-out share and its packing")]
    NoRows(usize),
    /// A share that cannot be dealt.
    #[error(
        "dataset {0} of the mixture has less than one row in a million; leave it out or raise its weight"
    )]
    TooRare(usize),
}

/// Rows of several datasets in their shares, in random order, without end.
#[derive(Clone, Debug)]
pub struct Mixture {
    seed: u64,
    rows: Vec<u64>,
    /// Rows of each dataset in a cycle; they sum to `CYCLE`.
    shares: Vec<u64>,
    /// Rows of each dataset in the first `b` blocks of a cycle, for `b` in `0..=PERIOD`.
    dealt: Vec<Vec<u64>>,
}

impl Mixture {
    /// A mixture of `parts`. The seed decides the order, not the shares.
    ///
    /// # Errors
    /// No parts, a weight that is not above 0, a part without rows, or one too rare to be dealt.
    pub fn new(parts: &[Part], seed: u64) -> Result<Self, MixtureError> {
        let shares = shares(parts)?;
        let dealt = deal(&shares);
        Ok(Self { seed, rows: parts.iter().map(|part| part.rows).collect(), shares, dealt })
    }

    /// (dataset, row) at place `i`.
    #[must_use]
    pub fn row(&self, i: u64) -> (usize, u64) {
        let block = i / BLOCK;
        let place = self.order(block)[(i % BLOCK) as usize];
        let (before, after) =
            (&self.dealt[(block % PERIOD) as usize], &self.dealt[(block % PERIOD) as usize + 1]);
        let (mut dataset, mut rank) = (0, place);
        while rank >= after[dataset] - before[dataset] {
            rank -= after[dataset] - before[dataset];
            dataset += 1;
        }
        let ordinal = block / PERIOD * self.shares[dataset] + before[dataset] + rank;
        let (epoch, index) = (ordinal / self.rows[dataset], ordinal % self.rows[dataset]);
        (dataset, permuted(index, self.rows[dataset], self.seed, [dataset as u64, epoch, 0]))
    }

    /// Share of the rows that each dataset gets; sums to 1.
    #[must_use]
    pub fn row_shares(&self) -> Vec<f64> {
        self.shares.iter().map(|&share| share as f64 / CYCLE as f64).collect()
    }

    /// Order of the places of a block (Fisher and Yates).
    fn order(&self, block: u64) -> Vec<u64> {
        let mut random = stream(self.seed, Purpose::Mixture, [block, 0, 0]);
        let mut order: Vec<u64> = (0..BLOCK).collect();
        for last in (1..BLOCK).rev() {
            order.swap(last as usize, random.below(last + 1) as usize);
        }
        order
    }
}

/// Rows of each part in a cycle: token shares over tokens per row, rounded to whole rows by largest remainders.
fn shares(parts: &[Part]) -> Result<Vec<u64>, MixtureError> {
    for (at, part) in parts.iter().enumerate() {
        if !(part.weight.is_finite() && part.weight > 0.0) {
            return Err(MixtureError::Weight(at, part.weight));
        }
        if part.rows == 0 || !(part.tokens_per_row.is_finite() && part.tokens_per_row > 0.0) {
            return Err(MixtureError::NoRows(at));
        }
    }
    let total: f64 = parts.iter().map(|part| part.weight / part.tokens_per_row).sum();
    let exact = parts.iter().map(|part| part.weight / part.tokens_per_row / total * CYCLE as f64);
    let exact: Vec<f64> = exact.collect();
    let mut shares: Vec<u64> = exact.iter().map(|share| share.floor() as u64).collect();
    let mut order: Vec<usize> = (0..parts.len()).collect();
    order.sort_by(|&a, &b| exact[b].fract().total_cmp(&exact[a].fract()).then(a.cmp(&b)));
    let missing = CYCLE.saturating_sub(shares.iter().sum()) as usize;
    order.iter().take(missing).for_each(|&at| shares[at] += 1);
    match shares.iter().position(|&share| share == 0) {
        _ if parts.is_empty() => Err(MixtureError::Empty),
        Some(at) => Err(MixtureError::TooRare(at)),
        None => Ok(shares),
    }
}

/// Deals a cycle; entry `b` has the rows of each dataset in the first `b` blocks.
///
/// Row n goes to the dataset that would be first to fall 1 - 1/(2D-2) rows behind its share, among those that are at
/// least 1/(2D-2) behind at n. Everything is scaled to integers by `CYCLE` (2D-2).
fn deal(shares: &[u64]) -> Vec<Vec<u64>> {
    let slack = (2 * shares.len() as i128 - 2).max(1);
    let cycle = i128::from(CYCLE);
    let mut counts = vec![0u64; shares.len()];
    let mut dealt = vec![counts.clone()];
    for n in 1..=CYCLE {
        let behind =
            |at: usize| (i128::from(n) * i128::from(shares[at]) - i128::from(counts[at]) * cycle) * slack;
        // Place at which the dataset falls too far behind, as a fraction (rows, share).
        let deadline = |at: usize| ((i128::from(counts[at]) + 1) * slack - 1, i128::from(shares[at]));
        let sooner = |a: &usize, b: &usize| {
            let ((rows_a, share_a), (rows_b, share_b)) = (deadline(*a), deadline(*b));
            (rows_a * share_b).cmp(&(rows_b * share_a)).then(a.cmp(b))
        };
        let next = (0..shares.len()).filter(|&at| behind(at) >= cycle).min_by(sooner);
        counts[next.unwrap_or(0)] += 1;
        if n % BLOCK == 0 {
            dealt.push(counts.clone());
        }
    }
    dealt
}

/// Where `index` in `0..n` goes in the permutation named by `seed` and `at`.
fn permuted(index: u64, n: u64, seed: u64, at: [u64; 3]) -> u64 {
    let mut random = stream(seed, Purpose::Shuffle, at);
    let keys: [u64; ROUNDS] = std::array::from_fn(|_| random.bits());
    let half = (u64::BITS - (n - 1).leading_zeros()).div_ceil(2).max(1);
    let mut value = index;
    loop {
        value = feistel(value, half, &keys);
        if value < n {
            return value; // walking along the cycle of a permutation of 0..4^half gives one of 0..n
        }
    }
}

/// A permutation of `0..4^half`.
fn feistel(value: u64, half: u32, keys: &[u64; ROUNDS]) -> u64 {
    let mask = (1 << half) - 1;
    let (mut left, mut right) = (value >> half, value & mask);
    for key in keys {
        (left, right) = (right, left ^ (mix(right ^ key) & mask));
    }
    left << half | right
}

/// The finaliser of SplitMix64 (Steele et al., 2014).
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests;
