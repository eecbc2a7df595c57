//! A file of one JSON object per line, as it is: of benchmarks and of samples, which are no documents.

use std::io::{BufReader, Read as _};

use serde_json::{Map, Value};

use super::fault::RecordFault;
use super::json::parse_record;
use super::lines::DataLines;
use super::place::RecordPlace;
use crate::text::unpack::{DataFile, UnpackedFile};

/// An object, and where it is.
pub type PlacedObject = (RecordPlace, Map<String, Value>);

/// The objects of a file, which may be compressed.
#[derive(Debug)]
pub struct ObjectReader {
    lines: DataLines,
    found: bool,
}

impl ObjectReader {
    /// Begins to read `file`, which is called `name`.
    ///
    /// # Errors
    /// If it cannot be read, or is compressed in another way than its name says.
    pub fn open(file: DataFile, name: &str) -> Result<Self, RecordFault> {
        let unpacked = UnpackedFile::new(file, name).map_err(RecordFault::Unreadable)?;
        Ok(Self { lines: DataLines::new(BufReader::new(unpacked.take(u64::MAX))), found: false })
    }

    /// The next object with its place; `None` at the end of the file. Blank lines are skipped.
    ///
    /// # Errors
    /// If the next line is at fault.
    pub fn next_object(&mut self) -> Result<Option<PlacedObject>, RecordFault> {
        while let Some(line) = self.lines.next_line()? {
            if line.trim().is_empty() {
                continue;
            }
            let first = !std::mem::replace(&mut self.found, true);
            let record = parse_record(&line, first).map_err(|fault| self.lines.fault(fault, true))?;
            return Ok(Some((self.lines.place(), record.fields)));
        }
        Ok(None)
    }
}
