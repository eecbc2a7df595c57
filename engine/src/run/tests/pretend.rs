//! A temporary project to run in, and fake stages.

use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Barrier, Mutex};

use indexmap::IndexMap;

use super::super::*;
use crate::check::{CheckOptions, check_text};
use crate::error::{Failure, FailureKind};
use crate::pipeline::Pipeline;
use crate::pipeline::config::StageConfig;
use crate::plan::Selection;
use crate::plan::{Plan, SourceDigests};
use crate::run::execute::{Execute, Job, Operations, Progress, ProgressReporter};
use crate::run::rows_view::{RowsRequest, RowsStatistics, RowsView};
use crate::run::text::TextModel;
use crate::store::vfs::Vfs;
use crate::store::vfs::fault::FaultyVfs;
use crate::store::{Store, StoreListing, Summary};

/// A temporary project: a dataset, a store, and a file system that can fail.
pub(super) struct World {
    pub(super) folder: tempfile::TempDir,
    pub(super) vfs: Arc<dyn Vfs>,
    pub(super) settings: Vec<String>,
    pub(super) jobs: NonZeroUsize,
    /// Failures that were reported while other stages kept running.
    pub(super) reported: Arc<Mutex<Vec<String>>>,
}

/// Fake stages: they write a function of their inputs and seed, and count updates as training does.
#[derive(Default)]
pub(super) struct Pretend {
    pub(super) ran: Mutex<Vec<String>>,
    pub(super) stop_at: Option<u64>,
    /// A file that changes while the first stage runs.
    pub(super) changes: Option<PathBuf>,
    /// Stages that wait for each other before they work: they finish only if they run in parallel.
    pub(super) meet: Option<(Vec<&'static str>, Barrier)>,
    /// A stage that waits until a failure was reported.
    pub(super) waits_for_failure: Option<(&'static str, Arc<Mutex<Vec<String>>>)>,
    /// A stage that fails.
    pub(super) fails: Option<&'static str>,
    /// A stage that panics.
    pub(super) panics: Option<&'static str>,
    /// Whether the program was built without access to a hub.
    pub(super) without_hub: bool,
    /// Cores that each stage got.
    pub(super) cores: Mutex<Vec<(String, usize)>>,
}

impl Execute for Pretend {
    fn check_device(&self, name: &str) -> std::result::Result<(), String> {
        if name == "cpu" { Ok(()) } else { Err(format!("there is no `{name}`")) }
    }

    fn can_download(&self) -> bool {
        !self.without_hub
    }

    fn run(&self, job: &Job<'_>) -> std::result::Result<Summary, Failure> {
        let steps = if let StageConfig::Train(config) = &job.stage.config { config.steps } else { 0 };
        let start = job.slot.latest_checkpoint()?.map_or(0, |checkpoint| checkpoint.step);
        self.ran.lock().unwrap().push(format!("{}@{start}", job.stage.name));
        self.cores.lock().unwrap().push((job.stage.name.clone(), job.cores));
        self.misbehave(&job.stage.name)?;
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
                checkpoint.publish(&summary(), &IndexMap::new())?;
                job.slot.prune_checkpoints(1, |_| false)?;
            }
        }
        if let Some(file) = &self.changes {
            fs::write(file, "changed")?;
        }
        let mut model = format!("{}:{}\n", job.stage.config.kind(), job.seed).into_bytes();
        for folder in job.inputs.values() {
            model.extend(fs::read(folder.join("model.safetensors"))?);
        }
        let mut artifact = job.slot.artifact()?;
        artifact.write("model.safetensors", &model)?;
        artifact.publish(&summary(), &IndexMap::new())?;
        Ok(summary())
    }

    fn verify_deep(&self, _folder: &Path, _operations: Operations) -> std::result::Result<String, Failure> {
        Ok("equal".into())
    }

    fn view_rows(&self, _folder: &Path, _request: &RowsRequest) -> std::result::Result<RowsView, Failure> {
        unreachable!("pretended stages make no rows")
    }

    fn measure_rows(&self, _folder: &Path, _most: u64) -> std::result::Result<RowsStatistics, Failure> {
        unreachable!("pretended stages make no rows")
    }

    fn verify_batches(&self, _folder: &Path, _device: &str) -> std::result::Result<String, Failure> {
        Ok("the same".into())
    }

    fn open_text_model(
        &self,
        _folder: &Path,
        _device: &str,
    ) -> std::result::Result<Box<dyn TextModel>, Failure> {
        unreachable!("no command of these tests asks for text")
    }
}

