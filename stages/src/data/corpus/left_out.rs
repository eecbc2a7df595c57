//! Counts what is left out of a dataset, and compares its share with the largest that is allowed.

use fmflow_engine::text::display::count_noun;

/// From so many on, a share that is too large ends the reading at once.
const ENOUGH: u64 = 10_000;

/// How many of all were left out so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LeftOut {
    pub(super) all: u64,
    pub(super) left: u64,
}

impl LeftOut {
    /// Counts one that is kept.
    pub(super) fn keep(&mut self) {
        self.all += 1;
    }

    /// Counts one that is left out.
    pub(super) fn leave(&mut self) {
        self.all += 1;
        self.left += 1;
    }

    /// Whether there are enough for a share that is too large to end the reading.
    pub(super) fn are_enough(self) -> bool {
        self.all >= ENOUGH
    }

    /// Whether more are left out than this share.
    pub(super) fn is_over(self, most: f64) -> bool {
        self.left as f64 > most * self.all as f64
    }

    /// The share, such as `1 of 8 records (12.500 %)`.
    pub(super) fn describe(self, noun: &str) -> String {
        let percent = 100.0 * self.left as f64 / self.all.max(1) as f64;
        format!("{} of {} ({percent:.3} %)", self.left, count_noun(self.all, noun))
    }
}
