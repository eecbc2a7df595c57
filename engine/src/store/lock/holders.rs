//! Which processes are at work in a store, as files with their names say.

use std::io::{self, Read as _, Write as _};
use std::path::Path;

use super::LOCKS;
use crate::error::{Error, Result};
use crate::store::layout::{Store, find_process_token, format_current_time};
use crate::store::vfs::{Vfs, is_absent};
use crate::text::display::format_time;

/// How the names of these files begin.
pub(super) const RUN: &str = "run";

/// A process that changes a store, or died while it did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LockHolder {
    /// Process id, host and start, as written in the file.
    pub words: String,
    /// Whether the process may still be running. A process of another machine cannot be checked and counts as running.
    pub lives: bool,
    /// Random word of the process.
    pub token: String,
}

impl LockHolder {
    /// What a file says: the process in words, and its token.
    fn parse(text: &str) -> Self {
        let (words, token) = text.split_once('\n').unwrap_or((text, ""));
        let (words, token) = (words.trim().to_owned(), token.trim().to_owned());
        // A process with this number may be a later one.
        let lives = can_be_alive(&words) && (token == find_process_token() || !is_own_number(&words));
        Self { words, lives, token }
    }

    /// Whether this is the process that asks.
    pub(super) fn is_own(&self) -> bool {
        self.token == find_process_token()
    }
}

/// Whether words name a process with this one's number, on this machine.
fn is_own_number(words: &str) -> bool {
    let own = format!("process {} on {} ", std::process::id(), read_host_name());
    words.starts_with(&own)
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
    let text = String::from_utf8_lossy(&bytes);
    Ok((!text.trim().is_empty()).then(|| LockHolder::parse(&text)))
}

/// Writes a file that names this process.
pub(super) fn write_holder(vfs: &dyn Vfs, path: &Path) -> io::Result<()> {
    vfs.create_new(path)?.write_all(describe_process().as_bytes())
}

/// Removes the names of all other processes: none of them is at work.
pub(super) fn remove_holders(store: &Store) -> Result<()> {
    let others = |name: &str| name.starts_with(RUN) && !name.contains(find_process_token());
    store.empty_folder(&store.root().join(LOCKS), others)
}

/// This process: a line of words, and a line with its token.
pub(super) fn describe_process() -> String {
    let (id, host, now) = (std::process::id(), read_host_name(), format_time(&format_current_time()));
    format!("process {id} on {host} since {now}\n{}\n", find_process_token())
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
        let lives = |text: &str| LockHolder::parse(text).lives;
        assert!(lives(&describe_process()));
        assert!(!lives(&format!("process 2147483646 on {} since today", read_host_name())));
        assert!(lives("process 1 on another-machine since today"));
        assert!(!lives(""));
        // In a container, the process after a restart has the number of the one before.
        assert!(!lives(&describe_process().replace(find_process_token(), "another")));
        assert!(LockHolder::parse(&describe_process()).is_own());
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
