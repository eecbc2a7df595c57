//! Rows on disk: one file of records of equal size, so that any row takes one read.
//!
//! `rows.bin` holds the training rows, then the held-out ones. A record is `length` ids, little endian, each in the
//! smallest whole number of bytes, then `length` half bytes of layout (low half first): bits 0-1 are the
//! [`PositionRole`], bit 2 says that a segment starts here. `rows.json` describes the file ([`RowsSummary`]); `held-out.jsonl`
//! has the held-out conversations, one [`super::corpus::Chat`] per line; `tokenizer.json` is the tokenizer that made the ids.

use super::packing::{PADDING, Packing, PositionRole, Row};
use fmflow_engine::pipeline::config::SpecialNames;
use fmflow_engine::text::escape::show_path;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Version of the format; a reader refuses any other.
pub(crate) const FORMAT: u32 = 1;

/// Name of the file with the records.
pub(crate) const RECORDS: &str = "rows.bin";
/// Name of the description.
pub(crate) const SUMMARY: &str = "rows.json";
/// Name of the file with the held-out conversations; absent in datasets of text.
pub(crate) const HELD_OUT: &str = "held-out.jsonl";

const STARTS: u8 = 0b100;

/// Receives the files of an artifact. Only one file is open at a time.
pub(crate) trait FileSink {
    /// Starts the file `name`. The caller flushes the writer before dropping it.
    ///
    /// # Errors
    /// Any error of the storage.
    fn file(&mut self, name: &str) -> std::io::Result<Box<dyn Write + '_>>;
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
    /// Counts of the training rows.
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

    fn record_bytes(&self) -> usize {
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

/// Encodes a row as its record.
#[must_use]
pub(crate) fn to_record(row: &Row, bytes_per_id: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = Vec::with_capacity(row.tokens.len() * (bytes_per_id + 1));
    for id in &row.tokens {
        bytes.extend(&id.to_le_bytes()[..bytes_per_id]);
    }
    let starts = |at: usize| at == 0 || row.segments[at] != row.segments[at - 1];
    let layout = |at: usize| row.roles[at] as u8 | if starts(at) { STARTS } else { 0 };
    let half = |at: usize| if at < row.roles.len() { layout(at) } else { 0 };
    bytes.extend((0..row.roles.len()).step_by(2).map(|at| half(at) | half(at + 1) << 4));
    bytes
}

/// Decodes a record into a row of `length` tokens; the error describes what is wrong with it.
fn from_record(bytes: &[u8], length: usize, width: usize, vocabulary: u32) -> Result<Row, String> {
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
        next += u16::from(half & STARTS != 0 && role != PositionRole::Padding);
        row.roles.push(role);
        row.segments.push(if role == PositionRole::Padding { PADDING } else { next.saturating_sub(1) });
    }
    Ok(row)
}

/// The rows of a dataset, open for reading in any order and from any thread.
#[derive(Debug)]
pub(crate) struct Rows {
    summary: RowsSummary,
    file: PathBuf,
    records: Mutex<File>,
}

impl Rows {
    /// Opens the rows in `folder`.
    ///
    /// # Errors
    /// If files are absent, have another format version, or their sizes disagree.
    pub(crate) fn open(folder: &Path) -> Result<Self, RowsError> {
        let described = folder.join(SUMMARY);
        let io = |file: &Path| {
            let file = file.to_owned();
            move |cause| RowsError::Io { file, cause }
        };
        let damaged = |file: &Path, problem| RowsError::Damaged { file: file.to_owned(), problem };
        let text = std::fs::read(&described).map_err(io(&described))?;
        let summary: RowsSummary =
            serde_json::from_slice(&text).map_err(|cause| damaged(&described, cause.to_string()))?;
        if summary.format != FORMAT {
            return Err(damaged(&described, format!("format {} instead of {FORMAT}", summary.format)));
        }
        if summary.length == 0 || summary.bytes_per_id != compute_bytes_per_id(summary.vocabulary) {
            return Err(damaged(&described, "length or bytes per id are impossible".into()));
        }
        let file = folder.join(RECORDS);
        let records = File::open(&file).map_err(io(&file))?;
        let found = records.metadata().map_err(io(&file))?.len();
        let rows = u128::from(summary.train.rows) + u128::from(summary.held_out.rows);
        let expected = rows * summary.record_bytes() as u128;
        if u128::from(found) != expected {
            return Err(damaged(&file, format!("{found} bytes instead of {expected}")));
        }
        Ok(Self { summary, file, records: Mutex::new(records) })
    }

    /// The content of `rows.json`.
    #[must_use]
    pub(crate) fn summary(&self) -> &RowsSummary {
        &self.summary
    }

    /// Rows in a split.
    #[must_use]
    pub(crate) fn len(&self, split: Split) -> u64 {
        self.summary.split(split).rows
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
        let at = if split == Split::Train { index } else { self.summary.train.rows + index };
        let bytes = self.read(at).map_err(|cause| RowsError::Io { file: self.file.clone(), cause })?;
        let RowsSummary { length, bytes_per_id, vocabulary, .. } = self.summary;
        from_record(&bytes, length, bytes_per_id, vocabulary).map_err(|problem| RowsError::Damaged {
            file: self.file.clone(),
            problem: format!("record {at}: {problem}"),
        })
    }

    fn read(&self, at: u64) -> std::io::Result<Vec<u8>> {
        let mut bytes = vec![0; self.summary.record_bytes()];
        // A poisoned lock is harmless: a panic leaves only a file position behind, and the seek sets it again.
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        records.seek(SeekFrom::Start(at * bytes.len() as u64))?;
        records.read_exact(&mut bytes)?;
        Ok(bytes)
    }
}

#[cfg(test)]
pub(super) mod tests;
