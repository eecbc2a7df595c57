//! What a store holds that nobody refers to, and how it goes.
//!
//! A folder is referred to when its digits are among those of a [`Root`]. What goes is renamed into `trash/` first: a
//! process that dies in between leaves it whole, or gone from its place and swept by the next run.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::pipeline::fingerprint::Fingerprint;
use crate::store::journal::RunRecord;
use crate::store::layout::{Store, extract_digits, make_unique_name};
use crate::store::listing::{StoreListing, StoredFolder};
use crate::store::lock::StoreLock;
use crate::store::vfs::{count_folder_bytes, is_absent};

/// How many of the newest runs keep their records, whatever became of their results.
pub const KEPT_RUN_RECORDS: usize = 100;

/// Somebody who refers to results.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GcRoot {
    /// What people call it.
    pub name: String,
    /// Digits of the folders that it needs.
    digits: BTreeSet<String>,
}

impl GcRoot {
    /// A root that needs these results.
    pub fn new<'a>(name: impl Into<String>, results: impl Iterator<Item = &'a Fingerprint>) -> Self {
        Self { name: name.into(), digits: results.map(|result| result.short().to_owned()).collect() }
    }
}

/// What a folder or file of the store is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ItemKind {
    /// A finished artifact.
    Artifact,
    /// Checkpoints of an unfinished stage.
    Work,
    /// What a process that ended left on its way in or out.
    Leftover,
    /// What a run was made of.
    Record,
}

impl ItemKind {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Artifact => "artifact",
            Self::Work => "unfinished",
            Self::Leftover => "leftover",
            Self::Record => "record",
        }
    }
}

/// A folder of the store, or a record of a run, and who needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreItem {
    /// Where it is.
    pub path: PathBuf,
    /// What it is.
    pub kind: ItemKind,
    /// The stage it was made by, where its manifest tells.
    pub stage: Option<String>,
    /// When it was made (UTC), where its manifest tells.
    pub created: Option<String>,
    /// Its size.
    pub bytes: u64,
    /// Who refers to it; empty: it can go.
    pub users: Vec<String>,
}

/// Everything in a store, with who needs it.
///
/// # Errors
/// What the operating system says.
pub fn collect_store_items(store: &Store, roots: &[GcRoot]) -> Result<Vec<StoreItem>> {
    let listing = StoreListing::read(store)?;
    let pins = read_artifact_pins(store)?;
    let finished: BTreeSet<_> =
        listing.artifacts.iter().map(|found| extract_digits(to_entry_name(&found.path))).collect();
    let mut items = Vec::new();
    for found in &listing.artifacts {
        let mut users = find_folder_users(roots, &found.path);
        users
            .extend(pins.iter().filter(|pin| *pin == to_entry_name(&found.path)).map(|_| "a pin".to_owned()));
        items.push(build_store_item(store, found, ItemKind::Artifact, users)?);
    }
    for found in &listing.unfinished {
        let done = finished.contains(extract_digits(to_entry_name(&found.path)));
        let users = if done { vec![] } else { find_folder_users(roots, &found.path) };
        items.push(build_store_item(store, found, ItemKind::Work, users)?);
    }
    Ok(items)
}

/// What dead processes left; everything that is on its way when a run goes on.
///
/// # Errors
/// What the operating system says.
pub fn collect_leftovers(store: &Store) -> Result<Vec<StoreItem>> {
    let mut items = Vec::new();
    for folder in ["tmp", "trash"] {
        let folder = store.root().join(folder);
        let entries = match store.vfs().list(&folder) {
            Err(error) if is_absent(&error) => continue,
            other => other.map_err(Error::io("list", &folder))?,
        };
        for (name, _) in entries {
            let path = folder.join(name);
            let bytes = count_folder_bytes(store.vfs(), &path)?;
            let (kind, users) = (ItemKind::Leftover, vec![]);
            items.push(StoreItem { path, kind, stage: None, created: None, bytes, users });
        }
    }
    Ok(items)
}

/// Records of runs that can go when what `items` says goes: old ones that worked on nothing that stays, but for those that
/// are `needed` to know what stays. One that cannot be read is of no use to anybody.
///
/// # Errors
/// What the operating system says.
pub fn collect_old_records(store: &Store, items: &[StoreItem], needed: &[u64]) -> Result<Vec<StoreItem>> {
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
            let (bytes, created) = (count_folder_bytes(store.vfs(), &path)?, Some(run.started.clone()));
            going.push(StoreItem {
                path,
                kind: ItemKind::Record,
                stage: None,
                created,
                bytes,
                users: vec![],
            });
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
    let bytes = count_folder_bytes(store.vfs(), &found.path)?;
    Ok(StoreItem { path: found.path.clone(), kind, stage, created, bytes, users })
}

fn find_folder_users(roots: &[GcRoot], path: &Path) -> Vec<String> {
    let digits = extract_digits(to_entry_name(path));
    roots.iter().filter(|root| root.digits.contains(digits)).map(|root| root.name.clone()).collect()
}

/// Name of a folder of the store; they are all UTF-8.
#[must_use]
pub fn to_entry_name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).expect("what a store lists has a name in UTF-8")
}

/// Names of the artifacts that are kept whatever happens.
///
/// # Errors
/// What the operating system says, or a file that is no text: then nobody knows what must stay.
pub fn read_artifact_pins(store: &Store) -> Result<Vec<String>> {
    let path = store.root().join("pins");
    match store.vfs().read(&path) {
        Err(error) if is_absent(&error) => Ok(vec![]),
        Err(error) => Err(Error::io("read", &path)(error)),
        Ok(bytes) => match String::from_utf8(bytes) {
            Ok(text) => Ok(text.lines().map(str::to_owned).collect()),
            Err(_) => {
                let message = format!("{} is no text, so nobody knows what is pinned", path.display());
                Err(Error::usage(message, "write into it the names of artifacts to keep, one a line"))
            }
        },
    }
}

impl Store {
    /// Keeps these artifacts whatever happens, and no others.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn set_pins(&self, _lock: &StoreLock, pins: &[String]) -> Result<()> {
        let text: String = pins.iter().map(|pin| format!("{pin}\n")).collect();
        self.replace_file(&self.root().join("pins"), text.as_bytes())
    }

    /// Removes a folder of the store.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn discard(&self, _lock: &StoreLock, path: &Path) -> Result<()> {
        let place = self.root().join("trash").join(make_unique_name("discarded"));
        self.vfs().rename(path, &place).map_err(Error::io("move away", path))?;
        let parent = path.parent().expect("a folder of the store lies in it");
        self.vfs().sync_dir(parent).map_err(Error::io("sync", parent))?;
        self.vfs().remove_all(&place).map_err(Error::io("remove", &place))
    }
}
