//! `fmflow run` and `resume`: run the stages of a pipeline.

mod confirm;
mod gate;
mod outcome;
mod smoke;
mod unfinished;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Args;

use self::confirm::confirm_lost_work;
use self::gate::find_gate;
use self::outcome::{end_run, list_next_commands, report_run};
use self::unfinished::tell_unfinished_runs;
use super::pipeline_arguments::{PipelineArguments, SettingArguments};
use super::store_place::{tell_finished_elsewhere, tell_store};
use super::{CommandContext, plan, signals};
use crate::cli::terminal::Terminal;
use crate::error::{Error, Result, WRITABLE};
use crate::plan::{Plan, Selection};
use crate::run::{RunOptions, Runner, refuse_changes, refuse_unsupported, run_missing_stages};
use crate::store::{Store, StoreLock};
use crate::text::escape::show_path;
use crate::text::read::display_path;

#[derive(Debug, Args)]
pub(super) struct RunArguments {
    #[command(flatten)]
    pub(super) source: PipelineArguments,
    /// Try the whole file in about a minute: tiny random backbones, generated data, two updates a stage
    #[arg(long, conflicts_with = "device")]
    smoke: bool,
    #[command(flatten)]
    how: ExecutionArguments,
}

#[derive(Debug, Args)]
pub(super) struct ResumeArguments {
    /// The pipeline file [default: the last one that was run, with its settings]
    pub(super) file: Option<PathBuf>,
    #[command(flatten)]
    settings: SettingArguments,
    #[command(flatten)]
    how: ExecutionArguments,
}

#[derive(Clone, Debug, Args)]
struct ExecutionArguments {
    /// The device to compute on: `cpu` or `cuda:<n>`
    #[arg(long, default_value = "cpu", value_parser = parse_device)]
    device: String,
    /// Maximum number of stages that run at the same time
    #[arg(long, value_name = "N", default_value = "1", value_parser = parse_jobs)]
    jobs: NonZeroUsize,
    #[command(flatten)]
    which: plan::SelectionArguments,
    /// Start over even if more than an hour of work is not used
    #[arg(long)]
    yes: bool,
    /// Execute the commands of the file this time, even if they are not approved
    #[arg(long)]
    allow_commands: bool,
    /// Let programs of stages with `unsafe-no-sandbox` run with your rights, if this machine has no sandbox
    #[arg(long)]
    unsafe_no_sandbox: bool,
    /// Answer with one JSON object
    #[arg(long)]
    json: bool,
}

fn parse_jobs(text: &str) -> std::result::Result<NonZeroUsize, String> {
    text.parse().map_err(|_| "write a whole number, 1 or more".into())
}

/// Parses a device's name. Whether the machine has it is for the stages to find out.
pub(super) fn parse_device(text: &str) -> std::result::Result<String, String> {
    let numbered =
        |text: &str| text.strip_prefix("cuda:").is_some_and(|number| number.parse::<u32>().is_ok());
    match text {
        "cpu" | "cuda" => Ok(text.into()),
        _ if numbered(text) => Ok(text.into()),
        _ => Err("write `cpu` or `cuda:0`".into()),
    }
}

impl ExecutionArguments {
    /// The flags that repeat this run. `--from` is left out, because it would discard what this run has done already.
    fn format_flags(&self) -> String {
        let jobs = (self.jobs.get() > 1).then(|| format!("--jobs {}", self.jobs));
        let device = (self.device != "cpu").then(|| format!("--device {}", self.device));
        let which = Some(self.which.format_part_flags()).filter(|words| !words.is_empty());
        let allowed = self.allow_commands.then(|| "--allow-commands".to_owned());
        let unsafe_words = self.unsafe_no_sandbox.then(|| "--unsafe-no-sandbox".to_owned());
        let words = which.into_iter().chain(jobs).chain(device).chain(allowed).chain(unsafe_words);
        words.collect::<Vec<_>>().join(" ")
    }

