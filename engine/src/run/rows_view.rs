//! Rows and what is in them, for people to look at: what the command line asks of the stages, and what it gets.

use serde::Serialize;

use crate::store::WindowShards;

/// Which rows are looked at.
#[derive(Clone, Debug, PartialEq)]
pub struct RowsRequest {
    /// Whether they are held-out rows.
    pub held_out: bool,
    /// The first row, counted from 0.
    pub first: u64,
    /// How many at most.
    pub count: u64,
    /// The time t at which they are corrupted; `None` shows them as they are.
    pub at: Option<f64>,
    /// The seed of the corruption.
    pub seed: u64,
    /// What the window of the rows has, if they have one.
    pub window: WindowShards,
}

/// Some rows of a part of a dataset.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct RowsView {
    /// Rows of the part.
    pub total: u64,
    /// Tokens in a row.
    pub length: usize,
    /// Of which shards these are all rows, if they have a window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<WindowView>,
    /// The rows.
    pub rows: Vec<ViewedRow>,
}

/// The shards of a window whose rows can be seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct WindowView {
    /// Shards of the dataset.
    pub shards: u64,
    /// How many were made so far.
    pub made: u64,
    /// The numbers of those that are there.
    pub there: Vec<u64>,
}

/// A row as text.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ViewedRow {
    /// Its number, from 0; in a window, through the shards that are there.
    pub row: u64,
    /// Its shard, and its number in that, in a window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shard: Option<[u64; 2]>,
    /// Its runs of positions with one document and one role, in order.
    pub pieces: Vec<RowPiece>,
}

/// What a position is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PieceRole {
    /// Seen, never corrupted, not learned.
    Given,
    /// Corrupted and learned.
    Learned,
    /// Fills the row.
    Padding,
}

/// Positions in a row that have one document and one role.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct RowPiece {
    /// The document in the row, from 1; `None` for padding.
    pub document: Option<u32>,
    /// What the positions are for.
    pub role: PieceRole,
    /// Number of positions.
    pub tokens: usize,
    /// Their text, in parts that are corrupted or not.
    pub parts: Vec<PiecePart>,
}

/// A part of a piece.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct PiecePart {
    /// The text of its tokens, special tokens by name.
    pub text: String,
    /// Number of positions.
    pub tokens: usize,
    /// Whether noise takes their place at the time that was asked for.
    pub corrupted: bool,
}

/// What is in the rows of a dataset.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct RowsStatistics {
    /// Tokens in a row.
    pub length: usize,
    /// How rows are filled, as the language says it.
    pub packing: &'static str,
    /// What is counted: "answers" or "documents".
    pub unit: &'static str,
    /// Whether the rows for training are made while training reads them: then only those of the first shards are counted.
    pub window: bool,
    /// The rows for training.
    pub train: PartStatistics,
    /// The held-out rows.
    pub held_out: PartStatistics,
    /// Rows that were read for the lengths and special tokens.
    pub rows_read: u64,
    /// Lengths of documents in the rows that were read; a document that is cut counts by its parts.
    pub lengths: Vec<LengthCount>,
    /// Special tokens that occur in the rows that were read, most frequent first.
    pub special_tokens: Vec<(String, u64)>,
}

/// Counts of a part of a dataset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct PartStatistics {
    /// Documents, with those that are left out.
    pub documents: u64,
    /// Rows.
    pub rows: u64,
    /// Positions that are not padding.
    pub tokens: u64,
    /// Positions that are learned.
    pub learned: u64,
    /// Share of positions that are not padding, 0 to 1.
    pub efficiency: f64,
    /// Documents that are longer than a row, which are left out.
    pub too_long: u64,
    /// Answers that are longer than the canvas, which are left out.
    pub beyond_canvas: u64,
}

/// How many documents have a length in a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct LengthCount {
    /// The shortest, in tokens.
    pub from: usize,
    /// The longest.
    pub to: usize,
    /// Documents.
    pub documents: u64,
}
