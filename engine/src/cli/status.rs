//! `fmflow status`: shows the state of every stage, also while another process runs them.

mod history;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::live_run::LivePipeline;
use super::pipeline_arguments::PipelineArguments;
use super::window_text::describe_window;
use super::{CommandContext, plan};
use crate::error::{Error, FailureKind, Result};
use crate::pipeline::Pipeline;
use crate::pipeline::config::StageConfig;
use crate::plan::{PlanState, PlannedStage};
use crate::run;
use crate::store::journal::PastRun;
use crate::store::lock::LockHolder;
use crate::store::{Store, StoreListing, lock, metrics, summary};
use crate::text::display::{list_kept_updates, render_table};
use crate::text::read::display_path;
use crate::text::wrap::fit_sentences;
use history::PipelineRuns;

/// Time between two looks at the store.
const INTERVAL: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
pub(super) struct StatusArguments {
    #[command(flatten)]
    pub(super) source: PipelineArguments,
    /// Keep watching until the run in progress ends
    #[arg(long, conflicts_with = "json")]
    follow: bool,
    /// Answer with one JSON object
    #[arg(long)]
    json: bool,
}

/// The state of a pipeline at one moment.
struct PipelineStatus {
    rows: Vec<StatusRow>,
    work: usize,
    /// The flag with which a run makes a damaged result again; empty if none is damaged.
    repair: String,
    /// The runs in progress.
    running: Vec<LockHolder>,
    /// Whether one of them is of this pipeline.
    goes_on: bool,
}

pub(super) fn run_status(arguments: &StatusArguments, context: &CommandContext<'_>) -> Result<()> {
    let mut live = LivePipeline::find(&arguments.source, context)?;
    let mut pipeline = live.source.load(context)?;
    if !arguments.follow {
        let status = read_status(&pipeline, context)?;
        return match arguments.json {
            true => context.output.json(&status.json(&pipeline)),
            false => context.output.result(&status.text(&live, context)),
        };
    }
    let mut last = String::new();
    loop {
        let status = read_status(&pipeline, context)?;
        let text = status.text(&live, context);
        if text != last {
            context.output.separate_from(&last)?;
            context.output.result(&text)?;
            last = text;
        }
        if !status.goes_on {
            return Ok(());
        }
        sleep(INTERVAL);
        // Of a run that has ended, the end is shown.
        if !live.adopted {
            live = LivePipeline::find(&arguments.source, context)?;
            pipeline = if live.adopted { live.source.load(context)? } else { pipeline };
        }
    }
}

fn read_status(pipeline: &Pipeline, context: &CommandContext<'_>) -> Result<PipelineStatus> {
    let store = context.open_store()?;
    // Read the locks before the store: a run that ends in between is still listed as running and shown complete, never as ended
    // with results missing.
    let running = store.as_ref().map(lock::find_live_holders).transpose()?.unwrap_or_default();
    let (_, plan) = plan::make_plan(pipeline, store.as_ref())?;
    let listing = store.as_ref().map(StoreListing::read).transpose()?.unwrap_or_default();
    let runs = store.as_ref().map(Store::past_runs).transpose()?.unwrap_or_default();
    let history = PipelineRuns { runs: &runs, holders: &running };
    let goes_on = history.go_on(&pipeline.file);
    let row = |planned: &PlannedStage| {
        let (name, open) = (&planned.key.name, planned.state != PlanState::Cached);
        let row = StatusRow::for_stage(pipeline, planned, store.as_ref());
        let row = match &store {
            Some(store) => row.with_window(pipeline, planned, store)?.with_permanent(
                listing.permanent(&planned.key.fingerprint),
                store.permanent(name, &planned.key.fingerprint),
            ),
            None => row,
        };
        match (&store, history.find_failure(planned)) {
            (Some(store), _) if open && history.is_at_work(planned) => {
                row.with_progress(pipeline, planned, store)
            }
            (_, Some((run, why))) if open => Ok(row.with_failure(why, run)),
            _ => Ok(row),
        }
    };
    Ok(PipelineStatus {
        rows: plan.stages.iter().map(row).collect::<Result<_>>()?,
        work: plan.count_stages_to_run(),
        repair: plan.format_repair_flag(),
        goes_on,
        running,
    })
}

impl PipelineStatus {
    fn text(&self, live: &LivePipeline, context: &CommandContext<'_>) -> String {
        let head = ["stage", "state", "result", "artifact"];
        let mut text = render_table(&head, self.rows.iter().map(StatusRow::cells).collect());
        text += "\n";
        let permanent = self.rows.iter().filter_map(StatusRow::describe_permanent);
        permanent.for_each(|line| text += &fit_sentences(&line));
        for holder in &self.running {
            let _ = writeln!(text, "a run is in progress: {}", holder.words);
        }
        text += &live.describe("status", context);
        let _ = match self.work {
            _ if !self.running.is_empty() => Ok(()),
            0 if self.rows.iter().any(|row| row.state == "failed") => {
                writeln!(text, "every stage is finished, but a required score was not reached")
            }
            0 => writeln!(text, "nothing to do: every stage is finished"),
            _ => {
                let run = live.source.format_next_command("run", &self.repair, context);
                match self.rows.iter().find(|row| row.diverged) {
                    // The same settings give the same updates.
                    Some(row) => writeln!(
                        text,
                        "next: change `{}`, which would diverge again (lower `learning-rate peak=`, raise `warmup=`), then {run}",
                        row.stage
                    ),
                    None => writeln!(text, "next: {run}"),
                }
            }
        };
        text
    }

    /// The processes of the runs in progress; `None` if there are none.
    fn join_running(&self) -> Option<String> {
        let words: Vec<&str> = self.running.iter().map(|holder| holder.words.as_str()).collect();
        (!words.is_empty()).then(|| words.join(", "))
    }

