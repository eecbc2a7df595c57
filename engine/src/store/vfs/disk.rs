//! The real file system, by descriptors of folders. Links are not followed, and only regular files are opened.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};

use super::beneath::{Beneath, StoreTrust};
use super::{EntryKind, EntryStat, Vfs, VfsFile};
use crate::error::ForeignEntry;

/// How a folder is opened. What is no folder is refused without being opened, so that a pipe cannot block.
pub(super) const FOLDER_FLAGS: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// How a file is opened, whatever for. Without `NONBLOCK`, a pipe blocks until somebody writes to it.
const FILE_FLAGS: OFlags =
    OFlags::NOFOLLOW.union(OFlags::NONBLOCK).union(OFlags::CLOEXEC).union(OFlags::NOCTTY);

/// The real file system, for folders that the user named. Only the last name of a path is not followed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Disk;

/// How the folder of a path is reached.
pub(super) trait Locate: Send + Sync + std::fmt::Debug {
    /// Opens a folder.
    fn open_folder(&self, path: &Path) -> io::Result<OwnedFd>;

    /// Whether a path is reached as a folder only, because what it lies in is out of reach.
    fn is_top(&self, path: &Path) -> bool {
        path.file_name().is_none()
    }

    /// The folder that a path lies in, and the path's last name; for one at the top, the folder itself and `.`.
    fn locate<'a>(&self, path: &'a Path) -> io::Result<(OwnedFd, &'a OsStr)> {
        let Some((parent, name)) = path.parent().zip(path.file_name()).filter(|_| !self.is_top(path)) else {
            return Ok((self.open_folder(path)?, OsStr::new(".")));
        };
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        Ok((self.open_folder(parent)?, name))
    }
}

impl Locate for Disk {
    fn open_folder(&self, path: &Path) -> io::Result<OwnedFd> {
        Ok(rustix::fs::open(path, FOLDER_FLAGS, Mode::empty())?)
    }
}

impl<L: Locate> Vfs for L {
    fn beneath(&self, root: &Path, trust: StoreTrust) -> io::Result<Arc<dyn Vfs>> {
        Beneath::open(root, trust)
    }

    fn create_new(&self, path: &Path) -> io::Result<Box<dyn VfsFile>> {
        let (folder, name) = self.locate(path)?;
        let flags = FILE_FLAGS | OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
        Ok(Box::new(File::from(rustix::fs::openat(folder, name, flags, Mode::from_raw_mode(0o644))?)))
    }

    fn append(&self, path: &Path) -> io::Result<Box<dyn VfsFile>> {
        Ok(Box::new(open_own_file(self, path, OFlags::WRONLY | OFlags::APPEND)?))
    }

    fn reopen(&self, path: &Path, size: u64) -> io::Result<Box<dyn VfsFile>> {
        let (folder, name) = self.locate(path)?;
        let before = open_regular_file(self, path, OFlags::RDONLY)?;
        refuse_shared(path, &rustix::fs::fstat(&before)?)?;
        rustix::fs::fchmod(&before, Mode::from_raw_mode(0o644))?;
        let flags = FILE_FLAGS | OFlags::WRONLY | OFlags::APPEND;
        let file = File::from(rustix::fs::openat(folder, name, flags, Mode::empty())?);
        refuse_shared(path, &rustix::fs::fstat(&file)?)?;
        file.set_len(size)?;
        Ok(Box::new(file))
    }

    fn open_lock_file(&self, path: &Path) -> io::Result<File> {
        open_own_file(self, path, OFlags::RDWR)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let (folder, name) = self.locate(path)?;
        Ok(rustix::fs::mkdirat(folder, name, Mode::from_raw_mode(0o777))?)
    }

    fn protect(&self, path: &Path) -> io::Result<()> {
        let file = open_regular_file(self, path, OFlags::RDONLY)?;
        Ok(rustix::fs::fchmod(file, Mode::from_raw_mode(0o444))?)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        match rustix::fs::fsync(self.open_folder(path)?) {
            // Some network file systems cannot sync a directory, and there is no other way to make the entry durable.
            Err(rustix::io::Errno::INVAL) => Ok(()),
            other => Ok(other?),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let ((old_folder, old), (new_folder, new)) = (self.locate(from)?, self.locate(to)?);
        Ok(rustix::fs::renameat(old_folder, old, new_folder, new)?)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let ((old_folder, old), (new_folder, new)) = (self.locate(from)?, self.locate(to)?);
        refuse_irregular(from, &stat_at(&old_folder, old)?)?;
        Ok(rustix::fs::linkat(old_folder, old, new_folder, new, AtFlags::empty())?)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let (folder, name) = self.locate(path)?;
        Ok(rustix::fs::unlinkat(folder, name, AtFlags::empty())?)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        let (folder, name) = self.locate(path)?;
        Ok(rustix::fs::unlinkat(folder, name, AtFlags::REMOVEDIR)?)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<(String, EntryKind)>> {
        let folder = self.open_folder(path)?;
        let mut entries = Vec::new();
        for entry in Dir::read_from(&folder)? {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." {
                continue;
            }
            let text = name.to_str();
            let text = text.ok_or_else(|| foreign_entry(Path::new(name), "not named in UTF-8"))?;
            let kind = match entry.file_type() {
                // Some file systems do not say.
                FileType::Unknown => stat_at(&folder, name)?.st_mode,
                known => known.as_raw_mode(),
            };
            entries.push((text.to_owned(), to_entry_kind(FileType::from_raw_mode(kind))));
        }
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(entries)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(open_regular_file(self, path, OFlags::RDONLY)?))
    }

