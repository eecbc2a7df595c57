//! Content digests of source files, with a cache so that an unchanged file is read only once.
//!
//! The cache is keyed by device, inode, size, mtime and ctime; none of these enters a fingerprint. The clocks of file
//! systems are coarse: a file that changed within the last seconds could change again without a new time, and is not cached.

use std::io::Read;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use indexmap::IndexMap;

use crate::error::{Error, Result};
use crate::pipeline::repository::RepositoryFiles;
use crate::pipeline::stage::SourceFiles;
use crate::store::layout::Store;
use crate::store::source_file::{SourceStat, open_source};
use crate::text::escape::show_path;

/// A digest is cached only if the file has not changed for more than this many seconds.
const SETTLED_SECONDS: i64 = 2;

/// Computes and caches digests of source files.
pub(crate) struct Digests<'a> {
    store: Option<&'a Store>,
    known: IndexMap<String, String>,
    new: bool,
}

impl<'a> Digests<'a> {
    /// Starts with the cache of `store`, if there is one. A cache that cannot be read counts as empty.
    #[must_use]
    pub(crate) fn new(store: Option<&'a Store>) -> Self {
        let read = |store: &Store| store.vfs().read(&store.root().join("digests")).ok();
        let bytes = store.and_then(read).unwrap_or_default();
        let known = String::from_utf8_lossy(&bytes).lines().filter_map(parse_memory_line).collect();
        Self { store, known, new: false }
    }

    /// One digest for a source: that of the contents of its files, in the order of their paths.
    ///
    /// # Errors
    /// [`Error::Input`] for a file that cannot be read or changes while it is read.
    pub(crate) fn digest_source(&mut self, source: &SourceFiles) -> Result<String> {
        let mut hasher = blake3::Hasher::new();
        for file in &source.files {
            hasher.update(self.digest_file(file)?.as_bytes());
        }
        // The contents of what a command makes are in the fingerprint of the command; which of its files are read is not.
        for pattern in source.made.iter().flat_map(|made| &made.pattern) {
            hasher.update(pattern.as_bytes());
        }
        for words in source.remote.iter().flat_map(RepositoryFiles::identity) {
            hasher.update(words.as_bytes());
        }
        Ok(hasher.finalize().to_hex().to_string())
    }

    /// BLAKE3 of a file's contents, in hexadecimal.
    ///
    /// # Errors
    /// As [`Self::digest_source`].
    pub(crate) fn digest_file(&mut self, path: &Path) -> Result<String> {
        let path = &std::fs::canonicalize(path).map_err(|error| unreadable_file(path, &error))?;
        let before = read_source_stat(path)?;
        let key = format_stat_key(&before);
        if let Some(digest) = self.known.get(&key) {
            return Ok(digest.clone());
        }
        let digest = hash_file(path).map_err(|error| unreadable_file(path, &error))?;
        if read_source_stat(path)? != before {
            return Err(source_error(format!("{} changed while it was being read", show_path(path))));
        }
        self.remember(&before, &digest);
        Ok(digest)
    }

    /// The digest that a file in this state had when it was read.
    pub(super) fn recall(&self, stat: &SourceStat) -> Option<&String> {
        self.known.get(&format_stat_key(stat))
    }

    /// Remembers the digest of a file that had this state before and after it was read, unless it could change without a new one.
    pub(super) fn remember(&mut self, stat: &SourceStat, digest: &str) {
        if stat.changed.0.max(stat.modified.0) + SETTLED_SECONDS < read_unix_seconds() {
            self.known.insert(format_stat_key(stat), digest.to_owned());
            self.new = true;
        }
    }

    /// Saves the cache, if there is a store. Failures are ignored: they only cost time on the next run.
    pub(crate) fn save(&self) {
        if let (true, Some(store)) = (self.new, self.store) {
            let lines: String =
                self.known.iter().map(|(key, digest)| format_memory_line(key, digest)).collect();
            let _ = store.replace_file(&store.root().join("digests"), lines.as_bytes());
        }
    }
}