    /// The flags of the same run, confirmed.
    fn format_confirmed_flags(&self) -> String {
        let from = self.which.format_from_flag();
        let flags = [Some(self.format_flags()), from, Some("--yes".to_owned())];
        flags.into_iter().flatten().filter(|words| !words.is_empty()).collect::<Vec<_>>().join(" ")
    }

    /// The options of a run.
    fn to_options(&self, resume: bool, selection: Selection) -> RunOptions {
        RunOptions {
            device: self.device.clone(),
            resume,
            jobs: self.jobs,
            unsafe_no_sandbox: self.unsafe_no_sandbox,
            selection,
        }
    }
}

pub(super) fn run_pipeline(arguments: &RunArguments, context: &CommandContext<'_>) -> Result<()> {
    match arguments.smoke {
        true => smoke::run_smoke(&arguments.source, &arguments.how, context),
        false => execute_pipeline(&arguments.source, &arguments.how, false, context),
    }
}

pub(super) fn run_resume(arguments: &ResumeArguments, context: &CommandContext<'_>) -> Result<()> {
    let settings = arguments.settings.clone();
    match &arguments.file {
        Some(file) => execute_pipeline(
            &PipelineArguments { file: file.clone(), settings },
            &arguments.how,
            true,
            context,
        ),
        None if settings.set.is_empty() => resume_last_run(&arguments.how, context),
        None => Err(Error::usage(
            "`--set` needs the file whose fields it sets",
            "name it: `fmflow resume FILE --set ...`",
        )),
    }
}

/// Continues the store's last run: its file, its settings, and the part of the pipeline that it selected.
fn resume_last_run(how: &ExecutionArguments, context: &CommandContext<'_>) -> Result<()> {
    let store = context.open_store()?;
    let last = store.as_ref().map(Store::last_run).transpose()?.flatten();
    if let Some(store) = &store {
        tell_unfinished_runs(store, context);
    }
    let last = last.ok_or_else(|| {
        let message = format!("nothing was ever run in the store {}", show_path(&context.store));
        Error::usage(message, "start with `fmflow run FILE`")
    })?;
    let source = PipelineArguments {
        file: PathBuf::from(display_path(&last.file)),
        settings: SettingArguments { set: last.settings },
    };
    let which = how.which.clone().with_default_part(last.until, last.only);
    if which.format_part_flags() != how.which.format_part_flags() {
        context
            .output
            .message(&format!("note: same selection as the last run: {}\n", which.format_part_flags()));
    }
    execute_pipeline(&source, &ExecutionArguments { which, ..how.clone() }, true, context)
}

fn execute_pipeline(
    source: &PipelineArguments,
    how: &ExecutionArguments,
    resume: bool,
    context: &CommandContext<'_>,
) -> Result<()> {
    let (pipeline, warnings) = source.load_with_warnings(context)?;
    tell_store(context);
    let selection = how.which.to_selection(&pipeline)?;
    if selection.is_whole() {
        refuse_unsupported(&pipeline, pipeline.stages.iter())?;
    }
    let interrupt = install_interrupt(context)?;
    let store = context.create_store().map_err(unwritable_store)?;
    let lock = lock_store(&store, &selection, context)?;
    let (digests, mut plan, listing) = plan::make_plan_with_listing(&pipeline, Some(&store))?;
    plan.find_unused_work(&pipeline, &store, &listing)?;
    plan.select(&pipeline, &selection)?;
    let work = plan.count_stages_to_run();
    if work > 0 {
        context.output.message(&source.render_warnings(&warnings, context));
        tell_finished_elsewhere(&plan, &source.file, context);
    }
    let lock = match lock {
        Err(error) if work > 0 => return Err(unwritable_work(&plan, work, &error)),
        other => other.ok(),
    };
    let gate = find_gate(&pipeline, &plan, source, how, context)?;
    if resume {
        refuse_changes(&pipeline, &store, &plan.running())?;
    }
    confirm_lost_work(&plan, source, how, context)?;
    let options = how.to_options(resume, selection);
    let events = Terminal::for_run(&pipeline, &plan);
    let ran = run_missing_stages(&Runner {
        pipeline: &pipeline,
        plan: &plan,
        digests: &digests,
        store: &store,
        lock: lock.as_ref(),
        execute: context.execute,
        events: &events,
        interrupt: &interrupt,
        gate: Some(gate),
        options: &options,
    });
    let in_store = |error: &Error| matches!(error, Error::Io { path, .. } if path.starts_with(store.root()));
    let explain = |error| if in_store(&error) { unwritable_store(error) } else { error };
    let ran = ran.map_err(explain)?;
    report_run(&ran, &list_next_commands(&ran, source, how, work, context), None, how.json, context)?;
    end_run(ran, context).map_err(explain)
}

