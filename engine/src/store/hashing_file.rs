//! A file that is hashed, as a whole and in chunks, while it is written.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use indexmap::IndexMap;

use crate::error::{Error, ForeignEntry, Result};
use crate::store::manifest::{CHUNK_BYTES, FileEntry};
use crate::store::vfs::{EntryKind, Vfs, VfsFile, is_absent};

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

    /// Opens a file in a folder under construction whose first `size` bytes have this digest, to go on behind them; `None` if they
    /// do not, or if the file has other names: what is written to it could change a file elsewhere.
    pub(super) fn reopen(
        vfs: Arc<dyn Vfs>,
        folder: &Path,
        name: &str,
        files: FolderFiles,
        (size, digest): (u64, &str),
    ) -> Result<Option<Self>> {
        let path = folder.join(name);
        let found = match vfs.stat(&path) {
            Err(error) if is_absent(&error) => return Ok(None),
            found => found.map_err(Error::io("inspect", &path))?,
        };
        if found.kind != EntryKind::File || found.size < size {
            return Ok(None);
        }
        let inner = match vfs.reopen(&path, size) {
            Err(error) if ForeignEntry::find(&error).is_some() => return Ok(None),
            opened => opened.map_err(Error::io("open", &path))?,
        };
        let name = name.to_string();
        let (whole, chunk) = (blake3::Hasher::new(), blake3::Hasher::new());
        let mut file =
            Self { inner, vfs, path, name, files, whole, chunk, in_chunk: 0, size: 0, chunks: vec![] };
        let (vfs, path) = (file.vfs.clone(), file.path.clone());
        let complete = read_beginning(&*vfs, &path, size, |bytes| file.hash(bytes));
        if !complete.map_err(Error::io("read", &path))? || file.digest() != digest {
            return Ok(None);
        }
        lock_files(&file.files).insert(file.name.clone(), None);
        Ok(Some(file))
    }

    /// Brings what was written to stable storage; returns its size and digest.
    pub(super) fn settle(&mut self) -> Result<(u64, String)> {
        self.inner.flush().map_err(Error::io("write", &self.path))?;
        self.inner.sync().map_err(Error::io("sync", &self.path))?;
        Ok((self.size, self.digest()))
    }

    fn digest(&self) -> String {
        self.whole.finalize().to_hex().to_string()
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
            blake3: self.digest(),
            chunks: self.chunks,
        };
        lock_files(&self.files).insert(self.name, Some(entry));
        Ok(())
    }

    pub(super) fn write_whole(mut self, bytes: &[u8]) -> Result<()> {
        self.write_all(bytes).map_err(Error::io("write", &self.path))?;
        self.finish()
    }

    /// Counts and hashes bytes that are in the file.
    fn hash(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (now, rest) = bytes.split_at(bytes.len().min(CHUNK_BYTES - self.in_chunk));
            hash_bytes(&mut self.whole, now);
            hash_bytes(&mut self.chunk, now);
            self.in_chunk += now.len();
            self.size += now.len() as u64;
            if self.in_chunk == CHUNK_BYTES {
                self.end_chunk();
            }
            bytes = rest;
        }
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
        self.hash(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(self.inner.flush().map_err(Error::io("write", &self.path))?)
    }
}

/// Calls `take` with the first `size` bytes of a file, in parts. Whether it has so many.
fn read_beginning(vfs: &dyn Vfs, path: &Path, size: u64, mut take: impl FnMut(&[u8])) -> io::Result<bool> {
    let mut reader = match vfs.open(path) {
        Err(error) if is_absent(&error) => return Ok(false),
        opened => opened?.take(size),
    };
    let mut buffer = vec![0; 1 << 20];
    let mut found = 0;
    loop {
        match reader.read(&mut buffer)? {
            0 => return Ok(found == size),
            count => {
                take(&buffer[..count]);
                found += count as u64;
            }
        }
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
