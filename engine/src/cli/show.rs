//! `fmflow show`: a finished stage, or the settings of one.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::source::Source;
use super::{Context, plan, resolved, shown};
use crate::error::{Error, Result};
use crate::plan::{Planned, State};
use crate::store::summary::Summary;
use crate::store::{Manifest, Store, manifest, summary};
use crate::text::display::format_bytes;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    source: Source,
    /// The stage; all that are finished if absent
    stage: Option<String>,
    /// Print only where the artifact of the stage is
    #[arg(long, requires = "stage")]
    path: bool,
    /// Print every setting with its origin instead; of all stages if none is named
    #[arg(long, conflicts_with = "path")]
    resolved: bool,
    /// Answer with one JSON object
    #[arg(long, conflicts_with = "path")]
    json: bool,
}

/// Where a stage of a file stands.
pub(super) fn find(source: &Source, stage: &str, context: &Context<'_>) -> Result<(Option<Store>, Planned)> {
    let pipeline = source.load(context)?;
    let name = pipeline.find(stage)?.name.clone();
    let store = context.open()?;
    let (_, plan) = plan::make(&pipeline, store.as_ref())?;
    let planned = plan.stages.into_iter().find(|planned| planned.key.name == name);
    planned.map(|planned| (store, planned)).ok_or_else(|| super::refuse("the stage is not in the plan"))
}

pub(super) fn show(arguments: &Arguments, context: &Context<'_>) -> Result<()> {
    let (source, stage) = (&arguments.source, arguments.stage.as_deref());
    if arguments.resolved {
        return resolved::resolved(source, stage, arguments.json, context);
    }
    let Some(stage) = stage else { return all(arguments, context) };
    let (store, planned) = find(source, stage, context)?;
    let name = &planned.key.name;
    let store = match (store, &planned.state) {
        (Some(store), State::Cached) => store,
        (Some(store), State::Corrupt(problem)) => {
            let folder = store.artifact(name, &planned.key.fingerprint);
            return Err(Error::Corrupt { folder, file: problem.file.clone(), what: problem.what.clone() });
        }
        _ => return Err(unfinished(&planned, &arguments.source, context)),
    };
    let artifact = store.artifact(name, &planned.key.fingerprint);
    if arguments.path {
        return context.output.result(&format!("{}\n", artifact.display()));
    }
    let path = artifact.join(manifest::NAME);
    let bytes = store.vfs().read(&path).map_err(Error::io("read", &path))?;
    let corrupt = |what| Error::Corrupt { folder: artifact.clone(), file: manifest::NAME.into(), what };
    let manifest = Manifest::decode(&bytes).map_err(corrupt)?;
    let summary = summary::read(store.vfs(), &artifact)?;
    if arguments.json {
        let answer = json!({
            "schema": "fmflow.show/1", "stage": name, "path": artifact, "summary": summary, "manifest": manifest,
        });
        return context.output.json(&answer);
    }
    let text = format!("{name} ({}), {}\n", manifest.stage.kind, artifact.display());
    context.output.result(&(text + &said(&summary) + &facts(&manifest)))
}

/// What all finished stages say of themselves.
fn all(arguments: &Arguments, context: &Context<'_>) -> Result<()> {
    let pipeline = arguments.source.load(context)?;
    let store = context.open()?;
    let (_, plan) = plan::make(&pipeline, store.as_ref())?;
    let finished = plan.stages.iter().filter(|planned| planned.state == State::Cached);
    let found: Vec<_> = store
        .iter()
        .flat_map(|store| finished.clone().map(|planned| words(store, planned)))
        .collect::<Result<_>>()?;
    if arguments.json {
        let stages = found
            .iter()
            .map(|(name, path, summary)| json!({ "stage": name, "path": path, "summary": summary }));
        return context
            .output
            .json(&json!({ "schema": "fmflow.show/1", "stages": stages.collect::<Vec<_>>() }));
    }
    let Some(first) = plan.stages.first().filter(|_| found.is_empty()) else {
        let text = |(name, path, summary): &(String, PathBuf, Summary)| {
            format!("{name}, {}\n{}", shown(path), said(summary))
        };
        return context.output.result(&found.iter().map(text).collect::<Vec<_>>().join("\n"));
    };
    Err(unfinished(first, &arguments.source, context))
}

/// Name, artifact and words of a finished stage.
fn words(store: &Store, planned: &Planned) -> Result<(String, PathBuf, Summary)> {
    let artifact = store.artifact(&planned.key.name, &planned.key.fingerprint);
    let summary = summary::read(store.vfs(), &artifact)?;
    Ok((planned.key.name.clone(), artifact, summary))
}

fn said(summary: &Summary) -> String {
    let lines = summary.lines.iter().map(|line| format!("  {line}\n"));
    format!("{}\n{}", summary.headline, lines.collect::<String>())
}

/// What a manifest says, for people.
fn facts(manifest: &Manifest) -> String {
    let mut text = format!(
        "\nfingerprint {}\npublished {} by {} with {} threads\n",
        manifest.fingerprint, manifest.created, manifest.tool, manifest.threads
    );
    for (name, value) in &manifest.facts {
        text += &format!("{name} {value}\n");
    }
    for file in &manifest.files {
        text += &format!("  {}  {}  {}\n", file.name, format_bytes(file.size), file.blake3);
    }
    text
}

/// Not an error of usage: the stage has no result yet (exit code 1).
pub(super) fn unfinished(planned: &Planned, source: &Source, context: &Context<'_>) -> Error {
    let why = planned.reasons.join("; ");
    let failure = crate::error::Failure {
        kind: crate::error::FailureKind::Stage,
        message: format!("it is not finished: {why}"),
        help: Some(source.next("run", "", context)),
    };
    Error::Stage { stage: planned.key.name.clone(), failure }
}
