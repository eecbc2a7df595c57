//! A large file of a published folder, compared with the manifest chunk by chunk as it is read.
//!
//! Rows can be larger than the memory and take minutes to read. A stage that needs some of them should not wait for the hash of all,
//! and no byte should be used that was not compared.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Error, Result};
use crate::store::manifest::{CHUNK_BYTES, FileEntry, MANIFEST_FILE, MAX_MANIFEST_BYTES, Manifest};
use crate::store::source_file::open_source;

/// Names of the files that stages read by chunk: records of rows. Others are verified whole before a stage starts.
pub const CHUNKED_FILES: [&str; 2] = ["rows.bin", "held-out.bin"];

/// Whether a file is left to [`ChunkedFile`] when the inputs of a stage are verified. One of a single chunk gains nothing by that.
pub(super) fn is_left_to_reader(file: &FileEntry) -> bool {
    CHUNKED_FILES.contains(&file.name.as_str()) && file.size > CHUNK_BYTES as u64
}

/// A file of a published folder, open for reading at any place and from any thread.
#[derive(Debug)]
pub struct ChunkedFile {
    folder: PathBuf,
    file: File,
    entry: FileEntry,
    /// Whether each chunk was compared since the file was opened.
    compared: Vec<AtomicBool>,
}

impl ChunkedFile {
    /// Opens the file `name` of a published folder.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the manifest is damaged or does not list a file of this name and size, [`Error::Io`] if one of the two
    /// cannot be read.
    pub fn open(folder: &Path, name: &str) -> Result<Self> {
        let damaged =
            |file: &str, what: String| Error::Corrupt { folder: folder.into(), file: file.into(), what };
        let manifest =
            Manifest::decode(&read_manifest_bytes(folder)?).map_err(|what| damaged(MANIFEST_FILE, what))?;
        let entry = manifest.files.into_iter().find(|file| file.name == name);
        let entry = entry.ok_or_else(|| damaged(name, "the manifest does not list it".into()))?;
        let path = folder.join(name);
        let file = open_source(&path).map_err(Error::io("open", &path))?;
        let size = file.metadata().map_err(Error::io("inspect", &path))?.len();
        if size != entry.size || entry.size.div_ceil(CHUNK_BYTES as u64) != entry.chunks.len() as u64 {
            let what = format!("it has {size} bytes, but the manifest says {}", entry.size);
            return Err(damaged(name, what));
        }
        let compared = entry.chunks.iter().map(|_| AtomicBool::new(false)).collect();
        Ok(Self { folder: folder.into(), file, entry, compared })
    }

    /// Size in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.entry.size
    }

    /// Fills `bytes` from the file, beginning at byte `at`. Every chunk that they touch is compared when it is first read.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if a chunk is not what was written, [`Error::Io`] if it cannot be read, or the file ends before.
    pub fn read_at(&self, bytes: &mut [u8], at: u64) -> Result<()> {
        let chunk = |byte: u64| usize::try_from(byte / CHUNK_BYTES as u64).unwrap_or(usize::MAX);
        let last = at.saturating_add(bytes.len() as u64).saturating_sub(1);
        for number in chunk(at)..=chunk(last).min(self.compared.len().saturating_sub(1)) {
            self.compare(number)?;
        }
        let path = self.folder.join(&self.entry.name);
        self.file.read_exact_at(bytes, at).map_err(Error::io("read", &path))
    }

    /// Compares a chunk with the manifest, once. Two threads may both do it.
    fn compare(&self, number: usize) -> Result<()> {
        if self.compared[number].load(Ordering::Acquire) {
            return Ok(());
        }
        let start = number as u64 * CHUNK_BYTES as u64;
        let size = (self.entry.size - start).min(CHUNK_BYTES as u64);
        let mut bytes = vec![0; usize::try_from(size).expect("a chunk fits in memory")];
        let path = self.folder.join(&self.entry.name);
        self.file.read_exact_at(&mut bytes, start).map_err(Error::io("read", &path))?;
        let found = blake3::Hasher::new().update_rayon(&bytes).finalize().to_hex();
        if found.as_str() != self.entry.chunks[number] {
            let what = format!("its contents are not what was written (chunk {number})");
            return Err(Error::Corrupt { folder: self.folder.clone(), file: self.entry.name.clone(), what });
        }
        self.compared[number].store(true, Ordering::Release);
        Ok(())
    }
}

/// The bytes of a manifest, of a bounded number.
fn read_manifest_bytes(folder: &Path) -> Result<Vec<u8>> {
    let path = folder.join(MANIFEST_FILE);
    let mut bytes = Vec::new();
    let opened = open_source(&path).map_err(Error::io("open", &path))?;
    opened.take(MAX_MANIFEST_BYTES).read_to_end(&mut bytes).map_err(Error::io("read", &path))?;
    Ok(bytes)
}
