//! Contents that were fetched, kept until the stage is finished, so that a killed one does not fetch them again.
//!
//! ```text
//! <source> contents/<digits of a file>/000000    the first contents that the file names, in order, then those of 000001
//!
//! content: length of the key (u32), key, kind (0 bytes, 1 missing, 2 too large), length (u64), bytes; numbers are little-endian
//! segment: contents, then the BLAKE3 of all bytes before it
//! ```
//!
//! A segment gets its name when it is complete. It is hashed before it is used, and a damaged one is fetched again with those after it.

use std::collections::VecDeque;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use fmflow_engine::error::{Failure, FailureKind};
use fmflow_engine::run::execute::{Job, ProgressReporter};
use fmflow_engine::store::Downloads;
use fmflow_engine::text::escape::{escape_line, show_path};

use crate::hub::storage::Fetched;

/// Bytes and contents after which a segment ends: as much is fetched again after a kill at most.
const SEGMENT_BYTES: usize = 16 << 20;
const SEGMENT_CONTENTS: usize = 4096;

/// Length of the digest at the end of a segment.
const DIGEST_BYTES: usize = blake3::OUT_LEN;

/// The contents of one file that were kept, and those that are being kept.
pub(super) struct KeptContents {
    downloads: Downloads,
    /// The folder of the file.
    folder: String,
    /// The segment to read next; `None` when all were read.
    reading: Option<u32>,
    read: VecDeque<KeptContent>,
    /// The segment to write next.
    writing: u32,
    buffer: Vec<u8>,
    buffered: usize,
}

/// A content, and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
struct KeptContent {
    key: String,
    fetched: Fetched,
}

impl KeptContents {
    /// What a stage kept of a dataset.
    pub(super) fn open(job: &Job<'_>, dataset: &str) -> Result<Self, Failure> {
        Ok(Self::of(job.slot.downloads(&format!("{dataset} contents"))?))
    }

    fn of(downloads: Downloads) -> Self {
        let (folder, read, buffer) = (String::new(), VecDeque::new(), Vec::new());
        Self { downloads, folder, reading: None, read, writing: 0, buffer, buffered: 0 }
    }

    /// Begins with the contents that a file names, whose path is only a name here.
    pub(super) fn begin(&mut self, file: &Path) -> Result<(), Failure> {
        self.flush()?;
        (self.folder, self.reading, self.writing) = (name_folder(file), Some(0), 0);
        self.read.clear();
        Ok(())
    }

    /// The content with this key, if it was kept. Keys have to come in the order in which they came before.
    pub(super) fn find(
        &mut self,
        key: &str,
        report: &dyn ProgressReporter,
    ) -> Result<Option<Fetched>, Failure> {
        if self.read.is_empty() {
            self.read_segment(report)?;
        }
        let Some(KeptContent { key: found, fetched }) = self.read.pop_front() else { return Ok(None) };
        if found == key {
            return Ok(Some(fetched));
        }
        let folder = show_path(self.downloads.folder());
        let message = format!("{folder} holds `{}` in place of `{}`", escape_line(&found), escape_line(key));
        let help = "remove that folder; its contents are fetched again".to_owned();
        Err(Failure { kind: FailureKind::Corrupt, message, help: Some(help) })
    }

    fn read_segment(&mut self, report: &dyn ProgressReporter) -> Result<(), Failure> {
        let Some(number) = self.reading else { return Ok(()) };
        let place = self.place(number)?;
        if self.downloads.size(&place)?.is_none() {
            (self.reading, self.writing) = (None, number);
            return Ok(());
        }
        let mut bytes = Vec::new();
        self.downloads.open(&place)?.read_to_end(&mut bytes)?;
        match parse_segment(&bytes) {
            Some(contents) => {
                (self.read, self.reading) = (contents, Some(number + 1));
                Ok(())
            }
            None => {
                report.note(&format!(
                    "{} was damaged, and is fetched again with what follows",
                    show_path(place)
                ));
                self.remove_from(number)
            }
        }
    }

    /// Removes a segment and those after it; what is fetched next takes its place.
    fn remove_from(&mut self, number: u32) -> Result<(), Failure> {
        for later in number.. {
            let place = self.place(later)?;
            if self.downloads.size(&place)?.is_none() {
                break;
            }
            self.downloads.remove(&place)?;
        }
        (self.reading, self.writing) = (None, number);
        Ok(())
    }

