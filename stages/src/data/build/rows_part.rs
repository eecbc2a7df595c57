//! One split of a dataset while its rows are filled, counted and encoded.

use super::RowsOptions;
use crate::data::packing::{Example, Packer, Packing, PositionRole, Row};
use crate::data::rows::{SplitSummary, write_record};

/// One split while its rows are built.
pub(super) struct RowsPart {
    packer: Packer,
    empty: (Packing, usize, u32),
    pub(super) counts: SplitSummary,
}

impl RowsPart {
    pub(super) fn new(options: &RowsOptions, pad: u32) -> Self {
        let empty = (options.packing, options.length, pad);
        let packer = Packer::new(options.packing, options.length, pad);
        Self { packer, empty, counts: SplitSummary::default() }
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

    /// Ends a shard: the bytes of the rows that were still open. The next document begins a new row.
    pub(super) fn end_shard(&mut self, width: usize) -> Vec<u8> {
        let (packing, length, pad) = self.empty;
        let packer = std::mem::replace(&mut self.packer, Packer::new(packing, length, pad));
        self.counts.too_long += packer.too_long();
        self.encode_rows(&packer.finish(), width)
    }
}
