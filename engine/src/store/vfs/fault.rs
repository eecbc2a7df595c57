//! A file system for tests that fails, or "crashes", at the n-th operation that changes something.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use super::{Disk, EntryKind, EntryStat, StoreTrust, Vfs, VfsFile};

/// What happens at the chosen operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FaultMode {
    /// Only this operation fails, with this error.
    Fail(io::ErrorKind),
    /// A write is torn, and every later operation fails, as if the process had died.
    Crash,
}

#[derive(Debug)]
struct FaultState {
    /// Operations seen so far.
    count: u64,
    /// Number of the operation that fails.
    at: u64,
    mode: FaultMode,
    /// Files with contents that were not synced, and how many of their bytes a power cut leaves.
    unsynced: BTreeMap<PathBuf, u64>,
    /// Paths of files that were opened for reading, in this order.
    opened: Vec<PathBuf>,
    /// Whether a file can have one name only.
    without_links: bool,
}

/// A file system with one fault.
#[derive(Clone, Debug)]
pub(crate) struct FaultyVfs {
    state: Arc<Mutex<FaultState>>,
    inner: Arc<dyn Vfs>,
}

impl FaultyVfs {
    /// A file system whose operation number `at`, counted from 0, fails.
    pub(crate) fn new(at: u64, mode: FaultMode) -> Self {
        let (unsynced, opened, without_links) = (BTreeMap::new(), Vec::new(), false);
        let state = FaultState { count: 0, at, mode, unsynced, opened, without_links };
        Self { state: Arc::new(Mutex::new(state)), inner: Arc::new(Disk) }
    }

    /// A file system without a fault.
    pub(crate) fn sound() -> Arc<dyn Vfs> {
        Arc::new(Self::new(u64::MAX, FaultMode::Crash))
    }

    /// Whether the fault has happened.
    pub(crate) fn struck(&self) -> bool {
        let state = self.state();
        state.count > state.at
    }

    /// From now on, a file can have one name only, as on exFAT.
    pub(crate) fn forbid_links(&self) {
        self.state().without_links = true;
    }

    /// How often files of this name were opened for reading.
    pub(crate) fn count_opened(&self, name: &str) -> usize {
        self.state().opened.iter().filter(|path| path.ends_with(name)).count()
    }

    /// Takes from every file what was not synced, as ext4 and XFS do after a power cut.
    pub(crate) fn cut_power(&self) {
        for (path, synced) in std::mem::take(&mut self.state().unsynced) {
            if let Ok(mut bytes) = fs::read(&path) {
                bytes.truncate(synced.try_into().unwrap());
                fs::remove_file(&path).unwrap();
                fs::write(&path, bytes).unwrap();
            }
        }
    }

    /// Whether the next operation is the one that crashes.
    fn strikes_now(&self) -> bool {
        let state = self.state();
        state.count == state.at && state.mode == FaultMode::Crash
    }

    fn state(&self) -> MutexGuard<'_, FaultState> {
        self.state.lock().unwrap()
    }

    /// Counts one operation, and returns an error if it must fail.
    fn step(&self) -> io::Result<()> {
        let mut state = self.state();
        let now = state.count;
        state.count += 1;
        match state.mode {
            FaultMode::Fail(kind) if now == state.at => Err(kind.into()),
            FaultMode::Crash if now >= state.at => Err(io::Error::other("crashed")),
            _ => Ok(()),
        }
    }

    /// An open file of which `size` bytes were there before. What was not synced then is not synced now either.
    fn wrap(&self, inner: Box<dyn VfsFile>, path: &Path, size: u64) -> Box<dyn VfsFile> {
        Box::new(FaultyFile { inner, path: path.to_path_buf(), size, vfs: self.clone() })
    }
}

struct FaultyFile {
    inner: Box<dyn VfsFile>,
    path: PathBuf,
    /// Its size in bytes.
    size: u64,
    vfs: FaultyVfs,
}

impl Write for FaultyFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let torn = self.vfs.strikes_now();
        self.vfs.state().unsynced.entry(self.path.clone()).or_insert(self.size);
        if let Err(error) = self.vfs.step() {
            if torn {
                self.inner.write_all(&bytes[..bytes.len() / 2])?;
            }
            return Err(error);
        }
        self.inner.write_all(bytes)?;
        self.size += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl VfsFile for FaultyFile {
    fn sync(&mut self) -> io::Result<()> {
        self.vfs.step()?;
        // No real sync: `cut_power` simulates the loss, and the tests stay fast.
        self.vfs.state().unsynced.remove(&self.path);
        Ok(())
    }
}

impl Vfs for FaultyVfs {
    fn beneath(&self, root: &Path, trust: StoreTrust) -> io::Result<Arc<dyn Vfs>> {
        Ok(Arc::new(Self { state: self.state.clone(), inner: self.inner.beneath(root, trust)? }))
    }

    fn open_lock_file(&self, path: &Path) -> io::Result<fs::File> {
        self.inner.open_lock_file(path)
    }

    fn create_new(&self, path: &Path) -> io::Result<Box<dyn VfsFile>> {
        self.step()?;
        let file = self.inner.create_new(path)?;
        self.state().unsynced.insert(path.to_path_buf(), 0);
        Ok(self.wrap(file, path, 0))
    }

    fn append(&self, path: &Path) -> io::Result<Box<dyn VfsFile>> {
        self.step()?;
        let file = self.inner.append(path)?;
        Ok(self.wrap(file, path, self.inner.stat(path)?.size))
    }

    fn reopen(&self, path: &Path, size: u64) -> io::Result<Box<dyn VfsFile>> {
        self.step()?;
        let file = self.inner.reopen(path, size)?;
        Ok(self.wrap(file, path, size))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.step()?;
        self.inner.create_dir(path)
    }

    fn protect(&self, path: &Path) -> io::Result<()> {
        self.step()?;
        self.inner.protect(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.step()?;
        self.inner.stat(path).map(drop)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step()?;
        self.inner.rename(from, to)?;
        let mut state = self.state();
        state.unsynced.remove(to);
        let moved = |(path, synced): (&PathBuf, &u64)| {
            // An empty rest would add a slash to the name of a file.
            let rest =
                path.strip_prefix(from).ok().map(|rest| to.components().chain(rest.components()).collect());
            (rest.unwrap_or_else(|| path.clone()), *synced)
        };
        let unsynced = state.unsynced.iter().map(moved).collect();
        state.unsynced = unsynced;
        Ok(())
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step()?;
        if self.state().without_links {
            return Err(io::ErrorKind::Unsupported.into());
        }
        self.inner.link(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.step()?;
        self.inner.remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.step()?;
        self.inner.remove_dir(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<(String, EntryKind)>> {
        self.inner.list(path)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Read + Send>> {
        self.state().opened.push(path.to_path_buf());
        self.inner.open(path)
    }

    fn stat(&self, path: &Path) -> io::Result<EntryStat> {
        self.inner.stat(path)
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        self.step()?;
        self.inner.free_bytes(path)
    }
}
