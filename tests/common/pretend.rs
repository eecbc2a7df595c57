//! Runs with fake stages, so that tests of commands that only read the store need no backend.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use fmflow_engine::check::{CheckOptions, check_path};
use fmflow_engine::cli::terminal::Terminal;
use fmflow_engine::error::{Failure, FailureKind};
use fmflow_engine::plan::{Plan, Selection, SourceDigests};
use fmflow_engine::run::execute::{Execute, Job, Operations};
use fmflow_engine::run::rows_view::{RowsRequest, RowsStatistics, RowsView};
use fmflow_engine::run::text::TextModel;
use fmflow_engine::run::{RunOptions, RunOutcome, Runner, run_missing_stages};
use fmflow_engine::store::Summary;
use fmflow_engine::store::{Store, StoreListing};
use indexmap::IndexMap;

use super::Project;

/// Fake stages that write their name as their result. One of them may stop or fail.
#[derive(Default)]
pub(crate) struct Pretend {
    /// The stage that stops after its first checkpoint.
    pub(crate) stops: Option<&'static str>,
    /// The stage that fails.
    pub(crate) fails: Option<(&'static str, FailureKind)>,
}

impl Execute for Pretend {
    fn check_device(&self, name: &str) -> Result<(), String> {
        if name == "cpu" { Ok(()) } else { Err(format!("there is no `{name}`")) }
    }

    fn can_download(&self) -> bool {
        true
    }

    fn run(&self, job: &Job<'_>) -> Result<Summary, Failure> {
        let name = job.stage.name.as_str();
        let fail = |kind, message: &str| Err(Failure { kind, message: message.to_owned(), help: None });
        match self.fails {
            Some((failing, kind)) if failing == name => return fail(kind, "it was told to fail"),
            _ => {}
        }
        let words = Summary { headline: format!("{name} is fine"), lines: vec![], metrics: IndexMap::new() };
        job.slot.append_metrics("{\"step\":0,\"loss\":2.5}")?;
        if self.stops == Some(name) {
            let mut checkpoint = job.slot.checkpoint(1)?;
            checkpoint.write("state.bin", b"half")?;
            checkpoint.publish(&words, &IndexMap::new())?;
            return fail(FailureKind::Interrupted, "stopped after update 1");
        }
        let mut artifact = job.slot.artifact()?;
        artifact.write("model.safetensors", name.as_bytes())?;
        artifact.publish(&words, &IndexMap::new())?;
        Ok(words)
    }

    fn verify_deep(&self, _folder: &Path, _operations: Operations) -> Result<String, Failure> {
        Ok("equal".into())
    }

    fn view_rows(&self, _folder: &Path, _request: &RowsRequest) -> Result<RowsView, Failure> {
        unreachable!("pretended stages make no rows")
    }

    fn measure_rows(&self, _folder: &Path, _most: u64) -> Result<RowsStatistics, Failure> {
        unreachable!("pretended stages make no rows")
    }

    fn verify_batches(&self, _folder: &Path, _device: &str) -> Result<String, Failure> {
        Ok("the same".into())
    }

    fn open_text_model(&self, _folder: &Path, _device: &str) -> Result<Box<dyn TextModel>, Failure> {
        unreachable!("no command of these tests asks for text")
    }
}

impl Project {
    /// Runs a file of the project with fake stages, in the store `.fmflow`.
    pub(crate) fn pretend(&self, file: &str, execute: &Pretend) -> fmflow_engine::error::Result<RunOutcome> {
        let path = self.path().canonicalize().unwrap().join(file);
        let pipeline = check_path(&path, &CheckOptions::default()).pipeline.unwrap();
        let store = Store::create(&self.path().join(".fmflow"))?;
        let lock = store.lock()?;
        let digests = SourceDigests::read(&pipeline, Some(&store))?;
        let plan = Plan::for_pipeline(&pipeline, &digests, &StoreListing::read(&store)?);
        let options = RunOptions {
            unsafe_no_sandbox: false,
            device: "cpu".into(),
            resume: false,
            jobs: NonZeroUsize::MIN,
            selection: Selection::default(),
        };
        let events = Terminal::new(std::iter::empty());
        let interrupt = AtomicBool::new(false);
        let (pipeline, plan, digests, store, lock) = (&pipeline, &plan, &digests, &store, &lock);
        let (execute, events) = (Some(execute as &dyn Execute), &events);
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
}
