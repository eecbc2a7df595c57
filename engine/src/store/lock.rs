//! Who may change a store. A run shares it with other runs, each of which makes stages of its own; `gc`, and runs that discard
//! results, have it alone.
//!
//! ```text
//! lock                     locked by whoever changes the store: shared by runs, exclusive for those who need it alone
//! locks/run.<process>.<n>  names such a process; it is removed at the end
//! locks/turn               locked for moments by who changes a file of all runs
//! locks/stage-<12 digits>  locked by the run that makes the stage, and names it; `window-`: by the training that reads the window
//! ```

mod holders;
mod stage;

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

pub(crate) use holders::{LockHolder, find_live_holders, find_lock_holders};
pub(crate) use stage::StageLock;

use crate::error::{Error, Result};
use crate::store::layout::{Store, extract_digits, make_unique_name};
use crate::store::vfs::Vfs;
use holders::{RUN, remove_holders, write_holder};
use stage::is_stage_lock;

/// The folder of the locks of stages and of the names of runs.
const LOCKS: &str = "locks";

/// How long others may take to let the lock go: those who share it have it alone for a moment when they start.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long others may take to read and write a small file on a busy machine.
const LONG_PATIENCE: Duration = Duration::from_secs(30);

/// How often the lock is tried.
const LOOK: Duration = Duration::from_millis(10);

/// The right to change a store. It is released when dropped, or when the process dies.
#[derive(Debug)]
pub struct StoreLock {
    file: File,
    vfs: Arc<dyn Vfs>,
    /// The file that names this process.
    name: Option<PathBuf>,
    /// Whether the file system has locks.
    has_locks: bool,
    /// Something to show once at the start, if any.
    pub note: Option<String>,
}

/// How a lock is held.
enum Hold {
    /// Nobody else has it.
    Alone,
    /// Others share it.
    Beside,
    /// The file system has no locks.
    Unknown(io::Error),
}

impl Store {
    /// Takes the lock for this process alone, creates missing folders, and removes what dead processes left.
    ///
    /// # Errors
    /// [`Error::Locked`] if another process holds the lock, [`Error::Io`] if the store cannot be changed.
    pub fn lock(&self) -> Result<StoreLock> {
        StoreLock::take(self, false)
    }

    /// Takes the lock for a run that works beside others: it may make stages whose [`StageLock`] it gets. If it is the only
    /// one, it creates missing folders and removes what dead processes left.
    ///
    /// # Errors
    /// As [`Self::lock`]; another run is none, unless it needs the store alone.
    pub fn lock_shared(&self) -> Result<StoreLock> {
        StoreLock::take(self, true)
    }

    /// Waits until no other process reads and writes small files of the store that belong to all. It takes moments.
    ///
    /// # Errors
    /// If the lock cannot be opened, or somebody keeps it.
    pub(crate) fn wait_for_turn(&self) -> Result<File> {
        self.ensure_folder(LOCKS)?;
        let file = self.open_lock(&self.root().join(LOCKS).join("turn"))?;
        match acquire(&file, false, LONG_PATIENCE) {
            Some(_) => Ok(file),
            None => Err(locked_store(self)),
        }
    }

    fn open_lock(&self, path: &Path) -> Result<File> {
        self.vfs().open_lock_file(path).map_err(Error::io("open", path))
    }

    /// Creates missing folders.
    fn ensure_folders(&self) -> Result<()> {
        for folder in ["tmp", "trash", "artifacts", "work", "runs", LOCKS] {
            self.ensure_folder(folder)?;
        }
        self.vfs().sync_dir(self.root()).map_err(Error::io("sync", self.root()))
    }

    /// Empties `tmp/` and `trash/`, and removes unfinished work whose artifact exists.
    fn sweep(&self) -> Result<()> {
        for folder in ["tmp", "trash"] {
            self.empty_folder(&self.root().join(folder), |_| true)?;
        }
        self.sweep_programs()?;
        let artifacts = self.root().join("artifacts");
        let finished = self.vfs().list(&artifacts).map_err(Error::io("list", &artifacts))?;
        let finished: Vec<&str> = finished.iter().map(|(name, _)| extract_digits(name)).collect();
        self.empty_folder(&self.root().join("work"), |name| finished.contains(&extract_digits(name)))?;
        // No stage is at work, so that nobody has one of them open.
        self.empty_folder(&self.root().join(LOCKS), is_stage_lock)
    }

