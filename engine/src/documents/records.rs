//! Reads the records of one data file, whatever its format, and makes documents of them. `check` reads the beginning of a file with
//! it, and the stages read all of it.

use std::io::{BufRead as _, BufReader, Read as _, Seek as _};
use std::ops::Range;

use serde_json::{Map, Value};

use super::array::ArrayElements;
use super::columns::{ColumnFault, RowSource, open_row_groups, open_rows};
use super::fault::RecordFault;
use super::line::{LineFault, decode_line};
use super::lines::{DataBytes, DataLines, LinesRead};
use super::parser::{DocumentParser, ParsedDocument, ParsedRecord};
use super::place::RecordPlace;
use crate::pipeline::config::FileLayout;
use crate::text::unpack::{DataFile, UnpackedFile};

impl From<ColumnFault> for RecordFault {
    fn from(fault: ColumnFault) -> Self {
        match fault {
            ColumnFault::Storage(cause) => Self::Unreadable(cause),
            ColumnFault::Unfit(fault) => Self::Unfit(fault),
            ColumnFault::Damaged(place, fault) => Self::Record { place, fault, last: true },
        }
    }
}

/// The records of one file.
#[derive(Debug)]
pub struct RecordReader {
    source: RecordSource,
    found: bool,
}

#[derive(Debug)]
enum RecordSource {
    Lines(DataLines),
    Array(ArrayElements<DataBytes>),
    Rows(Box<dyn RowSource>),
    /// A part of a file that has no records of its own.
    Nothing,
}

impl RecordReader {
    /// Begins to read `file`, which is called `name`, in the layout of the parser's dataset. Of lines and arrays at most `bytes` bytes
    /// are read.
    ///
    /// # Errors
    /// If the file cannot be read, is compressed in another way than its name says, or is a table that cannot be read or lacks the
    /// columns that the dataset names.
    pub fn open(
        file: DataFile,
        name: &str,
        parser: &DocumentParser,
        bytes: u64,
    ) -> Result<Self, RecordFault> {
        let unpacked = |file| -> Result<DataBytes, RecordFault> {
            let opened = UnpackedFile::new(file, name).map_err(RecordFault::Unreadable)?;
            Ok(BufReader::new(opened.take(bytes)))
        };
        let source = match parser.layout() {
            FileLayout::Text(_) | FileLayout::Jsonl => RecordSource::Lines(DataLines::new(unpacked(file)?)),
            FileLayout::Json => RecordSource::Array(ArrayElements::new(unpacked(file)?)),
            FileLayout::Parquet | FileLayout::Arrow => RecordSource::Rows(open_rows(file, parser)?),
        };
        Ok(Self { source, found: false })
    }

