//! A file of lines: each a record, or joined into documents of text.

use std::io::BufRead as _;
use std::io::{BufReader, Error, Read as _, Take};

use super::fault::RecordFault;
use super::line::{LINE_BYTES, LineFault, decode_line, long_line};
use super::place::RecordPlace;
use crate::pipeline::config::TextDocuments;
use crate::text::unpack::UnpackedFile;

/// The bytes of a file, unpacked; of a look at the beginning, the first of them.
pub(super) type DataBytes = BufReader<Take<UnpackedFile>>;

/// A document of [`TextDocuments::Groups`] ends at the first blank line after this many bytes.
pub const GROUP_BYTES: usize = 1024;

/// The lines of a file.
#[derive(Debug)]
pub(super) struct DataLines {
    reader: DataBytes,
    /// Where the next line begins, in unpacked bytes.
    position: u64,
    /// The number of the line that was read last, from 1.
    number: u64,
    /// Whether a line was faulty: a file of damaged lines is not empty.
    pub(super) faulty: bool,
}

impl DataLines {
    pub(super) fn new(reader: DataBytes) -> Self {
        Self { reader, position: 0, number: 0, faulty: false }
    }

    pub(super) fn reader(&self) -> &DataBytes {
        &self.reader
    }

    pub(super) fn place(&self) -> RecordPlace {
        RecordPlace::Line(self.number)
    }

    /// The next document of text; `None` at the end of the file. Blank lines at both ends of a document are no part of it.
    pub(super) fn next_text(&mut self, documents: TextDocuments) -> Result<Option<String>, RecordFault> {
        let mut text = String::new();
        while let Some(line) = self.next_line()? {
            let blank = line.trim().is_empty();
            if !blank || !text.is_empty() {
                text.push_str(&line);
                text.push('\n');
            }
            let ended = match documents {
                TextDocuments::Groups => blank && text.len() > GROUP_BYTES,
                TextDocuments::Lines => !blank,
                TextDocuments::BlankLine => blank && !text.is_empty(),
                TextDocuments::File => false,
            };
            if ended {
                break;
            }
            if text.len() as u64 > LINE_BYTES {
                let fix = "split it, or choose shorter documents with `documents=`";
                return Err(self.fault(LineFault::new("the document is longer than 64 MiB", fix), true));
            }
        }
        text.truncate(text.trim_end().len());
        Ok((!text.is_empty()).then_some(text))
    }

    /// The next line without its line ending; `None` at the end of the file.
    pub(super) fn next_line(&mut self) -> Result<Option<String>, RecordFault> {
        let mut bytes = Vec::new();
        let read = (&mut self.reader).take(LINE_BYTES + 1).read_until(b'\n', &mut bytes);
        let count = read.map_err(RecordFault::Unreadable)?;
        // A line that the limit of a look at the beginning cuts off is not looked at.
        if count == 0 || bytes.last() != Some(&b'\n') && self.reader.get_ref().limit() == 0 {
            return Ok(None);
        }
        let begins = self.position;
        self.position += count as u64;
        self.number += 1;
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
        }
        if bytes.len() as u64 > LINE_BYTES {
            self.skip_line().map_err(RecordFault::Unreadable)?;
            return Err(self.fault(long_line(&bytes, begins), false));
        }
        decode_line(bytes, self.number).map(Some).map_err(|fault| self.fault(fault, false))
    }

    fn skip_line(&mut self) -> Result<(), Error> {
        self.position += self.reader.skip_until(b'\n')? as u64;
        Ok(())
    }

    /// A fault of the last line; `last` says that the rest of the file cannot be read.
    pub(super) fn fault(&mut self, fault: LineFault, last: bool) -> RecordFault {
        self.faulty = true;
        RecordFault::Record { place: self.place(), fault, last }
    }
}
