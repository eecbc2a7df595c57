//! The store: finished artifacts and the checkpoints of unfinished stages, published complete or not at all.
//!
//! ```text
//! .fmflow/
//!   format                          version of the store
//!   lock                            held by a run; says by whom
//!   digests                         memory of source files' digests; may be deleted
//!   artifacts/<stage>-<12 digits>/  finished, read-only; manifest.json has the hash of every byte
//!   work/<stage>-<12 digits>/       unfinished: manifest.json, checkpoints/<update>/, metrics.jsonl
//!   runs/                           journal.jsonl, and what every run was made of
//!   pins                            artifacts that are kept whatever happens, a line each
//!   tmp/ trash/                     on the way in and out; swept by the next run
//! ```
//!
//! Everything under a final name got there by one rename ([`publish`]); nothing here is ever written in place, apart
//! from the two line-by-line files, whose torn tails are ignored. A process may die at any instant.

pub mod collect;
pub mod digest;
pub mod file;
pub mod journal;
pub mod listing;
pub mod lock;
pub mod manifest;
pub mod publish;
pub mod slot;
#[cfg(test)]
mod tests;
pub mod trial;
pub mod verify;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use file::HashingFile;
pub use listing::{Found, Listing};
pub use lock::Lock;
pub use manifest::Manifest;
pub use publish::ArtifactWriter;
pub use slot::{CheckpointDir, Key, Slot};

use crate::error::{Error, Result};
use crate::fingerprint::Fingerprint;
use crate::vfs::{Disk, Vfs};

/// What the `format` file of a store of this version says.
const FORMAT: &str = "fmflow.store/1\n";
/// Program and version, for manifests.
pub(crate) const TOOL: &str = concat!("fmflow ", env!("CARGO_PKG_VERSION"));

/// A store of this version.
#[derive(Clone, Debug)]
pub struct Store {
    vfs: Arc<dyn Vfs>,
    root: PathBuf,
}

impl Store {
    /// Opens the store at `root` for reading; `None` when there is none.
    ///
    /// # Errors
    /// A folder that is no store, or one of another version.
    pub fn open(root: &Path) -> Result<Option<Self>> {
        Self::open_in(Arc::new(Disk), root)
    }

    /// Opens the store at `root`, making it if it is not there.
    ///
    /// # Errors
    /// As [`Self::open`], and what the operating system says.
    pub fn create(root: &Path) -> Result<Self> {
        Self::create_in(Arc::new(Disk), root)
    }

    pub(crate) fn open_in(vfs: Arc<dyn Vfs>, root: &Path) -> Result<Option<Self>> {
        let root = std::path::absolute(root).map_err(Error::io("find", root))?;
        let format = root.join("format");
        match vfs.read(&format) {
            Ok(bytes) if bytes == FORMAT.as_bytes() => Ok(Some(Self { vfs, root })),
            Ok(bytes) => Err(other_version(&root, &bytes)),
            Err(error) if verify::is_absent(&error) => no_format(&*vfs, &root),
            Err(error) => Err(Error::io("read", &format)(error)),
        }
    }

    pub(crate) fn create_in(vfs: Arc<dyn Vfs>, root: &Path) -> Result<Self> {
        if let Some(store) = Self::open_in(vfs.clone(), root)? {
            return Ok(store);
        }
        let root = std::path::absolute(root).map_err(Error::io("find", root))?;
        if let Some(parent) = root.parent() {
            std::fs::create_dir_all(parent).map_err(Error::io("create", parent))?;
        }
        vfs.ensure_dir(&root).map_err(Error::io("create", &root))?;
        let store = Self { vfs, root };
        store.ensure("tmp")?;
        store.replace(&store.root.join("format"), FORMAT.as_bytes())?;
        Ok(store)
    }

    /// Takes the lock, makes the folders, and sweeps what dead processes left.
    ///
    /// # Errors
    /// [`Error::Locked`], or what the operating system says.
    pub fn lock(&self) -> Result<Lock> {
        let lock = Lock::take(&self.root)?;
        for folder in ["tmp", "trash", "artifacts", "work", "runs"] {
            self.ensure(folder)?;
        }
        self.vfs.sync_dir(&self.root).map_err(Error::io("sync", &self.root))?;
        self.sweep()?;
        Ok(lock)
    }

