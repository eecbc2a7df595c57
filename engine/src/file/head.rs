//! A look at the first line of a data file.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;

/// Longest first line that is looked at, in bytes.
const LONGEST: u64 = 1 << 20;

/// Longest name that is told, in bytes.
const LONGEST_NAME: usize = 80;

/// Names in the JSON object of the first line, in its order; `None` where it is none, or too long.
#[must_use]
pub fn names(path: &Path) -> Option<Vec<String>> {
    let file = std::fs::File::open(path).ok()?;
    let mut line = Vec::new();
    BufReader::new(file.take(LONGEST)).read_until(b'\n', &mut line).ok()?;
    let object: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&line).ok()?;
    Some(object.into_iter().map(|(name, _)| name).filter(|name| name.len() <= LONGEST_NAME).collect())
}
