//! A look at files that others made: how large they are, what a small one holds, how a data file begins.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;

/// Longest first line that is looked at, in bytes.
const MAX_FIRST_LINE_BYTES: u64 = 1 << 20;

/// Longest name that is told, in bytes.
const MAX_NAME_BYTES: usize = 80;

/// The whole of a regular file of at most `largest` bytes. Links are followed: caches of checkpoints are made of them.
#[must_use]
pub fn read_small_file(path: &Path, largest: u64) -> Option<Vec<u8>> {
    if read_file_size(path)? > largest {
        return None;
    }
    let mut bytes = Vec::new();
    std::fs::File::open(path).ok()?.take(largest).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// Bytes of a regular file.
#[must_use]
pub fn read_file_size(path: &Path) -> Option<u64> {
    std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file).map(|about| about.len())
}

/// How a data file begins.
#[derive(Clone, Debug, PartialEq)]
pub enum FileBeginning {
    /// It has no bytes.
    Empty,
    /// It is compressed, by this program.
    Compressed(&'static str),
    /// It is UTF-16.
    Utf16,
    /// It starts with a byte order mark.
    ByteOrderMark,
    /// One JSON array.
    JsonArray,
    /// The JSON object of the first line, in its order.
    JsonLine(serde_json::Map<String, serde_json::Value>),
}

/// How a data file begins, by its first bytes and its first line; `None` where that tells nothing, or the line is too long.
#[must_use]
pub fn read_beginning(path: &Path) -> Option<FileBeginning> {
    if read_file_size(path)? == 0 {
        return Some(FileBeginning::Empty);
    }
    let file = std::fs::File::open(path).ok()?;
    let mut line = Vec::new();
    BufReader::new(file.take(MAX_FIRST_LINE_BYTES)).read_until(b'\n', &mut line).ok()?;
    match line.as_slice() {
        [0x1f, 0x8b, ..] => Some(FileBeginning::Compressed("gunzip")),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(FileBeginning::Compressed("unzstd")),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => Some(FileBeginning::Utf16),
        [0xef, 0xbb, 0xbf, ..] => Some(FileBeginning::ByteOrderMark),
        [b'[', ..] => Some(FileBeginning::JsonArray),
        _ => serde_json::from_slice(&line).ok().map(FileBeginning::JsonLine),
    }
}

/// The names of a line that are short enough to be told.
#[must_use]
pub fn list_short_names(line: &serde_json::Map<String, serde_json::Value>) -> Vec<String> {
    line.keys().filter(|name| name.len() <= MAX_NAME_BYTES).cloned().collect()
}
