//! A file of objects as they are, of benchmarks and of samples, which are no documents: one JSON object per line, or a Parquet table.

use std::io::{BufReader, Read as _};

use serde_json::{Map, Value};

use super::columns::{RowSource, open_if_table};
use super::fault::RecordFault;
use super::json::parse_record;
use super::lines::DataLines;
use super::place::RecordPlace;
use crate::text::unpack::{DataFile, UnpackedFile};

/// An object, and where it is.
#[derive(Clone, Debug)]
pub struct PlacedObject {
    /// Where it is.
    pub place: RecordPlace,
    /// Its fields.
    pub fields: Map<String, Value>,
    /// The line that it was parsed from; a row of a table has none.
    pub line: Option<String>,
}

/// The objects of a file, which may be compressed.
#[derive(Debug)]
pub struct ObjectReader {
    source: ObjectSource,
    found: bool,
}

#[derive(Debug)]
enum ObjectSource {
    Lines(DataLines),
    Rows(Box<dyn RowSource>),
}

impl ObjectReader {
    /// Begins to read `file`, which is called `name`. What it begins with says whether it is a table.
    ///
    /// # Errors
    /// If it cannot be read, is compressed in another way than its name says, or is a damaged table.
    pub fn open(file: DataFile, name: &str) -> Result<Self, RecordFault> {
        let source = match open_if_table(file)? {
            Ok(rows) => ObjectSource::Rows(rows),
            Err(file) => {
                let unpacked = UnpackedFile::new(file, name).map_err(RecordFault::Unreadable)?;
                ObjectSource::Lines(DataLines::new(BufReader::new(unpacked.take(u64::MAX))))
            }
        };
        Ok(Self { source, found: false })
    }

    /// The next object with its place; `None` at the end of the file. Blank lines are skipped.
    ///
    /// # Errors
    /// If the next line is at fault, or the table is damaged.
    pub fn next_object(&mut self) -> Result<Option<PlacedObject>, RecordFault> {
        let first = !std::mem::replace(&mut self.found, true);
        match &mut self.source {
            ObjectSource::Lines(lines) => next_line_object(lines, first),
            ObjectSource::Rows(rows) => {
                let row = rows.next_row()?;
                Ok(row.map(|fields| PlacedObject { place: rows.place(), fields, line: None }))
            }
        }
    }
}

fn next_line_object(lines: &mut DataLines, first: bool) -> Result<Option<PlacedObject>, RecordFault> {
    while let Some(line) = lines.next_line()? {
        if line.trim().is_empty() {
            continue;
        }
        let fields = parse_record(&line, first).map_err(|fault| lines.fault(fault, true))?.fields;
        return Ok(Some(PlacedObject { place: lines.place(), fields, line: Some(line) }));
    }
    Ok(None)
}