impl Pretend {
    /// Two stages that wait for each other.
    pub(super) fn meeting(names: [&'static str; 2]) -> Self {
        Self { meet: Some((names.to_vec(), Barrier::new(2))), ..Self::default() }
    }

    /// Makes happen to a stage what the test asked for.
    fn misbehave(&self, name: &str) -> std::result::Result<(), Failure> {
        if let Some((names, barrier)) = &self.meet
            && names.contains(&name)
        {
            barrier.wait();
        }
        if let Some((_, reported)) = self.waits_for_failure.as_ref().filter(|(waiting, _)| *waiting == name) {
            while reported.lock().unwrap().is_empty() {
                std::thread::yield_now();
            }
        }
        assert_ne!(self.panics, Some(name), "as asked for");
        match self.fails == Some(name) {
            true => {
                Err(Failure { kind: FailureKind::Diverged, message: "the loss is NaN".into(), help: None })
            }
            false => Ok(()),
        }
    }
}

fn summary() -> Summary {
    Summary { headline: "fine".into(), lines: vec![], metrics: IndexMap::new() }
}

/// Keeps failures that are reported while other stages run.
struct FailureLog<'a>(&'a Mutex<Vec<String>>);

struct Silent;

impl RunEvents for FailureLog<'_> {
    fn begin(&self, _stage: &str, _state: &PlanState) -> Box<dyn ProgressReporter + '_> {
        Box::new(Silent)
    }
    fn end(&self, _outcome: &StageOutcome) {}
    fn note(&self, _text: &str) {}
    fn fail(&self, error: &Error, running: &[&str]) {
        self.0.lock().unwrap().push(format!("{error} beside {running:?}"));
    }
}

impl ProgressReporter for Silent {
    fn progress(&self, _progress: &Progress<'_>) {}
    fn event(&self, _text: &str) {}
    fn note(&self, _text: &str) {}
}

impl World {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("text")).unwrap();
        fs::write(folder.path().join("text/a.txt"), "hello").unwrap();
        let (jobs, reported) = (NonZeroUsize::MIN, Arc::default());
        Self { folder, vfs: FaultyVfs::sound(), settings: Vec::new(), jobs, reported }
    }

    /// The same project, with `--set` settings.
    pub(super) fn set(self, settings: &[&str]) -> Self {
        Self { settings: settings.iter().map(|setting| (*setting).to_owned()).collect(), ..self }
    }

    /// A project whose runs work on up to `jobs` stages at the same time.
    pub(super) fn with_jobs(jobs: usize) -> Self {
        Self { jobs: NonZeroUsize::new(jobs).unwrap(), ..Self::new() }
    }

    /// The same project without settings, and the settings that it had.
    pub(super) fn without_settings(self) -> (Self, Vec<String>) {
        let settings = self.settings.clone();
        (self.set(&[]), settings)
    }

    fn pipeline(&self, text: &str) -> Pipeline {
        let options = CheckOptions { settings: self.settings.clone(), ..CheckOptions::default() };
        let checked = check_text("test.kdl", text, self.folder.path(), &options);
        assert!(!checked.failed(), "{}", crate::text::render::render_concise_lines(&checked.diagnostics));
        checked.pipeline.unwrap()
    }

    pub(super) fn root(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    pub(super) fn plan(&self, text: &str) -> Plan {
        let pipeline = self.pipeline(text);
        let digests = SourceDigests::read(&pipeline, None).unwrap();
        let store = Store::open(&self.root()).unwrap();
        let listing = store.map(|store| StoreListing::read(&store).unwrap()).unwrap_or_default();
        Plan::for_pipeline(&pipeline, &digests, &listing)
    }

    pub(super) fn run(&self, text: &str, execute: &Pretend, resume: bool) -> Result<RunOutcome> {
        self.run_selected(text, execute, resume, &Selection::default())
    }

    pub(super) fn run_selected(
        &self,
        text: &str,
        execute: &Pretend,
        resume: bool,
        selection: &Selection,
    ) -> Result<RunOutcome> {
        let pipeline = self.pipeline(text);
        let store = Store::create_in(self.vfs.clone(), &self.root())?;
        let lock = store.lock()?;
        let digests = SourceDigests::read(&pipeline, Some(&store))?;
        let mut plan = Plan::for_pipeline(&pipeline, &digests, &StoreListing::read(&store)?);
        plan.select(&pipeline, selection)?;
        let options = RunOptions {
            unsafe_no_sandbox: false,
            device: "cpu".into(),
            resume,
            jobs: self.jobs,
            selection: selection.clone(),
        };
        let interrupt = AtomicBool::new(false);
        let (pipeline, plan, digests, store, lock) = (&pipeline, &plan, &digests, &store, &lock);
        let (execute, events) = (Some(execute as &dyn Execute), &FailureLog(&self.reported));
        let (interrupt, options) = (&interrupt, &options);
        run_missing_stages(&Runner {
            pipeline,
            plan,
            digests,
            store,
            lock: Some(lock),
            execute,
            events,
            interrupt,
            gate: None,
            options,
        })
    }

    /// Runs to the end; returns the stages that ran, each with the update it started from.
    pub(super) fn ran(&self, text: &str) -> Vec<String> {
        let execute = Pretend::default();
        let ran = self.run(text, &execute, false).unwrap();
        assert!(ran.error.is_none(), "{:?}", ran.error);
        execute.ran.into_inner().unwrap()
    }
}
