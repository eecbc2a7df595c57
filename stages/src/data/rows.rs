//! Rows on disk: files of records of equal size, so that any row takes one read.
//!
//! `rows.bin` holds the training rows, one shard after another, `held-out.bin` the held-out ones. Rows of a window have no
//! `rows.bin`: their shards are files of the store's window. A record is `length` ids, little endian, each in the
//! smallest whole number of bytes, then `length` half bytes of layout (low half first): bits 0-1 are the
//! [`PositionRole`], bit 2 says that a segment starts here. `rows.json` describes the file ([`RowsSummary`]); `held-out.jsonl`
//! has the held-out conversations, one [`super::corpus::Chat`] per line; `tokenizer.json` is the tokenizer that made the ids.

mod reader;

pub(crate) use reader::{Rows, from_record};

use super::packing::{Packing, Row};
use fmflow_engine::pipeline::config::SpecialNames;
use fmflow_engine::store::CHUNKED_FILES;
use fmflow_engine::text::escape::show_path;
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::path::PathBuf;

/// Version of the format; a reader refuses any other.
pub(crate) const FORMAT: u32 = 3;

/// Name of the file with the records of training rows.
pub(crate) const RECORDS: &str = CHUNKED_FILES[0];
/// Name of the file with the records of held-out rows; it may be empty.
pub(crate) const HELD_OUT_RECORDS: &str = CHUNKED_FILES[1];
/// Name of the description.
pub(crate) const SUMMARY: &str = "rows.json";
/// Name of the file with the held-out conversations; absent in datasets of text.
pub(crate) const HELD_OUT: &str = "held-out.jsonl";

const STARTS: u8 = 0b100;

/// Receives the files of an artifact.
pub(crate) trait FileSink {
    /// Starts the file `name`. Several may be open at once.
    ///
    /// # Errors
    /// Any error of the storage.
    fn file(&mut self, name: &str) -> std::io::Result<Box<dyn RowsFile>>;
}

/// A file that is part of its artifact once it is finished.
pub(crate) trait RowsFile: Write {
    /// Notes that the rows of `step` shards are in the file, and what is needed to go on behind them. A file that is not kept if the
    /// stage is killed notes nothing.
    ///
    /// # Errors
    /// Any error of the storage.
    fn note(&mut self, _step: u64, _state: &serde_json::Value) -> std::io::Result<()> {
        Ok(())
    }

    /// Ends the file.
    ///
    /// # Errors
    /// Any error of the storage.
    fn finish(self: Box<Self>) -> std::io::Result<()>;
}

/// A file that nobody keeps.
pub(crate) struct Unwritten;

impl Write for Unwritten {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl RowsFile for Unwritten {
    fn finish(self: Box<Self>) -> std::io::Result<()> {
        Ok(())
    }
}

/// One part of a dataset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Split {
    /// Documents to learn.
    Train,
    /// Documents used only for evaluation.
    HeldOut,
}

/// Counts of one split.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SplitSummary {
    /// Rows.
    pub rows: u64,
    /// Documents, including those left out. With [`Packing::FirstFit`], the answers of conversations are counted instead.
    pub documents: u64,
    /// Positions that are not padding.
    pub tokens: u64,
    /// Positions that are learned.
    pub supervised: u64,
    /// Documents left out because they are longer than a row.
    pub too_long: u64,
    /// Answers left out because they are longer than the canvas.
    pub beyond_canvas: u64,
}

impl SplitSummary {
    /// Documents left out for any reason.
    #[must_use]
    pub(crate) fn count_dropped(&self) -> u64 {
        self.too_long + self.beyond_canvas
    }

    /// Mean number of non-padding positions per row; 0 if there are no rows.
    #[must_use]
    pub(crate) fn tokens_per_row(&self) -> f64 {
        if self.rows == 0 { 0.0 } else { self.tokens as f64 / self.rows as f64 }
    }
}

/// How the training rows of a dataset are divided into shards ([`super::shards`]).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ShardsSummary {
    /// Shards of the dataset.
    pub count: u64,
    /// Shards in a group, whose rows are shuffled together.
    pub per_group: u64,
    /// Whether a pass visits the shards in the order of their documents, because the dataset has a cap.
    pub in_order: bool,
    /// Rows of the first shards, which say what those of the dataset are like.
    pub opening_rows: u64,
    /// Their positions that are not padding.
    pub opening_tokens: u64,
    /// Documents of later shards that would be held out, and are only left out.
    pub held_out_later: u64,
    /// Rows of each shard; `None` for a window, whose rows are made while training reads them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<Vec<u64>>,
}

impl ShardsSummary {
    /// Whether the rows are made while training reads them.
    #[must_use]
    pub(crate) fn is_window(&self) -> bool {
        self.rows.is_none()
    }

