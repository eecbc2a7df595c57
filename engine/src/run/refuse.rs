//! What a run refuses before any work: corrupt artifacts, features that do not exist, a changed configuration, a full disk.

use crate::error::{Error, Result};
use crate::pipeline::Pipeline;
use crate::pipeline::config::StageConfig;
use crate::pipeline::stage::{NOT_YET, Stage};
use crate::plan::commands::list_commands;
use crate::plan::fit::refuse_small_card;
use crate::plan::reasons::explain_changes_with_places;
use crate::plan::refusals::{list_refusals, render_refusals};
use crate::plan::{PlanState, PlannedStage};
use crate::run::branch::refuse_missing_branch_points;
use crate::run::execute::Execute;
use crate::run::prompts::refuse_long_prompts;
use crate::run::runner::Runner;
use crate::run::{memory, space};
use crate::store::Store;
use crate::store::journal::PastRun;
use crate::text::display::format_time;
use crate::text::shell::{format_settings, quote_always};

/// Refuses stages that use features that do not exist yet, and pipelines whose secrets are not set.
///
/// # Errors
/// One error that lists all reasons, features with their stages.
pub(crate) fn refuse_unsupported<'a>(
    pipeline: &Pipeline,
    stages: impl Iterator<Item = &'a Stage>,
) -> Result<()> {
    let reasons = list_refusals(pipeline, stages);
    if reasons.is_empty() {
        return Ok(());
    }
    let message = format!("this pipeline cannot run:\n{}", render_refusals(&reasons).trim_end());
    let secrets = pipeline.absent_secrets.len();
    let features = reasons.iter().filter(|reason| reason.starts_with(NOT_YET)).count();
    let help = match (features, reasons.len() == secrets) {
        (_, true) => Some("set them, or remove `secret` from the file"),
        (0, _) => None,
        _ => Some("remove these from the file, or run the stages before them with `--until`"),
    };
    Err(Error::Usage { message, help: help.map(str::to_owned) })
}

/// Everything that can be checked before any work.
pub(super) fn check_preconditions(runner: &Runner<'_>, work: &[&PlannedStage]) -> Result<()> {
    for planned in work {
        if let PlanState::Corrupt(problem) = &planned.state {
            let folder = runner.store.artifact(&planned.key.name, &planned.key.fingerprint);
            return Err(Error::Corrupt { folder, file: problem.file.clone(), what: problem.what.clone() });
        }
    }
    refuse_stages_of_others(runner, work)?;
    refuse_unsupported(runner.pipeline, work.iter().map(|planned| runner.stage(planned)))?;
    let computes = |planned: &&&PlannedStage| {
        !matches!(runner.stage(planned).config, StageConfig::Command(_) | StageConfig::Report)
    };
    if runner.execute.is_none() && work.iter().any(|planned| computes(&planned)) {
        let help = "rebuild with `--features cpu`";
        return Err(Error::usage("this program was built without an execution backend", help));
    }
    if let Some(Err(why)) = runner.execute.map(|execute| execute.check_device(&runner.options.device)) {
        return Err(Error::usage(why, "choose a device that this build and this machine have"));
    }
    refuse_commands(runner, work)?;
    refuse_downloads(runner, work)?;
    refuse_missing_branch_points(runner, work)?;
    refuse_long_prompts(runner)?;
    // The command line has refused them before it asked anything.
    if runner.options.resume {
        refuse_changes(runner.pipeline, runner.store, work)?;
    }
    // On the CPU, `machine` is only what estimates assume.
    if runner.options.device != "cpu" {
        refuse_small_card(runner.pipeline, work.iter().copied())?;
    }
    memory::refuse_low_memory(runner, work)?;
    space::refuse_full_disk(runner, work)
}

/// Refuses stages that another run makes now.
fn refuse_stages_of_others(runner: &Runner<'_>, work: &[&PlannedStage]) -> Result<()> {
    for planned in work {
        // What a stage goes on from is taken from nobody who works on it.
        let old = planned.extension.as_ref().map(|extension| &extension.fingerprint);
        for fingerprint in [Some(&planned.key.fingerprint), old].into_iter().flatten() {
            if let Some(maker) = runner.store.find_maker(fingerprint)? {
                return Err(Error::Busy { message: format!("{maker} makes `{}` now", planned.key.name) });
            }
        }
    }
    Ok(())
}

/// Refuses commands without consent. The command line has shown them and refused before; this holds for every other way to a run.
fn refuse_commands(runner: &Runner<'_>, work: &[&PlannedStage]) -> Result<()> {
    let asked = list_commands(runner.pipeline, work.iter().map(|planned| runner.stage(planned)));
    match asked.first().filter(|_| runner.gate.is_none()) {
        None => Ok(()),
        Some(first) => {
            let message =
                format!("the pipeline executes commands without consent:\n{}", first.render("").trim_end());
            Err(Error::usage(message, "`fmflow approve FILE` approves them"))
        }
    }
}

/// Refuses stages that download, if this program cannot.
fn refuse_downloads(runner: &Runner<'_>, work: &[&PlannedStage]) -> Result<()> {
    if runner.execute.is_none_or(Execute::can_download) {
        return Ok(());
    }
    let stage = |planned: &PlannedStage| runner.stage(planned);
    let what = work.iter().find_map(|planned| match stage(planned) {
        stage if stage.all_sources().any(|source| source.remote.is_some()) => Some((planned, "a repository")),
        stage if stage.config.reads_contents() => Some((planned, "contents in S3")),
        _ => None,
    });
    let Some((first, what)) = what else { return Ok(()) };
    let message = format!(
        "stage `{}` reads {what}, but this program was built without access to a hub",
        first.key.name
    );
    Err(Error::usage(message, "rebuild with `--features hub`, or name files on this machine in `from=`"))
}

/// `resume` continues the last run of this file and nothing else, so a changed configuration is an error.
///
/// # Errors
/// [`Error::Usage`] that lists the changes with their places.
pub(crate) fn refuse_changes(pipeline: &Pipeline, store: &Store, work: &[&PlannedStage]) -> Result<()> {
    let own = |run: &&PastRun| run.file == pipeline.file;
    let number = store.past_runs()?.iter().rev().find(own).map(|run| run.number);
    let Some(last) = number.map(|number| store.run_record(number)).transpose()?.flatten() else {
        return Ok(());
    };
    let mut lines = Vec::new();
    for planned in work {
        let Some(old) = last.stages.get(&planned.key.name) else { continue };
        let changes = planned.key.ledger.changes_since(old);
        for reason in explain_changes_with_places(pipeline, pipeline.stage(planned.id), &changes) {
            lines.push(format!("  {}: {reason}", planned.key.name));
        }
    }
    if lines.is_empty() {
        return Ok(());
    }
    let message = format!(
        "the configuration changed since the run of {}:\n{}",
        format_time(&last.started),
        lines.join("\n")
    );
    let same = last.settings == pipeline.settings;
    let help = match (same, last.settings.is_empty()) {
        (true, _) => "undo the change to resume, or use `run` to accept it".into(),
        (false, true) => "that run used no `--set`; leave it out to resume, or use `run` to accept it".into(),
        (false, false) => {
            format!(
                "that run used {}; pass the same settings to resume, or use `run` to accept the change",
                format_settings(&last.settings, quote_always)
            )
        }
    };
    Err(Error::usage(message, help))
}
