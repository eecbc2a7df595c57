//! What a stage may write: its artifact, its checkpoints, its metrics.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use indexmap::IndexMap;
use serde_json::Value;

use crate::error::{Error, Result};
use crate::pipeline::fingerprint::{Fingerprint, Ledger};
use crate::store::layout::{Store, TOOL_VERSION, make_unique_name};
use crate::store::lock::StoreLock;
use crate::store::manifest::{self, Manifest, StageName};
use crate::store::publish::{ArtifactWriter, PublishHooks};
use crate::store::source_file::SourceStat;
use crate::store::vfs::{Vfs, VfsFile};
use crate::store::{digest, listing, verify};

/// File name of the metrics, in the work folder of an unfinished stage and in its artifact.
pub(crate) const METRICS: &str = "metrics.jsonl";

/// Identity of the stage that a slot is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StageKey {
    /// Kind of stage, such as `train`.
    pub kind: String,
    /// Name of the stage.
    pub name: String,
    /// Identity of its result.
    pub fingerprint: Fingerprint,
    /// What the fingerprint is made of.
    pub ledger: Ledger,
    /// Fingerprints of its inputs, by role.
    pub inputs: IndexMap<String, Fingerprint>,
}

/// A checkpoint that was verified byte by byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointDir {
    /// Updates done.
    pub step: u64,
    /// Path of its folder.
    pub path: PathBuf,
    /// One sentence for each newer checkpoint that is skipped because it is corrupt. They must be shown to the user.
    pub notes: Vec<String>,
}

/// Permission to write the artifact of one stage and its checkpoints.
pub struct Slot {
    store: Store,
    key: StageKey,
    metrics: Mutex<Option<Box<dyn VfsFile>>>,
    watch: Vec<(PathBuf, SourceStat)>,
}

impl Store {
    /// Opens the slot of a stage.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the stage's work folder is damaged, [`Error::Io`] if it cannot be created.
    pub(crate) fn open_slot(&self, _lock: &StoreLock, key: StageKey) -> Result<Slot> {
        Slot::open(self.clone(), key)
    }
}

impl Slot {
    /// Opens the slot of a stage. Afterwards `work/<stage>-<12 digits>/` exists, with a manifest that names the stage.
    pub(super) fn open(store: Store, key: StageKey) -> Result<Self> {
        let slot = Self { store, key, metrics: Mutex::new(None), watch: vec![] };
        let work = slot.work();
        match manifest::read_manifest(slot.vfs(), &work)? {
            None => {
                let folder =
                    ArtifactWriter::start(slot.shared_vfs(), &slot.tmp(), work.clone(), slot.header(None))?;
                folder.complete(&IndexMap::new())?;
            }
            Some(Ok(found)) if found.fingerprint == slot.key.fingerprint => {}
            Some(Ok(_)) => return Err(corrupt_manifest(work, "it belongs to another stage".into())),
            Some(Err(what)) => return Err(corrupt_manifest(work, what)),
        }
        let checkpoints = slot.checkpoints();
        slot.vfs().ensure_dir(&checkpoints).map_err(Error::io("create", &checkpoints))?;
        slot.vfs().sync_dir(&work).map_err(Error::io("sync", &work))?;
        Ok(slot)
    }

