//! Keys of clients. The server has their hashes only.

use std::fs;
use std::path::Path;

use fmflow_engine::error::{Failure, FailureKind};
use fmflow_engine::text::escape::show_path;
use ring::digest::{SHA256, digest};
use subtle::ConstantTimeEq;

/// Most bytes of a file of keys.
const FILE_BYTES: u64 = 1 << 20;

/// Hashes of the keys that are let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Keys(Vec<[u8; 32]>);

impl Keys {
    /// Reads a file with the SHA-256 of a key in each line, as `sha256sum` prints it; what follows the hash, and lines that begin
    /// with `#`, are for people.
    pub(crate) fn read(file: &Path) -> Result<Self, Failure> {
        let refused = |what: String, help: &str| Failure {
            kind: FailureKind::Input,
            message: format!("{}: {what}", show_path(file)),
            help: Some(help.to_owned()),
        };
        let name = "name a file with hashes of keys";
        let size = fs::metadata(file).map_err(|error| refused(error.to_string(), name))?.len();
        if size > FILE_BYTES {
            return Err(refused("more than 1 MiB of keys".to_owned(), name));
        }
        let text = fs::read_to_string(file).map_err(|error| refused(error.to_string(), name))?;
        let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
        let mut hashes = Vec::new();
        for (number, line) in lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
            let word = line.split_whitespace().next().unwrap_or(line);
            hashes.push(read_hash(word).ok_or_else(|| {
                let what = format!("line {number} does not begin with a SHA-256 of 64 hexadecimal digits");
                refused(what, "make it with `printf %s KEY | sha256sum`")
            })?);
        }
        match hashes.is_empty() {
            true => Err(refused("there is no key".to_owned(), "make one with `printf %s KEY | sha256sum`")),
            false => Ok(Self(hashes)),
        }
    }

    /// Whether the key is one of these. Takes as long for any key: all hashes are compared, and each to its end.
    pub(crate) fn admit(&self, key: &[u8]) -> bool {
        let found = digest(&SHA256, key);
        let equal = self.0.iter().fold(0, |equal, hash| equal | hash.ct_eq(found.as_ref()).unwrap_u8());
        equal == 1
    }
}

fn read_hash(word: &str) -> Option<[u8; 32]> {
    let digit = |at: usize| char::from(word.as_bytes()[at]).to_digit(16);
    if word.len() != 64 {
        return None;
    }
    let mut hash = [0; 32];
    for (at, byte) in hash.iter_mut().enumerate() {
        *byte = u8::try_from(16 * digit(2 * at)? + digit(2 * at + 1)?).expect("two digits are a byte");
    }
    Some(hash)
}
