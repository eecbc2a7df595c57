//! A place to run in, and stages that only pretend.

use std::cell::RefCell;
use std::fs;

use super::super::*;
use crate::check::{Options as CheckOptions, check_text};
use crate::config::StageConfig;
use crate::execute::{Progress, Report};
use crate::plan::Selection;
use crate::store::Listing;
use crate::vfs::Vfs;
use crate::vfs::fault::Faulty;
use std::sync::Arc;

/// A place with a text, a store and a way to break things.
pub(super) struct World {
    pub(super) folder: tempfile::TempDir,
    pub(super) vfs: Arc<dyn Vfs>,
    pub(super) settings: Vec<String>,
}

/// Stages that write what follows from their inputs, one update at a time.
#[derive(Default)]
pub(super) struct Pretend {
    pub(super) ran: RefCell<Vec<String>>,
    pub(super) stop_at: Option<u64>,
    /// A file that changes while the first stage runs.
    pub(super) spoil: Option<PathBuf>,
}

impl Execute for Pretend {
    fn device(&self, name: &str) -> std::result::Result<(), String> {
        if name == "cpu" { Ok(()) } else { Err(format!("there is no `{name}`")) }
    }

    fn run(&self, job: &Job<'_>) -> std::result::Result<Summary, Failure> {
        let steps = if let StageConfig::Train(config) = &job.stage.config { config.steps } else { 0 };
        let start = job.slot.latest_checkpoint()?.map_or(0, |checkpoint| checkpoint.step);
        self.ran.borrow_mut().push(format!("{}@{start}", job.stage.name));
        job.slot.truncate_metrics_from(start)?;
        for step in start..steps {
            if self.stop_at == Some(step) {
                let message = format!("stopped at update {step}");
                return Err(Failure { kind: FailureKind::Interrupted, message, help: None });
            }
            job.slot.append_metrics(&format!("{{\"step\":{step}}}"))?;
            job.report.progress(&Progress { done: step + 1, total: steps, unit: "update", text: "" });
            if step % 2 == 1 {
                let mut checkpoint = job.slot.checkpoint(step + 1)?;
                checkpoint.write("state.bin", &step.to_le_bytes())?;
                checkpoint.publish(&words(), &IndexMap::new())?;
                job.slot.prune_checkpoints(1)?;
            }
        }
        if let Some(file) = &self.spoil {
            fs::write(file, "spoilt")?;
        }
        let mut model = format!("{}:{}\n", job.stage.config.kind(), job.seed).into_bytes();
        for folder in job.inputs.values() {
            model.extend(fs::read(folder.join("model.safetensors"))?);
        }
        let mut artifact = job.slot.artifact()?;
        artifact.write("model.safetensors", &model)?;
        artifact.publish(&words(), &IndexMap::new())?;
        Ok(words())
    }

    fn verify_deep(&self, _folder: &Path) -> std::result::Result<String, Failure> {
        Ok("equal".into())
    }
}

fn words() -> Summary {
    Summary { headline: "fine".into(), lines: vec![], metrics: IndexMap::new() }
}

struct Silent;

impl Events for Silent {
    fn begin(&self, _stage: &str, _state: &State) -> Box<dyn Report + '_> {
        Box::new(Silent)
    }
    fn end(&self, _outcome: &Outcome) {}
}

impl Report for Silent {
    fn progress(&self, _progress: &Progress<'_>) {}
    fn note(&self, _text: &str) {}
}

impl World {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("text")).unwrap();
        fs::write(folder.path().join("text/a.txt"), "hello").unwrap();
        Self { folder, vfs: Faulty::sound(), settings: Vec::new() }
    }

    /// The same place, with settings beside the text.
    pub(super) fn set(self, settings: &[&str]) -> Self {
        Self { settings: settings.iter().map(|setting| (*setting).to_owned()).collect(), ..self }
    }

    /// The same place without settings, and what they were.
    pub(super) fn without_settings(self) -> (Self, Vec<String>) {
        let settings = self.settings.clone();
        (self.set(&[]), settings)
    }

    fn pipeline(&self, text: &str) -> Pipeline {
        let options = CheckOptions { settings: self.settings.clone(), ..CheckOptions::default() };
        let checked = check_text("test.kdl", text, self.folder.path(), &options);
        assert!(!checked.failed(), "{}", crate::render::concise(&checked.diagnostics));
        checked.pipeline.unwrap()
    }

    pub(super) fn root(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    pub(super) fn plan(&self, text: &str) -> Plan {
        let pipeline = self.pipeline(text);
        let facts = Facts::gather(&pipeline, None).unwrap();
        let store = Store::open(&self.root()).unwrap();
        let listing = store.map(|store| Listing::of(&store).unwrap()).unwrap_or_default();
        Plan::of(&pipeline, &facts, &listing)
    }

    pub(super) fn run(&self, text: &str, execute: &Pretend, resume: bool) -> Result<Ran> {
        self.run_selected(text, execute, resume, &Selection::default())
    }

    pub(super) fn run_selected(
        &self,
        text: &str,
        execute: &Pretend,
        resume: bool,
        selection: &Selection,
    ) -> Result<Ran> {
        let pipeline = self.pipeline(text);
        let store = Store::create_in(self.vfs.clone(), &self.root())?;
        let lock = store.lock()?;
        let facts = Facts::gather(&pipeline, Some(&store))?;
        let mut plan = Plan::of(&pipeline, &facts, &Listing::of(&store)?);
        plan.select(&pipeline, selection)?;
        let options = Options { device: "cpu".into(), resume };
        let interrupt = AtomicBool::new(false);
        let (pipeline, plan, facts, store, lock) = (&pipeline, &plan, &facts, &store, &lock);
        let (execute, events) = (Some(execute as &dyn Execute), &Silent);
        let (interrupt, options) = (&interrupt, &options);
        Runner { pipeline, plan, facts, store, lock, execute, events, interrupt, options }.run()
    }

    /// Runs to the end and tells what ran, each stage with the update it started from.
    pub(super) fn ran(&self, text: &str) -> Vec<String> {
        let execute = Pretend::default();
        let ran = self.run(text, &execute, false).unwrap();
        assert!(ran.error.is_none(), "{:?}", ran.error);
        execute.ran.into_inner()
    }
}
