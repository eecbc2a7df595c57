//! The file system as the store sees it. It has few operations, so that a test can fail or "crash" at each of them.
//!
//! No operation follows a link under the last name of a path, opens anything but a regular file, or waits for a pipe. Of a
//! store, no folder on the way is a link either: see [`Vfs::beneath`].

mod beneath;
mod disk;
#[cfg(test)]
pub(crate) mod fault;

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;

use crate::error::{Error, Result};

pub use beneath::StoreTrust;
pub(crate) use disk::Disk;

/// Largest file that is read as a whole, in bytes: none of the store's own comes near, and a stranger's must not exhaust memory.
const MAX_WHOLE_FILE_BYTES: u64 = 1 << 30;

/// A file open for writing.
pub(crate) trait VfsFile: Write + Send {
    /// Brings everything written so far to stable storage.
    ///
    /// # Errors
    /// If the sync fails. Do not try again: file systems mark the pages clean after a failed sync, so that a second one would
    /// succeed although the data is lost.
    fn sync(&mut self) -> io::Result<()>;
}

impl VfsFile for File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()
    }
}

/// Type of a directory entry; links are not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// Something that a store never contains, in words such as `a link`.
    Foreign(&'static str),
}

/// What a name in a folder stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EntryStat {
    /// Its type.
    pub kind: EntryKind,
    /// Size in bytes.
    pub size: u64,
    /// Which file it is, if it has several names: its device and its number there.
    pub shared: Option<[i128; 2]>,
}

/// The file operations of the store.
pub(crate) trait Vfs: Send + Sync + std::fmt::Debug {
    /// The same file system, confined to what lies below a folder: no other path works, and no folder on the way may be a link.
    ///
    /// # Errors
    /// That of the operating system, or a [`ForeignEntry`](crate::error::ForeignEntry) if `trust` rules the folder out.
    fn beneath(&self, root: &Path, trust: StoreTrust) -> io::Result<Arc<dyn Vfs>>;
    /// Creates a file that must not exist.
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn VfsFile>>;
    /// Opens a file for appending; creates it if it does not exist.
    fn append(&self, path: &Path) -> io::Result<Box<dyn VfsFile>>;
    /// Opens an existing file for appending behind its first `size` bytes: makes it writable, and cuts off the rest.
    fn reopen(&self, path: &Path, size: u64) -> io::Result<Box<dyn VfsFile>>;
    /// Opens a file that is locked, read and replaced in place; creates it if it does not exist.
    fn open_lock_file(&self, path: &Path) -> io::Result<File>;
    /// Creates one directory that must not exist.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// Makes a file read-only.
    fn protect(&self, path: &Path) -> io::Result<()>;
    /// Brings a directory's entries to stable storage, so that creations and renames in it survive a power cut.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Renames a file or directory. A file replaces an existing one; a directory replaces only an empty one.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Gives a regular file a second name, which nothing may have yet.
    ///
    /// # Errors
    /// That of the operating system: see [`has_no_links`] for file systems without second names.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Removes an empty directory.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;
    /// Names and kinds in a directory, sorted by name.
    fn list(&self, path: &Path) -> io::Result<Vec<(String, EntryKind)>>;
    /// Opens a file for reading.
    fn open(&self, path: &Path) -> io::Result<Box<dyn Read + Send>>;
    /// Type and size of a file; a link is not followed.
    fn stat(&self, path: &Path) -> io::Result<EntryStat>;
    /// Bytes that a user may still write to the file system of a path.
    fn free_bytes(&self, path: &Path) -> io::Result<u64>;

    /// The whole content of a small file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.open(path)?.take(MAX_WHOLE_FILE_BYTES + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MAX_WHOLE_FILE_BYTES {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "it is larger than fmflow would write it",
            ));
        }
        Ok(bytes)
    }

    /// Creates a directory unless it exists.
    fn ensure_dir(&self, path: &Path) -> io::Result<()> {
        match self.create_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match self.stat(path)?.kind {
                EntryKind::Directory => Ok(()),
                EntryKind::File => Err(error),
                EntryKind::Foreign(what) => Err(disk::foreign_entry(path, what)),
            },
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

/// Whether an error means that nothing has this path, which many callers treat as empty.
pub(crate) fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Whether an error means that a file can have no second name there: the file system knows none, the two places are on different
/// ones, the file has too many already, or its owner is somebody else.
pub(super) fn has_no_links(error: &io::Error) -> bool {
    use io::ErrorKind::{CrossesDevices, PermissionDenied, TooManyLinks, Unsupported};
    matches!(error.kind(), CrossesDevices | PermissionDenied | TooManyLinks | Unsupported)
}

/// Removes the file or folder at `path`, if it is there.
///
/// # Errors
/// If it cannot be removed.
pub(super) fn remove_if_there(vfs: &dyn Vfs, path: &Path) -> Result<()> {
    match vfs.remove_all(path) {
        Err(error) if is_absent(&error) => Ok(()),
        other => other.map_err(Error::io("remove", path)),
    }
}

/// Total size in bytes of a file, or of all files in a folder. Files that disappear meanwhile count 0.
pub(crate) fn count_folder_bytes(vfs: &dyn Vfs, path: &Path) -> Result<u64> {
    let mut bytes = 0;
    visit_files(vfs, path, &mut |stat| bytes += stat.size)?;
    Ok(bytes)
}

/// Calls `visit` for a file, or for all files in a folder, but for those that disappear meanwhile.
pub(crate) fn visit_files(vfs: &dyn Vfs, path: &Path, visit: &mut dyn FnMut(EntryStat)) -> Result<()> {
    let stat = match vfs.stat(path) {
        Err(error) if is_absent(&error) => return Ok(()),
        other => other.map_err(Error::io("inspect", path))?,
    };
    if stat.kind != EntryKind::Directory {
        visit(stat);
        return Ok(());
    }
    let entries = match vfs.list(path) {
        Err(error) if is_absent(&error) => return Ok(()),
        other => other.map_err(Error::io("list", path))?,
    };
    entries.iter().try_for_each(|(name, _)| visit_files(vfs, &path.join(name), visit))
}
