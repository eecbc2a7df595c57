//! The folders of a store: their paths and names, and how a small file in them is replaced.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, Result};
use crate::pipeline::fingerprint::Fingerprint;
use crate::store::vfs::{Disk, Vfs, is_absent};
use crate::text::escape::show_path;

/// Contents of the `format` file of a store of this version.
const STORE_FORMAT: &str = "fmflow.store/1\n";
/// Program and version, for manifests.
pub(crate) const TOOL_VERSION: &str = concat!("fmflow ", env!("CARGO_PKG_VERSION"));

/// A store of this version.
#[derive(Clone, Debug)]
pub struct Store {
    pub(super) vfs: Arc<dyn Vfs>,
    root: PathBuf,
}

impl Store {
    /// Opens the store at `root` for reading; `None` if there is none.
    ///
    /// # Errors
    /// If `root` is not a store, or a store of another version.
    pub fn open(root: &Path) -> Result<Option<Self>> {
        Self::open_in(Arc::new(Disk), root)
    }

    /// Opens the store at `root`, and creates it if it does not exist.
    ///
    /// # Errors
    /// As [`Self::open`], and if the store cannot be created.
    pub fn create(root: &Path) -> Result<Self> {
        Self::create_in(Arc::new(Disk), root)
    }

    pub(crate) fn open_in(vfs: Arc<dyn Vfs>, root: &Path) -> Result<Option<Self>> {
        let root = std::path::absolute(root).map_err(Error::io("find", root))?;
        let format = root.join("format");
        match vfs.read(&format) {
            Ok(bytes) if bytes == STORE_FORMAT.as_bytes() => Ok(Some(Self { vfs, root })),
            Ok(bytes) => Err(other_store_version(&root, &bytes)),
            Err(error) if is_absent(&error) => check_unformatted_folder(&*vfs, &root),
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
        store.ensure_folder("tmp")?;
        store.replace_file(&store.root.join("format"), STORE_FORMAT.as_bytes())?;
        Ok(store)
    }

    /// Path of a stage's artifact, whether it exists or not. A renamed stage keeps its existing folder.
    #[must_use]
    pub(crate) fn artifact(&self, name: &str, fingerprint: &Fingerprint) -> PathBuf {
        self.folder("artifacts", name, fingerprint)
    }

    /// Path of a stage's unfinished work, whether it exists or not. A renamed stage keeps its existing folder.
    #[must_use]
    pub(crate) fn work(&self, name: &str, fingerprint: &Fingerprint) -> PathBuf {
        self.folder("work", name, fingerprint)
    }

    fn folder(&self, inside: &str, name: &str, fingerprint: &Fingerprint) -> PathBuf {
        let (all, own) = (self.root.join(inside), format_folder_name(name, fingerprint));
        // Asked first: listing the folder for each of its artifacts takes quadratic time.
        if self.vfs.stat(&all.join(&own)).is_ok() {
            return all.join(own);
        }
        // An error is reported by whoever reads the folder.
        let names = self.vfs.list(&all).unwrap_or_default().into_iter().map(|(name, _)| name);
        let mut same: Vec<String> = names.filter(|name| is_folder_of(name, fingerprint)).collect();
        same.sort_by_key(|name| (*name != own, name.clone()));
        all.join(same.into_iter().next().unwrap_or(own))
    }

    /// Absolute path of the store's folder.
    #[must_use]
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The file system that the store is on.
    #[must_use]
    pub(crate) fn vfs(&self) -> &dyn Vfs {
        &*self.vfs
    }

    /// Replaces a small file completely or not at all: the new one is written in `tmp/`, synced, and renamed over the old.
    pub(crate) fn replace_file(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        let name = path.file_name().expect("a file of the store has a name").to_string_lossy().into_owned();
        let aside = self.root.join("tmp").join(make_unique_name(&name));
        let written = self.vfs.create_new(&aside).and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync()
        });
        let renamed = written.and_then(|()| self.vfs.rename(&aside, path));
        if let Err(error) = renamed {
            let _ = self.vfs.remove_file(&aside);
            return Err(Error::io("write", path)(error));
        }
        let parent = path.parent().expect("a file of the store lies in it");
        self.vfs.sync_dir(parent).map_err(Error::io("sync", parent))
    }

    /// Creates one of the store's folders unless it exists.
    pub(super) fn ensure_folder(&self, folder: &str) -> Result<()> {
        let path = self.root.join(folder);
        self.vfs.ensure_dir(&path).map_err(Error::io("create", &path))
    }
}

/// Name of a stage's folders: `<stage>-<12 digits>`, with `.` for each `/` in the stage's name.
pub(crate) fn format_folder_name(stage: &str, fingerprint: &Fingerprint) -> String {
    format!("{}-{}", stage.replace('/', "."), fingerprint.short())
}

/// Whether a folder belongs to this result, whatever name its stage had when the folder was made.
pub(crate) fn is_folder_of(folder: &str, fingerprint: &Fingerprint) -> bool {
    extract_digits(folder) == fingerprint.short()
}

/// The fingerprint digits in the name of a stage's folder.
pub(crate) fn extract_digits(folder: &str) -> &str {
    folder.rsplit_once('-').map_or(folder, |(_, digits)| digits)
}

/// Handles a folder without a `format` file: it is absent, a store whose creation was interrupted, or not a store.
fn check_unformatted_folder(vfs: &dyn Vfs, root: &Path) -> Result<Option<Store>> {
    match vfs.list(root) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Ok(entries) if entries.iter().all(|(name, _)| name == "tmp" || name == "lock") => Ok(None),
        Ok(_) => {
            let message = format!("{} is not a store: it contains other files", show_path(root));
            Err(Error::usage(message, "name an empty or new folder with `--store`"))
        }
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            let message =
                format!("{} cannot be a store: it is a file, or its path leads through one", show_path(root));
            Err(Error::usage(message, "name an empty or new folder with `--store`"))
        }
        Err(error) => Err(Error::io("list", root)(error)),
    }
}

fn other_store_version(root: &Path, format: &[u8]) -> Error {
    let text = String::from_utf8_lossy(format);
    let found: String = text.trim().chars().take(40).collect();
    let message = format!(
        "the store {} is of another version: its format is `{found}`, but this program reads `{}`",
        show_path(root),
        STORE_FORMAT.trim()
    );
    Error::usage(message, "use the version that made it, or name another folder with `--store`")
}

/// The current time in UTC, to the microsecond, in a form that sorts by time.
pub(crate) fn format_current_time() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

/// Makes a name that is unique within this process. Another host with the same process id may make the same name.
pub(crate) fn make_unique_name(stem: &str) -> String {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    format!("{stem}.{}.{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed))
}
