//! Finds what nothing in a store refers to, and removes it.
//!
//! A folder is in use if its digits are among those of a [`GcRoot`]. It is renamed into `trash/` before it is removed. If
//! the process dies in between, the folder is either still complete in its place, or in `trash/`, which the next run empties.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::pipeline::fingerprint::Fingerprint;
use crate::store::journal::RunRecord;
use crate::store::layout::{Store, extract_digits, make_unique_name};
use crate::store::listing::{StoreListing, StoredFolder};
use crate::store::lock::StoreLock;
use crate::store::seal;
use crate::store::vfs::{is_absent, visit_files};

/// Number of the newest runs whose records are kept even if all their results are gone.
pub const KEPT_RUN_RECORDS: usize = 100;

/// The file with the names of the pinned artifacts.
const PINS: &str = "pins";

/// Something that refers to results, such as a pipeline or what its last run was made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct GcRoot {
    /// Name to show to people.
    pub name: String,
    /// Digits in the names of the folders that it needs.
    digits: BTreeSet<String>,
}

impl GcRoot {
    /// A root that needs these results.
    pub(crate) fn new<'a>(name: impl Into<String>, results: impl Iterator<Item = &'a Fingerprint>) -> Self {
        Self { name: name.into(), digits: results.map(|result| result.short().to_owned()).collect() }
    }
}

/// Kind of a removable item in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ItemKind {
    /// A finished artifact.
    Artifact,
    /// The work folder of an unfinished stage, with its checkpoints.
    Work,
    /// The permanent checkpoints of a stage.
    Permanent,
    /// Shards of rows, which can be made again.
    Window,
    /// What a dead process left in `tmp/` or `trash/`.
    Leftover,
    /// The record of a run's inputs.
    Record,
}

impl ItemKind {
    /// The word for this kind in the output of `gc`.
    #[must_use]
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Artifact => "artifact",
            Self::Work => "unfinished",
            Self::Permanent => "permanent",
            Self::Window => "window",
            Self::Leftover => "leftover",
            Self::Record => "record",
        }
    }
}

/// Sizes of the files of an item.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ItemSize {
    /// Size in bytes.
    pub bytes: u64,
    /// Files that have further names, such as the weights under an adapter, and their sizes.
    shared: Vec<([i128; 2], u64)>,
}

/// A folder of the store or a record of a run, and who needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoreItem {
    /// Absolute path.
    pub path: PathBuf,
    /// Kind of the item.
    pub kind: ItemKind,
    /// Name of the stage that made it, if its manifest can be read.
    pub stage: Option<String>,
    /// When it was made (UTC), if known.
    pub created: Option<String>,
    /// Sizes of its files.
    pub size: ItemSize,
    /// Names of the roots that need it, and `a pin`. If there are none, the item can be removed.
    pub users: Vec<String>,
}

/// All artifacts, unfinished stages and permanent checkpoints in a store, with who needs them.
///
/// # Errors
/// If the store cannot be read.
pub(crate) fn collect_store_items(store: &Store, roots: &[GcRoot]) -> Result<Vec<StoreItem>> {
    let listing = StoreListing::read(store)?;
    let pins = read_artifact_pins(store)?;
    let finished: BTreeSet<_> =
        listing.artifacts.iter().map(|found| extract_digits(to_entry_name(&found.path))).collect();
    let mut items = Vec::new();
    for found in &listing.artifacts {
        let users = find_users_and_pins(roots, &pins, &found.path);
        items.push(build_store_item(store, found, ItemKind::Artifact, users)?);
    }
    for found in &listing.unfinished {
        let done = finished.contains(extract_digits(to_entry_name(&found.path)));
        let users = if done { vec![] } else { find_folder_users(roots, &found.path) };
        items.push(build_store_item(store, found, ItemKind::Work, users)?);
    }
    for found in listing.permanent {
        // The folder has the name of the artifact, so that a pin of one keeps both.
        let users = find_users_and_pins(roots, &pins, &found.path);
        let size = measure(store, &found.path)?;
        let (path, kind) = (found.path, ItemKind::Permanent);
        items.push(StoreItem { path, kind, stage: found.stage, created: None, size, users });
    }
    for path in listing.windows {
        let (users, size) = (find_folder_users(roots, &path), measure(store, &path)?);
        items.push(StoreItem { path, kind: ItemKind::Window, stage: None, created: None, size, users });
    }
    Ok(items)
}

/// Everything in `tmp/` and `trash/`. Without a run in progress, this is what dead processes left.
///
/// # Errors
/// If the store cannot be read.
pub(crate) fn collect_leftovers(store: &Store) -> Result<Vec<StoreItem>> {
    let mut items = Vec::new();
    for folder in ["tmp", "trash"] {
        let folder = store.root().join(folder);
        let entries = match store.vfs().list(&folder) {
            Err(error) if is_absent(&error) => continue,
            other => other.map_err(Error::io("list", &folder))?,
        };
        for (name, _) in entries {
            let path = folder.join(name);
            let size = measure(store, &path)?;
            let (kind, users) = (ItemKind::Leftover, vec![]);
            items.push(StoreItem { path, kind, stage: None, created: None, size, users });
        }
    }
    Ok(items)
}

