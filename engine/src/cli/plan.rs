//! `fmflow plan`: what would run, and why.

use clap::Args;

use super::Context;
use super::source::Source;
use crate::error::{Error, Result};
use crate::pipeline::Pipeline;
use crate::plan::{Plan, Selection, SourceDigests, json, text};
use crate::store::{Listing, Store};

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
        let from = self.from.as_ref().map(|name| format!("--from {name}"));
        let part = Some(self.part()).filter(|part| !part.is_empty());
        part.into_iter().chain(from).collect::<Vec<_>>().join(" ")
    }

    /// The part of the pipeline that is asked for.
    pub(super) fn part(&self) -> String {
        let flags = [("--until", &self.until), ("--only", &self.only)];
        let words = flags.iter().filter_map(|(flag, name)| Some(format!("{flag} {}", name.as_ref()?)));
        words.collect::<Vec<_>>().join(" ")
    }

    /// The same, about the part of an earlier run unless another one is named.
    pub(super) fn or(self, until: Option<String>, only: Option<String>) -> Self {
        match self {
            Self { until: None, only: None, from } => Self { until, only, from },
            named => named,
        }
    }
}

/// Plans a pipeline against a store, which may be absent.
pub(super) fn make(pipeline: &Pipeline, store: Option<&Store>) -> Result<(SourceDigests, Plan)> {
    let digests = SourceDigests::read(pipeline, store)?;
    let listing = store.map(Listing::of).transpose()?.unwrap_or_default();
    let plan = Plan::of(pipeline, &digests, &listing);
    Ok((digests, plan))
}

pub(super) fn plan(arguments: &Arguments, context: &Context<'_>) -> Result<()> {
    let (pipeline, warnings) = arguments.source.load_with_warnings(context)?;
    let selection = arguments.which.of(&pipeline)?;
    let (_, mut plan) = make(&pipeline, context.open()?.as_ref())?;
    plan.select(&pipeline, &selection)?;
    if arguments.json {
        context.output.json(&json::render(&pipeline, &plan))?;
    } else {
        let run = arguments.source.next("run", &arguments.which.words(), context);
        context.output.result(&text::render(&pipeline, &plan, &run))?;
    }
    context.output.message(&arguments.source.told(&warnings, context));
    match plan.work() {
        work if work > 0 && arguments.check => Err(Error::WorkToDo(work)),
        _ => Ok(()),
    }
}
