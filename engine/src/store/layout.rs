//! The folders of a store: where they are, what they are called, and how a small file in them is replaced.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, Result};
use crate::pipeline::fingerprint::Fingerprint;
use crate::store::vfs::{Disk, Vfs, is_absent};

/// What the `format` file of a store of this version says.
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
        let (all, own) = (self.root.join(inside), format_folder_name(name, fingerprint));
        // Where the folder cannot be listed, the reader of the folder says why.
        let names = self.vfs.list(&all).unwrap_or_default().into_iter().map(|(name, _)| name);
        let mut same: Vec<String> = names.filter(|name| is_folder_of(name, fingerprint)).collect();
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

    /// Makes one of the store's folders unless it is there.
    pub(super) fn ensure_folder(&self, folder: &str) -> Result<()> {
        let path = self.root.join(folder);
        self.vfs.ensure_dir(&path).map_err(Error::io("create", &path))
    }
}

/// Name of a stage's folders: `<stage>-<12 digits>`, where a `/` of the stage becomes a dot.
pub(crate) fn format_folder_name(stage: &str, fingerprint: &Fingerprint) -> String {
    format!("{}-{}", stage.replace('/', "."), fingerprint.short())
}

/// Whether a stage's folder is of this result, whatever the stage was called.
pub(crate) fn is_folder_of(folder: &str, fingerprint: &Fingerprint) -> bool {
    extract_digits(folder) == fingerprint.short()
}

/// The digits of a stage's folder.
pub(crate) fn extract_digits(folder: &str) -> &str {
    folder.rsplit_once('-').map_or(folder, |(_, digits)| digits)
}

/// A folder without `format`: none, an unfinished beginning, or something that is no store.
fn check_unformatted_folder(vfs: &dyn Vfs, root: &Path) -> Result<Option<Store>> {
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

fn other_store_version(root: &Path, format: &[u8]) -> Error {
    let text = String::from_utf8_lossy(format);
    let found: String = text.trim().chars().take(40).collect();
    let message = format!(
        "the store {} is of another version: its format is `{found}`, this program reads `{}`",
        root.display(),
        STORE_FORMAT.trim()
    );
    Error::usage(message, "use the version that made it, or name another folder with `--store`")
}

/// This moment in UTC, to the microsecond; texts sort by time.
pub(crate) fn format_current_time() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

/// Makes a name unlike any other of this process.
pub(crate) fn make_unique_name(stem: &str) -> String {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    format!("{stem}.{}.{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed))
}