    /// Mean number of non-padding positions per row of the first shards; 0 if they have no rows.
    #[must_use]
    pub(crate) fn tokens_per_row(&self) -> f64 {
        if self.opening_rows == 0 { 0.0 } else { self.opening_tokens as f64 / self.opening_rows as f64 }
    }

    /// Whether the numbers fit each other, and `train` rows.
    fn is_possible(&self, train: u64) -> bool {
        let sum = |rows: &Vec<u64>| rows.iter().try_fold(0_u64, |sum, rows| sum.checked_add(*rows));
        let fits = |rows: &Vec<u64>| rows.len() as u64 == self.count && sum(rows) == Some(train);
        (1..=self.count).contains(&self.per_group) && self.rows.as_ref().is_none_or(fits)
    }
}

/// Content of `rows.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RowsSummary {
    /// Format version; always [`FORMAT`].
    pub format: u32,
    /// Tokens in a row.
    pub length: usize,
    /// Size of the vocabulary; every id is below it.
    pub vocabulary: u32,
    /// Bytes per id in a record.
    pub bytes_per_id: usize,
    /// How rows were filled.
    pub packing: Packing,
    /// Tokens of an answer including its padding, if answers have a canvas.
    pub canvas: Option<usize>,
    /// Tokens of the blocks to whose end answers are filled, if they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer_block: Option<usize>,
    /// What becomes of names of special tokens, if the rows say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub specials: Option<SpecialNames>,
    /// Whether documents end with an end-of-document token.
    pub end_of_document: bool,
    /// Digest of `tokenizer.json`.
    pub tokenizer: String,
    /// Whether the documents are conversations.
    pub chats: bool,
    /// Digest of the chat template; `None` for ChatML.
    pub chat_template: Option<String>,
    /// Id of the padding token.
    pub pad: u32,
    /// Id that ends a document, if the tokenizer has one.
    pub end_of_document_id: Option<u32>,
    /// Id that ends a turn, if the tokenizer has one.
    pub end_of_turn_id: Option<u32>,
    /// How the training rows are divided.
    pub shards: ShardsSummary,
    /// Counts of the training rows; of a window, of those of the first shards.
    pub train: SplitSummary,
    /// Counts of the held-out rows.
    pub held_out: SplitSummary,
}

impl RowsSummary {
    /// Counts of a split.
    #[must_use]
    pub(crate) fn split(&self, split: Split) -> &SplitSummary {
        match split {
            Split::Train => &self.train,
            Split::HeldOut => &self.held_out,
        }
    }

    /// Share of non-padding positions in a split, 0 to 1.
    #[must_use]
    pub(crate) fn efficiency(&self, split: Split) -> f64 {
        self.split(split).tokens_per_row() / self.length as f64
    }

    /// Bytes of a record.
    #[must_use]
    pub(crate) fn record_bytes(&self) -> usize {
        self.length * self.bytes_per_id + self.length.div_ceil(2)
    }
}

/// The smallest whole number of bytes that holds every id below `vocabulary`.
#[must_use]
pub(crate) fn compute_bytes_per_id(vocabulary: u32) -> usize {
    let bits = u32::BITS - vocabulary.saturating_sub(1).leading_zeros();
    bits.div_ceil(8).max(1) as usize
}

/// Why rows cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RowsError {
    /// The operating system reported an error.
    #[error("`{}` cannot be read: {cause}", show_path(file))]
    Io {
        /// The file.
        file: PathBuf,
        /// The error of the operating system.
        #[source]
        cause: std::io::Error,
    },
    /// A file of the store cannot be read, or is not what was written.
    #[error("{0}")]
    Store(#[source] fmflow_engine::error::Error),
    /// The files contradict each other or the format.
    #[error("`{}` is damaged: {problem}; make the rows again", show_path(file))]
    Damaged {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The requested row does not exist.
    #[error("there is no row {index}: the {split:?} split has {rows}")]
    NoRow {
        /// The requested row.
        index: u64,
        /// The split that was asked.
        split: Split,
        /// Rows in the split.
        rows: u64,
    },
}

/// Adds the record of a row to `bytes`.
pub(crate) fn write_record(row: &Row, bytes_per_id: usize, bytes: &mut Vec<u8>) {
    bytes.reserve(row.tokens.len() * (bytes_per_id + 1));
    for id in &row.tokens {
        bytes.extend_from_slice(&id.to_le_bytes()[..bytes_per_id]);
    }
    let mut before = None;
    let mut layout = row.roles.iter().zip(&row.segments).map(|(role, segment)| {
        let starts = before.replace(segment) != Some(segment);
        *role as u8 | if starts { STARTS } else { 0 }
    });
    while let Some(low) = layout.next() {
        bytes.push(low | layout.next().unwrap_or(0) << 4);
    }
}

#[cfg(test)]
pub(super) mod tests;
