//! The publish protocol: a folder is built in `tmp/`, hashed while it is written, synced, and renamed into place.
//!
//! The order is: write, protect and sync every file; the same for the manifest; sync the folder; rename it; sync the parent.
//! Wherever the process dies, there is either nothing or the complete folder under the final name; the next run empties
//! `tmp/`. Without the syncs a power cut could leave the final name with empty files, as ext4 and XFS do. A failed sync is
//! never tried again, see [`crate::store::vfs::VfsFile::sync`]. If two writers publish the same name, the second one
//! verifies the folder of the first and removes its own.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use indexmap::IndexMap;
use serde_json::Value;

use crate::error::{Error, Result};
use crate::store::events::{EVENTS, EventEncoder};
use crate::store::hashing_file::{FolderFiles, HashingFile, lock_files};
use crate::store::layout::{format_current_time, make_unique_name};
use crate::store::manifest::{self, Manifest};
use crate::store::metrics::{METRICS, Metrics};
use crate::store::source_file::SourceStat;
use crate::store::summary::{self, Summary};
use crate::store::verify;
use crate::store::vfs::{Vfs, is_absent};
use crate::text::escape::show_path;

/// Permission to write one folder. If it is dropped before [`ArtifactWriter::publish`], the folder is removed.
#[derive(Debug)]
pub struct ArtifactWriter {
    pub(super) vfs: Arc<dyn Vfs>,
    /// The folder under construction.
    folder: PathBuf,
    /// Its final path.
    target: PathBuf,
    /// The manifest without files, further facts and time.
    header: Manifest,
    pub(super) files: FolderFiles,
    /// Where a corrupt folder of the same name is moved. Only checkpoints replace one: a corrupt artifact is an error.
    trash: Option<PathBuf>,
    hooks: PublishHooks,
    published: bool,
    /// Whether the folder stays when the writer goes, for the next run.
    stays: bool,
}

/// What a slot adds to publishing a stage's artifact.
#[derive(Debug, Default)]
pub(super) struct PublishHooks {
    /// The stage's metrics, which are copied into the folder if they exist and the stage wrote no file of that name, and when the
    /// stage began, in seconds since 1970, for their events.
    pub(super) metrics: Option<(PathBuf, f64)>,
    /// Source files as they were when the stage started; they must be unchanged when it ends.
    pub(super) watch: Vec<(PathBuf, SourceStat)>,
    /// A folder that is removed once the artifact is in place, and the trash that it is moved to first.
    pub(super) retire: Option<(PathBuf, PathBuf)>,
}

impl ArtifactWriter {
    /// Starts a folder in `tmp` that will be published as `target`.
    pub(super) fn start(vfs: Arc<dyn Vfs>, tmp: &Path, target: PathBuf, header: Manifest) -> Result<Self> {
        let stem =
            target.file_name().expect("a folder is published under a name").to_string_lossy().into_owned();
        loop {
            let folder = tmp.join(make_unique_name(&stem));
            match vfs.create_dir(&folder) {
                // Left by another process with the same id, perhaps on another host.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                other => other.map_err(Error::io("create", &folder))?,
            }
            let files = FolderFiles::default();
            let hooks = PublishHooks::default();
            let (trash, published, stays) = (None, false, false);
            return Ok(Self { vfs, folder, target, header, files, trash, hooks, published, stays });
        }
    }

    /// Goes on in an existing folder, which stays for the next run unless it is published as `target`.
    pub(super) fn go_on(vfs: Arc<dyn Vfs>, folder: PathBuf, target: PathBuf, header: Manifest) -> Self {
        let (files, hooks) = (FolderFiles::default(), PublishHooks::default());
        Self { vfs, folder, target, header, files, trash: None, hooks, published: false, stays: true }
    }

    /// Opens a file of the folder that an earlier run began, behind its first `size` bytes; `None` if those have another digest.
    pub(super) fn reopen(&mut self, name: &str, size: u64, digest: &str) -> Result<Option<HashingFile>> {
        HashingFile::reopen(self.vfs.clone(), &self.folder, name, self.files.clone(), (size, digest))
    }

    /// Allows a corrupt folder of the same name to be moved to `trash` and replaced.
    pub(super) fn replacing(mut self, trash: PathBuf) -> Self {
        self.trash = Some(trash);
        self
    }

    pub(super) fn with_hooks(mut self, hooks: PublishHooks) -> Self {
        self.hooks = hooks;
        self
    }

    /// The folder under construction. Finished files can be read back from it before it is published.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Starts a file; it must be finished before [`Self::publish`]. Several may be open at once.
    ///
    /// # Errors
    /// [`Error::Usage`] if the name is reserved or not plain, [`Error::Io`] if the file exists or cannot be created.
    pub fn file(&mut self, name: &str) -> Result<HashingFile> {
        if name == manifest::MANIFEST_FILE || name == summary::SUMMARY_FILE || !is_plain_name(name) {
            return Err(Error::Usage {
                message: format!("`{name}` is not a valid file name in an artifact"),
                help: None,
            });
        }
        self.open(name)
    }

    /// Writes and finishes a whole file.
    ///
    /// # Errors
    /// As [`Self::file`].
    pub fn write(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        self.file(name)?.write_whole(bytes)
    }

    fn open(&mut self, name: &str) -> Result<HashingFile> {
        HashingFile::create(self.vfs.clone(), &self.folder, name, self.files.clone())
    }

