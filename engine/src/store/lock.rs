//! Allows one run at a time in a store: an exclusive lock on a file that also names its holder.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use crate::error::{Error, Result};
use crate::store::layout::{self, Store, extract_digits};
use crate::store::vfs::{Vfs, is_absent};

/// The right to change a store. It is released when dropped, or when the process dies.
#[derive(Debug)]
pub struct StoreLock {
    file: File,
    /// A warning to show once at the start, if any.
    pub note: Option<String>,
}

impl StoreLock {
    /// Takes the lock of the store at `root`.
    ///
    /// # Errors
    /// [`Error::Locked`] if another process holds it, [`Error::Io`] if the file cannot be opened, or, on a file system without
    /// locks, be read and written.
    pub(super) fn take(vfs: &dyn Vfs, root: &Path) -> Result<Self> {
        let path = root.join("lock");
        let mut file = vfs.open_lock_file(&path).map_err(Error::io("open", &path))?;
        let mut note = None;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(locked_store(root, &read_lock_holder(&mut file).unwrap_or_default()));
            }
            // The file system has no locks: the only evidence of another run is the holder that the file names.
            Err(TryLockError::Error(error)) => {
                let holder = read_lock_holder(&mut file).map_err(Error::io("read", &path))?;
                if can_be_alive(&holder) {
                    return Err(locked_store(root, &holder));
                }
                note = Some(format!("this file system has no locks ({error}): start only one run at a time"));
            }
        }
        Self::claim(file, &path, note)
    }

    /// Names this process as the holder. Where locks work, the name is only for messages, so a failure to write it is ignored.
    fn claim(mut file: File, path: &Path, note: Option<String>) -> Result<Self> {
        match write_lock_holder(&mut file) {
            Err(error) if note.is_some() => Err(Error::io("write", path)(error)),
            _ => Ok(Self { file, note }),
        }
    }
}

impl Store {
    /// Takes the lock, creates missing folders, and removes what dead processes left.
    ///
    /// # Errors
    /// [`Error::Locked`] if another process holds the lock, [`Error::Io`] if the store cannot be changed.
    pub fn lock(&self) -> Result<StoreLock> {
        let lock = StoreLock::take(self.vfs(), self.root())?;
        for folder in ["tmp", "trash", "artifacts", "work", "runs"] {
            self.ensure_folder(folder)?;
        }
        self.vfs().sync_dir(self.root()).map_err(Error::io("sync", self.root()))?;
        self.sweep()?;
        Ok(lock)
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
        self.empty_folder(&self.root().join("work"), |name| finished.contains(&extract_digits(name)))
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

impl Drop for StoreLock {
    fn drop(&mut self) {
        let _ = self.file.set_len(0);
        // Unlock explicitly: closing the file does not release the lock while a child that was just forked has it open.
        let _ = self.file.unlock();
    }
}

/// The process that the lock file of a store names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LockHolder {
    /// Process id, host and start, as written in the file.
    pub words: String,
    /// Whether the process may still be running. A process of another machine cannot be checked and counts as running.
    pub lives: bool,
}

/// The process that holds the lock of a store, or died while it held it; `None` if there is none.
///
/// This never takes the lock, so that it cannot make a run fail that starts at the same moment.
///
/// # Errors
/// If the lock file cannot be read: nobody knows then whether a run is in progress.
pub(crate) fn find_lock_holder(store: &Store) -> Result<Option<LockHolder>> {
    let path = store.root().join("lock");
    let file = match store.vfs().open(&path) {
        Err(error) if is_absent(&error) => return Ok(None),
        other => other.map_err(Error::io("open", &path))?,
    };
    let words = read_holder_words(file).map_err(Error::io("read", &path))?;
    let lives = can_be_alive(&words);
    Ok((!words.is_empty()).then_some(LockHolder { words, lives }))
}

fn locked_store(root: &Path, holder: &str) -> Error {
    let holder = if holder.is_empty() { "another process" } else { holder };
    Error::Locked { store: root.to_path_buf(), holder: holder.to_string() }
}

fn read_lock_holder(file: &mut File) -> io::Result<String> {
    file.seek(SeekFrom::Start(0))?;
    read_holder_words(file)
}

fn read_holder_words(file: impl Read) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.take(512).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
}

fn write_lock_holder(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))?;
    writeln!(
        file,
        "process {} on {} since {}",
        std::process::id(),
        read_host_name(),
        layout::format_current_time()
    )
}

fn read_host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Whether the process that a lock file names may still be running. Only one of this machine can be checked.
fn can_be_alive(holder: &str) -> bool {
    let mut words = holder.split(' ');
    let (process, machine) = (words.nth(1).and_then(|word| word.parse::<i32>().ok()), words.nth(1));
    match (process.and_then(rustix::process::Pid::from_raw), machine) {
        (None, _) | (_, None) => false,
        (Some(process), Some(machine)) if machine == read_host_name() => {
            // One of another user may not be asked, and lives.
            rustix::process::test_kill_process(process) != Err(rustix::io::Errno::SRCH)
        }
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::vfs::Disk;

    #[test]
    fn the_second_learns_who_holds_the_lock() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::create(folder.path()).unwrap();
        let first = StoreLock::take(&Disk, folder.path()).unwrap();
        let error = StoreLock::take(&Disk, folder.path()).unwrap_err();
        assert!(find_lock_holder(&store).unwrap().is_some_and(|holder| holder.lives));
        assert_eq!(error.exit_code(), 5);
        assert!(error.to_string().contains(&format!("process {} on ", std::process::id())), "{error}");
        drop(first);
        assert_eq!(find_lock_holder(&store).unwrap(), None);
        StoreLock::take(&Disk, folder.path()).unwrap();
    }

    #[test]
    fn a_copy_of_the_open_file_does_not_keep_the_lock() {
        let folder = tempfile::tempdir().unwrap();
        let first = StoreLock::take(&Disk, folder.path()).unwrap();
        let _child = first.file.try_clone().unwrap();
        drop(first);
        StoreLock::take(&Disk, folder.path()).unwrap();
    }

    #[test]
    fn without_locks_a_holder_that_cannot_be_named_gets_no_store() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        std::fs::write(&path, "").unwrap();
        let unwritable = || File::open(&path).unwrap();
        let error = StoreLock::claim(unwritable(), &path, Some("no locks".into())).unwrap_err();
        assert!(error.to_string().starts_with("cannot write "), "{error}");
        StoreLock::claim(unwritable(), &path, None).unwrap();
    }

    #[test]
    fn a_lock_file_that_cannot_be_read_does_not_count_as_free() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::create(folder.path()).unwrap();
        assert_eq!(find_lock_holder(&store).unwrap(), None, "absent");
        std::fs::create_dir(folder.path().join("lock")).unwrap();
        assert!(matches!(find_lock_holder(&store), Err(Error::Io { .. })));
    }

    #[test]
    fn a_lock_holder_counts_while_its_process_lives() {
        assert!(can_be_alive(&format!("process {} on {} since today", std::process::id(), read_host_name())));
        assert!(!can_be_alive(&format!("process 2147483646 on {} since today", read_host_name())));
        assert!(can_be_alive("process 1 on another-machine since today"));
        assert!(!can_be_alive(""));
    }
}
