//! The file system as the store sees it. It has few operations, so that a test can fail or "crash" at each of them.

#[cfg(test)]
pub(crate) mod fault;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use crate::error::{Error, Result};

/// A file open for writing.
pub(crate) trait VfsFile: Write + Send {
    /// Brings everything written so far to stable storage.
    ///
    /// # Errors
    /// If the sync fails. Do not try again: file systems mark the pages clean after a failed sync, so that a second one would
    /// succeed although the data is lost.
    fn sync(&mut self) -> io::Result<()>;
}

/// Type of a directory entry; links are not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A link, a device, a socket or a pipe.
    Other,
}

/// Metadata of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileStat {
    /// Type of the file.
    pub kind: EntryKind,
    /// Size in bytes.
    pub size: u64,
    /// Device and inode.
    pub id: (u64, u64),
    /// mtime in seconds and nanoseconds: the last change of the contents. Programs can set it back.
    pub modified: (i64, i64),
    /// ctime in seconds and nanoseconds: the last change of the contents or the inode. No program can set it back.
    pub changed: (i64, i64),
}

/// The file operations of the store.
pub(crate) trait Vfs: Send + Sync + std::fmt::Debug {
    /// Creates a file that must not exist.
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn VfsFile>>;
    /// Opens a file for appending; creates it if it does not exist.
    fn append(&self, path: &Path) -> io::Result<Box<dyn VfsFile>>;
    /// Creates one directory that must not exist.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// Makes a file read-only.
    fn protect(&self, path: &Path) -> io::Result<()>;
    /// Brings a directory's entries to stable storage, so that creations and renames in it survive a power cut.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Renames a file or directory. A file replaces an existing one; a directory replaces only an empty one.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Removes an empty directory.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;
    /// Names and kinds in a directory, sorted by name.
    fn list(&self, path: &Path) -> io::Result<Vec<(String, EntryKind)>>;
    /// Opens a file for reading.
    fn open(&self, path: &Path) -> io::Result<Box<dyn Read + Send>>;
    /// Metadata of a file; a link is not followed.
    fn stat(&self, path: &Path) -> io::Result<FileStat>;
    /// Bytes that a user may still write to the file system of a path.
    fn free_bytes(&self, path: &Path) -> io::Result<u64>;

    /// The whole content of a small file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.open(path)?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Creates a directory unless it exists.
    fn ensure_dir(&self, path: &Path) -> io::Result<()> {
        match self.create_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
            other => other,
        }
    }

    /// Removes a file, or a directory with everything in it, without following links.
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

/// The real file system.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Disk;

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
            // Some network file systems cannot sync a directory, and there is no other way to make the entry durable.
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

fn to_entry_kind(file_type: fs::FileType) -> EntryKind {
    if file_type.is_file() {
        EntryKind::File
    } else if file_type.is_dir() {
        EntryKind::Directory
    } else {
        EntryKind::Other
    }
}

/// Whether an error means that nothing has this path, which many callers treat as empty.
pub(crate) fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Total size in bytes of a file, or of all files in a folder. Files that disappear meanwhile count 0.
pub(crate) fn count_folder_bytes(vfs: &dyn Vfs, path: &Path) -> Result<u64> {
    let stat = match vfs.stat(path) {
        Err(error) if is_absent(&error) => return Ok(0),
        other => other.map_err(Error::io("inspect", path))?,
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