    /// Keeps a content that was fetched, after all that [`Self::find`] has found.
    pub(super) fn keep(&mut self, key: &str, fetched: &Fetched) -> Result<(), Failure> {
        let (kind, bytes): (u8, &[u8]) = match fetched {
            Fetched::Bytes(bytes) => (0, bytes),
            Fetched::Missing => (1, &[]),
            Fetched::TooLarge => (2, &[]),
        };
        let length = u32::try_from(key.len()).expect("a key has at most 1024 bytes");
        self.buffer.extend(length.to_le_bytes());
        self.buffer.extend(key.as_bytes());
        self.buffer.push(kind);
        self.buffer.extend((bytes.len() as u64).to_le_bytes());
        self.buffer.extend(bytes);
        self.buffered += 1;
        match self.buffer.len() >= SEGMENT_BYTES || self.buffered >= SEGMENT_CONTENTS {
            true => self.flush(),
            false => Ok(()),
        }
    }

    /// Writes what is not on disk.
    pub(super) fn flush(&mut self) -> Result<(), Failure> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let place = self.place(self.writing)?;
        let name = format!("{}/{}", self.folder, self.writing);
        let mut part = self.downloads.partial(blake3::hash(name.as_bytes()).to_hex().as_str())?;
        if part.length() > 0 {
            part.restart()?;
        }
        part.write(&self.buffer)?;
        part.write(blake3::hash(&self.buffer).as_bytes())?;
        self.downloads.complete(part, &place)?;
        self.buffer.clear();
        self.buffered = 0;
        self.writing += 1;
        Ok(())
    }

    /// Removes what was kept of the contents that files name.
    pub(super) fn remove(&self, files: &[PathBuf]) -> Result<(), Failure> {
        for file in files {
            let place = self.downloads.place(&name_folder(file))?;
            if place.exists() {
                self.downloads.remove(&place)?;
            }
        }
        Ok(())
    }

    fn place(&self, number: u32) -> Result<PathBuf, Failure> {
        Ok(self.downloads.place(&format!("{}/{number:06}", self.folder))?)
    }
}

impl Drop for KeptContents {
    fn drop(&mut self) {
        // The stage has failed or was stopped, and says why; if this fails too, a little more is fetched again.
        let _ = self.flush();
    }
}

/// The folder of the contents that a file names.
fn name_folder(file: &Path) -> String {
    blake3::hash(file.as_os_str().as_encoded_bytes()).to_hex()[..16].to_owned()
}

/// The contents of a segment; `None` if it is damaged.
fn parse_segment(bytes: &[u8]) -> Option<VecDeque<KeptContent>> {
    let (mut rest, digest) = bytes.split_at_checked(bytes.len().checked_sub(DIGEST_BYTES)?)?;
    if blake3::hash(rest).as_bytes() != digest {
        return None;
    }
    let mut contents = VecDeque::new();
    while !rest.is_empty() {
        let length = u32::from_le_bytes(take(&mut rest, 4)?.try_into().ok()?);
        let key = std::str::from_utf8(take(&mut rest, length as usize)?).ok()?.to_owned();
        let kind = take(&mut rest, 1)?[0];
        let length = u64::from_le_bytes(take(&mut rest, 8)?.try_into().ok()?);
        let bytes = take(&mut rest, usize::try_from(length).ok()?)?;
        let fetched = match kind {
            0 => Fetched::Bytes(bytes.to_vec()),
            1 => Fetched::Missing,
            2 => Fetched::TooLarge,
            _ => return None,
        };
        contents.push_back(KeptContent { key, fetched });
    }
    Some(contents)
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (head, tail) = rest.split_at_checked(count)?;
    *rest = tail;
    Some(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_is_read_as_it_was_written_or_not_at_all() {
        let contents = [
            ("a/1", Fetched::Bytes(vec![1, 2, 3])),
            ("b", Fetched::Missing),
            ("c", Fetched::Bytes(Vec::new())),
            ("d", Fetched::TooLarge),
        ];
        let mut buffer = Vec::new();
        for (key, fetched) in &contents {
            let (kind, bytes): (u8, &[u8]) = match fetched {
                Fetched::Bytes(bytes) => (0, bytes),
                Fetched::Missing => (1, &[]),
                Fetched::TooLarge => (2, &[]),
            };
            buffer.extend((key.len() as u32).to_le_bytes());
            buffer.extend(key.as_bytes());
            buffer.push(kind);
            buffer.extend((bytes.len() as u64).to_le_bytes());
            buffer.extend(bytes);
        }
        let segment = [&buffer[..], blake3::hash(&buffer).as_bytes()].concat();
        let read: Vec<_> = parse_segment(&segment).unwrap().into();
        let expected: Vec<_> =
            contents.map(|(key, fetched)| KeptContent { key: key.to_owned(), fetched }).into();
        assert_eq!(read, expected);
        for at in 0..segment.len() {
            let mut damaged = segment.clone();
            damaged[at] ^= 1;
            assert_eq!(parse_segment(&damaged), None, "{at}");
            assert_eq!(parse_segment(&segment[..at]), None, "{at}");
        }
    }
}
