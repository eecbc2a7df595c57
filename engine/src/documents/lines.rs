//! A file of lines: each a record, or joined into documents of text.

use std::io::{BufRead as _, BufReader, Error, Read as _, Seek as _, SeekFrom, Take};
use std::ops::Range;

use super::fault::RecordFault;
use super::line::{LINE_BYTES, LineFault, decode_line, long_line};
use super::place::RecordPlace;
use crate::pipeline::config::TextDocuments;
use crate::text::unpack::{DataFile, UnpackedFile};

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
    /// The number of the line that was read last, from 1; in a part of a file, from 1 at its first line.
    number: u64,
    /// What is known of the lines before the first one.
    before: LinesBefore,
    /// The first line that begins here is no longer read.
    end: u64,
    /// Whether a line was faulty: a file of damaged lines is not empty.
    pub(super) faulty: bool,
}

/// The lines of a file before those that are read.
#[derive(Clone, Copy, Debug)]
enum LinesBefore {
    /// So many.
    Counted(u64),
    /// Those before this byte, which nobody counted.
    Bytes(u64),
}

/// How far the lines of a file were read: those that begin before a byte, and how many they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinesRead {
    byte: u64,
    lines: u64,
}

impl DataLines {
    pub(super) fn new(reader: DataBytes) -> Self {
        let before = LinesBefore::Counted(0);
        Self { reader, position: 0, number: 0, before, end: u64::MAX, faulty: false }
    }

    /// The lines that begin in a range of the bytes of a plain file. `read` is how far the file was read before this part, if it was.
    pub(super) fn of_part(
        mut file: DataFile,
        bytes: Range<u64>,
        read: Option<LinesRead>,
    ) -> Result<Self, RecordFault> {
        let io = RecordFault::Unreadable;
        // A line that begins with the range is its own: the byte before is the end of another one.
        let from = bytes.start.saturating_sub(1);
        file.seek(SeekFrom::Start(from)).map_err(io)?;
        let mut reader = BufReader::new(UnpackedFile::plain(file).take(u64::MAX));
        let skipped = if bytes.start == 0 { 0 } else { reader.skip_until(b'\n').map_err(io)? as u64 };
        let position = from + skipped;
        let before = match read.filter(|read| read.byte == position) {
            _ if position == 0 => LinesBefore::Counted(0),
            Some(read) => LinesBefore::Counted(read.lines),
            None => LinesBefore::Bytes(position),
        };
        Ok(Self { reader, position, number: 0, before, end: bytes.end, faulty: false })
    }

    /// How far the file was read; `None` if nobody counted the lines before this part.
    pub(super) fn lines_read(&self) -> Option<LinesRead> {
        match self.before {
            LinesBefore::Counted(before) => {
                Some(LinesRead { byte: self.position, lines: before + self.number })
            }
            LinesBefore::Bytes(_) => None,
        }
    }

    /// Whether the lines are those from the beginning of the file on.
    pub(super) fn are_first(&self) -> bool {
        matches!(self.before, LinesBefore::Counted(0))
    }

    pub(super) fn reader(&self) -> &DataBytes {
        &self.reader
    }

    pub(super) fn place(&self) -> RecordPlace {
        match self.before {
            LinesBefore::Counted(before) => RecordPlace::Line(before + self.number),
            LinesBefore::Bytes(byte) => RecordPlace::LineBehind { byte, line: self.number },
        }
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
        if self.position >= self.end {
            return Ok(None);
        }
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
        // Only the first line of a file may begin with a byte order mark.
        let number = if self.are_first() { self.number } else { self.number + 1 };
        decode_line(bytes, number).map(Some).map_err(|fault| self.fault(fault, false))
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