    fn empty_folder(&self, folder: &Path, goes: impl Fn(&str) -> bool) -> Result<()> {
        for (name, _) in self.vfs().list(folder).map_err(Error::io("list", folder))? {
            if goes(&name) {
                let path = folder.join(&name);
                self.vfs().remove_all(&path).map_err(Error::io("remove", &path))?;
            }
        }
        Ok(())
    }
}

impl StoreLock {
    fn take(store: &Store, shared: bool) -> Result<Self> {
        let file = store.open_lock(&store.root().join("lock"))?;
        let held = acquire(&file, shared, PATIENCE).ok_or_else(|| locked_store(store))?;
        let mut lock = Self { file, vfs: store.vfs.clone(), name: None, has_locks: true, note: None };
        store.ensure_folders()?;
        if let Hold::Unknown(error) = &held {
            lock.has_locks = false;
            lock.note =
                Some(format!("this file system has no locks ({error}): start only one run at a time"));
        }
        // Before anything else is changed, so that whoever starts now sees it.
        lock.claim(store)?;
        let others = list_others(store)?;
        match (&held, others.first()) {
            (Hold::Unknown(_), Some(_)) => return Err(locked_store(store)),
            (Hold::Beside, Some(other)) => {
                let words = &other.words;
                lock.note = Some(format!("{words} runs in this store, too; what it makes is left to it"));
            }
            _ => {}
        }
        if !matches!(held, Hold::Beside) {
            remove_holders(store)?;
            store.sweep()?;
        }
        if shared && matches!(held, Hold::Alone) {
            // Whoever starts at the same moment may be faster now, which does no harm.
            lock.share().ok_or_else(|| locked_store(store))?;
        }
        Ok(lock)
    }

    /// Lets others share the lock.
    fn share(&self) -> Option<()> {
        insist(PATIENCE, || self.file.try_lock_shared().ok())
    }

    /// Names this process. Where locks work, names are only for messages, so a failure to write one is ignored.
    fn claim(&mut self, store: &Store) -> Result<()> {
        let path = store.root().join(LOCKS).join(make_unique_name(RUN));
        match write_holder(store.vfs(), &path) {
            Err(error) if !self.has_locks => return Err(Error::io("write", &path)(error)),
            Err(_) => {}
            Ok(()) => self.name = Some(path),
        }
        Ok(())
    }
}

/// Other processes that may be at work in the store.
fn list_others(store: &Store) -> Result<Vec<LockHolder>> {
    Ok(find_live_holders(store)?.into_iter().filter(|holder| !holder.is_own()).collect())
}

/// Locks a file; `None` if somebody else does not let it go.
fn acquire(file: &File, shared: bool, patience: Duration) -> Option<Hold> {
    insist(patience, || match file.try_lock() {
        Ok(()) => Some(Hold::Alone),
        Err(TryLockError::Error(error)) => Some(Hold::Unknown(error)),
        Err(TryLockError::WouldBlock) => (shared && file.try_lock_shared().is_ok()).then_some(Hold::Beside),
    })
}

/// Tries until it succeeds; `None` if it takes too long.
fn insist<T>(patience: Duration, attempt: impl Fn() -> Option<T>) -> Option<T> {
    let end = Instant::now() + patience;
    loop {
        match attempt() {
            None if Instant::now() < end => sleep(LOOK),
            tried => return tried,
        }
    }
}

fn locked_store(store: &Store) -> Error {
    let names = list_others(store).unwrap_or_default();
    let names: Vec<String> = names.into_iter().map(|holder| holder.words).collect();
    let holder = if names.is_empty() { "another process".to_owned() } else { names.join(", ") };
    Error::Locked { store: store.root().to_path_buf(), holder }
}

impl Drop for StoreLock {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            // Whoever has the store alone next removes it.
            let _ = self.vfs.remove_file(name);
        }
        // Unlock explicitly: closing the file does not release the lock while a child that was just forked has it open.
        let _ = self.file.unlock();
    }
}

#[cfg(test)]
mod tests;
