//! Where a record is in its file.

use std::path::Path;

use crate::text::file_head::count_line_ends;

/// Where a record is in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RecordPlace {
    /// The number of a line, from 1.
    Line(u64),
    /// A line of a part of a file that was read alone, so that the lines before it were not counted.
    LineBehind {
        /// The byte at which the first line of the part begins.
        byte: u64,
        /// The number of the line, from 1 at that byte.
        line: u64,
    },
    /// An element of a JSON array, numbered from 1, and the line on which it begins.
    Element {
        /// Its number.
        number: u64,
        /// The number of its first line, from 1.
        line: u64,
    },
    /// A row of a row group of Parquet; both are counted from 0, as libraries for tables do.
    Row {
        /// The row group.
        group: u64,
        /// The row within it.
        row: u64,
    },
    /// A row of a record batch of Arrow; both are counted from 0.
    BatchRow {
        /// The record batch.
        batch: u64,
        /// The row within it.
        row: u64,
    },
}

impl RecordPlace {
    /// The place with the number of its line in the file at `path`, whose lines before the part are counted for that: the file is read as
    /// far as there. If it cannot be, the place stays as it is.
    #[must_use]
    pub fn counted_in(self, path: &Path) -> Self {
        match self {
            Self::LineBehind { byte, line } => match count_line_ends(path, byte) {
                Ok(before) => Self::Line(before + line),
                Err(_) => self,
            },
            other => other,
        }
    }

    /// The place in the file that is shown as `file`, as `d.jsonl:12`.
    #[must_use]
    pub fn in_file(self, file: &str) -> String {
        match self {
            Self::Line(line) => format!("{file}:{line}"),
            Self::LineBehind { .. } => format!("{file} ({})", self.briefly()),
            Self::Element { number, line } => format!("{file}:{line} (element {number})"),
            Self::Row { .. } | Self::BatchRow { .. } => format!("{file} ({})", self.briefly()),
        }
    }

    /// The place without the file.
    #[must_use]
    pub fn briefly(self) -> String {
        match self {
            Self::Line(line) => line.to_string(),
            Self::LineBehind { byte, line } => format!("line {line} behind byte {byte}"),
            Self::Element { number, .. } => format!("element {number}"),
            Self::Row { group, row } => format!("row group {group}, row {row}"),
            Self::BatchRow { batch, row } => format!("batch {batch}, row {row}"),
        }
    }

    /// What a record is called there.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Line(_) | Self::LineBehind { .. } => "line",
            Self::Element { .. } => "element",
            Self::Row { .. } | Self::BatchRow { .. } => "row",
        }
    }
}
