//! The folders of a store: their paths and names, and how a small file in them is replaced.

use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use rustix::io::Errno;

use crate::error::{Error, ForeignEntry, Result};
use crate::pipeline::fingerprint::Fingerprint;
use crate::store::foreign::refuse_foreign_entries;
use crate::store::seal;
use crate::store::vfs::{Disk, StoreTrust, Vfs, is_absent};
use crate::text::escape::show_path;
use crate::text::read::display_path;

/// The file that says which version a store is of.
const FORMAT: &str = "format";
/// The folder of the checkpoints that stay when their stage is finished.
pub(crate) const PERMANENT: &str = "permanent";
/// The folder of all windows of rows.
pub(crate) const WINDOWS: &str = "windows";
/// The line of the `format` file of a store of this version; a line with its checksum follows.
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
    /// Opens the store at `root`, which the user named, for reading; `None` if there is none.
    ///
    /// # Errors
    /// As [`Self::open_as`].
    pub fn open(root: &Path) -> Result<Option<Self>> {
        Self::open_as(root, StoreTrust::Named)
    }

    /// Opens the store at `root`, which the user named, and creates it if it does not exist.
    ///
    /// # Errors
    /// As [`Self::open_as`], and if the store cannot be created.
    pub fn create(root: &Path) -> Result<Self> {
        Self::create_as(root, StoreTrust::Named)
    }

    /// Opens the store at `root` for reading; `None` if there is none.
    ///
    /// # Errors
    /// If `root` is not a store, or a store of another version, or `trust` rules it out, or it contains what fmflow never makes.
    pub(crate) fn open_as(root: &Path, trust: StoreTrust) -> Result<Option<Self>> {
        Self::open_on(&Disk, root, trust)
    }

    /// Opens the store at `root`, and creates it if it does not exist.
    ///
    /// # Errors
    /// As [`Self::open_as`], and if the store cannot be created.
    pub(crate) fn create_as(root: &Path, trust: StoreTrust) -> Result<Self> {
        Self::create_on(&Disk, root, trust)
    }

    #[cfg(test)]
    pub(crate) fn create_in(vfs: Arc<dyn Vfs>, root: &Path) -> Result<Self> {
        Self::create_on(&*vfs, root, StoreTrust::Named)
    }

    fn open_on(vfs: &dyn Vfs, root: &Path, trust: StoreTrust) -> Result<Option<Self>> {
        let store = Self::find(vfs, root, trust)?;
        let Some(store) = store else { return Ok(None) };
        Ok(store.is_formatted()?.then_some(store))
    }

    fn create_on(vfs: &dyn Vfs, root: &Path, trust: StoreTrust) -> Result<Self> {
        let store = match Self::find(vfs, root, trust)? {
            Some(store) if store.is_formatted()? => return Ok(store),
            Some(unfinished) => unfinished,
            None => Self::create_folder(vfs, root, trust)?,
        };
        store.ensure_folder("tmp")?;
        store.replace_file(&store.root.join(FORMAT), seal::seal_words(STORE_FORMAT).as_bytes())?;
        Ok(store)
    }

    /// The folder at `root`, whatever is in it; `None` if nothing has this path, not even a link.
    fn find(vfs: &dyn Vfs, root: &Path, trust: StoreTrust) -> Result<Option<Self>> {
        let root = std::path::absolute(root).map_err(Error::io("find", root))?;
        match vfs.beneath(&root, trust) {
            Ok(vfs) => Ok(Some(Self { vfs, root })),
            Err(error) if error.kind() == io::ErrorKind::NotFound && !root.is_symlink() => Ok(None),
            Err(error) => Err(unusable_root(&root, error)),
        }
    }

    fn create_folder(vfs: &dyn Vfs, root: &Path, trust: StoreTrust) -> Result<Self> {
        let root = std::path::absolute(root).map_err(Error::io("find", root))?;
        if let Some(parent) = root.parent() {
            std::fs::create_dir_all(parent).map_err(Error::io("create", parent))?;
        }
        match vfs.create_dir(&root) {
            // Another process was faster.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => other.map_err(Error::io("create", &root))?,
        }
        let vfs = vfs.beneath(&root, trust).map_err(|error| unusable_root(&root, error))?;
        Ok(Self { vfs, root })
    }

    /// Whether this is a complete store, after making sure that nothing in it is foreign; `false` if its creation was
    /// interrupted.
    fn is_formatted(&self) -> Result<bool> {
        let format = self.root.join(FORMAT);
        let complete = match self.vfs.read(&format) {
            Ok(bytes) => match seal::open_words(&bytes).filter(|words| names_version(words)) {
                Some(STORE_FORMAT) => true,
                Some(other) => return Err(other_store_version(&self.root, other)),
                None => return Err(self.damaged_format()),
            },
            Err(error) if is_absent(&error) => self.refuse_other_folder().map(|()| false)?,
            Err(error) => return Err(Error::io("read", &format)(error)),
        };
        refuse_foreign_entries(self.vfs(), &self.root)?;
        Ok(complete)
    }

    fn damaged_format(&self) -> Error {
        let what = "it is not what was written".to_owned();
        Error::Corrupt { folder: self.root.clone(), file: FORMAT.into(), what }
    }

    /// Refuses a folder without a `format` file that is not a store whose creation was interrupted.
    fn refuse_other_folder(&self) -> Result<()> {
        let entries = self.vfs.list(&self.root).map_err(Error::io("list", &self.root))?;
        if entries.iter().all(|(name, _)| name == "tmp" || name == "lock") {
            return Ok(());
        }
        let message = format!("{} is not a store: it contains other files", show_path(&self.root));
        Err(Error::usage(message, "name an empty or new folder with `--store`"))
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

    /// Path of a stage's permanent checkpoints, whether it exists or not. A renamed stage keeps its existing folder.
    #[must_use]
    pub(crate) fn permanent(&self, name: &str, fingerprint: &Fingerprint) -> PathBuf {
        self.folder(PERMANENT, name, fingerprint)
    }

    /// Path of the window of a stage's rows, whether it exists or not. A renamed stage keeps its existing folder.
    #[must_use]
    pub(crate) fn window(&self, name: &str, fingerprint: &Fingerprint) -> PathBuf {
        self.folder(WINDOWS, name, fingerprint)
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
    pub(crate) fn ensure_folder(&self, folder: &str) -> Result<()> {
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

/// Says why a folder cannot be a store.
fn unusable_root(root: &Path, error: io::Error) -> Error {
    if let Some(found) = ForeignEntry::find(&error) {
        let message = format!("the store {} is {}", show_path(root), found.what);
        let help = format!("if you trust it, name it: `--store {}`", display_path(root));
        return Error::usage(message, help);
    }
    let why = match Errno::from_io_error(&error) {
        Some(Errno::NOENT | Errno::LOOP) if root.is_symlink() => "it is a link that leads to no folder",
        Some(Errno::NOTDIR) => "it is a file, or its path leads through one",
        _ => return Error::io("open", root)(error),
    };
    let message = format!("{} cannot be a store: {why}", show_path(root));
    Error::usage(message, "name an empty or new folder with `--store`")
}

/// Whether the words of a `format` file name some version.
fn names_version(words: &str) -> bool {
    let number = words.strip_prefix("fmflow.store/").and_then(|rest| rest.strip_suffix('\n'));
    number.is_some_and(|number| number.parse::<u32>().is_ok())
}

fn other_store_version(root: &Path, found: &str) -> Error {
    let found = found.trim();
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

/// Makes a name that no other process makes, on whatever machine: `<stem>.<process>.<token>-<number>`.
pub(crate) fn make_unique_name(stem: &str) -> String {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    format!("{stem}.{}.{}-{number}", std::process::id(), find_process_token())
}

/// A random word for this process: in containers, on other machines and after a restart, others have the same number.
pub(crate) fn find_process_token() -> &'static str {
    static TOKEN: OnceLock<String> = OnceLock::new();
    // The keys of a map are drawn by the operating system.
    TOKEN.get_or_init(|| format!("{:016x}", RandomState::new().hash_one(std::process::id())))
}
