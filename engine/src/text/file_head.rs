//! Bounded reads of files that came from elsewhere: their size, the contents of a small one, the beginning of a data file.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;

/// Longest first line that is read, in bytes.
const MAX_FIRST_LINE_BYTES: u64 = 1 << 20;

/// Longest field name that is shown in a message, in bytes.
const MAX_NAME_BYTES: usize = 80;

/// The contents of a regular file of at most `largest` bytes. Links are followed, because checkpoint caches consist of them.
#[must_use]
pub(crate) fn read_small_file(path: &Path, largest: u64) -> Option<Vec<u8>> {
    if read_file_size(path)? > largest {
        return None;
    }
    let mut bytes = Vec::new();
    std::fs::File::open(path).ok()?.take(largest).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// Whether anything has this path, readable or not. A link counts even if it leads to nothing.
#[must_use]
pub(crate) fn is_present(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok()
}

/// Size of a regular file in bytes; `None` for everything else.
#[must_use]
pub(crate) fn read_file_size(path: &Path) -> Option<u64> {
    std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file).map(|about| about.len())
}

/// What the beginning of a data file shows.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum FileBeginning {
    /// The file is empty.
    Empty,
    /// The file is compressed; the name of the program that unpacks it.
    Compressed(&'static str),
    /// The file is binary; what it is.
    Packed(&'static str),
    /// The file is UTF-16.
    Utf16,
    /// The file starts with a UTF-8 byte order mark.
    ByteOrderMark,
    /// The file is one JSON array instead of one object per line.
    JsonArray,
    /// The JSON object of the first line, with its fields in their order.
    JsonLine(serde_json::Map<String, serde_json::Value>),
}

/// Classifies a data file by its first bytes and its first line. `None` if that shows nothing, or if the line is too long.
#[must_use]
pub(crate) fn read_beginning(path: &Path) -> Option<FileBeginning> {
    if read_file_size(path)? == 0 {
        return Some(FileBeginning::Empty);
    }
    let file = std::fs::File::open(path).ok()?;
    let mut line = Vec::new();
    BufReader::new(file.take(MAX_FIRST_LINE_BYTES)).read_until(b'\n', &mut line).ok()?;
    match line.as_slice() {
        [0x1f, 0x8b, ..] => Some(FileBeginning::Compressed("gunzip")),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(FileBeginning::Compressed("unzstd")),
        [b'P', b'A', b'R', b'1', ..] => Some(FileBeginning::Packed("Parquet")),
        [b'P', b'K', 3 | 5, 4 | 6, ..] => Some(FileBeginning::Packed("ZIP")),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => Some(FileBeginning::Utf16),
        [0xef, 0xbb, 0xbf, ..] => Some(FileBeginning::ByteOrderMark),
        [b'[', ..] => Some(FileBeginning::JsonArray),
        _ => serde_json::from_slice(&line).ok().map(FileBeginning::JsonLine),
    }
}

/// The first lines of a file, without their line ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileHead {
    /// The lines; one that is cut off by the limit is not among them.
    pub lines: Vec<Vec<u8>>,
    /// Whether these are all lines of the file.
    pub whole: bool,
}

/// The first lines of a regular file, at most `lines` of them in at most `bytes` bytes. `None` if it cannot be read.
#[must_use]
pub(crate) fn read_head(path: &Path, lines: usize, bytes: u64) -> Option<FileHead> {
    let size = read_file_size(path)?;
    let mut reader = BufReader::new(std::fs::File::open(path).ok()?.take(bytes));
    let mut head = FileHead { lines: Vec::new(), whole: false };
    let mut read = 0;
    while head.lines.len() < lines {
        let mut line = Vec::new();
        let count = reader.read_until(b'\n', &mut line).ok()?;
        read += count as u64;
        let ended = line.last() == Some(&b'\n');
        if count == 0 || (!ended && read < size) {
            break;
        }
        line.truncate(count - usize::from(ended));
        head.lines.push(line);
    }
    head.whole = read >= size;
    Some(head)
}

/// The field names of a line that are short enough to show in a message.
#[must_use]
pub(crate) fn list_short_names(line: &serde_json::Map<String, serde_json::Value>) -> Vec<String> {
    line.keys().filter(|name| name.len() <= MAX_NAME_BYTES).cloned().collect()
}
