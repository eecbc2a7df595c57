//! A file that is hashed, as a whole and in chunks, while it is written.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use indexmap::IndexMap;

use crate::error::{Error, Result};
use crate::store::manifest::{CHUNK_BYTES, FileEntry};
use crate::store::vfs::{Vfs, VfsFile};

/// Files of a folder under construction, by name; `None` for a file that is not finished yet.
pub(super) type FolderFiles = Arc<Mutex<IndexMap<String, Option<FileEntry>>>>;

/// A file of an artifact. It belongs to the artifact only after [`HashingFile::finish`].
pub struct HashingFile {
    inner: Box<dyn VfsFile>,
    vfs: Arc<dyn Vfs>,
    path: PathBuf,
    name: String,
    files: FolderFiles,
    whole: blake3::Hasher,
    chunk: blake3::Hasher,
    in_chunk: usize,
    size: u64,
    chunks: Vec<String>,
}

impl HashingFile {
    /// Creates a file in a folder under construction.
    pub(super) fn create(vfs: Arc<dyn Vfs>, folder: &Path, name: &str, files: FolderFiles) -> Result<Self> {
        let path = folder.join(name);
        let inner = vfs.create_new(&path).map_err(Error::io("create", &path))?;
        let name = name.to_string();
        lock_files(&files).insert(name.clone(), None);
        let (whole, chunk) = (blake3::Hasher::new(), blake3::Hasher::new());
        Ok(Self { inner, vfs, path, name, files, whole, chunk, in_chunk: 0, size: 0, chunks: vec![] })
    }

    /// Makes the file read-only, brings it to stable storage, and adds it to the manifest.
    ///
    /// # Errors
    /// If it cannot be written, made read-only or synced.
    pub fn finish(mut self) -> Result<()> {
        self.inner.flush().map_err(Error::io("write", &self.path))?;
        self.vfs.protect(&self.path).map_err(Error::io("protect", &self.path))?;
        self.inner.sync().map_err(Error::io("sync", &self.path))?;
        if self.in_chunk > 0 {
            self.end_chunk();
        }
        let entry = FileEntry {
            name: self.name.clone(),
            size: self.size,
            blake3: self.whole.finalize().to_hex().to_string(),
            chunks: self.chunks,
        };
        lock_files(&self.files).insert(self.name, Some(entry));
        Ok(())
    }

    pub(super) fn write_whole(mut self, bytes: &[u8]) -> Result<()> {
        self.write_all(bytes).map_err(Error::io("write", &self.path))?;
        self.finish()
    }

    fn end_chunk(&mut self) {
        self.chunks.push(self.chunk.finalize().to_hex().to_string());
        self.chunk.reset();
        self.in_chunk = 0;
    }
}

impl Write for HashingFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = bytes.len().min(CHUNK_BYTES - self.in_chunk);
        let written = self.inner.write(&bytes[..room]).map_err(Error::io("write", &self.path))?;
        hash_bytes(&mut self.whole, &bytes[..written]);
        hash_bytes(&mut self.chunk, &bytes[..written]);
        self.in_chunk += written;
        self.size += written as u64;
        if self.in_chunk == CHUNK_BYTES {
            self.end_chunk();
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(self.inner.flush().map_err(Error::io("write", &self.path))?)
    }
}

/// Hashes a part of a file, on several threads if it is large.
fn hash_bytes(hasher: &mut blake3::Hasher, bytes: &[u8]) {
    /// Fewer bytes than this are hashed sooner than they are shared out.
    const MANY: usize = 128 << 10;
    match bytes.len() < MANY {
        true => hasher.update(bytes),
        false => hasher.update_rayon(bytes),
    };
}

pub(super) fn lock_files(files: &FolderFiles) -> MutexGuard<'_, IndexMap<String, Option<FileEntry>>> {
    files.lock().unwrap_or_else(PoisonError::into_inner)
}
