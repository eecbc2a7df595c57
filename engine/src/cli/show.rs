//! `fmflow show`: prints the result of finished stages, or settings.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::pipeline_arguments::PipelineArguments;
use super::{CommandContext, plan, resolved};
use crate::error::{Error, Result};
use crate::plan::{PlanState, PlannedStage};
use crate::store::summary::Summary;
use crate::store::verify::{VerifyDepth, inspect_folder};
use crate::store::{Manifest, Store, manifest, summary};
use crate::text::display::{count_noun, format_bytes};
use crate::text::escape::{escape_line, show_path};
use crate::text::read::display_path;
use crate::text::wrap::fit_sentences;

#[derive(Debug, Args)]
pub(super) struct ShowArguments {
    #[command(flatten)]
    pub(super) source: PipelineArguments,
    /// The stage [default: all finished stages]
    stage: Option<String>,
    /// Print only the folder of the stage's artifact, also of a damaged one
    #[arg(long, requires = "stage")]
    path: bool,
    /// Print every setting with its origin instead, for all stages if none is named
    #[arg(long, conflicts_with = "path")]
    resolved: bool,
    /// Answer with one JSON object
    #[arg(long, conflicts_with = "path")]
    json: bool,
}

/// Loads a pipeline and plans it; returns the store, if it exists, and the planned stage called `stage`.
pub(super) fn find_planned_stage(
    source: &PipelineArguments,
    stage: &str,
    context: &CommandContext<'_>,
) -> Result<(Option<Store>, PlannedStage)> {
    let pipeline = source.load(context)?;
    let id = pipeline.find_stage(stage)?.id;
    let store = context.open_store()?;
    let (_, plan) = plan::make_plan(&pipeline, store.as_ref())?;
    Ok((store, plan.planned(id).clone()))
}

/// The finished artifact of a stage, and its store.
fn find_artifact(
    source: &PipelineArguments,
    stage: &str,
    context: &CommandContext<'_>,
) -> Result<(Store, PathBuf)> {
    let (store, planned) = find_planned_stage(source, stage, context)?;
    let name = &planned.key.name;
    match (store, &planned.state) {
        (Some(store), PlanState::Cached) => {
            let artifact = store.artifact(name, &planned.key.fingerprint);
            Ok((store, artifact))
        }
        (Some(store), PlanState::Corrupt(problem)) => {
            let folder = store.artifact(name, &planned.key.fingerprint);
            Err(Error::Corrupt { folder, file: problem.file.clone(), what: problem.what.clone() })
        }
        _ => Err(unfinished_stage(&planned, source, context)),
    }
}

/// The finished artifact of a stage, every byte verified, and the seed of its pipeline.
pub(super) fn find_verified_artifact(
    source: &PipelineArguments,
    stage: &str,
    context: &CommandContext<'_>,
) -> Result<(u64, PathBuf)> {
    let seed = source.load(context)?.seed;
    let (store, folder) = find_artifact(source, stage, context)?;
    let (_, problems) = inspect_folder(store.vfs(), &folder, VerifyDepth::Bytes)?;
    match problems.into_iter().next() {
        None => Ok((seed, folder)),
        Some(problem) => Err(Error::Corrupt { folder, what: problem.to_string(), file: problem.file }),
    }
}

pub(super) fn run_show(arguments: &ShowArguments, context: &CommandContext<'_>) -> Result<()> {
    let (source, stage) = (&arguments.source, arguments.stage.as_deref());
    if arguments.resolved {
        return resolved::show_resolved_settings(source, stage, arguments.json, context);
    }
    let Some(stage) = stage else { return show_finished_stages(arguments, context) };
    let found = find_artifact(source, stage, context);
    if let (true, Err(error @ Error::Corrupt { folder, .. })) = (arguments.path, &found) {
        // Whoever looks at the damage needs the folder; `verify` takes it.
        let help = error.help().map(|help| format!("help: {help}\n")).unwrap_or_default();
        context.output.message(&format!("warning: {error}\n{help}"));
        return context.output.path(folder);
    }
    let (store, artifact) = found?;
    if arguments.path {
        return context.output.path(&artifact);
    }
    let corrupt =
        |what| Error::Corrupt { folder: artifact.clone(), file: manifest::MANIFEST_FILE.into(), what };
    let manifest = manifest::read_manifest(store.vfs(), &artifact)?;
    let manifest = manifest.unwrap_or_else(|| Err("it is missing".into())).map_err(corrupt)?;
    let summary = summary::read_summary(store.vfs(), &artifact)?;
    if arguments.json {
        let answer = json!({
            "schema": "fmflow.show/1", "stage": stage, "path": artifact, "summary": summary, "manifest": manifest,
        });
        return context.output.json(&answer);
    }
    let text = format!("{stage} ({}), {}\n", manifest.stage.kind, show_path(artifact));
    context.output.result(&(text + &render_summary(&summary) + &render_manifest(&manifest)))
}

/// Prints the summaries of all finished stages.
fn show_finished_stages(arguments: &ShowArguments, context: &CommandContext<'_>) -> Result<()> {
    let pipeline = arguments.source.load(context)?;
    let store = context.open_store()?;
    let (_, plan) = plan::make_plan(&pipeline, store.as_ref())?;
    let finished = plan.stages.iter().filter(|planned| planned.state == PlanState::Cached);
    let found: Vec<_> = store
        .iter()
        .flat_map(|store| finished.clone().map(|planned| read_stage_summary(store, planned)))
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
            format!("{name}, {}\n{}", escape_line(&display_path(path)), render_summary(summary))
        };
        return context.output.result(&found.iter().map(text).collect::<Vec<_>>().join("\n"));
    };
    Err(unfinished_stage(first, &arguments.source, context))
}

/// Name, artifact folder and summary of a finished stage.
fn read_stage_summary(store: &Store, planned: &PlannedStage) -> Result<(String, PathBuf, Summary)> {
    let artifact = store.artifact(&planned.key.name, &planned.key.fingerprint);
    let summary = summary::read_summary(store.vfs(), &artifact)?;
    Ok((planned.key.name.clone(), artifact, summary))
}

fn render_summary(summary: &Summary) -> String {
    let lines = summary.lines.iter().map(|line| format!("  {}\n", escape_line(line)));
    fit_sentences(&format!("{}\n{}", escape_line(&summary.headline), lines.collect::<String>()))
}

/// A manifest as text, for people.
fn render_manifest(manifest: &Manifest) -> String {
    let mut text = format!(
        "\nfingerprint {}\npublished {} by {} with {}\n",
        manifest.fingerprint,
        manifest.created,
        manifest.tool,
        count_noun(manifest.threads, "thread")
    );
    for (name, value) in &manifest.facts {
        text += &format!("{} {}\n", escape_line(name), escape_line(&value.to_string()));
    }
    for file in &manifest.files {
        text += &format!("  {}  {}  {}\n", escape_line(&file.name), format_bytes(file.size), file.blake3);
    }
    text
}

/// The error for a stage without a result. The command was right, so the exit code is 1 and not 2.
pub(super) fn unfinished_stage(
    planned: &PlannedStage,
    source: &PipelineArguments,
    context: &CommandContext<'_>,
) -> Error {
    let why = planned.reasons.join("; ");
    let failure = crate::error::Failure {
        kind: crate::error::FailureKind::Stage,
        message: format!("it is not finished: {why}"),
        help: Some(source.format_next_command("run", "", context)),
    };
    Error::Stage { stage: planned.key.name.clone(), failure }
}
