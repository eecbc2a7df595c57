//! Reads the lines of one file, and makes documents of them.

use fmflow_engine::documents::{
    Document, DocumentParser, LINE_BYTES, LineFault, ParsedDocument, Tally, decode_line, long_line,
};
use fmflow_engine::pipeline::config::DatasetFormat;
use fmflow_engine::text::escape::show_path;

use super::{CorpusError, GROUP_BYTES};
use fmflow_engine::text::unpack::UnpackedFile;
use std::fs::{File, canonicalize, symlink_metadata};
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};

/// The lines of one file.
#[derive(Debug)]
pub(super) struct LineReader {
    pub(super) file: PathBuf,
    reader: BufReader<UnpackedFile>,
    /// Where the next line begins, in unpacked bytes.
    position: u64,
    pub(super) number: u64,
    pub(super) found: bool,
}

impl LineReader {
    pub(super) fn open(file: PathBuf) -> Result<Self, CorpusError> {
        let name = file.file_name().unwrap_or(file.as_os_str()).to_string_lossy().into_owned();
        let opened = UnpackedFile::new(open_regular_file(&file)?, &name);
        let unpacked = opened.map_err(|cause| CorpusError::Io { file: file.clone(), cause })?;
        Ok(Self { file, reader: BufReader::new(unpacked), position: 0, number: 0, found: false })
    }

    /// The next document; `None` at the end of the file. What it does not use is added to `tally`.
    pub(super) fn document(
        &mut self,
        parser: &DocumentParser,
        tally: &mut Tally,
    ) -> Result<Option<Document>, CorpusError> {
        let found = match parser.format() {
            DatasetFormat::Text => self.paragraphs()?.map(Document::Text),
            DatasetFormat::Jsonl { .. } | DatasetFormat::Chat { .. } => self.record(parser, tally)?,
        };
        self.found |= found.is_some();
        Ok(found)
    }

    /// Paragraphs up to the first blank line after [`GROUP_BYTES`] bytes, trimmed of blank lines at both ends.
    fn paragraphs(&mut self) -> Result<Option<String>, CorpusError> {
        let mut text = String::new();
        while let Some(line) = self.line()? {
            if !line.trim().is_empty() || !text.is_empty() {
                text.push_str(&line);
                text.push('\n');
            }
            if line.trim().is_empty() && text.len() > GROUP_BYTES {
                break;
            }
        }
        text.truncate(text.trim_end().len());
        Ok((!text.is_empty()).then_some(text))
    }

    /// The document of the next line that is not blank.
    fn record(
        &mut self,
        parser: &DocumentParser,
        tally: &mut Tally,
    ) -> Result<Option<Document>, CorpusError> {
        while let Some(line) = self.line()? {
            if line.trim().is_empty() {
                continue;
            }
            let first = !std::mem::replace(&mut self.found, true);
            // All lines of a file that is one array would be faults.
            let array = first && line.trim_start().starts_with('[');
            let ParsedDocument { document, leftovers } =
                parser.parse(&line, first).map_err(|fault| self.line_error(fault, array))?;
            // The name alone: the place becomes part of an artifact, which must not depend on the folder.
            let name = self.file.file_name().unwrap_or(self.file.as_os_str());
            tally.add(&leftovers, || format!("{}:{}", show_path(name), self.number));
            return Ok(Some(document));
        }
        Ok(None)
    }

    /// The next line without its line ending.
    fn line(&mut self) -> Result<Option<String>, CorpusError> {
        let mut bytes = Vec::new();
        let read = (&mut self.reader).take(LINE_BYTES + 1).read_until(b'\n', &mut bytes);
        let count = read.map_err(|cause| self.io_error(cause))?;
        if count == 0 {
            return Ok(None);
        }
        let begins = self.position;
        self.position += count as u64;
        self.number += 1;
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
        }
        if bytes.len() as u64 > LINE_BYTES {
            self.found = true;
            let skipped = self.reader.skip_until(b'\n').map_err(|cause| self.io_error(cause))?;
            self.position += skipped as u64;
            return Err(self.line_error(long_line(&bytes, begins), false));
        }
        decode_line(bytes, self.number).map(Some).map_err(|fault| {
            self.found = true; // a file of damaged lines is not empty
            self.line_error(fault, false)
        })
    }

    /// An error of the storage, or of a compressed file that is damaged, with the last line that could be read.
    fn io_error(&self, cause: std::io::Error) -> CorpusError {
        CorpusError::Io { file: self.file.clone(), cause }
    }

    /// `last` says that the rest of the file cannot be read.
    fn line_error(&self, fault: LineFault, last: bool) -> CorpusError {
        let LineFault { problem, fix } = fault;
        CorpusError::Line { file: self.file.clone(), line: self.number, problem, fix, last }
    }
}

/// Opens a regular file. A link is followed only if it stays inside its own folder.
///
/// The kind is checked before opening, because opening a pipe blocks until somebody writes to it.
fn open_regular_file(file: &Path) -> Result<File, CorpusError> {
    let io = |cause| CorpusError::Io { file: file.to_owned(), cause };
    if symlink_metadata(file).map_err(io)?.is_symlink() {
        let target = canonicalize(file).map_err(io)?;
        let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if !target.starts_with(canonicalize(parent).map_err(io)?) {
            return Err(CorpusError::Escape { file: file.to_owned(), target });
        }
    }
    let kind = std::fs::metadata(file).map_err(io)?;
    if !kind.is_file() {
        let what = if kind.is_dir() { "a folder" } else { "a pipe, device or socket" };
        return Err(CorpusError::NotAFile { file: file.to_owned(), what });
    }
    File::open(file).map_err(io)
}
