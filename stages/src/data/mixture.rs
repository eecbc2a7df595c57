//! Which dataset gives the i-th row, and how many rows it gave before: a pure function of (seed, i).
//!
//! Weights are shares of tokens. Rows are dealt by Tijdeman's rule (The chairman assignment problem, 1980), which keeps
//! every dataset within one row of its share after any number of rows; the order within a block of [`BLOCK`] rows is
//! then shuffled. The rows of a dataset are numbered through all passes; [`super::order`] says which row has a number. So
//! nothing has to be stored and every i costs the same. A resumed run therefore needs no iterator state.
//!
//! Weights may change in phases. Dealing starts again at the first row of each phase, the last block of a phase ends with
//! it, and passes through the datasets continue across phases: a change skips or repeats no row.

// At the end of a block every dataset is within one row of its share.
pub(crate) use fmflow_engine::pipeline::config::train::MIXTURE_BLOCK as BLOCK;

use crate::rng::{RandomPurpose, derive_stream};

/// Blocks after which dealing repeats. Shares are multiples of 1 / (`PERIOD` * [`BLOCK`]), about one in a million.
const PERIOD: u64 = 4096;

const CYCLE: u64 = PERIOD * BLOCK;

/// A dataset in a mixture.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct MixtureRows {
    /// Share of the tokens in each phase, in any unit; 0 leaves the dataset out of that phase.
    pub weights: Vec<f64>,
    /// Mean tokens per row, without padding; 0 if there are no rows.
    pub tokens_per_row: f64,
}

/// Why a mixture cannot be made.
#[derive(Debug, PartialEq, thiserror::Error)]
pub(crate) enum MixtureError {
    /// The mixture has no dataset.
    #[error("the mixture has no dataset; name at least one")]
    Empty,
    /// A weight is negative or not finite, or all weights of a dataset or of a phase are 0.
    #[error("dataset {0} of the mixture has weight {1}; give it a number above 0 or leave it out")]
    Weight(usize, f64),
    /// A dataset has no rows or no tokens.
    #[error("dataset {0} of the mixture has no rows with tokens; check its held-out share and its packing")]
    NoRows(usize),
    /// A share is too small to be dealt.
    #[error(
        "dataset {0} of the mixture has less than one row in a million; leave it out or raise its weight"
    )]
    TooRare(usize),
}

/// An endless sequence of rows of several datasets, in their shares and in random order.
#[derive(Clone, Debug)]
pub(crate) struct Mixture {
    seed: u64,
    /// Sorted by `start`; the first phase starts at 0.
    phases: Vec<MixturePhase>,
}

/// A range of rows with constant shares.
#[derive(Clone, Debug)]
struct MixturePhase {
    /// Index of its first row in the mixture.
    start: u64,
    /// Rows of each dataset before this phase.
    base: Vec<u64>,
    /// Its total rows and the rows of each dataset; `None` if the phase never ends.
    end: Option<(u64, Vec<u64>)>,
    /// Rows of each dataset in a cycle; they sum to `CYCLE`.
    shares: Vec<u64>,
    /// Rows of each dataset in the first `b` blocks of a cycle, for `b` in `0..=PERIOD`.
    dealt: Vec<Vec<u64>>,
}