    /// Publishes the folder and returns its final path. `facts` are recorded in the manifest.
    ///
    /// # Errors
    /// If a watched source has changed, a file operation fails, a corrupt folder has the final name, or a metric is not finite.
    ///
    /// # Panics
    /// If the stage has not finished a file.
    pub fn publish(mut self, summary: &Summary, facts: &IndexMap<String, Value>) -> Result<PathBuf> {
        summary.refuse_nonfinite()?;
        let mut summary = summary.clone();
        summary.lines.extend(self.add_metrics()?);
        let words = serde_json::to_string_pretty(&summary).expect("a summary is texts and numbers") + "\n";
        self.open(summary::SUMMARY_FILE)?.write_whole(words.as_bytes())?;
        self.complete(facts)
    }

    /// The part of [`Self::publish`] after the stage's own files.
    pub(super) fn complete(mut self, facts: &IndexMap<String, Value>) -> Result<PathBuf> {
        self.write_manifest(facts)?;
        self.vfs.sync_dir(&self.folder).map_err(Error::io("sync", &self.folder))?;
        self.check_watched()?;
        self.move_into_place()?;
        self.published = true;
        self.remove_unfinished_work();
        Ok(self.target.clone())
    }

    /// Copies the metrics without their checksums, because the manifest has the hash of the whole file, and makes their events.
    /// Returns a sentence about lines that are damaged and therefore left out.
    fn add_metrics(&mut self) -> Result<Option<String>> {
        let Some((from, began)) = self.hooks.metrics.take() else { return Ok(None) };
        if lock_files(&self.files).contains_key(METRICS) {
            return Ok(None);
        }
        let found = match self.vfs.read(&from) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => Metrics::parse(&read.map_err(Error::io("read", &from))?),
        };
        self.write(METRICS, found.text().as_bytes())?;
        self.write(EVENTS, &EventEncoder::new(began).encode_all(&found.lines))?;
        Ok(found.describe_damage())
    }

    /// The fingerprint contains digests of the sources from before the stage ran. If a source changed since, the result may
    /// not be published under that fingerprint.
    fn check_watched(&self) -> Result<()> {
        for (path, before) in &self.hooks.watch {
            let now = match SourceStat::read(path) {
                Err(error) if !is_absent(&error) => return Err(Error::io("inspect", path)(error)),
                found => found.ok().flatten(),
            };
            if now.as_ref() != Some(before) {
                let message = format!("{} changed while the stage was running", show_path(path));
                return Err(Error::Input { message, help: Some("run the same command again".into()) });
            }
        }
        Ok(())
    }

    fn write_manifest(&mut self, facts: &IndexMap<String, Value>) -> Result<()> {
        let mut manifest = self.header.clone();
        for (name, entry) in lock_files(&self.files).iter() {
            let entry = entry.as_ref();
            let entry = entry.unwrap_or_else(|| panic!("file `{name}` of the artifact was not finished"));
            manifest.files.push(entry.clone());
        }
        manifest.facts.extend(facts.clone());
        manifest.created = format_current_time();
        self.open(manifest::MANIFEST_FILE)?.write_whole(manifest.encode().as_bytes())
    }

    /// Renames the folder into place and syncs the parent, so that the rename survives a power cut.
    fn move_into_place(&mut self) -> Result<()> {
        match self.vfs.rename(&self.folder, &self.target) {
            Err(error) if is_name_taken(&error) => self.resolve_name_conflict()?,
            other => other.map_err(Error::io("publish", &self.target))?,
        }
        let parent = self.target.parent().expect("a folder is published in the store");
        self.vfs.sync_dir(parent).map_err(Error::io("sync", parent))
    }

    /// Another folder already has the final name. If it is undamaged and of the same result, it is as good as this one.
    fn resolve_name_conflict(&mut self) -> Result<()> {
        let winner = verify::verify_folder(&*self.vfs, &self.target);
        let same = winner.as_ref().is_ok_and(|found| found.fingerprint == self.header.fingerprint);
        match (winner, &self.trash) {
            _ if same => {}
            (_, Some(trash)) => {
                let place = trash.join(make_unique_name("replaced"));
                self.vfs.rename(&self.target, &place).map_err(Error::io("move", &self.target))?;
                self.vfs.rename(&self.folder, &self.target).map_err(Error::io("publish", &self.target))?;
                let _ = self.vfs.remove_all(&place);
                return Ok(());
            }
            (Err(error), None) => return Err(error),
            (Ok(_), None) => {
                let what = "it holds the result of another stage".to_string();
                return Err(Error::Corrupt {
                    folder: self.target.clone(),
                    file: manifest::MANIFEST_FILE.into(),
                    what,
                });
            }
        }
        // If this fails, the next run empties `tmp/`.
        let _ = self.vfs.remove_all(&self.folder);
        Ok(())
    }

    /// Removes the unfinished work. The artifact is already safe, and the next run removes what is left if this fails.
    fn remove_unfinished_work(&self) {
        if let Some((folder, trash)) = &self.hooks.retire {
            let place = trash.join(make_unique_name("done"));
            if self.vfs.rename(folder, &place).is_ok() {
                let _ = self.vfs.remove_all(&place);
            }
        }
    }
}

impl Drop for ArtifactWriter {
    fn drop(&mut self) {
        if !self.published && !self.stays {
            let _ = self.vfs.remove_all(&self.folder);
        }
    }
}

/// Whether a name means the same on every file system and cannot lead out of its folder.
fn is_plain_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    !name.is_empty() && name.len() <= 128 && !name.starts_with('.') && name.bytes().all(plain)
}

/// Whether a rename failed because a non-empty folder has the name.
fn is_name_taken(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists)
}
