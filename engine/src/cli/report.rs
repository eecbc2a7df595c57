//! `fmflow report`: writes a page about a pipeline or a run.

use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::live_run::LivePipeline;
use super::page_file::{PageKind, refuse_foreign_file, write_page};
use super::pipeline_arguments::{PipelineArguments, SettingArguments};
use super::{CommandContext, plan};
use crate::error::{Error, Result};
use crate::report::collect::{ReportSubject, collect_report};
use crate::report::facts::{describe_environment, select_run, sum_seconds};
use crate::report::page::{ReportPage, render_report};
use crate::store::journal::RunRecord;
use crate::store::layout::format_current_time;
use crate::store::{Store, lock};
use crate::text::display::count_noun;
use crate::text::escape::show_path;
use crate::text::read::{display_path, to_absolute_path};

#[derive(Debug, Args)]
pub(super) struct ReportArguments {
    /// The pipeline, or the number of a run [default: the last run of the store]
    #[arg(value_name = "FILE|RUN")]
    subject: Option<PathBuf>,
    #[command(flatten)]
    settings: SettingArguments,
    /// Where the page is written; `-` is stdout
    #[arg(short, long, value_name = "FILE", default_value = "report.html")]
    output: PathBuf,
    /// Write the page again every 10 seconds until the run in progress ends; a browser reloads it
    #[arg(long, conflicts_with = "json")]
    follow: bool,
    /// Answer with one JSON object
    #[arg(long)]
    json: bool,
}

/// How often a page is written that follows a run.
const INTERVAL: Duration = Duration::from_secs(10);

impl ReportArguments {
    /// The pipeline file, unless a run is named.
    pub(super) fn file(&self) -> Option<&Path> {
        self.subject.as_deref().filter(|subject| parse_run_number(subject).is_none())
    }
}

pub(super) fn run_report(arguments: &ReportArguments, context: &CommandContext<'_>) -> Result<()> {
    let to_stdout = arguments.output == Path::new("-");
    if to_stdout && (arguments.json || arguments.follow) {
        let also = if arguments.json { "the answer" } else { "page after page" };
        let message = format!("stdout cannot take both the page and {also}");
        return Err(Error::usage(message, "name a file with `-o`"));
    }
    let (mut told, mut number) = (String::new(), None);
    loop {
        if !to_stdout {
            refuse_foreign_file(&arguments.output, PageKind::REPORT)?;
        }
        let made = make_report(arguments, number, context)?;
        // Later runs are not what is followed.
        number = made.number;
        if to_stdout {
            return context.output.styled(&made.page.html);
        }
        write_page(&arguments.output, PageKind::REPORT, made.page.html.as_bytes())?;
        if arguments.json {
            return context.output.json(&made.to_json(&arguments.output));
        }
        let text = made.describe(&arguments.output);
        if text != told {
            made.notes.iter().for_each(|note| context.output.message(&format!("note: {note}\n")));
            context.output.result(&text)?;
            told = text;
        }
        if !made.goes_on {
            return Ok(());
        }
        sleep(INTERVAL);
    }
}

/// A page that was made.
struct MadeReport {
    page: ReportPage,
    stages: usize,
    notes: Vec<String>,
    /// The run that it is about.
    number: Option<u64>,
    /// Whether another one follows.
    goes_on: bool,
}

impl MadeReport {
    fn to_json(&self, path: &Path) -> Value {
        let Self { page, stages, notes, .. } = self;
        json!({
            "schema": "fmflow.report/1", "path": to_absolute_path(path),
            "stages": stages, "checks": page.checks, "worries": page.worries, "notes": notes,
        })
    }

    fn describe(&self, path: &Path) -> String {
        let (path, stages) = (show_path(path), count_noun(self.stages, "stage"));
        format!("{path}: {stages}, {}\n", self.page.describe_worries())
    }
}

