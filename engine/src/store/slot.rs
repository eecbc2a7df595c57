//! What a stage may write: its artifact, its checkpoints, its metrics.

mod checkpoints;
mod metrics_log;
mod program_folder;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use indexmap::IndexMap;
use serde_json::Value;

use crate::error::{Error, Result};
use crate::pipeline::fingerprint::{Fingerprint, Ledger};
use crate::pipeline::role::InputRole;
use crate::store::digest;
use crate::store::layout::{Store, TOOL_VERSION, format_current_time};
use crate::store::lock::StoreLock;
use crate::store::manifest::{self, Manifest, StageName};
use crate::store::metrics::METRICS;
use crate::store::publish::{ArtifactWriter, PublishHooks};
use crate::store::source_file::SourceStat;
use crate::store::vfs::Vfs;
use metrics_log::OpenMetrics;
pub(crate) use program_folder::{OUTPUT_LOG, ProgramFolder};

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

/// Permission to write the artifact of one stage and its checkpoints.
pub struct Slot {
    store: Store,
    key: StageKey,
    facts: Facts,
    metrics: Mutex<Option<OpenMetrics>>,
    /// When the stage began, in seconds since 1970.
    began: f64,
    watch: Vec<(PathBuf, SourceStat)>,
    /// What was damaged in the work folder and is mended, for the user.
    notes: Vec<String>,
    /// Gets every line of metrics once it is written.
    listener: Option<MetricsListener>,
}

/// What decides the last bits of a result beside its fingerprint, such as the class of the processor, by name.
pub(crate) type Facts = IndexMap<String, Value>;

/// How facts differ from those of today, such as `` processor x86-64-v3, and now x86-64-v4 ``; `None` if they do not, or if
/// they are not known.
pub(crate) fn compare_facts(then: &Facts, now: &Facts) -> Option<String> {
    let show = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let both = then.iter().filter_map(|(name, then)| Some((name, then, now.get(name)?)));
    let other = both.filter(|(_, then, now)| then != now);
    let other: Vec<String> =
        other.map(|(name, then, now)| format!("{name} {}, and now {}", show(then), show(now))).collect();
    (!other.is_empty()).then(|| other.join("; "))
}

/// Gets every line of metrics once it is written. It must not wait.
pub(crate) type MetricsListener = Arc<dyn Fn(&str) + Send + Sync>;

impl Store {
    /// Opens the slot of a stage.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the work folder belongs to another stage, [`Error::Io`] if it cannot be created.
    pub(crate) fn open_slot(&self, _lock: &StoreLock, key: StageKey, facts: Facts) -> Result<Slot> {
        Slot::open(self.clone(), key, facts)
    }
}

impl Slot {
    /// Opens the slot of a stage. Afterwards `work/<stage>-<12 digits>/` exists, with a manifest that names the stage. What is
    /// damaged beside the checkpoints, which carry their own hashes, is mended and noted.
    pub(super) fn open(store: Store, key: StageKey, facts: Facts) -> Result<Self> {
        let mut slot = Self {
            store,
            key,
            facts,
            metrics: Mutex::new(None),
            began: 0.0,
            watch: vec![],
            notes: vec![],
            listener: None,
        };
        let work = slot.work();
        match manifest::read_manifest(slot.vfs(), &work)? {
            None => {
                let folder =
                    ArtifactWriter::start(slot.shared_vfs(), &slot.tmp(), work.clone(), slot.header(None))?;
                folder.complete(&IndexMap::new())?;
            }
            Some(Ok(found)) if found.fingerprint == slot.key.fingerprint => {
                let here = compare_facts(&found.facts, &slot.facts);
                let note =
                    here.map(|here| format!("it was begun with {here}: its bits are those of neither alone"));
                slot.notes.extend(note);
            }
            Some(Ok(_)) => return Err(corrupt_manifest(work, "it belongs to another stage".into())),
            Some(Err(what)) => slot.replace_manifest(&what)?,
        }
        slot.began = slot.read_began()?;
        let checkpoints = slot.checkpoints();
        slot.vfs().ensure_dir(&checkpoints).map_err(Error::io("create", &checkpoints))?;
        slot.vfs().sync_dir(&work).map_err(Error::io("sync", &work))?;
        let damage = slot.rewrite_metrics(u64::MAX)?;
        slot.notes.extend(damage);
        Ok(slot)
    }

    /// Writes the manifest of the work folder anew. It says nothing that the stage does not know.
    fn replace_manifest(&mut self, what: &str) -> Result<()> {
        let path = self.work().join(manifest::MANIFEST_FILE);
        let mut header = self.header(None);
        header.created = format_current_time();
        self.store.replace_file(&path, header.encode().as_bytes())?;
        self.notes
            .push(format!("the manifest of the unfinished work was damaged ({what}), and is made anew"));
        Ok(())
    }

    /// Sentences about what was damaged in the work folder. They must be shown to the user.
    #[must_use]
    pub(crate) fn notes(&self) -> &[String] {
        &self.notes
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

    /// Lets `listener` have every line of metrics once it is written.
    #[must_use]
    pub(crate) fn listened(self, listener: Option<MetricsListener>) -> Self {
        Self { listener, ..self }
    }

    /// A writer for the stage's artifact. Publishing it copies the metrics into it and then removes the unfinished work.
    ///
    /// # Errors
    /// If the folder under construction cannot be created.
    pub fn artifact(&self) -> Result<ArtifactWriter> {
        let target = self.store.artifact(&self.key.name, &self.key.fingerprint);
        Ok(ArtifactWriter::start(self.shared_vfs(), &self.tmp(), target, self.header(None))?
            .with_hooks(self.publish_hooks()))
    }

    /// The same in an existing folder, which stays if it is not published.
    pub(super) fn artifact_in(&self, folder: PathBuf) -> ArtifactWriter {
        let target = self.store.artifact(&self.key.name, &self.key.fingerprint);
        ArtifactWriter::go_on(self.shared_vfs(), folder, target, self.header(None))
            .with_hooks(self.publish_hooks())
    }

    fn publish_hooks(&self) -> PublishHooks {
        PublishHooks {
            metrics: Some((self.metrics_path(), self.began)),
            watch: self.watch.clone(),
            retire: Some((self.work(), self.trash())),
        }
    }

    /// Path of the metrics while the stage is unfinished.
    #[must_use]
    pub(crate) fn metrics_path(&self) -> PathBuf {
        self.work().join(METRICS)
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
            facts: self.facts.clone(),
            tool: TOOL_VERSION.into(),
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            created: String::new(),
            root: String::new(),
        }
    }

    pub(super) fn work(&self) -> PathBuf {
        self.store.work(&self.key.name, &self.key.fingerprint)
    }

    pub(super) fn downloads_folder(&self) -> PathBuf {
        self.work().join("downloads")
    }

    /// The store of the slot.
    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    /// The fingerprint of the input in a role.
    pub(super) fn input(&self, role: &InputRole) -> Result<&Fingerprint> {
        let found = self.key.inputs.get(&role.to_string());
        found.ok_or_else(|| Error::Defect(format!("stage `{}` has no input `{role}`", self.key.name)))
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

    pub(super) fn shared_vfs(&self) -> Arc<dyn Vfs> {
        self.store.vfs.clone()
    }
}

fn corrupt_manifest(folder: PathBuf, what: String) -> Error {
    Error::Corrupt { folder, file: manifest::MANIFEST_FILE.into(), what }
}
