//! The file system as the store sees it: few operations, so that a test can fail or "crash" at each of them.

#[cfg(test)]
pub(crate) mod fault;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use crate::error::{Error, Result};

/// A file open for writing.
pub trait VfsFile: Write + Send {
    /// Brings everything written so far to stable storage. A failure is final: it is never tried again.
    ///
    /// # Errors
    /// What the operating system says.
    fn sync(&mut self) -> io::Result<()>;
}

/// What a directory entry is; links are not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A link, a device, a socket or a pipe.
    Other,
}

/// What is known of a file without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileStat {
    /// What it is.
    pub kind: EntryKind,
    /// Bytes.
    pub size: u64,
    /// Device and inode.
    pub id: (u64, u64),
    /// Seconds and nanoseconds of the last change of contents.
    pub modified: (i64, i64),
    /// Seconds and nanoseconds of the last change of contents or inode; nobody can set it back.
    pub changed: (i64, i64),
}

/// The operations that the store is made of.
#[expect(clippy::missing_errors_doc, reason = "each gives what the operating system says")]
pub trait Vfs: Send + Sync + std::fmt::Debug {
    /// Creates a file that must not exist.
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn VfsFile>>;
    /// Opens a file for writing at its end; creates it.
    fn append(&self, path: &Path) -> io::Result<Box<dyn VfsFile>>;
    /// Creates one directory that must not exist.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// Takes write permission from a file.
    fn protect(&self, path: &Path) -> io::Result<()>;
    /// Brings a directory's entries to stable storage.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Renames; a directory replaces at most an empty one.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Removes an empty directory.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;
    /// Names and kinds in a directory, sorted by name.
    fn list(&self, path: &Path) -> io::Result<Vec<(String, EntryKind)>>;
    /// Opens a file for reading.
    fn open(&self, path: &Path) -> io::Result<Box<dyn Read + Send>>;
    /// Looks at a file without following a link.
    fn stat(&self, path: &Path) -> io::Result<FileStat>;
    /// Bytes that a user may still write to the file system of a path.
    fn free_bytes(&self, path: &Path) -> io::Result<u64>;

    /// The whole content of a small file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.open(path)?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Creates a directory unless it is there.
    fn ensure_dir(&self, path: &Path) -> io::Result<()> {
        match self.create_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
            other => other,
        }
    }

    /// Removes a file or a directory with everything in it, following no link.
    fn remove_all(&self, path: &Path) -> io::Result<()> {
        if self.stat(path)?.kind != EntryKind::Directory {
            return self.remove_file(path);
        }
        for (name, kind) in self.list(path)? {
            let inner = path.join(name);
            if kind == EntryKind::Directory { self.remove_all(&inner)? } else { self.remove_file(&inner)? }
        }
        self.remove_dir(path)
    }
}

/// The file system of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disk;

impl VfsFile for File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()
    }
}

impl Vfs for Disk {
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn VfsFile>> {
        Ok(Box::new(OpenOptions::new().write(true).create_new(true).mode(0o644).open(path)?))
    }

    fn append(&self, path: &Path) -> io::Result<Box<dyn VfsFile>> {
        Ok(Box::new(OpenOptions::new().append(true).create(true).open(path)?))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        fs::create_dir(path)
    }

    fn protect(&self, path: &Path) -> io::Result<()> {
        fs::set_permissions(path, fs::Permissions::from_mode(0o444))
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        match File::open(path)?.sync_all() {
            // Some network file systems cannot sync a directory; there is nothing better to do.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
            other => other,
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<(String, EntryKind)>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            entries
                .push((entry.file_name().to_string_lossy().into_owned(), to_entry_kind(entry.file_type()?)));
        }
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(entries)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(File::open(path)?))
    }

    fn stat(&self, path: &Path) -> io::Result<FileStat> {
        let meta = fs::symlink_metadata(path)?;
        Ok(FileStat {
            kind: to_entry_kind(meta.file_type()),
            size: meta.len(),
            id: (meta.dev(), meta.ino()),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        })
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(path)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

/// The kind of a file type.
fn to_entry_kind(file_type: fs::FileType) -> EntryKind {
    if file_type.is_file() {
        EntryKind::File
    } else if file_type.is_dir() {
        EntryKind::Directory
    } else {
        EntryKind::Other
    }
}

/// Whether nothing is there, which many a reader takes for an empty answer.
pub(crate) fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Bytes of all files in a folder; what vanishes meanwhile counts nothing.
pub(crate) fn count_folder_bytes(vfs: &dyn Vfs, path: &Path) -> Result<u64> {
    let stat = match vfs.stat(path) {
        Err(error) if is_absent(&error) => return Ok(0),
        other => other.map_err(Error::io("look at", path))?,
    };
    if stat.kind != EntryKind::Directory {
        return Ok(stat.size);
    }
    let entries = match vfs.list(path) {
        Err(error) if is_absent(&error) => return Ok(0),
        other => other.map_err(Error::io("list", path))?,
    };
    entries.iter().map(|(name, _)| count_folder_bytes(vfs, &path.join(name))).sum()
}
