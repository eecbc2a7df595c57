//! Rows of each shard while the rows of a dataset are built.

use serde::{Deserialize, Serialize};

use crate::data::rows::SplitSummary;

/// What is noted when a shard has ended: a stage that was killed goes on behind it. Documents of the shards before are read again, and
/// the held-out ones among them encoded again; their training rows are there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RowsProgress {
    /// Training rows of each shard.
    pub(super) rows: Vec<u64>,
    /// Training rows and tokens of the first shards.
    pub(super) opening_counts: (u64, u64),
    /// Counts of the training rows.
    pub(super) train: SplitSummary,
    /// Tokens of a cap that are used.
    pub(super) used: u64,
}

impl RowsProgress {
    /// Shards whose rows are made.
    pub(crate) fn shards(&self) -> usize {
        self.rows.len()
    }

    /// Whether the numbers fit each other and a dataset of so many shards: a store may be somebody else's.
    pub(crate) fn is_possible(&self, shards: usize) -> bool {
        let sum = self.rows.iter().try_fold(0_u64, |sum, rows| sum.checked_add(*rows));
        let (rows, tokens) = self.opening_counts;
        self.shards() < shards
            && sum == Some(self.train.rows)
            && rows <= self.train.rows
            && tokens <= self.train.tokens
    }
}

/// The shards that have ended, and what they have.
#[derive(Debug)]
pub(super) struct ShardCounts {
    /// Number of the first shards whose held-out documents are kept.
    pub(super) opening: usize,
    /// Training rows of each shard that has ended.
    pub(super) rows: Vec<u64>,
    /// Training rows and tokens of the first shards.
    pub(super) opening_counts: (u64, u64),
    /// Documents of later shards that would be held out.
    pub(super) held_out_later: u64,
}

impl ShardCounts {
    pub(super) fn new(opening: usize) -> Self {
        Self { opening, rows: Vec::new(), opening_counts: (0, 0), held_out_later: 0 }
    }

    /// The counts of shards that an earlier run made.
    pub(super) fn after(opening: usize, made: &RowsProgress) -> Self {
        let (rows, opening_counts) = (made.rows.clone(), made.opening_counts);
        Self { rows, opening_counts, ..Self::new(opening) }
    }

    /// The number of the shard whose documents come now.
    pub(super) fn current(&self) -> usize {
        self.rows.len()
    }

    /// Whether it is one of the first.
    pub(super) fn is_opening(&self) -> bool {
        self.current() < self.opening
    }

    /// Ends the current shard; `all` are the counts of the training rows so far.
    pub(super) fn end(&mut self, all: &SplitSummary) {
        if self.is_opening() {
            self.opening_counts = (all.rows, all.tokens);
        }
        let before: u64 = self.rows.iter().sum();
        self.rows.push(all.rows - before);
    }
}