impl Mixture {
    /// A mixture of `parts` whose phases begin at the rows `starts` (ascending, the first is 0). The seed decides the
    /// order, not the shares.
    ///
    /// # Errors
    /// If there are no parts, a weight is negative or not finite, all weights of a part or phase are 0, a part has no rows,
    /// or a share is too small to be dealt.
    pub(crate) fn new(parts: &[MixtureRows], starts: &[u64], seed: u64) -> Result<Self, MixtureError> {
        check_mixture(parts, starts.len())?;
        let mut phases = Vec::with_capacity(starts.len());
        let mut base = vec![0; parts.len()];
        for (at, &start) in starts.iter().enumerate() {
            let shares = compute_cycle_shares(parts, at)?;
            let length = starts.get(at + 1).map(|next| next - start);
            let (dealt, cut) = deal_cycle(&shares, length.map(|length| length % CYCLE));
            let end = length.map(|length| {
                let rows = shares.iter().zip(cut).map(|(share, cut)| length / CYCLE * share + cut);
                (length, rows.collect::<Vec<u64>>())
            });
            let phase = MixturePhase { start, base: base.clone(), end, shares, dealt };
            if let Some((_, rows)) = &phase.end {
                base.iter_mut().zip(rows).for_each(|(base, rows)| *base += rows);
            }
            phases.push(phase);
        }
        Ok(Self { seed, phases })
    }

    /// (dataset, number of the row in all passes through it) of row `i` of the mixture.
    #[must_use]
    pub(crate) fn row(&self, i: u64) -> (usize, u64) {
        let (number, block, place) = self.block_of(i);
        let phase = &self.phases[number];
        let (mut dataset, mut rank) = (0, self.order(number, block)[place as usize]);
        while rank >= phase.rows_of(dataset, block) {
            rank -= phase.rows_of(dataset, block);
            dataset += 1;
        }
        (dataset, phase.base[dataset] + phase.before(dataset, block) + rank)
    }

    /// The smallest number that a row of a dataset has among row `i` of the mixture and all after it.
    #[must_use]
    pub(crate) fn first_from(&self, dataset: usize, i: u64) -> u64 {
        let (number, block, _) = self.block_of(i);
        self.phases[number].base[dataset] + self.phases[number].before(dataset, block)
    }

    /// The phase of a row of the mixture, its block in the phase, and its place in the block.
    fn block_of(&self, i: u64) -> (usize, u64, u64) {
        let number = self.phases.partition_point(|phase| phase.start <= i) - 1;
        let from = i - self.phases[number].start;
        (number, from / BLOCK, from % BLOCK)
    }

    /// The shuffled order of a block (Fisher and Yates).
    fn order(&self, phase: usize, block: u64) -> Vec<u64> {
        let mut random = derive_stream(self.seed, RandomPurpose::Mixture, [block, phase as u64, 0]);
        let mut order: Vec<u64> = (0..self.phases[phase].length(block)).collect();
        for last in (1..order.len()).rev() {
            order.swap(last, random.below(last as u64 + 1) as usize);
        }
        order
    }
}

impl MixturePhase {
    /// Rows in a block; the last block of a phase may be shorter.
    fn length(&self, block: u64) -> u64 {
        self.end.as_ref().map_or(BLOCK, |(rows, _)| BLOCK.min(rows - block * BLOCK))
    }

    /// Rows of a dataset in the first `block` blocks of the phase.
    fn before(&self, dataset: usize, block: u64) -> u64 {
        block / PERIOD * self.shares[dataset] + self.dealt[(block % PERIOD) as usize][dataset]
    }

    /// Rows of a dataset in a block.
    fn rows_of(&self, dataset: usize, block: u64) -> u64 {
        match &self.end {
            Some((_, all)) if self.length(block) < BLOCK => all[dataset] - self.before(dataset, block),
            _ => {
                let at = (block % PERIOD) as usize;
                self.dealt[at + 1][dataset] - self.dealt[at][dataset]
            }
        }
    }
}

