//! Contents that were fetched, kept until the stage is finished, so that a killed one does not fetch them again.
//!
//! ```text
//! <source> contents/<digits of a file>/000000    the first contents that the file names, in order, then those of 000001
//!
//! content: length of the key (u32), key, kind (0 bytes, 1 unusable), length (u64), bytes; numbers are little-endian
//! segment: contents, then the BLAKE3 of all bytes before it
//! ```
//!
//! A segment gets its name when it is complete. It is hashed before it is used, and a damaged one is fetched again with those after it.
//! Of contents that were missing or no text only the place is kept: the next process asks for them again, because the server may have
//! been repaired.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Read as _;
use std::ops::Range;
use std::path::{Path, PathBuf};

use fmflow_engine::error::{Failure, FailureKind};
use fmflow_engine::run::execute::{Job, ProgressReporter};
use fmflow_engine::store::Downloads;
use fmflow_engine::text::escape::{escape_line, show_path};

use crate::failure::input_failure;

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
    /// What is in the segment that was read last, from the content that is awaited.
    read: VecDeque<KeptContent>,
    /// The segment whose bytes were taken last, with them.
    loaded: Option<(u32, Vec<u8>)>,
    /// The segment to write next.
    writing: u32,
    buffer: Vec<u8>,
    buffered: usize,
}

/// What is known of a content before it is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ContentState {
    /// Its bytes are here.
    Kept(KeptPlace),
    /// An earlier process asked for it and got nothing usable. It has its place, and is not kept again.
    Unusable,
    /// Nobody has asked for it.
    New,
}

/// Where the bytes of a content are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeptPlace {
    segment: u32,
    bytes: Range<usize>,
}

/// A content of a segment: its key, and where its bytes are, if they could be used.
#[derive(Clone, Debug, PartialEq, Eq)]
struct KeptContent {
    key: String,
    bytes: Option<Range<usize>>,
}

impl KeptContents {
    /// What a stage kept of a dataset.
    pub(super) fn open(job: &Job<'_>, dataset: &str) -> Result<Self, Failure> {
        Ok(Self::of(job.slot.downloads(&format!("{dataset} contents"))?))
    }

    fn of(downloads: Downloads) -> Self {
        let (folder, read, buffer) = (String::new(), VecDeque::new(), Vec::new());
        Self { downloads, folder, reading: None, read, loaded: None, writing: 0, buffer, buffered: 0 }
    }

    /// Begins with the contents that a file names.
    pub(super) fn begin(&mut self, file: &Path) -> Result<(), Failure> {
        self.flush()?;
        (self.folder, self.reading, self.writing) = (name_folder(file)?, Some(0), 0);
        self.read.clear();
        self.loaded = None;
        Ok(())
    }

    /// What is known of the content with this key. Keys have to come in the order in which they came before.
    pub(super) fn find(&mut self, key: &str, report: &dyn ProgressReporter) -> Result<ContentState, Failure> {
        if self.read.is_empty() {
            self.read_segment(report)?;
        }
        let Some(KeptContent { key: found, bytes }) = self.read.pop_front() else {
            return Ok(ContentState::New);
        };
        if found == key {
            let segment = self.reading.expect("a segment was read") - 1;
            return Ok(bytes
                .map_or(ContentState::Unusable, |bytes| ContentState::Kept(KeptPlace { segment, bytes })));
        }
        let folder = show_path(self.downloads.folder());
        let message = format!("{folder} holds `{}` in place of `{}`", escape_line(&found), escape_line(key));
        let help = "remove that folder; its contents are fetched again".to_owned();
        Err(Failure { kind: FailureKind::Corrupt, message, help: Some(help) })
    }

    /// The bytes of a content that was found. The bytes of one segment are in memory at a time.
    pub(super) fn take(&mut self, place: &KeptPlace) -> Result<&[u8], Failure> {
        if self.loaded.as_ref().is_none_or(|(segment, _)| *segment != place.segment) {
            self.loaded = None;
            let file = self.place(place.segment)?;
            let bytes = self.read_whole(&file)?;
            // It was whole when its contents were found.
            if parse_segment(&bytes).is_none() {
                let message = format!("{} was damaged while it was read", show_path(file));
                let help = Some("run the same command again: it is fetched again".to_owned());
                return Err(Failure { kind: FailureKind::Corrupt, message, help });
            }
            self.loaded = Some((place.segment, bytes));
        }
        let (_, bytes) = self.loaded.as_ref().expect("it was read");
        let inside = bytes.get(place.bytes.clone());
        inside.ok_or_else(|| {
            let message = format!("{} has changed while it was read", show_path(self.downloads.folder()));
            let help = Some("let no other program write there, and run the same command again".to_owned());
            Failure { kind: FailureKind::Corrupt, message, help }
        })
    }

