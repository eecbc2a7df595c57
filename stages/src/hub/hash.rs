//! Hashes of file contents, as a hub names them: SHA-256 of files in LFS, SHA-1 of git's blob of others.

use std::io::{self, Read};

use fmflow_engine::pipeline::repository::PinnedFile;
use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256};

/// Bytes that are read at once.
const CHUNK: usize = 256 << 10;

/// The hash that a file must have, and that of what was seen of it.
pub(super) struct ContentHash {
    expected: String,
    /// What git puts before the content; empty for SHA-256.
    prefix: String,
    seen: Context,
}

impl ContentHash {
    /// The hash of a pinned file before any content; `None` if the lock file has none.
    pub(super) fn of(file: &PinnedFile) -> Option<Self> {
        let (expected, prefix, algorithm) = match (&file.sha256, &file.blob) {
            (Some(sha256), _) => (sha256, String::new(), &SHA256),
            // `git hash-object`: "blob", the size in decimal, a zero byte, the content.
            (None, Some(blob)) => (blob, format!("blob {}\0", file.size), &SHA1_FOR_LEGACY_USE_ONLY),
            (None, None) => return None,
        };
        let mut new = Self { expected: expected.to_lowercase(), prefix, seen: Context::new(algorithm) };
        new.restart();
        Some(new)
    }

    /// The hexadecimal digits that the file must have; they also name it in caches.
    pub(super) fn expected(&self) -> &str {
        &self.expected
    }

    /// Forgets what was seen.
    pub(super) fn restart(&mut self) {
        let sha256 = self.prefix.is_empty();
        self.seen = Context::new(if sha256 { &SHA256 } else { &SHA1_FOR_LEGACY_USE_ONLY });
        self.seen.update(self.prefix.as_bytes());
    }

    /// Sees more of the content.
    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.seen.update(bytes);
    }

    /// Whether what was seen is the file.
    pub(super) fn matches(&self) -> bool {
        to_hex(self.seen.clone().finish().as_ref()) == self.expected
    }

    /// Sees all that `from` has, and passes every piece on.
    pub(super) fn read<E: From<io::Error>>(
        &mut self,
        mut from: impl Read,
        mut pass: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut buffer = vec![0; CHUNK];
        loop {
            let read = match from.read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read?,
            };
            if read == 0 {
                return Ok(());
            }
            self.update(&buffer[..read]);
            pass(&buffer[..read])?;
        }
    }
}

/// Bytes as hexadecimal digits in lower case.
pub(super) fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(sha256: Option<&str>, blob: Option<&str>) -> PinnedFile {
        let own = |text: Option<&str>| text.map(str::to_owned);
        PinnedFile { path: "a".to_owned(), size: 6, sha256: own(sha256), blob: own(blob) }
    }

    #[test]
    fn hashes_are_those_of_sha256sum_and_git() {
        // `printf 'hello\n' | sha256sum` and `printf 'hello\n' | git hash-object --stdin`.
        let sha256 = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
        let blob = "ce013625030ba8dba906f756967f9e9ca394464a";
        for pinned in [file(Some(sha256), None), file(None, Some(blob)), file(Some(sha256), Some("00"))] {
            let mut hash = ContentHash::of(&pinned).unwrap();
            hash.update(b"other");
            assert!(!hash.matches());
            hash.restart();
            hash.read::<io::Error>(&b"hello\n"[..], |_| Ok(())).unwrap();
            assert!(hash.matches(), "{pinned:?}");
        }
        assert!(ContentHash::of(&file(None, None)).is_none());
    }
}
