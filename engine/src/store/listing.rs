//! Lists a store from names, manifests and sizes, without hashing. The plan is made from this.

use std::path::{Path, PathBuf};

use indexmap::IndexSet;

use crate::error::{Error, Result};
use crate::pipeline::fingerprint::{Fingerprint, Ledger};
use crate::store::growth_note::read_growth_step;
use crate::store::layout::{PERMANENT, Store, WINDOWS, format_folder_name, is_folder_of};
use crate::store::manifest::{self, Manifest, read_manifest};
use crate::store::verify::{self, IntegrityError, VerifyDepth};
use crate::store::vfs::{EntryKind, Vfs, count_folder_bytes, is_absent};

/// The stage folders in a store.
#[derive(Clone, Debug, Default)]
pub struct StoreListing {
    /// Finished artifacts, sorted by folder name.
    pub artifacts: Vec<StoredFolder>,
    /// Unfinished stages, sorted by folder name.
    pub unfinished: Vec<StoredFolder>,
    /// Permanent checkpoints, sorted by folder name.
    pub permanent: Vec<PermanentCheckpoints>,
    /// Folders of windows of rows, sorted.
    pub windows: Vec<PathBuf>,
    /// Stages that somebody makes at this moment, by the first digits of their fingerprints.
    in_work: IndexSet<String>,
}

/// The permanent checkpoints of a stage.
#[derive(Clone, Debug)]
pub struct PermanentCheckpoints {
    /// Absolute path of their folder.
    pub path: PathBuf,
    /// Updates after which they were saved, ascending. They are not verified.
    pub steps: Vec<u64>,
    /// Name of the stage in the newest one whose manifest can be read.
    pub stage: Option<String>,
    /// Fingerprint and ledger of the stage, from the same manifest.
    pub key: Option<(Fingerprint, Ledger)>,
}

/// A folder in the store.
#[derive(Clone, Debug)]
pub struct StoredFolder {
    /// Absolute path.
    pub path: PathBuf,
    /// The manifest, or the first problem that was found.
    pub manifest: std::result::Result<Manifest, IntegrityError>,
    /// For an unfinished stage: updates done at its newest checkpoint, which is not verified; of rows, shards.
    pub step: Option<u64>,
    /// For an unfinished stage: total size of its files.
    pub bytes: u64,
}

impl StoreListing {
    /// Lists a store.
    ///
    /// # Errors
    /// If a folder or file of the store cannot be read. Damaged folders are no errors: they are in the listing.
    pub fn read(store: &Store) -> Result<Self> {
        let artifacts = list_entries(store, "artifacts")?.into_iter().map(|(path, kind)| match kind {
            EntryKind::Directory => inspect_artifact(store.vfs(), path),
            _ => Ok(StoredFolder {
                path,
                manifest: Err(broken_manifest("the artifact is not a folder".into())),
                step: None,
                bytes: 0,
            }),
        });
        let folders =
            list_entries(store, "work")?.into_iter().filter(|(_, kind)| *kind == EntryKind::Directory);
        let unfinished = folders.map(|(path, _)| inspect_work(store.vfs(), path));
        Ok(Self {
            artifacts: artifacts.collect::<Result<_>>()?,
            unfinished: unfinished.collect::<Result<_>>()?,
            permanent: list_permanent(store)?,
            windows: list_entries(store, WINDOWS)?.into_iter().map(|(path, _)| path).collect(),
            in_work: store.list_stages_in_work()?,
        })
    }

    /// The finished artifact of a stage, even if the stage had another name when it was made.
    #[must_use]
    pub(crate) fn artifact(&self, name: &str, fingerprint: &Fingerprint) -> Option<&StoredFolder> {
        find_stored_folder(&self.artifacts, name, fingerprint)
    }

    /// The unfinished work of a stage, even if the stage had another name when it began.
    #[must_use]
    pub(crate) fn work(&self, name: &str, fingerprint: &Fingerprint) -> Option<&StoredFolder> {
        find_stored_folder(&self.unfinished, name, fingerprint)
    }

    /// Updates after which a stage has permanent checkpoints, ascending.
    #[must_use]
    pub(crate) fn permanent(&self, fingerprint: &Fingerprint) -> &[u64] {
        let own = |found: &&PermanentCheckpoints| is_folder_of(to_folder_name(&found.path), fingerprint);
        self.permanent.iter().find(own).map_or(&[], |found| &found.steps)
    }

    /// Updates done at the last checkpoint of a training.
    #[must_use]
    pub(crate) fn count_saved_updates(&self, folder: &StoredFolder, fingerprint: &Fingerprint) -> u64 {
        folder.step.max(self.permanent(fingerprint).last().copied()).unwrap_or(0)
    }