    /// Watches these files: if any of them changes from now on, the artifact is not published.
    ///
    /// # Errors
    /// [`Error::Input`] for a file that cannot be read.
    pub(crate) fn watch<'a>(mut self, files: impl Iterator<Item = &'a PathBuf>) -> Result<Self> {
        for file in files {
            let unreadable = |error| digest::unreadable_file(file, &error);
            let path = std::fs::canonicalize(file).map_err(unreadable)?;
            self.watch.push((path.clone(), digest::read_source_stat(&path)?));
        }
        Ok(self)
    }

    /// A writer for the stage's artifact. Publishing it copies the metrics into it and then removes the unfinished work.
    ///
    /// # Errors
    /// If the folder under construction cannot be created.
    pub fn artifact(&self) -> Result<ArtifactWriter> {
        let target = self.store.artifact(&self.key.name, &self.key.fingerprint);
        let hooks = PublishHooks {
            copy: Some((METRICS, self.metrics_path())),
            watch: self.watch.clone(),
            retire: Some((self.work(), self.trash())),
        };
        Ok(ArtifactWriter::start(self.shared_vfs(), &self.tmp(), target, self.header(None))?
            .with_hooks(hooks))
    }

    /// A writer for a checkpoint after `step` updates.
    ///
    /// # Errors
    /// If the folder under construction cannot be created.
    pub fn checkpoint(&self, step: u64) -> Result<ArtifactWriter> {
        let target = self.checkpoints().join(format!("{step:08}"));
        let header = self.header(Some(step));
        Ok(ArtifactWriter::start(self.shared_vfs(), &self.tmp(), target, header)?.replacing(self.trash()))
    }

    /// The newest checkpoint that is not corrupt, verified byte by byte. Its notes name newer ones that are corrupt.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if there are checkpoints but all are corrupt: a stage is never silently started over.
    pub fn latest_checkpoint(&self) -> Result<Option<CheckpointDir>> {
        let mut notes = Vec::new();
        let mut first = None;
        for (step, path) in self.steps()?.into_iter().rev() {
            match verify::verify_folder(self.vfs(), &path) {
                Ok(found) if found.fingerprint == self.key.fingerprint && found.step == Some(step) => {
                    return Ok(Some(CheckpointDir { step, path, notes }));
                }
                Ok(_) => {
                    let error = corrupt_manifest(path, "it is the checkpoint of another stage".into());
                    notes.push(format!("checkpoint {step} is skipped: {error}"));
                    first.get_or_insert(error);
                }
                Err(error @ Error::Corrupt { .. }) => {
                    notes.push(format!("checkpoint {step} is skipped: {error}"));
                    first.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        first.map_or(Ok(None), Err)
    }

    /// Removes all but the newest `keep` checkpoints; at least one is kept. Call it after a newer one was published.
    ///
    /// # Errors
    /// If a checkpoint cannot be moved or removed.
    pub fn prune_checkpoints(&self, keep: usize) -> Result<()> {
        let mut steps = self.steps()?;
        steps.truncate(steps.len().saturating_sub(keep.max(1)));
        for (_, path) in steps {
            let place = self.trash().join(make_unique_name("checkpoint"));
            self.vfs().rename(&path, &place).map_err(Error::io("move", &path))?;
            self.vfs().remove_all(&place).map_err(Error::io("remove", &place))?;
        }
        Ok(())
    }

    /// Appends one line, a JSON object with `"step"`, to the metrics. The line is not synced.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn append_metrics(&self, line: &str) -> Result<()> {
        let path = self.metrics_path();
        let mut open = self.metrics.lock().unwrap_or_else(PoisonError::into_inner);
        let file = match &mut *open {
            Some(file) => file,
            closed => {
                self.rewrite_metrics(u64::MAX)?;
                closed.insert(self.vfs().append(&path).map_err(Error::io("open", &path))?)
            }
        };
        file.write_all(format!("{}\n", line.trim_end()).as_bytes()).map_err(Error::io("write", &path))
    }

    /// Removes the lines of updates from `step` on, which a resumed stage computes again.
    ///
    /// # Errors
    /// If the file cannot be read or replaced.
    pub fn truncate_metrics_from(&self, step: u64) -> Result<()> {
        *self.metrics.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.rewrite_metrics(step)
    }

    /// Path of the metrics while the stage is unfinished.
    #[must_use]
    pub(crate) fn metrics_path(&self) -> PathBuf {
        self.work().join(METRICS)
    }

    /// Keeps the complete lines of updates before `step`; a torn last line is removed.
    fn rewrite_metrics(&self, step: u64) -> Result<()> {
        let path = self.metrics_path();
        let text = match self.vfs().read(&path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(Error::io("read", &path)(error)),
        };
        let kept: String = text.split_inclusive('\n').filter(|line| is_line_before(line, step)).collect();
        if kept == text { Ok(()) } else { self.store.replace_file(&path, kept.as_bytes()) }
    }

    /// Checkpoints by step, oldest first.
    fn steps(&self) -> Result<Vec<(u64, PathBuf)>> {
        listing::list_checkpoints(self.vfs(), &self.checkpoints())
    }

    fn header(&self, step: Option<u64>) -> Manifest {
        Manifest {
            schema: manifest::MANIFEST_SCHEMA.into(),
            stage: StageName { kind: self.key.kind.clone(), name: self.key.name.clone() },
            fingerprint: self.key.fingerprint.clone(),
            step,
            ledger: self.key.ledger.clone(),
            inputs: self.key.inputs.clone(),
            files: vec![],
            facts: IndexMap::new(),
            tool: TOOL_VERSION.into(),
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            created: String::new(),
            root: String::new(),
        }
    }

    fn work(&self) -> PathBuf {
        self.store.work(&self.key.name, &self.key.fingerprint)
    }

    fn checkpoints(&self) -> PathBuf {
        self.work().join("checkpoints")
    }

    fn tmp(&self) -> PathBuf {
        self.store.root().join("tmp")
    }

    fn trash(&self) -> PathBuf {
        self.store.root().join("trash")
    }

    fn vfs(&self) -> &dyn Vfs {
        self.store.vfs()
    }

    fn shared_vfs(&self) -> Arc<dyn Vfs> {
        self.store.vfs.clone()
    }
}

fn corrupt_manifest(folder: PathBuf, what: String) -> Error {
    Error::Corrupt { folder, file: manifest::MANIFEST_FILE.into(), what }
}

/// Whether a line of metrics is complete and belongs to an update before `step`, or to none.
fn is_line_before(line: &str, step: u64) -> bool {
    let value: Option<Value> = line.ends_with('\n').then(|| serde_json::from_str(line).ok()).flatten();
    value.is_some_and(|value| value.get("step").and_then(Value::as_u64).is_none_or(|found| found < step))
}
