//! Probes: what the checkpoint that was just saved writes and answers, while training goes on. A probe changes neither state nor
//! draws, and one that fails is told: it never ends the stage.

use std::panic::{AssertUnwindSafe, catch_unwind};

use fmflow_engine::error::{Failure, FailureKind};
use fmflow_engine::pipeline::config::train::ProbeSettings;
use fmflow_engine::run::execute::Job;
use serde_json::Value;

use super::setup::TrainingSetup;
use super::state::TrainingState;
use crate::model::Model;

/// What a probe found.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ProbeAnswers {
    /// Lines for people.
    pub lines: Vec<String>,
    /// The same for programs, the value of `probe` in a line of metrics.
    pub record: Value,
}

/// Answers the questions of a probe. Given by the executor, because generating and evaluating are built on training.
pub(crate) type Prober = fn(&Job<'_>, &ProbeSettings, &Model) -> Result<ProbeAnswers, Failure>;

/// Whether a probe follows update number `done`.
pub(super) fn is_probe_due(probe: Option<&ProbeSettings>, done: u64) -> bool {
    done > 0 && probe.is_some_and(|probe| done.is_multiple_of(probe.every))
}

/// Runs the probe that a stage was killed in, if it continues right there.
///
/// # Errors
/// If the metrics cannot be read or written.
pub(super) fn repeat_lost_probe(
    job: &Job<'_>,
    setup: &TrainingSetup<'_>,
    state: &TrainingState,
    prober: Prober,
) -> Result<(), Failure> {
    if !is_probe_due(setup.config.probe.as_ref(), state.step) {
        return Ok(());
    }
    let is_its = |line: &String| {
        let line: Option<Value> = serde_json::from_str(line).ok();
        line.is_some_and(|line| line.get("probe").is_some() && line["step"] == state.step - 1)
    };
    match job.slot.metric_lines()?.iter().any(is_its) {
        true => Ok(()),
        false => probe_if_due(job, setup, state, prober),
    }
}

/// Probes the state that was just saved, if it is time for it, and records what was found, or that it failed.
///
/// # Errors
/// If the metrics cannot be written.
pub(super) fn probe_if_due(
    job: &Job<'_>,
    setup: &TrainingSetup<'_>,
    state: &TrainingState,
    prober: Prober,
) -> Result<(), Failure> {
    let Some(probe) = setup.config.probe.as_ref().filter(|probe| is_probe_due(Some(probe), state.step))
    else {
        return Ok(());
    };
    let (done, model) = (state.step, setup.artifact(state)?.for_text());
    // What panics is a bug, and reported as one, but a training of days must not end because of it.
    let found = match catch_unwind(AssertUnwindSafe(|| prober(job, probe, &model))) {
        Ok(Ok(answers)) => answers,
        // The run stops, and the stage will continue with this probe.
        Ok(Err(failure)) if failure.kind == FailureKind::Interrupted => return Ok(()),
        Ok(Err(failure)) => describe_failed_probe(&failure.message),
        Err(_) => describe_failed_probe("it panicked (see above)"),
    };
    let line = serde_json::json!({ "step": done - 1, "probe": found.record });
    job.slot.append_metrics(&line.to_string())?;
    for line in &found.lines {
        job.report.note(&format!("probe after update {done}: {line}"));
    }
    Ok(())
}

fn describe_failed_probe(why: &str) -> ProbeAnswers {
    let lines = vec![format!("warning: it failed, and the training goes on: {why}")];
    ProbeAnswers { lines, record: serde_json::json!({ "failed": why }) }
}