/// Identity and times of a source file.
///
/// # Errors
/// [`Error::Input`] if it cannot be read or is not a regular file.
pub(super) fn read_source_stat(path: &Path) -> Result<SourceStat> {
    let stat = SourceStat::read(path).map_err(|error| unreadable_file(path, &error))?;
    stat.ok_or_else(|| source_error(format!("{} is not a regular file", show_path(path))))
}

fn hash_file(path: &Path) -> std::io::Result<String> {
    let mut reader = open_source(path)?;
    let mut hasher = blake3::Hasher::new();
    let mut buffer = Vec::new();
    loop {
        buffer.clear();
        if reader.by_ref().take(1 << 20).read_to_end(&mut buffer)? == 0 {
            return Ok(hasher.finalize().to_hex().to_string());
        }
        hasher.update(&buffer);
    }
}

fn format_stat_key(stat: &SourceStat) -> String {
    let ((device, inode), (s, ns), (cs, cns)) = (stat.id, stat.modified, stat.changed);
    format!("{device}:{inode}:{}:{s}.{ns}:{cs}.{cns}", stat.size)
}

/// Formats a line of the cache. It ends with a checksum, so that a damaged line is dropped and not believed.
fn format_memory_line(key: &str, digest: &str) -> String {
    format!("{key} {digest} {}\n", compute_line_check(key, digest))
}

fn parse_memory_line(line: &str) -> Option<(String, String)> {
    let mut words = line.split(' ');
    let (key, digest, found) = (words.next()?, words.next()?, words.next()?);
    (words.next().is_none() && found == compute_line_check(key, digest))
        .then(|| (key.to_string(), digest.to_string()))
}

fn compute_line_check(key: &str, digest: &str) -> String {
    blake3::hash(format!("{key} {digest}").as_bytes()).to_hex()[..16].to_string()
}

fn read_unix_seconds() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

pub(super) fn unreadable_file(path: &Path, error: &std::io::Error) -> Error {
    let message = format!("cannot read {}: {error}", show_path(path));
    Error::Input { message, help: Some("make it readable, or remove it from what the pipeline reads".into()) }
}

fn source_error(message: String) -> Error {
    Error::Input { message, help: None }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use super::*;

    #[test]
    fn only_the_digest_of_an_old_file_is_cached() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::create(&folder.path().join("store")).unwrap();
        let file = folder.path().join("a.txt");
        fs::write(&file, "one").unwrap();
        let digest = |expect_new: bool| {
            let mut digests = Digests::new(Some(&store));
            let digest = digests.digest_file(&file).unwrap();
            assert_eq!(digests.new, expect_new);
            digests.save();
            digest
        };
        let first = digest(false);
        fs::write(&file, "two").unwrap();
        assert_ne!(digest(false), first, "same size, same second");
        std::thread::sleep(Duration::from_millis(3100));
        let second = digest(true);
        assert_eq!(digest(false), second, "from memory");
        // Content changes while size and time of modification stay: the time of change gives it away.
        let modified = fs::metadata(&file).unwrap().modified().unwrap();
        fs::write(&file, "one").unwrap();
        fs::File::options().write(true).open(&file).unwrap().set_modified(modified).unwrap();
        assert_eq!(digest(false), first);
    }

    #[test]
    fn a_damaged_line_is_forgotten() {
        let line = format_memory_line("1:2:3", "abcd");
        assert!(parse_memory_line(line.trim_end()).is_some());
        assert!(parse_memory_line(line.trim_end().replace("abcd", "abce").as_str()).is_none());
    }

    #[test]
    fn a_folder_is_not_a_source_file() {
        let folder = tempfile::tempdir().unwrap();
        let error = Digests::new(None).digest_file(folder.path()).unwrap_err();
        assert_eq!(error.exit_code(), 8);
    }
}
