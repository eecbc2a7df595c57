//! The roots of garbage collection: pipelines that were named or run, and the last run.

use std::path::{Path, PathBuf};

use indexmap::IndexMap;

use super::super::plan;
use crate::check::{self, CheckOptions};
use crate::error::{Error, Result};
use crate::store::Store;
use crate::store::garbage::GcRoot;
use crate::store::journal::{PastRun, RunRecord};
use crate::text::read::display_path;

/// Collects the roots: pipelines as they are written now, pipelines whose file is gone as they were last run, and the last run.
/// The last run always counts, even if its file has changed since.
pub(super) fn collect_roots(sources: &[RootPipeline], store: &Store) -> Result<Vec<GcRoot>> {
    let mut roots = Vec::new();
    for source in sources {
        let name = source.user_name();
        match source.gone {
            Some(run) => roots.extend(build_record_root(
                name,
                store.run_record(run).map_err(|_| unreadable_run_record(source))?,
            )),
            None => roots.push(build_pipeline_root(source, store)?),
        }
    }
    roots.extend(build_record_root("the last run".to_owned(), store.last_run()?));
    Ok(roots)
}

/// The results that a pipeline uses as it is written now.
fn build_pipeline_root(source: &RootPipeline, store: &Store) -> Result<GcRoot> {
    let name = source.display_name();
    let options = CheckOptions { settings: source.settings.clone(), ..CheckOptions::from_environment() };
    let pipeline =
        check::check_path(&source.file, &options).pipeline.ok_or_else(|| unreadable_pipeline(&name))?;
    let (_, plan) = plan::make_plan(&pipeline, Some(store))?;
    Ok(GcRoot::new(name, plan.stages.iter().map(|planned| &planned.key.fingerprint)))
}

/// The results that a run used; `None` if its record is gone.
fn build_record_root(name: String, record: Option<RunRecord>) -> Option<GcRoot> {
    let stages = record?.stages;
    let results: Vec<_> = stages.values().map(crate::pipeline::fingerprint::Ledger::fingerprint).collect();
    Some(GcRoot::new(name, results.iter()))
}

/// A pipeline file and its `--set` settings.
pub(super) struct RootPipeline {
    pub(super) file: PathBuf,
    settings: Vec<String>,
    /// The number of its last run, if the file is gone.
    pub(super) gone: Option<u64>,
}

impl RootPipeline {
    pub(super) fn display_name(&self) -> String {
        format_pipeline_name(&self.file, &self.settings)
    }

    /// Its name in the list of users.
    pub(super) fn user_name(&self) -> String {
        match self.gone {
            Some(_) => format!("{} (gone)", self.display_name()),
            None => self.display_name(),
        }
    }
}

/// The named files, or else those of all runs: each as it is without settings, if it was ever run so, and with the settings of its
/// last run. Earlier settings were trials: runs, not pipelines. If a file is gone, the number of the last run stands for it.
pub(super) fn find_root_pipelines(named: &[PathBuf], store: &Store) -> Result<Vec<RootPipeline>> {
    if !named.is_empty() {
        let source = |file: &PathBuf| RootPipeline { file: file.clone(), settings: vec![], gone: None };
        return Ok(named.iter().map(source).collect());
    }
    let past = store.past_runs()?;
    let last: IndexMap<PathBuf, u64> = past.iter().map(|run| (run.file.clone(), run.number)).collect();
    let counts = |run: &PastRun| run.settings.is_empty() || last.get(&run.file) == Some(&run.number);
    let runs = past.into_iter().filter(counts).map(|run| ((run.file, run.settings), run.number));
    let runs: IndexMap<_, _> = runs.collect();
    let source = |((file, settings), number): ((PathBuf, Vec<String>), u64)| {
        // A file that cannot be looked for does not count as gone.
        let here = file.try_exists().map_err(Error::io("look for", &file))?;
        Ok(RootPipeline { file, settings, gone: (!here).then_some(number) })
    };
    runs.into_iter().map(source).collect()
}

/// A pipeline as it was typed.
fn format_pipeline_name(file: &Path, settings: &[String]) -> String {
    let settings = settings.iter().map(|setting| format!(" --set {setting}"));
    display_path(file) + &settings.collect::<String>()
}

fn unreadable_pipeline(file: &str) -> Error {
    let message = format!("{file} has errors, so it is unknown which results it uses");
    Error::usage(message, format!("see `fmflow check {file}`, or name the pipelines whose results to keep"))
}

/// With the file gone and its record unreadable, nothing says which results the pipeline used.
fn unreadable_run_record(source: &RootPipeline) -> Error {
    let message = format!("{} is gone, and the record of its last run cannot be read", source.display_name());
    Error::usage(message, "name the pipelines whose results to keep, as in `fmflow gc a.kdl b.kdl`")
}
