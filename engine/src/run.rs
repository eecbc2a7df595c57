//! A run: refuses early, verifies every input, runs the missing stages, and starts nothing new after a failure.

mod branch;
mod command;
mod contradictions;
pub mod execute;
mod extension;
mod hooks;
pub mod last_words;
mod made;
mod makers;
mod memory;
mod metrics_pipe;
mod outcome;
mod prompts;
mod refuse;
mod report_page;
mod required_scores;
pub mod rows_view;
mod runner;
mod schedule;
mod space;
#[cfg(test)]
mod tests;
pub mod text;
mod work;

use serde_json::json;

pub use outcome::{RunEvents, RunOutcome, StageEnd, StageOutcome};
pub(crate) use prompts::find_long_prompts;
pub(crate) use refuse::{refuse_changes, refuse_unsupported};
pub(crate) use required_scores::find_unmet_score;
pub use runner::{CommandGate, RunOptions, Runner};

use crate::error::{Error, Result};
use crate::plan::PlanState;
use crate::store::journal::RunRecord;
use crate::store::layout::format_current_time;

/// Runs the selected stages that are not cached. A run with nothing to do leaves no trace in the journal, unless the last one of its file
/// had other settings: that was a trial, whose results nobody keeps from now on.
///
/// # Errors
/// Whatever stops the run before any work. A failure of a stage is in [`RunOutcome::error`] instead.
pub fn run_missing_stages(runner: &Runner<'_>) -> Result<RunOutcome> {
    let work: Vec<_> = runner.plan.wanted().filter(|planned| planned.state != PlanState::Cached).collect();
    if work.is_empty() {
        record_end_of_trial(runner)?;
        return Ok(schedule::Schedule::new(runner, 0).run());
    }
    refuse::check_preconditions(runner, &work)?;
    let begun = runner.store.begin_run(&build_run_record(runner));
    let number = begun.map_err(|error| space::explain_shortage(runner, &work, error))?;
    let ran = schedule::Schedule::new(runner, number).run();
    let code = ran.error.as_ref().map_or(0, Error::exit_code);
    runner.store.record_event(number, &json!({ "event": "end", "code": code }))?;
    Ok(ran)
}

fn record_end_of_trial(runner: &Runner<'_>) -> Result<()> {
    let Runner { pipeline, store, .. } = runner;
    let past = store.past_runs()?;
    let last = past.iter().rfind(|run| run.file == pipeline.file);
    if last.is_none_or(|run| run.settings.is_empty() || run.settings == pipeline.settings) {
        return Ok(());
    }
    match store.begin_run(&build_run_record(runner)) {
        Ok(number) => store.record_event(number, &json!({ "event": "end", "code": 0 })),
        Err(error) => {
            runner.events.note(&format!(
                "the results of the last `--set` stay until this run can be recorded: {error}"
            ));
            Ok(())
        }
    }
}

fn build_run_record(runner: &Runner<'_>) -> RunRecord {
    let Runner { pipeline, options, .. } = runner;
    RunRecord {
        schema: RunRecord::SCHEMA.into(),
        file: pipeline.file.clone(),
        settings: pipeline.settings.clone(),
        started: format_current_time(),
        device: options.device.clone(),
        until: options.selection.until.clone(),
        only: options.selection.only.clone(),
        stages: runner.plan.ledgers(),
        places: pipeline.setting_places(),
    }
}
