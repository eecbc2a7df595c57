//! The rows of a window, in the shards that are there.

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;

use fmflow_engine::error::Failure;
use fmflow_engine::run::rows_view::WindowView;
use fmflow_engine::store::WindowShards;

use crate::data::packing::Row;
use crate::data::rows::{RowsSummary, from_record};
use crate::failure::{input_failure, input_failure_in, stage_failure};

/// Rows are numbered through the shards that are there.
pub(super) struct SeenShards<'a> {
    shards: &'a WindowShards,
    summary: &'a RowsSummary,
}

impl<'a> SeenShards<'a> {
    /// # Errors
    /// If no shard is there.
    pub(super) fn new(shards: &'a WindowShards, summary: &'a RowsSummary) -> Result<Self, Failure> {
        if shards.there.is_empty() {
            let why = match shards.made {
                0 => "no training has read them yet".to_owned(),
                made => format!("the {made} that were made are dropped"),
            };
            let what = format!(
                "no shard of these rows is there: training makes them while it reads them, and {why}"
            );
            return Err(input_failure(
                what,
                "look at them while a training works, or at its held-out rows: `--held-out`",
            ));
        }
        Ok(Self { shards, summary })
    }

    pub(super) fn count_rows(&self) -> u64 {
        self.shards.there.iter().fold(0, |sum: u64, shard| sum.saturating_add(shard.rows))
    }

    pub(super) fn describe(&self) -> WindowView {
        let there = self.shards.there.iter().map(|shard| shard.shard).collect();
        WindowView { shards: self.summary.shards.count, made: self.shards.made, there }
    }

    /// Row `number` of those below [`Self::count_rows`], with its shard and its number in that.
    ///
    /// # Errors
    /// If its shard was dropped meanwhile, or is damaged.
    pub(super) fn read(&self, number: u64) -> Result<([u64; 2], Row), Failure> {
        let mut row = number;
        let shard = self.shards.there.iter().find(|shard| match row.checked_sub(shard.rows) {
            Some(rest) => {
                row = rest;
                false
            }
            None => true,
        });
        let shard = shard.expect("the row is below their number");
        let name = format!("shard {}", shard.shard);
        let mut bytes = vec![0; self.summary.record_bytes()];
        let read = File::open(&shard.file)
            .and_then(|file| file.read_exact_at(&mut bytes, row * self.summary.record_bytes() as u64));
        read.map_err(|error| match error.kind() {
            ErrorKind::NotFound => {
                input_failure(format!("{name} was dropped meanwhile"), "run the same command again")
            }
            _ => input_failure_in(&name, error, "run `fmflow verify` on the rows"),
        })?;
        let RowsSummary { length, bytes_per_id, vocabulary, .. } = *self.summary;
        let decoded = from_record(&bytes, length, bytes_per_id, vocabulary);
        let row_of = decoded.map_err(|problem| stage_failure(format!("{name} is damaged: {problem}")))?;
        Ok(([shard.shard, row], row_of))
    }
}
