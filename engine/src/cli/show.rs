//! `fmflow show`, `log` and `graph`: what is there.

use clap::{Args, ValueEnum};
use serde_json::json;

use super::source::Source;
use super::{Context, plan};
use crate::error::{Error, Result};
use crate::pipeline::Pipeline;
use crate::plan::{Planned, State};
use crate::run;
use crate::store::{Manifest, Store, manifest, slot};
use crate::table::bytes;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    source: Source,
    /// The stage
    stage: String,
    /// Print only where the artifact is
    #[arg(long)]
    path: bool,
    /// Answer with one JSON object
    #[arg(long, conflicts_with = "path")]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct LogArguments {
    #[command(flatten)]
    source: Source,
    /// The stage
    stage: String,
}

#[derive(Debug, Args)]
pub(super) struct GraphArguments {
    #[command(flatten)]
    source: Source,
    /// How it is drawn
    #[arg(long, value_enum, default_value = "text")]
    format: Drawing,
}

/// How a graph is drawn.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Drawing {
    /// One line per stage
    Text,
    /// Graphviz
    Dot,
    /// Mermaid, for Markdown
    Mermaid,
}

/// Where a stage of a file stands.
fn find(source: &Source, stage: &str, context: &Context<'_>) -> Result<(Option<Store>, Planned)> {
    let pipeline = source.load(context)?;
    let name = pipeline.find(stage)?.name.clone();
    let store = context.open()?;
    let (_, plan) = plan::make(&pipeline, store.as_ref())?;
    let planned = plan.stages.into_iter().find(|planned| planned.key.name == name);
    planned.map(|planned| (store, planned)).ok_or_else(|| super::refuse("the stage is not in the plan"))
}

pub(super) fn show(arguments: &Arguments, context: &Context<'_>) -> Result<()> {
    let (store, planned) = find(&arguments.source, &arguments.stage, context)?;
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
    let summary = run::summary(&store, &artifact);
    if arguments.json {
        let answer = json!({
            "schema": "fmflow.show/1", "stage": name, "path": artifact, "summary": summary, "manifest": manifest,
        });
        return context.output.json(&answer);
    }
    let mut text = format!("{name} ({}), {}\n", manifest.stage.kind, artifact.display());
    if let Some(summary) = summary {
        text += &format!("{}\n", summary.headline);
        text += &summary.lines.iter().map(|line| format!("  {line}\n")).collect::<String>();
    }
    context.output.result(&(text + &facts(&manifest)))
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
        text += &format!("  {}  {}  {}\n", file.name, bytes(file.size), file.blake3);
    }
    text
}

/// Not an error of usage: the stage has no result yet (exit code 1).
fn unfinished(planned: &Planned, source: &Source, context: &Context<'_>) -> Error {
    let why = planned.reasons.join("; ");
    let failure = crate::execute::Failure {
        kind: crate::execute::FailureKind::Stage,
        message: format!("it is not finished: {why}"),
        help: Some(source.next("run", "", context)),
    };
    Error::Stage { stage: planned.key.name.clone(), failure }
}

pub(super) fn log(arguments: &LogArguments, context: &Context<'_>) -> Result<()> {
    let (store, planned) = find(&arguments.source, &arguments.stage, context)?;
    let (name, fingerprint) = (&planned.key.name, &planned.key.fingerprint);
    let store = store.ok_or_else(|| unfinished(&planned, &arguments.source, context))?;
    for folder in [store.artifact(name, fingerprint), store.work(name, fingerprint)] {
        if let Ok(bytes) = store.vfs().read(&folder.join(slot::METRICS)) {
            return context.output.result(&String::from_utf8_lossy(&bytes));
        }
    }
    match planned.state {
        State::Cached => {
            context.output.message(&format!("note: stage `{name}` keeps no metrics\n"));
            Ok(())
        }
        _ => Err(unfinished(&planned, &arguments.source, context)),
    }
}

pub(super) fn graph(arguments: &GraphArguments, context: &Context<'_>) -> Result<()> {
    let pipeline = arguments.source.load(context)?;
    context.output.result(&draw(&pipeline, arguments.format))
}

fn draw(pipeline: &Pipeline, drawing: Drawing) -> String {
    let name =
        |id: crate::pipeline::StageId| pipeline.stages.get(id.0 as usize).map_or("?", |stage| &stage.name);
    let mut text = match drawing {
        Drawing::Text => String::new(),
        Drawing::Dot => "digraph {\n  rankdir=LR\n".into(),
        Drawing::Mermaid => "graph LR\n".into(),
    };
    for stage in &pipeline.stages {
        let kind = stage.config.kind();
        let id = stage.id.0;
        let inputs: Vec<_> = stage.inputs.iter().map(|input| name(input.stage)).collect();
        text += &match drawing {
            Drawing::Text if inputs.is_empty() => format!("{} ({kind})\n", stage.name),
            Drawing::Text => format!("{} ({kind}) <- {}\n", stage.name, inputs.join(", ")),
            Drawing::Dot => format!("  s{id} [label=\"{}\\n{kind}\"]\n", stage.name),
            Drawing::Mermaid => format!("  s{id}[\"{}<br/>{kind}\"]\n", stage.name),
        };
        for input in &stage.inputs {
            text += &match drawing {
                Drawing::Text => String::new(),
                Drawing::Dot => format!("  s{} -> s{id}\n", input.stage.0),
                Drawing::Mermaid => format!("  s{} --> s{id}\n", input.stage.0),
            };
        }
    }
    if matches!(drawing, Drawing::Dot) { text + "}\n" } else { text }
}
