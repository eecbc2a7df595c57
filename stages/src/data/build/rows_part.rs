//! One split of a dataset while its rows are filled, counted and encoded.

use super::RowsOptions;
use crate::data::packing::{Example, Packer, Packing, PositionRole, Row};
use crate::data::rows::{SplitSummary, write_record};

/// One split while its rows are built.
pub(super) struct RowsPart {
    packer: Packer,
    pub(super) counts: SplitSummary,
}

impl RowsPart {
    pub(super) fn new(options: &RowsOptions, pad: u32) -> Self {
        Self { packer: Packer::new(options.packing, options.length, pad), counts: SplitSummary::default() }
    }

    /// Adds an example, or counts one that does not fit its canvas; returns the rows that it completes.
    pub(super) fn push(&mut self, example: Option<&Example>) -> Vec<Row> {
        self.counts.documents += 1;
        let Some(example) = example else {
            self.counts.beyond_canvas += 1;
            return Vec::new();
        };
        self.packer.push(example)
    }

    /// Encodes rows with ids of `width` bytes, and counts them.
    pub(super) fn encode_rows(&mut self, rows: &[Row], width: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        for row in rows {
            write_record(row, width, &mut bytes);
            self.counts.rows += 1;
            self.counts.tokens += (row.roles.len() - row.count(PositionRole::Padding)) as u64;
            self.counts.supervised += row.count(PositionRole::Supervised) as u64;
        }
        bytes
    }

    /// The counts, and the bytes of the rows that were still open.
    pub(super) fn finish(mut self, width: usize) -> (SplitSummary, Vec<u8>) {
        self.counts.too_long = self.packer.too_long();
        let empty = Packer::new(Packing::Concat, 1, 0);
        let rows = std::mem::replace(&mut self.packer, empty).finish();
        let bytes = self.encode_rows(&rows, width);
        (self.counts, bytes)
    }
}