    /// All results, and whether they are finished.
    pub(crate) fn results(&self) -> impl Iterator<Item = (&StoredFolder, bool)> {
        let finished = self.artifacts.iter().map(|folder| (folder, true));
        finished.chain(self.unfinished.iter().map(|folder| (folder, false)))
    }

    /// Whether somebody made a stage at the moment of the listing.
    #[must_use]
    pub(crate) fn is_in_work(&self, fingerprint: &Fingerprint) -> bool {
        self.in_work.contains(fingerprint.short())
    }

    /// The manifest of the newest undamaged folder of a stage of this name, finished or not.
    #[must_use]
    pub(crate) fn newest(&self, name: &str) -> Option<&Manifest> {
        let manifests = self.results().filter_map(|(found, _)| found.manifest.as_ref().ok());
        manifests.filter(|manifest| manifest.stage.name == name).max_by(|a, b| a.created.cmp(&b.created))
    }
}

fn find_stored_folder<'a>(
    all: &'a [StoredFolder],
    name: &str,
    fingerprint: &Fingerprint,
) -> Option<&'a StoredFolder> {
    let own = format_folder_name(name, fingerprint);
    let folder = |found: &'a StoredFolder| to_folder_name(&found.path);
    let same = all.iter().filter(|found| is_folder_of(folder(found), fingerprint));
    same.min_by_key(|found| (folder(found) != own, folder(found)))
}

fn to_folder_name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).expect("what a store lists has a name in UTF-8")
}

fn list_permanent(store: &Store) -> Result<Vec<PermanentCheckpoints>> {
    let folders =
        list_entries(store, PERMANENT)?.into_iter().filter(|(_, kind)| *kind == EntryKind::Directory);
    let read = |(path, _): (PathBuf, EntryKind)| {
        let found = list_checkpoints(store.vfs(), &path)?;
        let (mut stage, mut key) = (None, None);
        for (_, checkpoint) in &found {
            if let Some(Ok(manifest)) = read_manifest(store.vfs(), checkpoint)? {
                stage = Some(manifest.stage.name);
                key = Some((manifest.fingerprint, manifest.ledger));
            }
        }
        Ok(PermanentCheckpoints {
            path,
            steps: found.into_iter().map(|(step, _)| step).collect(),
            stage,
            key,
        })
    };
    folders.map(read).collect()
}

fn inspect_artifact(vfs: &dyn Vfs, path: PathBuf) -> Result<StoredFolder> {
    let (manifest, problems) = verify::inspect_folder(vfs, &path, VerifyDepth::Sizes)?;
    let manifest = match (manifest, problems.into_iter().next()) {
        (Some(manifest), None) => Ok(manifest),
        (_, problem) => Err(problem.expect("a folder without a manifest has a problem")),
    };
    Ok(StoredFolder { path, manifest, step: None, bytes: 0 })
}

fn inspect_work(vfs: &dyn Vfs, path: PathBuf) -> Result<StoredFolder> {
    let step = list_checkpoints(vfs, &path.join("checkpoints"))?.last().map(|(step, _)| *step);
    let step = step.max(read_growth_step(vfs, &path)?);
    let manifest = read_manifest(vfs, &path)?.unwrap_or_else(|| Err("it is missing".into()));
    let bytes = count_folder_bytes(vfs, &path)?;
    Ok(StoredFolder { path, manifest: manifest.map_err(broken_manifest), step, bytes })
}

fn broken_manifest(what: String) -> IntegrityError {
    IntegrityError { file: manifest::MANIFEST_FILE.into(), chunk: None, what }
}

/// Entries of one of the store's folders; none if the folder does not exist.
fn list_entries(store: &Store, inside: &str) -> Result<Vec<(PathBuf, EntryKind)>> {
    let folder = store.root().join(inside);
    let entries = match store.vfs().list(&folder) {
        Err(error) if is_absent(&error) => return Ok(vec![]),
        other => other.map_err(Error::io("list", &folder))?,
    };
    Ok(entries.into_iter().map(|(name, kind)| (folder.join(name), kind)).collect())
}

/// Checkpoints in a folder, by step, oldest first.
pub(crate) fn list_checkpoints(vfs: &dyn Vfs, folder: &Path) -> Result<Vec<(u64, PathBuf)>> {
    let entries = match vfs.list(folder) {
        Err(error) if is_absent(&error) => return Ok(vec![]),
        other => other.map_err(Error::io("list", folder))?,
    };
    let numbered = entries.into_iter().filter_map(|(name, _)| Some((name.parse().ok()?, folder.join(name))));
    let mut steps: Vec<_> = numbered.collect();
    steps.sort();
    Ok(steps)
}