    fn json(&self, pipeline: &Pipeline) -> Value {
        json!({
            "schema": "fmflow.status/1",
            "pipeline": pipeline.name,
            "settings": pipeline.settings,
            "running": self.join_running(),
            "stages": self.rows.iter().map(StatusRow::json).collect::<Vec<_>>(),
        })
    }
}

/// The state of one stage.
struct StatusRow {
    stage: String,
    state: &'static str,
    step: Option<u64>,
    result: String,
    artifact: Option<PathBuf>,
    /// Whether it failed, and would fail again with the same settings.
    diverged: bool,
    /// Updates after which there are permanent checkpoints, and the folder of them.
    permanent: Option<(Vec<u64>, PathBuf)>,
}

impl StatusRow {
    fn for_stage(pipeline: &Pipeline, planned: &PlannedStage, store: Option<&Store>) -> Self {
        let artifact = store.map(|store| store.artifact(&planned.key.name, &planned.key.fingerprint));
        let artifact = artifact.filter(|_| planned.state == PlanState::Cached);
        // What a finished stage says, and the first required score that it does not reach.
        let read = |(store, path): (&Store, &Path)| {
            let summary = summary::read_summary(store.vfs(), path)?;
            let unmet = run::find_unmet_score(pipeline.stage(planned.id), &summary);
            let unmet = unmet.map_err(|missing| summary::corrupt_summary(path, missing.to_string()))?;
            Ok::<_, Error>((summary, unmet))
        };
        let finished = store.zip(artifact.as_deref()).map(read);
        let (state, step) = match planned.state {
            PlanState::Cached if matches!(finished, Some(Err(_))) => ("corrupt", None),
            PlanState::Cached if matches!(finished, Some(Ok((_, Some(_))))) => ("failed", None),
            PlanState::Cached => ("finished", None),
            PlanState::Resume { step, .. } => ("unfinished", Some(step)),
            PlanState::Run | PlanState::Again => ("missing", None),
            PlanState::Corrupt(_) => ("corrupt", None),
        };
        let result = match (&planned.state, finished) {
            (PlanState::Cached, Some(Ok((summary, unmet)))) => unmet.unwrap_or(summary.headline),
            (PlanState::Cached, Some(Err(error))) => error.to_string(),
            _ => planned.reasons.first().cloned().unwrap_or_default(),
        };
        let stage = planned.key.name.clone();
        Self { stage, state, step, result, artifact, diverged: false, permanent: None }
    }

    /// The row of rows with a window, with what is in it.
    fn with_window(self, pipeline: &Pipeline, planned: &PlannedStage, store: &Store) -> Result<Self> {
        Ok(match describe_window(pipeline, planned, Some(store))? {
            Some(window) => Self { result: format!("{}; {window}", self.result), ..self },
            None => self,
        })
    }

    /// The row with the permanent checkpoints of its stage.
    fn with_permanent(self, steps: &[u64], folder: PathBuf) -> Self {
        Self { permanent: (!steps.is_empty()).then(|| (steps.to_vec(), folder)), ..self }
    }

    /// A line about the permanent checkpoints.
    fn describe_permanent(&self) -> Option<String> {
        let (steps, folder) = self.permanent.as_ref()?;
        let (name, steps, folder) = (&self.stage, list_kept_updates(steps)?, display_path(folder));
        Some(format!("permanent checkpoints of `{name}` after update {steps}, in {folder}\n"))
    }

    /// The row of a stage that failed in this run, with the first line of the reason.
    fn with_failure(self, why: &str, run: &PastRun) -> Self {
        let first = why.lines().next().unwrap_or_default();
        let reason = first.strip_prefix(&format!("stage `{}`: ", self.stage)).unwrap_or(first);
        let result = format!("failed: {reason}");
        let diverged = run.code == Some(FailureKind::Diverged.exit_code()) && run.failures.len() == 1;
        Self { result, diverged, ..self }
    }

    /// The row of a stage that the run in progress works on, with the update and loss of its last metrics. Metrics count updates
    /// from 0, the row counts those that are done.
    fn with_progress(self, pipeline: &Pipeline, planned: &PlannedStage, store: &Store) -> Result<Self> {
        // There are none before the first update.
        let work = store.work(&planned.key.name, &planned.key.fingerprint);
        let found = metrics::read_metrics(store.vfs(), &work)?.unwrap_or_default();
        let mut lines = found.lines.iter().rev().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let line = lines.find(|line| line.get("loss").is_some());
        let step = line.as_ref().and_then(|line| line.get("step")?.as_u64()).map(|step| step + 1);
        let loss = line.as_ref().and_then(|line| line.get("loss")?.as_f64());
        let total = match &pipeline.stage(planned.id).config {
            StageConfig::Train(config) => Some(config.steps),
            _ => None,
        };
        let update = step.map(|step| match total {
            Some(total) => format!("update {step}/{total}"),
            None => format!("update {step}"),
        });
        let loss = loss.map(|loss| format!("loss {loss:.3}"));
        let result = update.into_iter().chain(loss).collect::<Vec<_>>().join("  ");
        Ok(Self { state: "running", step, result, ..self })
    }

    fn cells(&self) -> Vec<String> {
        let artifact = self.artifact.as_deref().map(display_path).unwrap_or_default();
        vec![self.stage.clone(), self.state.into(), self.result.clone(), artifact]
    }

    fn json(&self) -> Value {
        let Self { stage, state, step, result, artifact, permanent, .. } = self;
        let steps = permanent.as_ref().map_or(&[][..], |(steps, _)| steps);
        json!({
            "name": stage, "state": state, "step": step, "result": result, "artifact": artifact, "permanent": steps,
        })
    }
}
