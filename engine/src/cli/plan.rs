//! `fmflow plan`: shows what would run, and why.

use clap::Args;

use super::CommandContext;
use super::consent::Consent;
use super::pipeline_arguments::PipelineArguments;
use super::store_place::{tell_finished_elsewhere, tell_store};
use crate::error::{Error, Result};
use crate::pipeline::Pipeline;
use crate::plan::measured::estimate_times;
use crate::plan::{Plan, Selection, SourceDigests, fit, json, text};
use crate::run::find_long_prompts;
use crate::store::{Store, StoreListing};
use crate::text::diagnostic::Diagnostic;

#[derive(Debug, Args)]
pub(super) struct PlanArguments {
    #[command(flatten)]
    pub(super) source: PipelineArguments,
    /// Answer with one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    which: SelectionArguments,
    /// Add the time left of every training, from speeds that this store has measured
    #[arg(long)]
    measured: bool,
    /// Exit with 3 if something would run
    #[arg(long)]
    check: bool,
}

/// Which stages to run.
#[derive(Clone, Debug, Args)]
pub(super) struct SelectionArguments {
    /// Only this stage and what it needs
    #[arg(long, value_name = "STAGE")]
    until: Option<String>,
    /// Run this stage and everything that depends on it again, even if finished
    #[arg(long, value_name = "STAGE")]
    from: Option<String>,
    /// Only this stage; its inputs have to be finished
    #[arg(long, value_name = "STAGE", conflicts_with = "until")]
    only: Option<String>,
}

impl SelectionArguments {
    /// The selection, after a check that the pipeline has every stage that it names.
    pub(super) fn to_selection(&self, pipeline: &Pipeline) -> Result<Selection> {
        let Self { until, from, only } = self.clone();
        let selection = Selection { until, from, only };
        selection.check_names(pipeline)?;
        Ok(selection)
    }

    /// The flags as the user typed them.
    fn format_flags(&self) -> String {
        let from = self.format_from_flag();
        let part = Some(self.format_part_flags()).filter(|part| !part.is_empty());
        part.into_iter().chain(from).collect::<Vec<_>>().join(" ")
    }

    /// `--from`, if the user typed it.
    pub(super) fn format_from_flag(&self) -> Option<String> {
        self.from.as_ref().map(|name| format!("--from {name}"))
    }

    /// The flags of a run of this plan, which makes a damaged result again.
    fn format_run_flags(&self, plan: &Plan) -> String {
        match self.from {
            None => [self.format_flags(), plan.format_repair_flag()].join(" ").trim().to_owned(),
            Some(_) => self.format_flags(),
        }
    }

    /// The flags without `--from`: those that select a part of the pipeline.
    pub(super) fn format_part_flags(&self) -> String {
        let flags = [("--until", &self.until), ("--only", &self.only)];
        let words = flags.iter().filter_map(|(flag, name)| Some(format!("{flag} {}", name.as_ref()?)));
        words.collect::<Vec<_>>().join(" ")
    }

    /// Selects the part of an earlier run, unless the user selected a part.
    pub(super) fn with_default_part(self, until: Option<String>, only: Option<String>) -> Self {
        match self {
            Self { until: None, only: None, from } => Self { until, only, from },
            named => named,
        }
    }
}

/// Plans a pipeline against a store. Without a store, everything is missing.
pub(super) fn make_plan(pipeline: &Pipeline, store: Option<&Store>) -> Result<(SourceDigests, Plan)> {
    let (digests, plan, _) = make_plan_with_listing(pipeline, store)?;
    Ok((digests, plan))
}

/// As [`make_plan`], with the listing of the store that the plan was made from.
pub(super) fn make_plan_with_listing(
    pipeline: &Pipeline,
    store: Option<&Store>,
) -> Result<(SourceDigests, Plan, StoreListing)> {
    let digests = SourceDigests::read(pipeline, store)?;
    let listing = store.map(StoreListing::read).transpose()?.unwrap_or_default();
    let plan = Plan::for_pipeline(pipeline, &digests, &listing);
    Ok((digests, plan, listing))
}

/// Requests that do not fit into the context, as far as their tokenizers are in the store, with their places.
fn describe_long_prompts(
    pipeline: &Pipeline,
    plan: &Plan,
    store: Option<&Store>,
    context: &CommandContext<'_>,
) -> Vec<String> {
    let Some((store, execute)) = store.zip(context.execute) else { return vec![] };
    let found = find_long_prompts(pipeline, plan, store, execute);
    let line = |finding: &Diagnostic| match finding.labels.first() {
        Some(label) => format!("{} at {}", finding.message, label.span),
        None => finding.message.clone(),
    };
    found.iter().map(|(_, finding)| line(finding)).collect()
}

pub(super) fn run_plan(arguments: &PlanArguments, context: &CommandContext<'_>) -> Result<()> {
    let (pipeline, warnings) = arguments.source.load_with_warnings(context)?;
    tell_store(context);
    let selection = arguments.which.to_selection(&pipeline)?;
    let store = context.open_store()?;
    let (_, mut plan, listing) = make_plan_with_listing(&pipeline, store.as_ref())?;
    if let Some(store) = &store {
        plan.find_unused_work(&pipeline, store, &listing)?;
    }
    plan.select(&pipeline, &selection)?;
    let asked =
        Consent::find(&pipeline, plan.running().into_iter().map(|planned| pipeline.stage(planned.id)))?;
    let long = describe_long_prompts(&pipeline, &plan, store.as_ref(), context);
    let times = estimate_times(&pipeline, &plan, store.as_ref().map(|store| (store, &listing)))?;
    if arguments.json {
        let mut answer = json::render_plan_json(&pipeline, &plan);
        answer["commands"] = asked.to_json();
        answer["long-prompts"] = long.into();
        if arguments.measured {
            answer["times"] = json::render_times_json(&times);
        }
        context.output.json(&answer)?;
    } else {
        let source = &arguments.source;
        let commands = asked.describe_refusal(&source.format_next_command("approve", "", context));
        let refused = commands.into_iter().chain(long).collect();
        let next = source.format_next_command("run", &arguments.which.format_run_flags(&plan), context);
        let commands = text::PlannedCommands { shown: asked.render(), refused, next };
        let times = match arguments.measured {
            true => text::render_times(&pipeline, &times),
            false => text::summarize_times(&times).map(|line| line + "\n").unwrap_or_default(),
        };
        context.output.result(&(text::render_plan_text(&pipeline, &plan, &commands) + &times))?;
    }
    context.output.message(&arguments.source.render_warnings(&warnings, context));
    tell_finished_elsewhere(&plan, &arguments.source.file, context);
    fit::refuse_small_card(&pipeline, plan.running().into_iter())?;
    match plan.count_stages_to_run() {
        work if work > 0 && arguments.check => Err(Error::WorkToDo(work)),
        _ => Ok(()),
    }
}
