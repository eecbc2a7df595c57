//! Who refers to results: pipelines that were named or run, and the last run.

use std::path::{Path, PathBuf};

use indexmap::IndexMap;

use super::super::{plan, shown};
use crate::check::{self, Options};
use crate::error::{Error, Result};
use crate::store::Store;
use crate::store::collect::Root;
use crate::store::journal::RunRecord;

/// Who refers to results: pipelines as they are written now, those that are gone as they were last run, and the last run.
pub(super) fn roots(sources: &[Source], store: &Store) -> Result<Vec<Root>> {
    let mut roots = Vec::new();
    for source in sources {
        let name = source.user();
        match source.gone {
            Some(run) => roots.extend(recorded(name, store.run_record(run).map_err(|_| unknown(source))?)),
            None => roots.push(written(source, store)?),
        }
    }
    roots.extend(recorded("the last run".to_owned(), store.last_run()?));
    Ok(roots)
}

/// What a pipeline refers to as it is written now.
fn written(source: &Source, store: &Store) -> Result<Root> {
    let name = source.called();
    let options = Options { settings: source.settings.clone(), ..Options::from_environment() };
    let pipeline = check::check(&source.file, &options).pipeline.ok_or_else(|| unreadable(&name))?;
    let (_, plan) = plan::make(&pipeline, Some(store))?;
    Ok(Root::new(name, plan.stages.iter().map(|planned| &planned.key.fingerprint)))
}

/// What a run was made of; nothing where there is no record of it any more.
fn recorded(name: String, record: Option<RunRecord>) -> Option<Root> {
    let stages = record?.stages;
    let results: Vec<_> = stages.values().map(crate::pipeline::fingerprint::Ledger::fingerprint).collect();
    Some(Root::new(name, results.iter()))
}

/// A file and the settings given beside it.
pub(super) struct Source {
    pub(super) file: PathBuf,
    settings: Vec<String>,
    /// The number of its last run, where the file is gone.
    pub(super) gone: Option<u64>,
}

impl Source {
    pub(super) fn called(&self) -> String {
        called(&self.file, &self.settings)
    }

    /// What it is called beside what it keeps.
    pub(super) fn user(&self) -> String {
        match self.gone {
            Some(_) => format!("{}, which is gone", self.called()),
            None => self.called(),
        }
    }
}

/// The files that were named, or what all runs were about, each with its last run where it is gone.
pub(super) fn sources(named: &[PathBuf], store: &Store) -> Result<Vec<Source>> {
    if !named.is_empty() {
        let source = |file: &PathBuf| Source { file: file.clone(), settings: vec![], gone: None };
        return Ok(named.iter().map(source).collect());
    }
    let runs = store.past_runs()?.into_iter().map(|run| ((run.file, run.settings), run.number));
    let runs: IndexMap<_, _> = runs.collect();
    let source = |((file, settings), number): ((PathBuf, Vec<String>), u64)| {
        // A file that cannot be looked for is not gone.
        let here = file.try_exists().map_err(Error::io("look for", &file))?;
        Ok(Source { file, settings, gone: (!here).then_some(number) })
    };
    runs.into_iter().map(source).collect()
}

/// A pipeline as it was typed.
fn called(file: &Path, settings: &[String]) -> String {
    let settings = settings.iter().map(|setting| format!(" --set {setting}"));
    shown(file) + &settings.collect::<String>()
}

fn unreadable(file: &str) -> Error {
    let message = format!("{file} has errors, so nobody knows what it refers to");
    Error::usage(message, format!("see `fmflow check {file}`, or name the pipelines whose results stay"))
}

/// Nobody knows what a pipeline kept whose file is gone and whose record cannot be read.
fn unknown(source: &Source) -> Error {
    let message = format!("{} is gone, and the record of its last run cannot be read", source.called());
    Error::usage(message, "name the pipelines whose results stay, as in `fmflow gc a.kdl b.kdl`")
}
