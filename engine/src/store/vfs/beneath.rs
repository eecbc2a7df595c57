//! The file system below one folder. Every path is walked from that folder's own descriptor, one name at a time, so that
//! neither a link nor `..` leads out of it, whoever changes the folders meanwhile.

use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags};

use super::Vfs;
use super::disk::{FOLDER_FLAGS, Locate, foreign_entry, open_folder_at};

/// Why a store is used, which decides what its folder may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreTrust {
    /// The user named it: it may be a link, and belong to somebody else.
    Named,
    /// It lies where a store is looked for, and may have come with a repository or lie in a shared folder: it has to be a
    /// folder of the user's own.
    Found,
}

/// The file system below a folder.
#[derive(Debug)]
pub(super) struct Beneath {
    root: PathBuf,
    folder: OwnedFd,
}

impl Beneath {
    /// Opens the folder that everything else is below.
    pub(super) fn open(root: &Path, trust: StoreTrust) -> io::Result<Arc<dyn Vfs>> {
        let flags = match trust {
            StoreTrust::Named => FOLDER_FLAGS,
            StoreTrust::Found => FOLDER_FLAGS | OFlags::NOFOLLOW,
        };
        let opened = rustix::fs::open(root, flags, Mode::empty());
        let folder = opened.map_err(|error| match std::fs::symlink_metadata(root) {
            Ok(about) if about.is_symlink() && trust == StoreTrust::Found => foreign_entry(root, "a link"),
            _ => error.into(),
        })?;
        let (owner, user) = (rustix::fs::fstat(&folder)?.st_uid, rustix::process::geteuid());
        if trust == StoreTrust::Found && owner != user.as_raw() {
            return Err(foreign_entry(root, format!("owned by another user (number {owner})")));
        }
        Ok(Arc::new(Self { root: root.to_owned(), folder }))
    }
}

impl Locate for Beneath {
    fn is_top(&self, path: &Path) -> bool {
        path == self.root
    }

    fn open_folder(&self, path: &Path) -> io::Result<OwnedFd> {
        let below = path.strip_prefix(&self.root).map_err(|_| outside(path))?;
        let mut folder = self.folder.try_clone()?;
        for part in below.components() {
            let Component::Normal(name) = part else { return Err(outside(path)) };
            folder = open_folder_at(&folder, name)?;
        }
        Ok(folder)
    }
}

fn outside(path: &Path) -> io::Error {
    foreign_entry(path, "outside the store")
}