    /// Begins to read the records that begin in a range of the bytes of `file`: lines, or row groups. A compressed file has all of them
    /// in the part that begins with byte 0. `read` is how far the lines were read before.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_part(
        mut file: DataFile,
        name: &str,
        parser: &DocumentParser,
        bytes: Range<u64>,
        read: Option<LinesRead>,
    ) -> Result<Self, RecordFault> {
        let source = match parser.layout() {
            FileLayout::Text(_) | FileLayout::Jsonl => {
                let packed = file.try_clone().and_then(|file| Ok(UnpackedFile::new(file, name)?.is_packed()));
                match (packed.map_err(RecordFault::Unreadable)?, bytes.start) {
                    (false, _) => RecordSource::Lines(DataLines::of_part(file, bytes, read)?),
                    (true, 0) => {
                        file.rewind().map_err(RecordFault::Unreadable)?;
                        return Self::open(file, name, parser, u64::MAX);
                    }
                    (true, _) => RecordSource::Nothing,
                }
            }
            FileLayout::Parquet => RecordSource::Rows(open_row_groups(file, parser, bytes)?),
            FileLayout::Json | FileLayout::Arrow => {
                unreachable!("only files of lines and of row groups are divided")
            }
        };
        Ok(Self { source, found: false })
    }

    /// How far the lines of the file were read, if it has lines and they were counted from the first one on.
    #[must_use]
    pub fn lines_read(&self) -> Option<LinesRead> {
        match &self.source {
            RecordSource::Lines(lines) => lines.lines_read(),
            _ => None,
        }
    }

    /// The next record; `None` at the end of the file.
    ///
    /// # Errors
    /// If the next record is at fault. Unless it was the last, the next call reads the record after it.
    pub fn next_record(&mut self, parser: &DocumentParser) -> Result<Option<ParsedRecord>, RecordFault> {
        let begins = !matches!(&self.source, RecordSource::Lines(lines) if !lines.are_first());
        let (first, layout) = (begins && !self.has_found(), parser.layout());
        let found = match (&mut self.source, layout) {
            (RecordSource::Lines(lines), FileLayout::Text(documents)) => lines
                .next_text(documents)?
                .map(|text| Ok(ParsedRecord::Document(Box::new(ParsedDocument::of_text(text))))),
            (RecordSource::Lines(lines), _) => read_object(lines, parser, first)?,
            (RecordSource::Array(elements), _) => elements.next_element()?.map(|bytes| {
                // Any number but that of the first line: it has no byte order mark.
                decode_line(bytes, 0).and_then(|text| parser.parse(&text, false))
            }),
            (RecordSource::Rows(rows), _) => rows.next_row()?.map(|fields| parser.parse_fields(fields)),
            (RecordSource::Nothing, _) => return Ok(None),
        };
        self.found |= found.is_some();
        let place = self.place();
        // All lines of a file that is one array would be faults.
        let last = |fault: &LineFault| first && fault.is_one_array();
        found.transpose().map_err(|fault| RecordFault::Record {
            place,
            last: last(&fault),
            fault: fault.of_a(place.word()),
        })
    }

    /// Where the last record is.
    #[must_use]
    pub fn place(&self) -> RecordPlace {
        match &self.source {
            RecordSource::Lines(lines) => lines.place(),
            RecordSource::Array(elements) => elements.place(),
            RecordSource::Rows(rows) => rows.place(),
            RecordSource::Nothing => RecordPlace::Line(0),
        }
    }

    /// Whether the file has any record, be it at fault.
    #[must_use]
    pub fn has_found(&self) -> bool {
        self.found || matches!(&self.source, RecordSource::Lines(lines) if lines.faulty)
    }

    /// Whether a look at the beginning ended at its limit.
    #[must_use]
    pub(crate) fn is_cut(&self) -> bool {
        match &self.source {
            RecordSource::Lines(lines) => lines.reader().get_ref().limit() == 0,
            RecordSource::Array(elements) => elements.reader().get_ref().limit() == 0,
            RecordSource::Rows(_) | RecordSource::Nothing => false,
        }
    }
}

/// The object that a file of one JSON array begins with, if it does and is found in the first `bytes` bytes.
#[must_use]
pub(crate) fn read_first_object(file: DataFile, name: &str, bytes: u64) -> Option<Map<String, Value>> {
    let unpacked = UnpackedFile::new(file, name).ok()?;
    let element = ArrayElements::new(BufReader::new(unpacked.take(bytes))).next_element().ok()??;
    serde_json::from_slice(&element).ok()
}

/// Whether an object behind the first one fits, of one JSON array or of lines, as far as the first `bytes` bytes hold whole ones.
#[must_use]
pub(crate) fn has_later_object(
    file: DataFile,
    (name, is_array): (&str, bool),
    bytes: u64,
    fits: impl Fn(&Map<String, Value>) -> bool,
) -> bool {
    let Ok(unpacked) = UnpackedFile::new(file, name) else { return false };
    let reader = BufReader::new(unpacked.take(bytes));
    let fits = |object: &[u8]| serde_json::from_slice(object).is_ok_and(|object| fits(&object));
    if is_array {
        let mut elements = ArrayElements::new(reader);
        return std::iter::from_fn(|| elements.next_element().ok().flatten())
            .skip(1)
            .any(|element| fits(&element));
    }
    let lines = reader.split(b'\n').map_while(Result::ok);
    lines.filter(|line| !line.trim_ascii().is_empty()).skip(1).any(|line| fits(&line))
}

/// The document of the next line that is not blank.
fn read_object(
    lines: &mut DataLines,
    parser: &DocumentParser,
    first: bool,
) -> Result<Option<Result<ParsedRecord, LineFault>>, RecordFault> {
    while let Some(line) = lines.next_line()? {
        if !line.trim().is_empty() {
            return Ok(Some(parser.parse(&line, first)));
        }
    }
    Ok(None)
}
