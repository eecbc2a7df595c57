//! Tables: files of Parquet and of Arrow, read row by row. Only the columns that a dataset needs are read.
//!
//! A stranger's table may be damaged or hostile: sizes are checked before memory is asked for, and what the libraries panic about
//! is an error of the file.

#[cfg(feature = "columns")]
mod arrow_file;
#[cfg(feature = "columns")]
mod parquet_file;
#[cfg(feature = "columns")]
mod tables;
#[cfg(feature = "columns")]
mod values;

use std::fmt::Debug;
use std::io::{Error, Read as _, Seek as _};
use std::ops::Range;

use serde_json::{Map, Value};

use super::line::LineFault;
use super::parser::DocumentParser;
use super::place::RecordPlace;
use crate::pipeline::config::FileLayout;
use crate::text::unpack::DataFile;

/// Why a table cannot be read.
#[cfg_attr(not(feature = "columns"), expect(dead_code, reason = "only tables are read by columns"))]
#[derive(Debug)]
pub(super) enum ColumnFault {
    /// The storage reported an error.
    Storage(Error),
    /// The file is no such table, or lacks a column.
    Unfit(LineFault),
    /// The table is damaged behind a row.
    Damaged(RecordPlace, LineFault),
}

/// The rows of a table.
pub(super) trait RowSource: Debug {
    /// The fields of the next row; `None` at the end of the table.
    fn next_row(&mut self) -> Result<Option<Map<String, Value>>, ColumnFault>;

    /// Where the last row is.
    fn place(&self) -> RecordPlace;
}

/// What a column holds, as far as a dataset can use it.
#[cfg_attr(not(feature = "columns"), expect(dead_code, reason = "only tables are read by columns"))]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ColumnKind {
    /// Text.
    Text,
    /// Only nulls.
    Null,
    /// A number.
    Number,
    /// True or false.
    Boolean,
    /// A list.
    List,
    /// Something else, and what.
    Other(String),
}

/// A column of a table; one inside another has a path such as `message.content`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TableColumn {
    /// Its path.
    pub path: String,
    /// What it holds.
    pub kind: ColumnKind,
}

impl TableColumn {
    /// What the column holds instead of text, or of lists of turns; `None` if it fits. Nulls are told row by row.
    #[must_use]
    pub(crate) fn describe_misfit(&self, turns: bool) -> Option<String> {
        let wanted = if turns { "lists of turns" } else { "text" };
        let found = match (&self.kind, turns) {
            (ColumnKind::Text, false) | (ColumnKind::List, true) | (ColumnKind::Null, _) => return None,
            (ColumnKind::Text, true) => "text",
            (ColumnKind::List, false) => "lists",
            (ColumnKind::Number, _) => "numbers",
            (ColumnKind::Boolean, _) => "true or false",
            (ColumnKind::Other(what), _) => what,
        };
        Some(format!("{found}, not {wanted}"))
    }
}

/// The columns of a table, from its schema alone.
///
/// # Errors
/// If the file is no such table, or if this program was built without them.
pub(crate) fn list_columns(file: DataFile, layout: FileLayout) -> Result<Vec<TableColumn>, LineFault> {
    let read = match layout {
        #[cfg(feature = "columns")]
        FileLayout::Parquet => parquet_file::list_parquet_columns(file),
        #[cfg(feature = "columns")]
        FileLayout::Arrow => arrow_file::list_arrow_columns(file),
        _ => refuse_tables(file),
    };
    read.map_err(|fault| match fault {
        ColumnFault::Storage(cause) => LineFault::new(format!("it cannot be read: {cause}"), DAMAGED),
        ColumnFault::Unfit(fault) | ColumnFault::Damaged(_, fault) => fault,
    })
}

/// Begins to read the rows of a table.
pub(super) fn open_rows(file: DataFile, parser: &DocumentParser) -> Result<Box<dyn RowSource>, ColumnFault> {
    match parser.layout() {
        #[cfg(feature = "columns")]
        FileLayout::Parquet => Ok(Box::new(parquet_file::ParquetRows::open(file, parser)?)),
        #[cfg(feature = "columns")]
        FileLayout::Arrow => Ok(Box::new(arrow_file::ArrowRows::open(file, parser)?)),
        _ => refuse_tables(file),
    }
}

/// The same for the row groups of a Parquet file that begin in a range of its bytes.
pub(super) fn open_row_groups(
    file: DataFile,
    parser: &DocumentParser,
    bytes: Range<u64>,
) -> Result<Box<dyn RowSource>, ColumnFault> {
    #[cfg(feature = "columns")]
    return Ok(Box::new(parquet_file::ParquetRows::open(file, parser)?.within(bytes)));
    #[cfg(not(feature = "columns"))]
    {
        let _ = bytes;
        open_rows(file, parser)
    }
}

/// Begins to read all columns of a file, if it is a Parquet file; otherwise gives the file back, at its beginning.
pub(super) fn open_if_table(mut file: DataFile) -> Result<Result<Box<dyn RowSource>, DataFile>, ColumnFault> {
    // What is no regular file, such as a pipe, cannot be read twice, and a table is read from its end.
    if !file.metadata().map_err(ColumnFault::Storage)?.is_file() {
        return Ok(Err(file));
    }
    let mut head = Vec::new();
    let read = file.by_ref().take(TABLE_MAGIC.len() as u64).read_to_end(&mut head);
    read.and_then(|_| file.rewind()).map_err(ColumnFault::Storage)?;
    if head != TABLE_MAGIC {
        return Ok(Err(file));
    }
    #[cfg(feature = "columns")]
    return Ok(Ok(Box::new(parquet_file::ParquetRows::open_all(file)?)));
    #[cfg(not(feature = "columns"))]
    refuse_tables(file)
}

/// What a Parquet file begins with.
const TABLE_MAGIC: &[u8] = b"PAR1";

const DAMAGED: &str = "fetch or write the file again";

/// The error of a build that has no tables.
fn refuse_tables<T>(_file: DataFile) -> Result<T, ColumnFault> {
    let problem = "this build of fmflow reads no Parquet and no Arrow";
    let fix = "build it with the feature `columns`, which is on by default";
    Err(ColumnFault::Unfit(LineFault::new(problem, fix)))
}
