//! `fmflow plan` and `status`: what would run, and where stages stand.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::source::Source;
use super::{Context, shown};
use crate::error::{Error, Result};
use crate::pipeline::Pipeline;
use crate::plan::{Facts, Plan, Planned, Selection, State, json, text};
use crate::run;
use crate::store::{Listing, Store};
use crate::table::table;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    source: Source,
    /// Answer with one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    which: Which,
    /// Exit with 3 when something would run
    #[arg(long)]
    check: bool,
}

/// Which stages are asked for.
#[derive(Clone, Debug, Args)]
pub(super) struct Which {
    /// Only this stage and what it needs
    #[arg(long, value_name = "STAGE")]
    until: Option<String>,
    /// Make this stage and everything that depends on it again, even if finished
    #[arg(long, value_name = "STAGE")]
    from: Option<String>,
    /// Only this stage; what it reads has to be finished
    #[arg(long, value_name = "STAGE", conflicts_with = "until")]
    only: Option<String>,
}

impl Which {
    /// What is asked for; every name is one of the pipeline.
    pub(super) fn of(&self, pipeline: &Pipeline) -> Result<Selection> {
        let Self { until, from, only } = self.clone();
        let selection = Selection { until, from, only };
        selection.check(pipeline)?;
        Ok(selection)
    }

    /// As it was typed.
    fn words(&self) -> String {
        let flags = [("--until", &self.until), ("--from", &self.from), ("--only", &self.only)];
        let words = flags.iter().filter_map(|(flag, name)| Some(format!("{flag} {}", name.as_ref()?)));
        words.collect::<Vec<_>>().join(" ")
    }
}

#[derive(Debug, Args)]
pub(super) struct StatusArguments {
    #[command(flatten)]
    source: Source,
    /// Answer with one JSON object
    #[arg(long)]
    json: bool,
}

/// Plans a pipeline against a store, which may be absent.
pub(super) fn make(pipeline: &Pipeline, store: Option<&Store>) -> Result<(Facts, Plan)> {
    let facts = Facts::gather(pipeline, store)?;
    let listing = store.map(Listing::of).transpose()?.unwrap_or_default();
    let plan = Plan::of(pipeline, &facts, &listing);
    Ok((facts, plan))
}

pub(super) fn plan(arguments: &Arguments, context: &Context<'_>) -> Result<()> {
    let pipeline = arguments.source.load(context)?;
    let selection = arguments.which.of(&pipeline)?;
    let (_, mut plan) = make(&pipeline, context.open()?.as_ref())?;
    plan.select(&pipeline, &selection)?;
    if arguments.json {
        context.output.json(&json::render(&pipeline, &plan))?;
    } else {
        let run = arguments.source.next("run", &arguments.which.words(), context);
        context.output.result(&text::render(&pipeline, &plan, &run))?;
    }
    match plan.work() {
        work if work > 0 && arguments.check => Err(Error::WorkToDo(work)),
        _ => Ok(()),
    }
}

pub(super) fn status(arguments: &StatusArguments, context: &Context<'_>) -> Result<()> {
    let pipeline = arguments.source.load(context)?;
    let store = context.open()?;
    let (_, plan) = make(&pipeline, store.as_ref())?;
    let rows: Vec<_> = plan.stages.iter().map(|planned| Row::of(planned, store.as_ref())).collect();
    if arguments.json {
        let stages: Vec<_> = rows.iter().map(Row::json).collect();
        let answer = json!({ "schema": "fmflow.status/1", "pipeline": pipeline.name, "stages": stages });
        return context.output.json(&answer);
    }
    let table = table(&["stage", "state", "result", "artifact"], rows.iter().map(Row::cells).collect());
    let next = match plan.work() {
        0 => "nothing to do: every stage is finished\n".into(),
        _ => format!("next: {}\n", arguments.source.next("run", "", context)),
    };
    context.output.result(&format!("{table}\n{next}"))
}

/// Where one stage stands.
struct Row {
    stage: String,
    state: &'static str,
    step: Option<u64>,
    result: String,
    artifact: Option<PathBuf>,
}

impl Row {
    fn of(planned: &Planned, store: Option<&Store>) -> Self {
        let artifact = store.map(|store| store.artifact(&planned.key.name, &planned.key.fingerprint));
        let artifact = artifact.filter(|_| planned.state == State::Cached);
        let summary = store.zip(artifact.as_deref()).and_then(|(store, path)| run::summary(store, path));
        let (state, step) = match planned.state {
            State::Cached => ("finished", None),
            State::Resume { step } => ("unfinished", Some(step)),
            State::Run | State::Again => ("missing", None),
            State::Corrupt(_) => ("corrupt", None),
        };
        let result = match (&planned.state, summary) {
            (State::Cached, Some(summary)) => summary.headline,
            _ => planned.reasons.first().cloned().unwrap_or_default(),
        };
        Self { stage: planned.key.name.clone(), state, step, result, artifact }
    }

    fn cells(&self) -> Vec<String> {
        let artifact = self.artifact.as_deref().map(|path: &Path| shown(path)).unwrap_or_default();
        vec![self.stage.clone(), self.state.into(), self.result.clone(), artifact]
    }

    fn json(&self) -> serde_json::Value {
        let Self { stage, state, step, result, artifact } = self;
        json!({ "name": stage, "state": state, "step": step, "result": result, "artifact": artifact })
    }
}
