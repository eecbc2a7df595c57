//! A look at files that others made: how large they are, what a small one holds, how a data file begins.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;

/// Longest first line that is looked at, in bytes.
const LONGEST: u64 = 1 << 20;

/// Longest name that is told, in bytes.
const LONGEST_NAME: usize = 80;

/// The whole of a regular file of at most `largest` bytes. Links are followed: caches of checkpoints are made of them.
#[must_use]
pub fn small(path: &Path, largest: u64) -> Option<Vec<u8>> {
    if size(path)? > largest {
        return None;
    }
    let mut bytes = Vec::new();
    std::fs::File::open(path).ok()?.take(largest).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// Bytes of a regular file.
#[must_use]
pub fn size(path: &Path) -> Option<u64> {
    std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file).map(|about| about.len())
}

/// Names in the JSON object of the first line, in its order; `None` where it is none, or too long.
#[must_use]
pub fn names(path: &Path) -> Option<Vec<String>> {
    size(path)?;
    let file = std::fs::File::open(path).ok()?;
    let mut line = Vec::new();
    BufReader::new(file.take(LONGEST)).read_until(b'\n', &mut line).ok()?;
    let object: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&line).ok()?;
    Some(object.into_iter().map(|(name, _)| name).filter(|name| name.len() <= LONGEST_NAME).collect())
}
