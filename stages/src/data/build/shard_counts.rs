//! Rows of each shard while the rows of a dataset are built.

use crate::data::rows::SplitSummary;

/// The shards that have ended, and what they have.
#[derive(Debug)]
pub(super) struct ShardCounts {
    /// Number of the first shards whose held-out documents are kept.
    opening: usize,
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