/// The flag that a signal sets.
fn install_interrupt(context: &CommandContext<'_>) -> Result<Arc<AtomicBool>> {
    let interrupt = signals::install_interrupt_flag()?;
    signals::watch_library_calls(interrupt.clone(), context.output);
    Ok(interrupt)
}

/// Locks the store for a run; the inner error is that it cannot be written.
fn lock_store(
    store: &Store,
    selection: &Selection,
    context: &CommandContext<'_>,
) -> Result<Result<StoreLock>> {
    // Results that are discarded may be read by other runs.
    let lock = match selection.from {
        Some(_) => store.lock(),
        None => store.lock_shared(),
    };
    Ok(tell_note(keep_unwritable(lock)?, context))
}

fn unwritable_work(plan: &Plan, work: usize, error: &Error) -> Error {
    let message = format!("{work} of {} stages have to run, but {error}", plan.wanted().count());
    Error::usage(message, WRITABLE)
}

/// Says what there is to say of a lock.
fn tell_note(lock: Result<StoreLock>, context: &CommandContext<'_>) -> Result<StoreLock> {
    if let Some(note) = lock.as_ref().ok().and_then(|lock| lock.note.as_ref()) {
        context.output.message(&format!("note: {note}\n"));
    }
    lock
}

/// Keeps the error that a store cannot be written inside: what is cached can be shown all the same.
fn keep_unwritable(lock: Result<StoreLock>) -> Result<Result<StoreLock>> {
    match lock {
        Err(error) if is_unwritable(&error) => Ok(Err(error)),
        other => other.map(Ok),
    }
}

/// Turns a permission error into a usage error: a read-only store is a wrong `--store` or wrong permissions, not a failed stage.
pub(super) fn unwritable_store(error: Error) -> Error {
    match is_unwritable(&error) {
        true => Error::usage(error.to_string(), WRITABLE),
        false => error,
    }
}

fn is_unwritable(error: &Error) -> bool {
    use std::io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
    matches!(error, Error::Io { source, .. } if matches!(source.kind(), PermissionDenied | ReadOnlyFilesystem))
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::Path;

    use super::*;

    #[test]
    fn a_read_only_store_is_a_usage_error() {
        let denied = |kind| unwritable_store(Error::io("open", Path::new("lock"))(io::Error::from(kind)));
        let error = denied(io::ErrorKind::PermissionDenied);
        assert!(error.exit_code() == 2 && error.help().is_some_and(|help| help.contains("--store")));
        assert_eq!(denied(io::ErrorKind::ReadOnlyFilesystem).exit_code(), 2);
        assert_eq!(denied(io::ErrorKind::StorageFull).exit_code(), 6);
    }

    #[test]
    fn only_known_device_names_parse() {
        assert!(["cpu", "cuda", "cuda:3"].iter().all(|name| parse_device(name).is_ok()));
        assert!(["gpu", "cuda:x", "cuda:", "cpu:1", ""].iter().all(|name| parse_device(name).is_err()));
    }
}
