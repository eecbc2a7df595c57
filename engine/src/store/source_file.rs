//! Files that a pipeline reads and fmflow did not write: how they are opened, and how a change is noticed.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

/// Identity and times of a regular file. Two that are equal have the same contents, unless the clock of the file system is too
/// coarse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SourceStat {
    /// Size in bytes.
    pub size: u64,
    /// Device and inode.
    pub id: (u64, u64),
    /// mtime in seconds and nanoseconds: the last change of the contents. Programs can set it back.
    pub modified: (i64, i64),
    /// ctime in seconds and nanoseconds: the last change of the contents or the inode. No program can set it back.
    pub changed: (i64, i64),
}

impl SourceStat {
    /// Reads it for a path without links; `None` if the path is not that of a regular file.
    ///
    /// # Errors
    /// If nothing has the path, or it may not be asked for.
    pub(crate) fn read(path: &Path) -> io::Result<Option<Self>> {
        let about = fs::symlink_metadata(path)?;
        Ok(about.is_file().then(|| Self::of(&about)))
    }

    fn of(about: &Metadata) -> Self {
        Self {
            size: about.len(),
            id: (about.dev(), about.ino()),
            modified: (about.mtime(), about.mtime_nsec()),
            changed: (about.ctime(), about.ctime_nsec()),
        }
    }
}

/// Opens a file that was just seen to be regular. If a pipe has its name by now, this does not wait for somebody to write.
///
/// # Errors
/// If it cannot be opened.
pub(crate) fn open_source(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::open(path, flags, Mode::empty())?))
}
