//! `fmflow log`: lists the runs of the store, or prints the metrics of a stage.

mod curves;

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use self::curves::Curves;
use super::live_run::LivePipeline;
use super::output::read_terminal_columns;
use super::pipeline_arguments::{PipelineArguments, SettingArguments};
use super::{CommandContext, show};
use crate::error::Result;
use crate::plan::PlanState;
use crate::store::journal::PastRun;
use crate::store::lock::LockHolder;
use crate::store::metrics::{Metrics, read_metrics};
use crate::store::{Store, lock};
use crate::text::display::render_table;
use crate::text::read;
use crate::text::read::display_path;

#[derive(Debug, Args)]
pub(super) struct LogArguments {
    /// The pipeline [default: all that were run in the store]
    pub(super) file: Option<PathBuf>,
    /// Print the metrics of this stage instead of listing runs
    stage: Option<String>,
    #[command(flatten)]
    settings: SettingArguments,
    /// Draw the metrics of the stage as curves
    #[arg(long, requires = "stage", conflicts_with_all = ["json", "csv"])]
    plot: bool,
    /// Print the numbers of the metrics as a table, a line for each update
    #[arg(long, requires = "stage", conflicts_with = "json")]
    csv: bool,
    /// Answer with one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run_log(arguments: &LogArguments, context: &CommandContext<'_>) -> Result<()> {
    match (&arguments.file, &arguments.stage) {
        (Some(file), Some(stage)) => {
            let source = PipelineArguments { file: file.clone(), settings: arguments.settings.clone() };
            let live = LivePipeline::find(&source, context)?;
            for line in live.describe("log", context).lines() {
                context.output.message(&format!("note: {line}\n"));
            }
            print_metrics(&live.source, stage, arguments, context)
        }
        (file, _) => list_runs(file.as_deref(), arguments.json, context),
    }
}

fn list_runs(file: Option<&Path>, json: bool, context: &CommandContext<'_>) -> Result<()> {
    let store = context.open_store()?;
    let all = store.as_ref().map(Store::past_runs).transpose()?.unwrap_or_default();
    let holders = store.as_ref().map(lock::find_live_holders).transpose()?.unwrap_or_default();
    let file = file.map(read::to_absolute_path);
    let own = |run: &&PastRun| file.as_ref().is_none_or(|file| *file == run.file);
    let runs: Vec<_> = all.iter().filter(own).collect();
    if json {
        let runs: Vec<_> =
            runs.iter().map(|run| render_past_run_json(run, describe_end(run, &holders))).collect();
        return context.output.json(&json!({ "schema": "fmflow.log/1", "runs": runs }));
    }
    if runs.is_empty() {
        return context.output.result("no runs yet\n");
    }
    let rows = runs.iter().map(|run| format_run_row(run, &describe_end(run, &holders)));
    let text = render_table(&["run", "started (UTC)", "pipeline", "end", "stages"], rows.collect());
    context
        .output
        .result(&format!("{text}\nnext: {}\n", context.format_command("why", "FILE STAGE --vs RUN")))
}

/// How a run ended; `holders` are the processes at work. A run without an exit code that is not in progress was killed.
fn describe_end(run: &PastRun, holders: &[LockHolder]) -> String {
    match run.code {
        Some(0) => "ok".into(),
        Some(75) => "stopped".into(),
        Some(code) => format!("exit code {code}"),
        None if run.is_in_progress(holders) => "running".into(),
        None => "killed".into(),
    }
}

fn format_run_row(run: &PastRun, ended: &str) -> Vec<String> {
    let started = run.started.get(..19).unwrap_or(&run.started).replace('T', " ");
    let mut file = display_path(&run.file);
    run.settings.iter().for_each(|setting| file += &format!(" --set {setting}"));
    let done = run.stages.values().filter(|state| *state == "done").count();
    let open = run.stages.iter().filter(|(_, state)| *state != "done");
    let stages =
        [format!("{done} done")].into_iter().chain(open.map(|(name, state)| format!("{name} {state}")));
    vec![run.number.to_string(), started, file, ended.to_owned(), stages.collect::<Vec<_>>().join(", ")]
}

fn render_past_run_json(run: &PastRun, ended: String) -> Value {
    json!({
        "run": run.number, "started": run.started, "file": run.file, "settings": run.settings,
        "device": run.device, "end": ended, "exit": run.code, "stages": run.stages,
    })
}

fn print_metrics(
    source: &PipelineArguments,
    stage: &str,
    arguments: &LogArguments,
    context: &CommandContext<'_>,
) -> Result<()> {
    let found = find_metrics(source, stage, context)?;
    if let Some(damage) = found.describe_damage() {
        context.output.message(&format!("note: {damage}\n"));
    }
    if arguments.csv {
        return context.output.result(&Curves::parse(&found.lines).render_csv());
    }
    if arguments.plot {
        let columns = read_terminal_columns(std::io::stdout()).unwrap_or(80);
        return context.output.result(&Curves::parse(&found.lines).render_plot(columns));
    }
    if !arguments.json {
        return context.output.result(&found.text());
    }
    let lines: Vec<Value> = found
        .lines
        .iter()
        .map(|line| serde_json::from_str(line).expect("a line of metrics was parsed before"))
        .collect();
    context.output.json(&json!({ "schema": "fmflow.log/1", "stage": stage, "metrics": lines }))
}

/// The metrics of a stage, finished or not; none of a finished stage that has none, which a note says.
fn find_metrics(source: &PipelineArguments, stage: &str, context: &CommandContext<'_>) -> Result<Metrics> {
    let (store, planned) = show::find_planned_stage(source, stage, context)?;
    let (name, fingerprint) = (&planned.key.name, &planned.key.fingerprint);
    let store = store.ok_or_else(|| show::unfinished_stage(&planned, source, context))?;
    let read = |folder: &Path| read_metrics(store.vfs(), folder);
    let found = match read(&store.artifact(name, fingerprint))? {
        None => read(&store.work(name, fingerprint))?,
        found => found,
    };
    match (found, &planned.state) {
        (Some(found), _) => Ok(found),
        (None, PlanState::Cached) => {
            context.output.message(&format!("note: stage `{name}` has no metrics\n"));
            Ok(Metrics::default())
        }
        (None, _) => Err(show::unfinished_stage(&planned, source, context)),
    }
}
