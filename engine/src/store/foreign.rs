//! A store may have come with a repository, or lie in a folder that others write to. What fmflow never makes there is refused
//! before anything in it is read or changed.

use std::path::Path;

use crate::error::{Error, ForeignEntry, Result};
use crate::store::vfs::{EntryKind, Vfs, is_absent};

/// The folder in which programs run.
pub(super) const PROGRAMS: &str = "programs";

/// Levels of folders in a store: the deepest one is a checkpoint that is being removed. Nothing is said against a few more.
const MAX_STORE_DEPTH: usize = 16;

/// Refuses a store that contains a link, pipe, socket or device anywhere.
///
/// # Errors
/// One with the first such entry, or [`Error::Io`] if a folder cannot be listed.
pub(super) fn refuse_foreign_entries(vfs: &dyn Vfs, root: &Path) -> Result<()> {
    refuse_foreign_below(vfs, root, 0)
}

fn refuse_foreign_below(vfs: &dyn Vfs, folder: &Path, depth: usize) -> Result<()> {
    if depth > MAX_STORE_DEPTH {
        return Err(refuse_entry(folder, "deeper than any folder of a store"));
    }
    let entries = match vfs.list(folder) {
        // A run in progress may just have removed it.
        Err(error) if is_absent(&error) => return Ok(()),
        other => other.map_err(Error::io("list", folder))?,
    };
    for (name, kind) in entries {
        let path = folder.join(name);
        match kind {
            EntryKind::File => {}
            // What programs left there is never searched, only removed without following links.
            EntryKind::Directory if depth == 0 && path.ends_with(PROGRAMS) => {}
            EntryKind::Directory => refuse_foreign_below(vfs, &path, depth + 1)?,
            EntryKind::Foreign(what) => return Err(refuse_entry(&path, what)),
        }
    }
    Ok(())
}

fn refuse_entry(path: &Path, what: &str) -> Error {
    Error::io("use", path)(ForeignEntry::new(path, what).into())
}