    fn stat(&self, path: &Path) -> io::Result<EntryStat> {
        let (folder, name) = self.locate(path)?;
        let stat = stat_at(&folder, name)?;
        let kind = to_entry_kind(FileType::from_raw_mode(stat.st_mode));
        let id = [i128::from(stat.st_dev), i128::from(stat.st_ino)];
        let shared = (kind == EntryKind::File && stat.st_nlink > 1).then_some(id);
        Ok(EntryStat { kind, size: stat.st_size.cast_unsigned(), shared })
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        let stat = rustix::fs::fstatvfs(self.open_folder(path)?)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

/// Opens a folder by its name in another one; a link is refused.
pub(super) fn open_folder_at(folder: &OwnedFd, name: &OsStr) -> io::Result<OwnedFd> {
    let opened = rustix::fs::openat(folder, name, FOLDER_FLAGS | OFlags::NOFOLLOW, Mode::empty());
    opened.map_err(|error| match stat_at(folder, name).map(|stat| FileType::from_raw_mode(stat.st_mode)) {
        Ok(kind) => match to_entry_kind(kind) {
            EntryKind::Foreign(what) => foreign_entry(Path::new(name), what),
            EntryKind::File | EntryKind::Directory => error.into(),
        },
        Err(_) => error.into(),
    })
}

/// Opens a file for reading or changing its mode. Its kind is checked before, because opening a device can have effects, and
/// afterwards, because the name may stand for something else by then.
fn open_regular_file(place: &impl Locate, path: &Path, access: OFlags) -> io::Result<File> {
    let (folder, name) = place.locate(path)?;
    refuse_irregular(path, &stat_at(&folder, name)?)?;
    let file = rustix::fs::openat(folder, name, access | FILE_FLAGS, Mode::empty())?;
    refuse_irregular(path, &rustix::fs::fstat(&file)?)?;
    Ok(File::from(file))
}

/// Opens a file to write in place, and creates it if it is absent. It must have no second name, which could lie anywhere.
fn open_own_file(place: &impl Locate, path: &Path, access: OFlags) -> io::Result<File> {
    let (folder, name) = place.locate(path)?;
    match stat_at(&folder, name) {
        Err(rustix::io::Errno::NOENT) => {}
        other => refuse_shared(path, &other?)?,
    }
    let flags = access | OFlags::CREATE | FILE_FLAGS;
    let file = rustix::fs::openat(folder, name, flags, Mode::from_raw_mode(0o666))?;
    refuse_shared(path, &rustix::fs::fstat(&file)?)?;
    Ok(File::from(file))
}

fn refuse_shared(path: &Path, stat: &Stat) -> io::Result<()> {
    refuse_irregular(path, stat)?;
    if stat.st_nlink > 1 {
        return Err(foreign_entry(path, "a file with several names (hard links)"));
    }
    Ok(())
}

fn refuse_irregular(path: &Path, stat: &Stat) -> io::Result<()> {
    match to_entry_kind(FileType::from_raw_mode(stat.st_mode)) {
        EntryKind::File => Ok(()),
        EntryKind::Directory => Err(io::ErrorKind::IsADirectory.into()),
        EntryKind::Foreign(what) => Err(foreign_entry(path, what)),
    }
}

fn stat_at(folder: impl AsFd, name: &OsStr) -> rustix::io::Result<Stat> {
    rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)
}

/// The error for what a store never contains.
pub(super) fn foreign_entry(path: &Path, what: impl Into<String>) -> io::Error {
    ForeignEntry::new(path, what).into()
}

fn to_entry_kind(kind: FileType) -> EntryKind {
    match kind {
        FileType::RegularFile => EntryKind::File,
        FileType::Directory => EntryKind::Directory,
        FileType::Symlink => EntryKind::Foreign("a link"),
        FileType::Fifo => EntryKind::Foreign("a pipe"),
        FileType::Socket => EntryKind::Foreign("a socket"),
        FileType::CharacterDevice | FileType::BlockDevice => EntryKind::Foreign("a device"),
        FileType::Unknown => EntryKind::Foreign("of an unknown kind"),
    }
}