/// Makes the page as the store is now, of the run `number` if one is followed.
fn make_report(
    arguments: &ReportArguments,
    number: Option<u64>,
    context: &CommandContext<'_>,
) -> Result<MadeReport> {
    let store = context.open_store()?;
    let (source, record) = match (number, &arguments.subject) {
        (Some(number), None) => open_run(number, arguments.settings.clone(), store.as_ref(), context)?,
        _ => find_subject(arguments, number, store.as_ref(), context)?,
    };
    let pipeline = source.load(context)?;
    // Read the locks before the store: a run that ends in between is followed once more.
    let holders = store.as_ref().map(lock::find_live_holders).transpose()?.unwrap_or_default();
    let (_, plan) = plan::make_plan(&pipeline, store.as_ref())?;
    let runs = store.as_ref().map(Store::past_runs).transpose()?.unwrap_or_default();
    let run = select_run(&runs, &pipeline, number.or(record.as_ref().map(|(number, _)| *number)));
    let number = run.map(|run| run.number);
    let running = run.is_some_and(|run| run.is_in_progress(&holders));
    let goes_on = arguments.follow && running;
    let subject = ReportSubject {
        running,
        reload: goes_on.then_some(INTERVAL),
        machine: describe_environment(run.map(|run| run.device.as_str()), store.as_ref()),
        run: run.cloned(),
        seconds: sum_seconds(&runs),
        pipeline: &pipeline,
        plan: &plan,
        about: None,
        record,
        now: format_current_time(),
    };
    let data = collect_report(&subject, store.as_ref())?;
    Ok(MadeReport {
        page: render_report(&data),
        stages: data.stages.len(),
        notes: data.notes,
        number,
        goes_on,
    })
}

/// The pipeline that is reported, and the record of a run if one was named.
fn find_subject(
    arguments: &ReportArguments,
    followed: Option<u64>,
    store: Option<&Store>,
    context: &CommandContext<'_>,
) -> Result<(PipelineArguments, Option<(u64, RunRecord)>)> {
    let settings = arguments.settings.clone();
    match &arguments.subject {
        Some(subject) => match parse_run_number(subject) {
            None => {
                let given = PipelineArguments { file: subject.clone(), settings };
                Ok((open_file(given, followed, store, context)?, None))
            }
            Some(number) => open_run(number, settings, store, context),
        },
        None => {
            let runs = store.map(Store::past_runs).transpose()?.unwrap_or_default();
            let last = runs.last().map(|run| run.number);
            let number = last.ok_or_else(|| nothing_to_report(context))?;
            open_run(number, settings, store, context)
        }
    }
}

/// A file with the settings that were given, else with those of the run that is followed or in progress.
fn open_file(
    given: PipelineArguments,
    followed: Option<u64>,
    store: Option<&Store>,
    context: &CommandContext<'_>,
) -> Result<PipelineArguments> {
    if !given.settings.set.is_empty() {
        return Ok(given);
    }
    let runs = store.map(Store::readable_runs).transpose()?.unwrap_or_default();
    match runs.into_iter().find(|run| Some(run.number) == followed) {
        Some(run) => Ok(PipelineArguments { settings: SettingArguments { set: run.settings }, ..given }),
        None => Ok(LivePipeline::find(&given, context)?.source),
    }
}

/// The number of a run, unless there is a file of this name.
fn parse_run_number(subject: &Path) -> Option<u64> {
    let number = subject.to_str()?.parse().ok()?;
    (!subject.exists()).then_some(number)
}

fn open_run(
    number: u64,
    settings: SettingArguments,
    store: Option<&Store>,
    context: &CommandContext<'_>,
) -> Result<(PipelineArguments, Option<(u64, RunRecord)>)> {
    if !settings.set.is_empty() {
        let help = "a run has its own settings; name the file instead: `fmflow report FILE --set ...`";
        return Err(Error::usage("`--set` does not go with a run", help));
    }
    let record = store.map(|store| store.run_record(number)).transpose()?.flatten();
    let record = record.ok_or_else(|| {
        let message =
            format!("there is no record of run {number} in the store {}", show_path(&context.store));
        Error::usage(message, "`fmflow log` lists the runs")
    })?;
    if record.schema != RunRecord::SCHEMA {
        let message =
            format!("the record of run {number} is of another version of fmflow: `{}`", record.schema);
        return Err(Error::usage(
            message,
            format!(
                "name the file instead: `fmflow report FILE`; this version reads `{}`",
                RunRecord::SCHEMA
            ),
        ));
    }
    let settings = SettingArguments { set: record.settings.clone() };
    let file = PathBuf::from(display_path(&record.file));
    Ok((PipelineArguments { file, settings }, Some((number, record))))
}

fn nothing_to_report(context: &CommandContext<'_>) -> Error {
    let message = format!("nothing was ever run in the store {}", show_path(&context.store));
    Error::usage(message, "name a pipeline: `fmflow report FILE`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_names_a_run() {
        assert_eq!(parse_run_number(Path::new("3")), Some(3));
        assert_eq!(parse_run_number(Path::new("p.kdl")), None);
        assert_eq!(parse_run_number(Path::new("-3")), None);
    }
}