    fn read_segment(&mut self, report: &dyn ProgressReporter) -> Result<(), Failure> {
        let Some(number) = self.reading else { return Ok(()) };
        let place = self.place(number)?;
        if self.downloads.size(&place)?.is_none() {
            (self.reading, self.writing) = (None, number);
            return Ok(());
        }
        match parse_segment(&self.read_whole(&place)?) {
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

    fn read_whole(&self, place: &Path) -> Result<Vec<u8>, Failure> {
        let mut bytes = Vec::new();
        self.downloads.open(place)?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Removes a segment and those after it, from the last to the first: a kill in between leaves no gap. What is fetched next takes
    /// its place.
    fn remove_from(&mut self, number: u32) -> Result<(), Failure> {
        let mut places = Vec::new();
        for later in number.. {
            let place = self.place(later)?;
            if self.downloads.size(&place)?.is_none() {
                break;
            }
            places.push(place);
        }
        places.iter().rev().try_for_each(|place| self.downloads.remove(place))?;
        (self.reading, self.writing) = (None, number);
        Ok(())
    }

    /// Keeps a content that is new, after all that [`Self::find`] has found; of one that cannot be used there are no bytes.
    pub(super) fn keep(&mut self, key: &str, bytes: Option<&[u8]>) -> Result<(), Failure> {
        write_content(&mut self.buffer, key, bytes);
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
            self.downloads.remove(&self.downloads.place(&name_folder(file)?)?)?;
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

/// The folder of the contents that a file names: it is called by what the file has, wherever that lies.
fn name_folder(file: &Path) -> Result<String, Failure> {
    let unreadable = |cause| {
        let what = format!("{} cannot be read: {cause}", show_path(file));
        input_failure(what, "make it readable, or remove it from the dataset")
    };
    let mut reader = File::open(file).map_err(unreadable)?;
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match reader.read(&mut buffer).map_err(unreadable)? {
            0 => return Ok(hasher.finalize().to_hex()[..16].to_owned()),
            count => hasher.update_rayon(&buffer[..count]),
        };
    }
}

fn write_content(buffer: &mut Vec<u8>, key: &str, bytes: Option<&[u8]>) {
    let length = u32::try_from(key.len()).expect("a key has at most 1024 bytes");
    buffer.extend(length.to_le_bytes());
    buffer.extend(key.as_bytes());
    buffer.push(u8::from(bytes.is_none()));
    let bytes = bytes.unwrap_or_default();
    buffer.extend((bytes.len() as u64).to_le_bytes());
    buffer.extend(bytes);
}

/// What is in a segment; `None` if it is damaged.
fn parse_segment(bytes: &[u8]) -> Option<VecDeque<KeptContent>> {
    let (whole, digest) = bytes.split_at_checked(bytes.len().checked_sub(DIGEST_BYTES)?)?;
    if blake3::hash(whole).as_bytes() != digest {
        return None;
    }
    let (mut rest, mut contents) = (whole, VecDeque::new());
    while !rest.is_empty() {
        let length = u32::from_le_bytes(take(&mut rest, 4)?.try_into().ok()?);
        let key = std::str::from_utf8(take(&mut rest, length as usize)?).ok()?.to_owned();
        let kind = take(&mut rest, 1)?[0];
        let length = u64::from_le_bytes(take(&mut rest, 8)?.try_into().ok()?);
        let start = whole.len() - rest.len();
        let length = take(&mut rest, usize::try_from(length).ok()?)?.len();
        let bytes = match kind {
            0 => Some(start..start + length),
            1 => None,
            _ => return None,
        };
        contents.push_back(KeptContent { key, bytes });
    }
    (!contents.is_empty()).then_some(contents)
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
        let contents =
            [("a/1", Some(vec![1, 2, 3])), ("b", None), ("c", Some(Vec::new())), ("d", Some(vec![4]))];
        let mut buffer = Vec::new();
        for (key, bytes) in &contents {
            write_content(&mut buffer, key, bytes.as_deref());
        }
        let segment = [&buffer[..], blake3::hash(&buffer).as_bytes()].concat();
        let read = parse_segment(&segment).unwrap();
        let read: Vec<_> = read
            .iter()
            .map(|content| (&*content.key, content.bytes.clone().map(|at| segment[at].to_vec())))
            .collect();
        assert_eq!(read, contents);
        for at in 0..segment.len() {
            let mut damaged = segment.clone();
            damaged[at] ^= 1;
            assert_eq!(parse_segment(&damaged), None, "{at}");
            assert_eq!(parse_segment(&segment[..at]), None, "{at}");
        }
    }
}