/// Requires finite weights of at least 0, one weight above 0 for every part and phase, and rows in every part.
fn check_mixture(parts: &[MixtureRows], phases: usize) -> Result<(), MixtureError> {
    let good = |weight: &&f64| weight.is_finite() && **weight >= 0.0;
    for (at, part) in parts.iter().enumerate() {
        if let Some(weight) = part.weights.iter().find(|weight| !good(weight)) {
            return Err(MixtureError::Weight(at, *weight));
        }
        if part.weights.len() != phases || part.weights.iter().all(|weight| *weight == 0.0) {
            return Err(MixtureError::Weight(at, 0.0));
        }
        if !(part.tokens_per_row.is_finite() && part.tokens_per_row > 0.0) {
            return Err(MixtureError::NoRows(at));
        }
    }
    let empty = |phase: &usize| parts.iter().all(|part| part.weights[*phase] == 0.0);
    match (0..phases).find(empty) {
        _ if parts.is_empty() => Err(MixtureError::Empty),
        Some(_) => Err(MixtureError::Weight(0, 0.0)),
        None => Ok(()),
    }
}

/// Rows of each part in a cycle: token shares over tokens per row, rounded to whole rows by largest remainders.
fn compute_cycle_shares(parts: &[MixtureRows], phase: usize) -> Result<Vec<u64>, MixtureError> {
    let wanted = |part: &MixtureRows| part.weights[phase] / part.tokens_per_row;
    let total: f64 = parts.iter().map(wanted).sum();
    // Weights at the ends of what an f64 can hold have no ratio.
    if !(total.is_finite() && total > 0.0) {
        return Err(MixtureError::Weight(0, parts[0].weights[phase]));
    }
    let exact: Vec<f64> = parts.iter().map(|part| wanted(part) / total * CYCLE as f64).collect();
    let mut shares: Vec<u64> = exact.iter().map(|share| share.floor() as u64).collect();
    let mut order: Vec<usize> = (0..parts.len()).collect();
    order.sort_by(|&a, &b| exact[b].fract().total_cmp(&exact[a].fract()).then(a.cmp(&b)));
    let missing = CYCLE.saturating_sub(shares.iter().sum()) as usize;
    order.iter().take(missing).for_each(|&at| shares[at] += 1);
    let lost = |at: &usize| shares[*at] == 0 && parts[*at].weights[phase] > 0.0;
    match (0..parts.len()).find(lost) {
        Some(at) => Err(MixtureError::TooRare(at)),
        None => Ok(shares),
    }
}

/// Deals a cycle. Returns the rows of each dataset in the first `b` blocks (entry `b`), and in the first `cut` rows.
///
/// Row n goes to the dataset that would be first to fall 1 - 1/(2D-2) rows behind its share, among those that are at
/// least 1/(2D-2) behind at n. Everything is scaled to integers by `CYCLE` (2D-2).
fn deal_cycle(shares: &[u64], cut: Option<u64>) -> (Vec<Vec<u64>>, Vec<u64>) {
    let slack = (2 * shares.len() as i128 - 2).max(1);
    let cycle = i128::from(CYCLE);
    let mut counts = vec![0u64; shares.len()];
    let mut dealt = vec![counts.clone()];
    let mut at_cut = counts.clone();
    for n in 1..=CYCLE {
        let behind =
            |at: usize| (i128::from(n) * i128::from(shares[at]) - i128::from(counts[at]) * cycle) * slack;
        // Row at which the dataset falls too far behind, as a fraction (rows, share).
        let deadline = |at: usize| ((i128::from(counts[at]) + 1) * slack - 1, i128::from(shares[at]));
        let sooner = |a: &usize, b: &usize| {
            let ((rows_a, share_a), (rows_b, share_b)) = (deadline(*a), deadline(*b));
            (rows_a * share_b).cmp(&(rows_b * share_a)).then(a.cmp(b))
        };
        let next = (0..shares.len()).filter(|&at| behind(at) >= cycle).min_by(sooner);
        // Together the datasets are (2D - 2) of the bounds behind, or one bound if there is only one: see `slack`.
        let next = next.expect("the shares sum to the cycle, so some dataset is behind");
        counts[next] += 1;
        if n % BLOCK == 0 {
            dealt.push(counts.clone());
        }
        if cut == Some(n) {
            at_cut.clone_from(&counts);
        }
    }
    (dealt, at_cut)
}

#[cfg(test)]
mod tests;
