//! A look at files that others made: how large they are, what a small one holds, how a data file begins.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;

/// Longest first line that is looked at, in bytes.
const LONGEST: u64 = 1 << 20;

/// Longest name that is told, in bytes.
const LONGEST_NAME: usize = 80;

/// The whole of a regular file of at most `largest` bytes. Links are followed: caches of checkpoints are made of them.
#[must_use]
pub fn read_small_file(path: &Path, largest: u64) -> Option<Vec<u8>> {
    if file_size(path)? > largest {
        return None;
    }
    let mut bytes = Vec::new();
    std::fs::File::open(path).ok()?.take(largest).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// Bytes of a regular file.
#[must_use]
pub fn file_size(path: &Path) -> Option<u64> {
    std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file).map(|about| about.len())
}

/// How a data file begins.
#[derive(Clone, Debug, PartialEq)]
pub enum Beginning {
    /// It has no bytes.
    Empty,
    /// It is compressed, by this program.
    Compressed(&'static str),
    /// It is UTF-16.
    Wide,
    /// It starts with a byte order mark.
    Mark,
    /// One JSON array.
    Array,
    /// The JSON object of the first line, in its order.
    Line(serde_json::Map<String, serde_json::Value>),
}

/// How a data file begins, by its first bytes and its first line; `None` where that tells nothing, or the line is too long.
#[must_use]
pub fn read_beginning(path: &Path) -> Option<Beginning> {
    if file_size(path)? == 0 {
        return Some(Beginning::Empty);
    }
    let file = std::fs::File::open(path).ok()?;
    let mut line = Vec::new();
    BufReader::new(file.take(LONGEST)).read_until(b'\n', &mut line).ok()?;
    match line.as_slice() {
        [0x1f, 0x8b, ..] => Some(Beginning::Compressed("gunzip")),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Beginning::Compressed("unzstd")),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => Some(Beginning::Wide),
        [0xef, 0xbb, 0xbf, ..] => Some(Beginning::Mark),
        [b'[', ..] => Some(Beginning::Array),
        _ => serde_json::from_slice(&line).ok().map(Beginning::Line),
    }
}

/// The names of a line that are short enough to be told.
#[must_use]
pub fn short_names(line: &serde_json::Map<String, serde_json::Value>) -> Vec<String> {
    line.keys().filter(|name| name.len() <= LONGEST_NAME).cloned().collect()
}
