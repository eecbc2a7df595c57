//! A run: refuse early, verify what is read, run what is missing, begin nothing after a failure.

mod agree;
pub mod execute;
mod gate;
mod outcome;
mod refuse;
mod runner;
mod schedule;
#[cfg(test)]
mod tests;
mod work;

use serde_json::json;

pub use gate::find_unmet_score;
pub use outcome::{Ended, Events, Outcome, Ran};
pub use refuse::refuse_unsupported;
pub use runner::{RunOptions, Runner};

use crate::error::{Error, Result};
use crate::plan::State;
use crate::store::journal::RunRecord;
use crate::store::layout::now;

/// Runs what is missing.
///
/// # Errors
/// What is refused before any work; later failures are in [`Ran::error`].
pub fn run_missing(runner: &Runner<'_>) -> Result<Ran> {
    let work: Vec<_> = runner.plan.wanted().filter(|planned| planned.state != State::Cached).collect();
    if !work.is_empty() {
        refuse::refuse_early(runner, &work)?;
        runner.store.begin_run(&record_run(runner))?;
    }
    let ran = schedule::Schedule::new(runner).run();
    if !work.is_empty() {
        let code = ran.error.as_ref().map_or(0, Error::exit_code);
        runner.store.journal(&json!({ "event": "end", "code": code }))?;
    }
    Ok(ran)
}

fn record_run(runner: &Runner<'_>) -> RunRecord {
    let Runner { pipeline, options, .. } = runner;
    RunRecord {
        schema: RunRecord::SCHEMA.into(),
        file: pipeline.file.clone(),
        settings: pipeline.settings.clone(),
        started: now(),
        device: options.device.clone(),
        until: options.selection.until.clone(),
        only: options.selection.only.clone(),
        stages: runner.plan.ledgers(),
        places: pipeline.places(),
    }
}
