//! Opens one data file, and says where in it a fault is.

use fmflow_engine::documents::{DocumentParser, LinesRead, RecordFault, RecordPlace, RecordReader};
use fmflow_engine::text::escape::show_path;
use fmflow_engine::text::file_head::find_link_out;

use super::contents::{ContentStore, CorpusRecord, RecordsAhead};
use super::{CorpusError, CorpusPart};
use std::fs::File;
use std::path::{Path, PathBuf};

/// One data file.
#[derive(Debug)]
pub(super) struct OpenCorpusFile {
    pub(super) file: PathBuf,
    /// Whether the file ends with what is read of it.
    pub(super) is_last: bool,
    records: RecordReader,
    /// Of a file whose records only name their documents.
    ahead: RecordsAhead,
}

impl OpenCorpusFile {
    /// Opens a part of a file. `read` is how far the same file was read before.
    pub(super) fn open(
        part: CorpusPart,
        read: Option<LinesRead>,
        parser: &DocumentParser,
    ) -> Result<Self, CorpusError> {
        let (is_last, CorpusPart { file, bytes }) = (part.is_last(), part);
        let (name, opened) = (file.file_name().unwrap_or(file.as_os_str()), open_regular_file(&file)?);
        let records = match bytes {
            None => RecordReader::open(opened, &name.to_string_lossy(), parser, u64::MAX),
            Some(bytes) => RecordReader::open_part(opened, &name.to_string_lossy(), parser, bytes, read),
        };
        match records {
            Ok(records) => Ok(Self { file, is_last, records, ahead: RecordsAhead::default() }),
            Err(fault) => Err(place_fault(&file, fault)),
        }
    }

    /// How far the lines of the file were read, if they were counted from the first one on.
    pub(super) fn lines_read(&self) -> Option<LinesRead> {
        self.records.lines_read()
    }

    /// The next record; `None` at the end of the file.
    pub(super) fn next_record(
        &mut self,
        parser: &DocumentParser,
        contents: Option<&mut (dyn ContentStore + '_)>,
    ) -> Result<Option<CorpusRecord>, CorpusError> {
        let Self { file, records, ahead, .. } = self;
        match contents {
            Some(contents) => ahead.next_record(file, records, parser, contents),
            None => {
                let record = records.next_record(parser).map_err(|fault| place_fault(file, fault))?;
                Ok(record.map(CorpusRecord::Parsed))
            }
        }
    }

    /// Where the last document ends.
    pub(super) fn place(&self) -> RecordPlace {
        self.ahead.place.unwrap_or_else(|| self.records.place())
    }

    /// The place of the last document, with the name of the file alone: it becomes part of an artifact, which must not depend on the
    /// folder.
    pub(super) fn describe_place(&self) -> String {
        let name = self.file.file_name().unwrap_or(self.file.as_os_str());
        self.place().in_file(&show_path(name))
    }

    /// Whether the file has any record.
    pub(super) fn has_found(&self) -> bool {
        self.records.has_found()
    }
}

pub(super) fn place_fault(file: &Path, fault: RecordFault) -> CorpusError {
    let file = file.to_owned();
    match fault {
        RecordFault::Unreadable(cause) => CorpusError::Io { file, cause },
        RecordFault::Unfit(fault) => CorpusError::Unfit { file, problem: fault.problem, fix: fault.fix },
        RecordFault::Record { place, fault, last } => {
            CorpusError::Record { file, place, problem: fault.problem, fix: fault.fix, last }
        }
    }
}

/// Opens a regular file. A link is followed only if it stays inside its own folder.
///
/// The kind is checked before opening, because opening a pipe blocks until somebody writes to it.
fn open_regular_file(file: &Path) -> Result<File, CorpusError> {
    let io = |cause| CorpusError::Io { file: file.to_owned(), cause };
    if let Some(target) = find_link_out(file).map_err(io)? {
        return Err(CorpusError::Escape { file: file.to_owned(), target });
    }
    let kind = std::fs::metadata(file).map_err(io)?;
    if !kind.is_file() {
        let what = if kind.is_dir() { "a folder" } else { "a pipe, device or socket" };
        return Err(CorpusError::NotAFile { file: file.to_owned(), what });
    }
    File::open(file).map_err(io)
}