/// Records of runs that can be removed together with the unused `items`: those of old runs that worked on nothing that stays.
///
/// Records in `needed` are kept: they decide which items stay. A record that is corrupt can be removed.
///
/// # Errors
/// If the store cannot be read.
pub(crate) fn collect_old_records(
    store: &Store,
    items: &[StoreItem],
    needed: &[u64],
) -> Result<Vec<StoreItem>> {
    let staying = items.iter().filter(|item| !item.users.is_empty());
    let staying: BTreeSet<_> = staying.map(|item| extract_digits(to_entry_name(&item.path))).collect();
    let runs = store.past_runs()?;
    let mut going = Vec::new();
    let old = runs.iter().take(runs.len().saturating_sub(KEPT_RUN_RECORDS));
    for run in old.filter(|run| !needed.contains(&run.number)) {
        let worked_on = |record: RunRecord| {
            let mut own = record.stages.iter().filter(|(stage, _)| run.stages.contains_key(*stage));
            own.any(|(_, ledger)| staying.contains(ledger.fingerprint().short()))
        };
        let needed = match store.run_record(run.number) {
            Ok(None) => continue,
            Err(Error::Corrupt { .. }) => false,
            other => other?.is_some_and(worked_on),
        };
        if !needed {
            let path = store.record_path(run.number);
            let (size, created) = (measure(store, &path)?, Some(run.started.clone()));
            going.push(StoreItem { path, kind: ItemKind::Record, stage: None, created, size, users: vec![] });
        }
    }
    Ok(going)
}

fn build_store_item(
    store: &Store,
    found: &StoredFolder,
    kind: ItemKind,
    users: Vec<String>,
) -> Result<StoreItem> {
    let manifest = found.manifest.as_ref().ok();
    let stage = manifest.map(|manifest| manifest.stage.name.clone());
    let created = manifest.map(|manifest| manifest.created.clone());
    let size = measure(store, &found.path)?;
    Ok(StoreItem { path: found.path.clone(), kind, stage, created, size, users })
}

/// Sizes of the files of an item.
fn measure(store: &Store, path: &Path) -> Result<ItemSize> {
    let mut size = ItemSize::default();
    visit_files(store.vfs(), path, &mut |stat| {
        size.bytes += stat.size;
        size.shared.extend(stat.shared.map(|id| (id, stat.size)));
    })?;
    Ok(size)
}

/// Bytes of these items, each file once, whatever its names.
#[must_use]
pub(crate) fn sum_bytes<'a>(items: impl Iterator<Item = &'a StoreItem>) -> u64 {
    sum_unseen_bytes(items, BTreeSet::new())
}

/// Bytes that are free once these items are gone: as [`sum_bytes`], without the files that one of `staying` has, too.
#[must_use]
pub(crate) fn sum_freed_bytes<'a>(
    items: impl Iterator<Item = &'a StoreItem>,
    staying: impl Iterator<Item = &'a StoreItem>,
) -> u64 {
    sum_unseen_bytes(items, staying.flat_map(|item| &item.size.shared).map(|(id, _)| *id).collect())
}

fn sum_unseen_bytes<'a>(items: impl Iterator<Item = &'a StoreItem>, mut seen: BTreeSet<[i128; 2]>) -> u64 {
    let mut repeated = 0;
    let all = items.map(|item| {
        let again = item.size.shared.iter().filter(|(id, _)| !seen.insert(*id));
        repeated += again.map(|(_, bytes)| bytes).sum::<u64>();
        item.size.bytes
    });
    all.sum::<u64>() - repeated
}

fn find_folder_users(roots: &[GcRoot], path: &Path) -> Vec<String> {
    let digits = extract_digits(to_entry_name(path));
    roots.iter().filter(|root| root.digits.contains(digits)).map(|root| root.name.clone()).collect()
}

fn find_users_and_pins(roots: &[GcRoot], pins: &[String], path: &Path) -> Vec<String> {
    let pinned = pins.iter().filter(|pin| *pin == to_entry_name(path)).map(|_| "a pin".to_owned());
    find_folder_users(roots, path).into_iter().chain(pinned).collect()
}

/// Last part of a path in the store. All names in a store are UTF-8.
#[must_use]
pub(crate) fn to_entry_name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).expect("what a store lists has a name in UTF-8")
}

/// Folder names of the pinned artifacts, which `gc` never removes.
///
/// # Errors
/// If `pins` cannot be read or is damaged: nothing may be removed while it is unknown what must stay.
pub(crate) fn read_artifact_pins(store: &Store) -> Result<Vec<String>> {
    let path = store.root().join(PINS);
    match store.vfs().read(&path) {
        Err(error) if is_absent(&error) => Ok(vec![]),
        Err(error) => Err(Error::io("read", &path)(error)),
        Ok(bytes) => match seal::open_words(&bytes) {
            Some(words) => Ok(words.lines().map(str::to_owned).collect()),
            None => {
                let what = "it is not what was written, so that what it pins is unknown".to_owned();
                Err(Error::Corrupt { folder: store.root().to_path_buf(), file: PINS.into(), what })
            }
        },
    }
}

impl Store {
    /// Replaces the pinned artifacts with `pins`, which are folder names.
    ///
    /// # Errors
    /// If `pins` cannot be written.
    pub(crate) fn set_pins(&self, _lock: &StoreLock, pins: &[String]) -> Result<()> {
        let text: String = pins.iter().map(|pin| format!("{pin}\n")).collect();
        self.replace_file(&self.root().join(PINS), seal::seal_words(&text).as_bytes())
    }

    /// Removes a folder of the store, through `trash/`.
    ///
    /// # Errors
    /// If it cannot be moved or removed.
    pub(crate) fn discard(&self, _lock: &StoreLock, path: &Path) -> Result<()> {
        let place = self.root().join("trash").join(make_unique_name("discarded"));
        self.vfs().rename(path, &place).map_err(Error::io("move", path))?;
        let parent = path.parent().expect("a folder of the store is inside the store");
        self.vfs().sync_dir(parent).map_err(Error::io("sync", parent))?;
        self.vfs().remove_all(&place).map_err(Error::io("remove", &place))
    }
}
