//! Finds out whether a file system supports the operations that the store needs, by trying them.

use std::fs::TryLockError;
use std::io;
use std::path::Path;

use crate::store::layout::make_unique_name;
use crate::store::vfs::Vfs;

/// The result of trying one operation.
#[derive(Debug)]
pub(crate) struct ProbeResult {
    /// What was tried, such as `rename a folder`.
    pub what: &'static str,
    /// Whether a store cannot work without it.
    pub essential: bool,
    /// Whether it worked.
    pub result: io::Result<()>,
}

type ProbeAction<'a> = &'a dyn Fn() -> io::Result<()>;

/// Tries the operations in a temporary folder inside `parent`, which is removed again. Stops at the first essential operation
/// that fails.
#[must_use]
pub(crate) fn probe_file_system(vfs: &dyn Vfs, parent: &Path) -> Vec<ProbeResult> {
    let own = parent.join(make_unique_name(".fmflow-trial"));
    let (before, after, file) = (own.join("a"), own.join("b"), own.join("a/file"));
    let steps: [(&str, bool, ProbeAction<'_>); 6] = [
        ("create folders", true, &|| vfs.create_dir(&own).and_then(|()| vfs.create_dir(&before))),
        ("write and sync a file", true, &|| write_probe_file(vfs, &file)),
        ("write-protect a file", true, &|| vfs.protect(&file)),
        ("rename a folder", true, &|| vfs.rename(&before, &after)),
        ("sync a folder", true, &|| vfs.sync_dir(&own)),
        ("lock a file", false, &|| check_file_lock(vfs, &own.join("lock"))),
    ];
    let mut tried: Vec<ProbeResult> = Vec::new();
    for (what, essential, step) in steps {
        if tried.iter().any(|tried| tried.essential && tried.result.is_err()) {
            break;
        }
        tried.push(ProbeResult { what, essential, result: step() });
    }
    let _ = vfs.remove_all(&own);
    tried
}

fn write_probe_file(vfs: &dyn Vfs, path: &Path) -> io::Result<()> {
    let mut file = vfs.create_new(path)?;
    file.write_all(b"trial")?;
    file.sync()
}

/// Checks that a file cannot be locked twice: a file system may accept a lock and not enforce it.
fn check_file_lock(vfs: &dyn Vfs, path: &Path) -> io::Result<()> {
    let first = vfs.open_lock_file(path)?;
    first.try_lock().map_err(io::Error::from)?;
    match vfs.open_lock_file(path)?.try_lock() {
        Err(TryLockError::WouldBlock) => Ok(()),
        Err(TryLockError::Error(error)) => Err(error),
        Ok(()) => Err(io::Error::other("the same file can be locked twice")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::vfs::Disk;
    use crate::store::vfs::fault::{FaultMode, FaultyVfs};

    #[test]
    fn a_good_folder_passes_and_is_left_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        assert!(probe_file_system(&Disk, folder.path()).iter().all(|tried| tried.result.is_ok()));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_fails_is_named_and_nothing_follows() {
        for at in 0..6 {
            let folder = tempfile::tempdir().unwrap();
            let vfs = FaultyVfs::new(at, FaultMode::Fail(io::ErrorKind::ReadOnlyFilesystem));
            let tried = probe_file_system(&vfs, folder.path());
            assert!(tried.last().is_some_and(|last| last.result.is_err()), "{at}: {tried:?}");
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "{at}");
        }
    }
}
