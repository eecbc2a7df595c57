//! The `report` stage: a page about other stages, as the store is when its turn comes.

use indexmap::{IndexMap, IndexSet};

use crate::error::{Failure, Result};
use crate::plan::select::find_needed;
use crate::report::collect::{ReportSubject, collect_report};
use crate::report::facts::{describe_environment, sum_seconds};
use crate::report::page::{ReportPage, render_report};
use crate::run::execute::Job;
use crate::run::runner::Runner;
use crate::store::Summary;
use crate::store::layout::{find_process_token, format_current_time};
use crate::text::display::count_noun;

/// Name of the page in the artifact.
const PAGE: &str = "report.html";

/// Runs a `report` stage.
///
/// # Errors
/// If the store cannot be read or written.
pub(super) fn run_report(runner: &Runner<'_>, job: &Job<'_>) -> std::result::Result<Summary, Failure> {
    let needed = find_needed(runner.pipeline, job.stage.id).into_iter();
    let about: IndexSet<String> = needed.map(|id| runner.pipeline.stage(id).name.clone()).collect();
    let (page, notes) = make_page(runner, about.clone())?;
    notes.iter().for_each(|note| job.report.note(note));
    let counts = [("stages", about.len()), ("checks", page.checks), ("worries", page.worries)];
    let summary = Summary {
        headline: format!("{}, {}", count_noun(about.len(), "stage"), page.describe_worries()),
        lines: Vec::new(),
        metrics: counts.map(|(name, count)| (name.to_owned(), count as f64)).into(),
    };
    let mut writer = job.slot.artifact()?;
    writer.write(PAGE, page.html.as_bytes())?;
    writer.publish(&summary, &IndexMap::new())?;
    Ok(summary)
}

/// The page, and what could not be read for it.
fn make_page(runner: &Runner<'_>, about: IndexSet<String>) -> Result<(ReportPage, Vec<String>)> {
    let runs = runner.store.past_runs()?;
    let subject = ReportSubject {
        pipeline: runner.pipeline,
        plan: runner.plan,
        about: Some(about),
        record: None,
        run: runs.iter().rev().find(|run| run.token.as_deref() == Some(find_process_token())).cloned(),
        running: false,
        reload: None,
        seconds: sum_seconds(&runs),
        machine: describe_environment(Some(&runner.options.device), Some(runner.store)),
        now: format_current_time(),
    };
    let data = collect_report(&subject, Some(runner.store))?;
    Ok((render_report(&data), data.notes.clone()))
}
