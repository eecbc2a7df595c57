//! The lock of a stage, so that two runs never make the same result at once.

use std::fs::{File, TryLockError};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use indexmap::IndexSet;

use super::LOCKS;
use super::holders::{describe_process, read_holder};
use crate::error::{Error, Result};
use crate::pipeline::fingerprint::Fingerprint;
use crate::store::layout::Store;
use crate::store::lock::StoreLock;
use crate::store::vfs::is_absent;

/// How the names of these files begin.
const STAGE: &str = "stage-";
/// How those of windows begin.
const WINDOW: &str = "window-";

/// The right to make the result of a stage. It is released when dropped, or when the process dies.
#[derive(Debug)]
pub(crate) struct StageLock(File);

impl Store {
    /// Takes the lock of the stage `name`.
    ///
    /// # Errors
    /// [`Error::Busy`] if another run makes the stage, [`Error::Io`] if the lock cannot be opened.
    pub(crate) fn lock_stage(
        &self,
        lock: &StoreLock,
        name: &str,
        fingerprint: &Fingerprint,
    ) -> Result<StageLock> {
        self.lock_as(lock, (name, "makes"), self.stage_lock(STAGE, fingerprint))
    }

    /// Takes the lock of the window of the rows `name`.
    ///
    /// # Errors
    /// As [`Self::lock_stage`]: two trainings that read one window would drop each other's shards.
    pub(crate) fn lock_window(
        &self,
        lock: &StoreLock,
        name: &str,
        fingerprint: &Fingerprint,
    ) -> Result<StageLock> {
        self.lock_as(lock, (name, "reads the window of"), self.stage_lock(WINDOW, fingerprint))
    }

    /// The process that makes a stage now, in words.
    ///
    /// # Errors
    /// If it cannot be read who it is.
    pub(crate) fn find_maker(&self, fingerprint: &Fingerprint) -> Result<Option<String>> {
        let path = self.stage_lock(STAGE, fingerprint);
        if self.vfs().stat(&path).is_err_and(|error| is_absent(&error)) {
            return Ok(None);
        }
        let locked = is_locked(&self.open_lock(&path)?);
        locked.then(|| self.name_maker(&path)).transpose()
    }

    /// The first digits of the fingerprints of the stages that somebody makes now. A store that may only be read says nothing of it.
    ///
    /// # Errors
    /// If the locks cannot be listed or opened for another reason.
    pub(in crate::store) fn list_stages_in_work(&self) -> Result<IndexSet<String>> {
        let folder = self.root().join(LOCKS);
        let entries = match self.vfs().list(&folder) {
            Err(error) if is_absent(&error) => return Ok(IndexSet::new()),
            other => other.map_err(Error::io("list", &folder))?,
        };
        let mut found = IndexSet::new();
        for (name, _) in entries {
            let Some(digits) = name.strip_prefix(STAGE) else { continue };
            let path = folder.join(&name);
            let file = match self.vfs().open_lock_file(&path) {
                Err(error) if is_unwritable(&error) => return Ok(IndexSet::new()),
                other => other.map_err(Error::io("open", &path))?,
            };
            if is_locked(&file) {
                found.insert(digits.to_owned());
            }
        }
        Ok(found)
    }

    /// Who has a lock, in words.
    fn name_maker(&self, path: &Path) -> Result<String> {
        let holder = read_holder(self.vfs(), path)?;
        Ok(holder.map_or_else(|| "another process".to_owned(), |holder| holder.words))
    }

    fn stage_lock(&self, what: &str, fingerprint: &Fingerprint) -> PathBuf {
        self.root().join(LOCKS).join(format!("{what}{}", fingerprint.short()))
    }

    fn lock_as(&self, lock: &StoreLock, (name, does): (&str, &str), path: PathBuf) -> Result<StageLock> {
        let mut file = self.open_lock(&path)?;
        match file.try_lock() {
            Ok(()) => {}
            // Without locks, the store has no other run.
            Err(TryLockError::Error(_)) if !lock.has_locks => {}
            Err(TryLockError::Error(error)) => return Err(Error::io("lock", &path)(error)),
            Err(TryLockError::WouldBlock) => {
                let holder = self.name_maker(&path)?;
                return Err(Error::Busy { message: format!("{holder} {does} `{name}` now") });
            }
        }
        // The name is only for messages.
        let _ = name_holder(&mut file);
        Ok(StageLock(file))
    }
}

/// Whether a file of the folder of locks is one of these.
pub(super) fn is_stage_lock(name: &str) -> bool {
    name.starts_with(STAGE) || name.starts_with(WINDOW)
}

/// Whether another process has a lock. The lock itself says so: a name may be left of a process that was killed.
fn is_locked(file: &File) -> bool {
    let tried = file.try_lock_shared();
    if tried.is_ok() {
        let _ = file.unlock();
    }
    matches!(tried, Err(TryLockError::WouldBlock))
}

fn is_unwritable(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
}

fn name_holder(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))?;
    file.write_all(describe_process().as_bytes())
}

impl Drop for StageLock {
    fn drop(&mut self) {
        let _ = self.0.set_len(0);
        // As for the lock of the store.
        let _ = self.0.unlock();
    }
}