    /// Opens the slot of a stage. Call it under the lock.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn slot(&self, _lock: &Lock, key: Key) -> Result<Slot> {
        Slot::open(self.clone(), key)
    }

    /// Where the artifact of a stage is, or will be. A stage that was renamed keeps the folder it has.
    #[must_use]
    pub fn artifact(&self, name: &str, fingerprint: &Fingerprint) -> PathBuf {
        self.folder("artifacts", name, fingerprint)
    }

    /// Where the unfinished work of a stage is, or would be. A stage that was renamed keeps the folder it has.
    #[must_use]
    pub fn work(&self, name: &str, fingerprint: &Fingerprint) -> PathBuf {
        self.folder("work", name, fingerprint)
    }

    fn folder(&self, inside: &str, name: &str, fingerprint: &Fingerprint) -> PathBuf {
        let (all, own) = (self.root.join(inside), folder_name(name, fingerprint));
        // Where the folder cannot be listed, the reader of the folder says why.
        let names = self.vfs.list(&all).unwrap_or_default().into_iter().map(|(name, _)| name);
        let mut same: Vec<String> = names.filter(|name| is_of(name, fingerprint)).collect();
        same.sort_by_key(|name| (*name != own, name.clone()));
        all.join(same.into_iter().next().unwrap_or(own))
    }

    /// The store's folder, absolute.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The file system it lies in.
    #[must_use]
    pub fn vfs(&self) -> &dyn Vfs {
        &*self.vfs
    }

    /// Writes a small file whole: aside, synced, renamed over the old one.
    pub(crate) fn replace(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let aside = self.root.join("tmp").join(publish::unique(&name));
        let written = self.vfs.create_new(&aside).and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync()
        });
        let renamed = written.and_then(|()| self.vfs.rename(&aside, path));
        if let Err(error) = renamed {
            let _ = self.vfs.remove_file(&aside);
            return Err(Error::io("write", path)(error));
        }
        let parent = path.parent().unwrap_or(&self.root);
        self.vfs.sync_dir(parent).map_err(Error::io("sync", parent))
    }

    /// Makes one of the store's folders unless it is there.
    fn ensure(&self, folder: &str) -> Result<()> {
        let path = self.root.join(folder);
        self.vfs.ensure_dir(&path).map_err(Error::io("create", &path))
    }

    /// Empties `tmp/` and `trash/`, and drops unfinished work whose artifact is there.
    fn sweep(&self) -> Result<()> {
        for folder in ["tmp", "trash"] {
            self.empty(&self.root.join(folder), |_| true)?;
        }
        let artifacts = self.root.join("artifacts");
        let finished = self.vfs.list(&artifacts).map_err(Error::io("list", &artifacts))?;
        let finished: Vec<&str> = finished.iter().map(|(name, _)| digits(name)).collect();
        self.empty(&self.root.join("work"), |name| finished.contains(&digits(name)))
    }

    fn empty(&self, folder: &Path, goes: impl Fn(&str) -> bool) -> Result<()> {
        for (name, _) in self.vfs.list(folder).map_err(Error::io("list", folder))? {
            if goes(&name) {
                let path = folder.join(&name);
                self.vfs.remove_all(&path).map_err(Error::io("remove", &path))?;
            }
        }
        Ok(())
    }
}

/// Name of a stage's folders: `<stage>-<12 digits>`, where a `/` of the stage becomes a dot.
fn folder_name(stage: &str, fingerprint: &Fingerprint) -> String {
    format!("{}-{}", stage.replace('/', "."), fingerprint.short())
}

/// Whether a stage's folder is of this result, whatever the stage was called.
fn is_of(folder: &str, fingerprint: &Fingerprint) -> bool {
    digits(folder) == fingerprint.short()
}

/// The digits of a stage's folder.
fn digits(folder: &str) -> &str {
    folder.rsplit_once('-').map_or(folder, |(_, digits)| digits)
}

/// A folder without `format`: none, an unfinished beginning, or something that is no store.
fn no_format(vfs: &dyn Vfs, root: &Path) -> Result<Option<Store>> {
    match vfs.list(root) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Ok(entries) if entries.iter().all(|(name, _)| name == "tmp" || name == "lock") => Ok(None),
        Ok(_) => {
            let message = format!("{} is no store: it holds other files", root.display());
            Err(Error::usage(message, "name an empty or absent folder with `--store`"))
        }
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            let message = format!("{} cannot be a store: it is a file, or lies in one", root.display());
            Err(Error::usage(message, "name an empty or absent folder with `--store`"))
        }
        Err(error) => Err(Error::io("list", root)(error)),
    }
}

fn other_version(root: &Path, format: &[u8]) -> Error {
    let text = String::from_utf8_lossy(format);
    let found: String = text.trim().chars().take(40).collect();
    let message = format!(
        "the store {} is of another version: its format is `{found}`, this program reads `{}`",
        root.display(),
        FORMAT.trim()
    );
    Error::usage(message, "use the version that made it, or name another folder with `--store`")
}

/// This moment in UTC, to the microsecond; texts sort by time.
pub(crate) fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}
