//! Reads rows in any order.

use std::path::{Path, PathBuf};

use fmflow_engine::store::ChunkedFile;

use super::{
    FORMAT, HELD_OUT_RECORDS, RECORDS, RowsError, RowsSummary, STARTS, SUMMARY, Split, compute_bytes_per_id,
};
use crate::data::packing::{MAX_LENGTH, PADDING, PositionRole, Row};

/// The rows of a dataset, open for reading in any order and from any thread.
#[derive(Debug)]
pub(crate) struct Rows {
    summary: RowsSummary,
    /// `None` for a window.
    train: Option<RecordsFile>,
    held_out: RecordsFile,
    /// Training rows before each shard.
    starts: Vec<u64>,
}

impl Rows {
    /// Opens the rows in `folder`.
    ///
    /// # Errors
    /// If files are absent, have another format version, or their sizes disagree.
    pub(crate) fn open(folder: &Path) -> Result<Self, RowsError> {
        let described = folder.join(SUMMARY);
        let damaged = |problem| RowsError::Damaged { file: described.clone(), problem };
        let text =
            std::fs::read(&described).map_err(|cause| RowsError::Io { file: described.clone(), cause })?;
        let summary: RowsSummary =
            serde_json::from_slice(&text).map_err(|cause| damaged(cause.to_string()))?;
        if summary.format != FORMAT {
            return Err(damaged(format!("format {} instead of {FORMAT}", summary.format)));
        }
        if !(1..=MAX_LENGTH).contains(&summary.length)
            || summary.bytes_per_id != compute_bytes_per_id(summary.vocabulary)
        {
            return Err(damaged("length or bytes per id are impossible".into()));
        }
        if !summary.shards.is_possible(summary.train.rows) {
            return Err(damaged("its shards are impossible".into()));
        }
        let open = |name, split| RecordsFile::open(folder, name, &summary, split);
        let train = (!summary.shards.is_window()).then(|| open(RECORDS, Split::Train)).transpose()?;
        let held_out = open(HELD_OUT_RECORDS, Split::HeldOut)?;
        let mut end = 0;
        let starts = summary.shards.rows.iter().flatten().map(|rows| {
            end += rows;
            end - rows
        });
        let starts = starts.collect();
        Ok(Self { summary, train, held_out, starts })
    }

    /// The content of `rows.json`.
    #[must_use]
    pub(crate) fn summary(&self) -> &RowsSummary {
        &self.summary
    }

    /// Rows in a split that are in the artifact: of a window, no training rows.
    #[must_use]
    pub(crate) fn len(&self, split: Split) -> u64 {
        match split {
            Split::Train if self.train.is_none() => 0,
            _ => self.summary.split(split).rows,
        }
    }

    /// Row `row` of a shard of the training rows.
    ///
    /// # Errors
    /// As [`Self::row`].
    pub(crate) fn row_of(&self, shard: u64, row: u64) -> Result<Row, RowsError> {
        let start = usize::try_from(shard).ok().and_then(|shard| self.starts.get(shard));
        self.row(Split::Train, start.map_or(u64::MAX, |start| start.saturating_add(row)))
    }

    /// Row `index` of a split.
    ///
    /// # Errors
    /// If there is no such row, the read fails, or an id or role is invalid.
    pub(crate) fn row(&self, split: Split, index: u64) -> Result<Row, RowsError> {
        let rows = self.len(split);
        if index >= rows {
            return Err(RowsError::NoRow { index, split, rows });
        }
        let no_row = RowsError::NoRow { index, split, rows: 0 };
        let records = match split {
            Split::Train => self.train.as_ref().ok_or(no_row)?,
            Split::HeldOut => &self.held_out,
        };
        let RowsSummary { length, bytes_per_id, vocabulary, .. } = self.summary;
        let bytes = records.read(index, self.summary.record_bytes())?;
        from_record(&bytes, length, bytes_per_id, vocabulary)
            .map_err(|problem| records.damaged(format!("record {index}: {problem}")))
    }
}

/// The records of one split.
#[derive(Debug)]
struct RecordsFile {
    path: PathBuf,
    file: ChunkedFile,
}

impl RecordsFile {
    /// Opens a file that must have the records of a split, and nothing else.
    fn open(folder: &Path, name: &str, summary: &RowsSummary, split: Split) -> Result<Self, RowsError> {
        let file = ChunkedFile::open(folder, name).map_err(RowsError::Store)?;
        let found = file.size();
        let expected = u128::from(summary.split(split).rows) * summary.record_bytes() as u128;
        let records = Self { path: folder.join(name), file };
        match u128::from(found) == expected {
            true => Ok(records),
            false => Err(records.damaged(format!("{found} bytes instead of {expected}"))),
        }
    }

    fn read(&self, index: u64, size: usize) -> Result<Vec<u8>, RowsError> {
        let mut bytes = vec![0; size];
        self.file.read_at(&mut bytes, index * size as u64).map_err(RowsError::Store)?;
        Ok(bytes)
    }

    fn damaged(&self, problem: String) -> RowsError {
        RowsError::Damaged { file: self.path.clone(), problem }
    }
}

/// Decodes a record into a row of `length` tokens; the error describes what is wrong with it.
pub(crate) fn from_record(bytes: &[u8], length: usize, width: usize, vocabulary: u32) -> Result<Row, String> {
    let (ids, layout) = bytes.split_at(length * width);
    let wide = |id: &[u8]| id.iter().rev().fold(0, |value: u32, &byte| value << 8 | u32::from(byte));
    let mut row = Row { tokens: ids.chunks_exact(width).map(wide).collect(), ..Row::default() };
    if let Some(id) = row.tokens.iter().find(|&&id| id >= vocabulary) {
        return Err(format!("id {id} in a vocabulary of {vocabulary}"));
    }
    let mut next = 0;
    for at in 0..length {
        let half = layout[at / 2] >> (at % 2 * 4) & 0xf;
        let role = [PositionRole::Prompt, PositionRole::Supervised, PositionRole::Padding]
            .get(usize::from(half & 0b11));
        let &role = role.ok_or_else(|| format!("role 3 at position {at}"))?;
        next += u32::from(half & STARTS != 0 && role != PositionRole::Padding);
        row.roles.push(role);
        row.segments.push(if role == PositionRole::Padding { PADDING } else { next.saturating_sub(1) });
    }
    Ok(row)
}
