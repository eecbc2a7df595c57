//! Which processes are at work in a store, as files with their names say.

use std::io::{self, Read as _, Write as _};
use std::path::Path;

use super::LOCKS;
use crate::error::{Error, Result};
use crate::store::layout::{Store, format_current_time};
use crate::store::vfs::{Vfs, is_absent};

/// How the names of these files begin.
pub(super) const RUN: &str = "run";

/// A process that changes a store, or died while it did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LockHolder {
    /// Process id, host and start, as written in the file.
    pub words: String,
    /// Whether the process may still be running. A process of another machine cannot be checked and counts as running.
    pub lives: bool,
}

impl LockHolder {
    fn parse(words: String) -> Self {
        let lives = can_be_alive(&words);
        Self { words, lives }
    }

    /// Whether this is the process with this number.
    pub(crate) fn is_process(&self, id: u64) -> bool {
        self.words.split(' ').nth(1).is_some_and(|word| word.parse() == Ok(id))
    }
}

/// The processes that hold the lock of a store, or died while they held it.
///
/// This never takes a lock, so that it cannot make a run fail that starts at the same moment.
///
/// # Errors
/// If a file cannot be read: nobody knows then whether a run is in progress.
pub(crate) fn find_lock_holders(store: &Store) -> Result<Vec<LockHolder>> {
    let folder = store.root().join(LOCKS);
    let names = match store.vfs().list(&folder) {
        Err(error) if is_absent(&error) => return Ok(vec![]),
        other => other.map_err(Error::io("list", &folder))?,
    };
    let names = names.into_iter().filter(|(name, _)| name.starts_with(RUN));
    let found = names.map(|(name, _)| read_holder(store.vfs(), &folder.join(name)));
    let found: Vec<_> = found.collect::<Result<_>>()?;
    Ok(found.into_iter().flatten().collect())
}

/// As [`find_lock_holders`], but only those that may still be running.
pub(crate) fn find_live_holders(store: &Store) -> Result<Vec<LockHolder>> {
    Ok(find_lock_holders(store)?.into_iter().filter(|holder| holder.lives).collect())
}

/// The process that a file names; `None` if it names none, or is gone.
pub(super) fn read_holder(vfs: &dyn Vfs, path: &Path) -> Result<Option<LockHolder>> {
    let file = match vfs.open(path) {
        Err(error) if is_absent(&error) => return Ok(None),
        other => other.map_err(Error::io("open", path))?,
    };
    let mut bytes = Vec::new();
    file.take(512).read_to_end(&mut bytes).map_err(Error::io("read", path))?;
    let words = String::from_utf8_lossy(&bytes).trim().to_owned();
    Ok((!words.is_empty()).then(|| LockHolder::parse(words)))
}

/// Writes a file that names this process.
pub(super) fn write_holder(vfs: &dyn Vfs, path: &Path) -> io::Result<()> {
    vfs.create_new(path)?.write_all(describe_process().as_bytes())
}

/// Removes the names of all processes: none of them is at work.
pub(super) fn remove_holders(store: &Store) -> Result<()> {
    store.empty_folder(&store.root().join(LOCKS), |name| name.starts_with(RUN))
}

/// This process, as a line.
pub(super) fn describe_process() -> String {
    format!("process {} on {} since {}\n", std::process::id(), read_host_name(), format_current_time())
}

fn read_host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Whether a process may still be running. Only one of this machine can be checked.
fn can_be_alive(words: &str) -> bool {
    let mut words = words.split(' ');
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

    #[test]
    fn a_process_counts_while_it_lives() {
        let lives = |words: String| LockHolder::parse(words).lives;
        assert!(lives(describe_process()));
        assert!(!lives(format!("process 2147483646 on {} since today", read_host_name())));
        assert!(lives("process 1 on another-machine since today".into()));
        assert!(!lives(String::new()));
        let own = LockHolder::parse(describe_process());
        assert!(own.is_process(std::process::id().into()) && !own.is_process(1));
    }

    #[test]
    fn a_name_that_cannot_be_read_does_not_count_as_none() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::create(folder.path()).unwrap();
        assert_eq!(find_lock_holders(&store).unwrap(), [], "absent");
        std::fs::create_dir_all(folder.path().join("locks/run.1.0")).unwrap();
        assert!(matches!(find_lock_holders(&store), Err(Error::Io { .. })));
    }
}
