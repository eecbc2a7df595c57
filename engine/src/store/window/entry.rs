//! What is known of a shard, and whether the files of a window are what was written.

use std::io::{self, Read};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::store::seal::{self, SealedLine};
use crate::store::vfs::Vfs;

/// What a shard has: known once it was made, whether it is there or not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShardEntry {
    /// Number of the shard.
    pub shard: u64,
    /// Its rows.
    pub rows: u64,
    /// Positions of its rows that are not padding.
    pub tokens: u64,
    /// Documents that are not in its rows: held out, too long, or with words of a benchmark.
    pub left_out: u64,
    /// Whether the cap of the dataset ends in it.
    pub ends_the_dataset: bool,
    /// Bytes of its file.
    pub bytes: u64,
    /// BLAKE3 of its file, in hexadecimal.
    pub blake3: String,
}

/// Compares every byte of every shard in the folder of a window; returns what is wrong, by file.
///
/// # Errors
/// If a file cannot be read.
pub(crate) fn find_damaged_shards(vfs: &dyn Vfs, folder: &Path) -> Result<Vec<(String, &'static str)>> {
    let mut damage = Vec::new();
    let read = |path: &Path| vfs.read(path).map_err(Error::io("read", path));
    for (name, _) in vfs.list(folder).map_err(Error::io("list", folder))? {
        let path = folder.join(&name);
        if parse_number(&name, ".json").is_some() && parse_entry(&read(&path)?).is_none() {
            damage.push((name, "it is not what was written"));
        } else if let Some(number) = parse_number(&name, ".rows") {
            let about = folder.join(format!("{number:08}.json"));
            let entry = if vfs.stat(&about).is_ok() { parse_entry(&read(&about)?) } else { None };
            let mut file = vfs.open(&path).map_err(Error::io("open", &path))?;
            let found = hash_reader(&mut file).map_err(Error::io("read", &path))?;
            if entry.is_none_or(|entry| entry.blake3 != found) {
                damage.push((name, "its contents are not what was written"));
            }
        }
    }
    Ok(damage)
}

pub(super) fn parse_number(name: &str, end: &str) -> Option<u64> {
    let digits = name.strip_suffix(end).filter(|digits| digits.len() >= 8)?;
    digits.parse().ok().filter(|number| format!("{number:08}") == digits)
}

/// The entry in a file; `None` if it is damaged, or no shard has such numbers: a row has a byte at least, and all have the same number.
pub(super) fn parse_entry(bytes: &[u8]) -> Option<ShardEntry> {
    const MOST_BYTES: u64 = 1 << 50;
    let possible = |entry: &ShardEntry| {
        let fits = entry.bytes.checked_rem(entry.rows).unwrap_or(entry.bytes) == 0;
        fits && entry.rows <= entry.bytes && entry.tokens <= entry.bytes && entry.bytes <= MOST_BYTES
    };
    let found: Option<ShardEntry> = match seal::open_line(std::str::from_utf8(bytes).ok()?) {
        SealedLine::Whole(body) => serde_json::from_str(&format!("{body}}}")).ok(),
        SealedLine::Torn | SealedLine::Damaged => None,
    };
    found.filter(possible)
}

pub(super) fn hash_reader(reader: &mut impl Read) -> io::Result<String> {
    let (mut hash, mut buffer) = (blake3::Hasher::new(), vec![0; 1 << 20]);
    loop {
        match reader.read(&mut buffer)? {
            0 => return Ok(hash.finalize().to_hex().to_string()),
            read => hash.update_rayon(&buffer[..read]),
        };
    }
}
