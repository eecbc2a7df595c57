//! What both kinds of tables share: which columns are needed, and calls of the libraries.

use std::io::{Error, ErrorKind};

use arrow_schema::{DataType, Field, Fields};

use super::{ColumnFault, ColumnKind, DAMAGED, TableColumn};
use crate::documents::line::LineFault;
use crate::documents::parser::DocumentParser;
use crate::error::catch_library_panic;
use crate::text::suggest;

/// Deepest nesting of columns that is listed, and most columns.
const MAX_DEPTH: usize = 16;
const MAX_COLUMNS: usize = 10_000;

/// Calls a library that may panic on a stranger's file.
///
/// # Errors
/// What the library reports, or what its panic says.
pub(super) fn call_library<T, E: std::fmt::Display>(
    call: impl FnOnce() -> Result<T, E>,
) -> Result<T, String> {
    match catch_library_panic(call) {
        Ok(result) => result.map_err(|cause| cause.to_string()),
        Err(panic) => Err(panic),
    }
}

/// A file that is not the table that it should be.
pub(super) fn unfit(problem: impl Into<String>, fix: &'static str) -> ColumnFault {
    ColumnFault::Unfit(LineFault::new(problem, fix))
}

/// An error while the beginning of a file is read: a file that ends too early is damaged.
pub(super) fn to_column_fault(cause: Error) -> ColumnFault {
    match cause.kind() {
        ErrorKind::UnexpectedEof => unfit("it is cut off", DAMAGED),
        _ => ColumnFault::Storage(cause),
    }
}

/// All columns, those inside others too.
pub(super) fn list_fields(fields: &Fields) -> Vec<TableColumn> {
    let mut found = Vec::new();
    fields.iter().for_each(|field| add_field(field, "", 0, &mut found));
    found
}

fn add_field(field: &Field, before: &str, depth: usize, found: &mut Vec<TableColumn>) {
    if depth > MAX_DEPTH || found.len() >= MAX_COLUMNS {
        return;
    }
    let path = if before.is_empty() { field.name().clone() } else { format!("{before}.{}", field.name()) };
    found.push(TableColumn { path: path.clone(), kind: to_column_kind(field.data_type()) });
    if let DataType::Struct(inner) = field.data_type() {
        inner.iter().for_each(|field| add_field(field, &path, depth + 1, found));
    }
}

fn to_column_kind(kind: &DataType) -> ColumnKind {
    match kind {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => ColumnKind::Text,
        DataType::Dictionary(_, values) => to_column_kind(values),
        DataType::Null => ColumnKind::Null,
        DataType::Boolean => ColumnKind::Boolean,
        DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..) => ColumnKind::List,
        DataType::Struct(_) => ColumnKind::Other("a group of columns".to_owned()),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            ColumnKind::Other("bytes".to_owned())
        }
        kind if kind.is_numeric() && !is_decimal(kind) => ColumnKind::Number,
        kind => ColumnKind::Other(kind.to_string()),
    }
}

fn is_decimal(kind: &DataType) -> bool {
    matches!(
        kind,
        DataType::Decimal32(..)
            | DataType::Decimal64(..)
            | DataType::Decimal128(..)
            | DataType::Decimal256(..)
    )
}

/// Which columns of a table are read.
pub(super) struct NeededColumns {
    /// Paths; `None` for all columns.
    paths: Option<Vec<String>>,
}

impl NeededColumns {
    /// All columns.
    pub(super) fn all() -> Self {
        Self { paths: None }
    }

    /// The columns that `parser` needs of a table with these.
    ///
    /// # Errors
    /// If one that it cannot do without is absent or holds something else.
    pub(super) fn find(parser: &DocumentParser, columns: &[TableColumn]) -> Result<Self, ColumnFault> {
        for (name, list) in parser.list_required_fields() {
            check_column(name, list, columns).map_err(ColumnFault::Unfit)?;
        }
        for name in parser.list_compared_fields() {
            find_column(name, columns).map_err(ColumnFault::Unfit)?;
        }
        Ok(Self { paths: parser.list_needed_fields() })
    }

    /// Whether the leaf of a schema with this path is needed.
    pub(super) fn has(&self, path: &[String]) -> bool {
        let Some(paths) = &self.paths else { return true };
        paths.iter().any(|wanted| path.first() == Some(wanted) || is_inside(path, wanted))
    }

    /// Whether a top-level column is needed, or one inside it.
    pub(super) fn has_root(&self, name: &str) -> bool {
        let inside = |wanted: &String| wanted.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'));
        self.paths.as_ref().is_none_or(|paths| paths.iter().any(|wanted| wanted == name || inside(wanted)))
    }
}

/// Whether `path` is the column `wanted`, or inside it.
fn is_inside(path: &[String], wanted: &str) -> bool {
    let mut parts = path.iter();
    wanted.split('.').all(|word| parts.next().is_some_and(|part| part == word))
}

/// Checks the column `name`, which must hold text, or a list of turns.
fn check_column(name: &str, list: bool, columns: &[TableColumn]) -> Result<(), LineFault> {
    let column = find_column(name, columns)?;
    let Some(what) = column.describe_misfit(list) else { return Ok(()) };
    let problem = format!("its column `{name}` holds {what}");
    Err(LineFault::new(problem, "name another column in the dataset, or convert this one"))
}

fn find_column<'a>(name: &str, columns: &'a [TableColumn]) -> Result<&'a TableColumn, LineFault> {
    columns.iter().find(|column| column.path == name).ok_or_else(|| {
        let names = suggest::format_name_list(columns.iter().map(|column| column.path.as_str()));
        let problem = format!("it has no column `{name}`; its columns are {names}");
        LineFault::new(problem, "name another column in the dataset, or remove the file")
    })
}
