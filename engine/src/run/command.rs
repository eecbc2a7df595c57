//! The `command` stage: runs a program in a folder of its own, and publishes what it made.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

use indexmap::IndexMap;

use crate::error::{Failure, FailureKind};
use crate::pipeline::config::CommandConfig;
use crate::pipeline::role::InputRole;
use crate::program::{CapturedOutput, Ended, ProgramLimits, ProgramPlan, run_program};
use crate::run::execute::Job;
use crate::run::runner::defect_failure;
use crate::store::Summary;
use crate::store::publish::ArtifactWriter;
use crate::store::slot::{OUTPUT_LOG, ProgramFolder};
use crate::text::display::{count_noun, format_bytes};
use crate::text::environment::read_raw_variable;
use crate::text::escape::{escape_line, show_path};

/// How long a program may take to end once it is asked to.
const GRACE: Duration = Duration::from_secs(5);

/// Bytes of its output that are kept of the beginning, and of the end.
const OUTPUT: usize = 1 << 20;

/// Lines of its output that its error shows, and how many characters of each.
const SHOWN: (usize, usize) = (10, 300);

/// Files that are named where one is missing.
const NAMED: usize = 20;

/// Variables that every program gets: without them few work. Results must not depend on them.
const TAKEN_OVER: &[&str] = &["PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "TMPDIR"];

/// Runs a program.
///
/// # Errors
/// If it cannot be started, fails, takes too long, is stopped, or does not make what it declares.
pub(super) fn run_command(job: &Job<'_>, config: &CommandConfig) -> Result<Summary, Failure> {
    let folder = job.slot.program_folder()?;
    prepare_folder(&folder, job, config)?;
    let plan = ProgramPlan {
        command: config.command.clone(),
        folder: folder.path().to_owned(),
        environment: collect_environment(job, config)?,
        bare: true,
    };
    let stop = || job.interrupt.load(Ordering::SeqCst);
    let limits = ProgramLimits { time: config.timeout, grace: GRACE, output: OUTPUT, stop: &stop };
    let started = run_program(&plan, &limits)
        .map_err(|error| fail(format!("its command cannot be started: {error}"), None))?;
    let (ended, output) = started;
    if let Some(why) = ended.describe_failure() {
        return Err(explain_failure(job, ended, &why, &output)?);
    }
    publish_outputs(job, config, &folder, &output)
}

fn fail(message: String, help: Option<String>) -> Failure {
    Failure { kind: FailureKind::Stage, message, help }
}

/// Copies the files of the program, and links its inputs.
fn prepare_folder(folder: &ProgramFolder, job: &Job<'_>, config: &CommandConfig) -> Result<(), Failure> {
    for file in &config.programs {
        folder.copy(&file.path, &file.place)?;
    }
    for input in &config.inputs {
        let place = Path::new("inputs").join(&input.name);
        match &input.files {
            Some(files) => {
                for file in files {
                    folder.link(&file.path, &place.join(&file.place))?;
                }
            }
            None => {
                let role = InputRole::Input(input.name.clone());
                let missing = || defect_failure(&format!("it has no input `{role}`"));
                folder.link(job.inputs.get(&role).ok_or_else(missing)?, &place)?;
            }
        }
    }
    Ok(())
}

/// The whole environment of the program.
fn collect_environment(job: &Job<'_>, config: &CommandConfig) -> Result<Vec<(String, OsString)>, Failure> {
    let taken = TAKEN_OVER.iter().filter_map(|name| Some(((*name).to_owned(), read_raw_variable(name)?)));
    let mut all: Vec<_> = taken.collect();
    for (name, value) in &config.environment {
        let value = match value {
            Some(value) => OsString::from(value),
            None => read_raw_variable(name).ok_or_else(|| Failure {
                kind: FailureKind::Input,
                message: format!(
                    "the environment variable `{name}`, which its command is to get, is not set"
                ),
                help: Some(format!("`export {name}=...`, or write `environment {name:?} value=\"...\"`")),
            })?,
        };
        all.push((name.clone(), value));
    }
    if config.seeded {
        all.push(("FMFLOW_SEED".into(), job.seed.to_string().into()));
    }
    Ok(all)
}

/// The failure of a program. The whole output is kept beside the unfinished work.
fn explain_failure(
    job: &Job<'_>,
    ended: Ended,
    why: &str,
    output: &CapturedOutput,
) -> Result<Failure, Failure> {
    if ended == Ended::Stopped {
        let message =
            format!("the command of stage `{}` was stopped; the next run starts it again", job.stage.name);
        return Ok(Failure { kind: FailureKind::Interrupted, message, help: None });
    }
    let lines = output.last_lines(SHOWN.0, SHOWN.1);
    let shown: String = lines.iter().map(|line| format!("\n    {}", escape_line(line))).collect();
    let log = job.slot.keep_output(&output.bytes())?;
    let help = format!("its output is in {}", show_path(log));
    Ok(fail(format!("its command ended badly: {why}{shown}"), Some(help)))
}

fn publish_outputs(
    job: &Job<'_>,
    config: &CommandConfig,
    folder: &ProgramFolder,
    output: &CapturedOutput,
) -> Result<Summary, Failure> {
    let mut writer = job.slot.artifact()?;
    let (mut names, mut bytes, mut lines) = (BTreeSet::from([OUTPUT_LOG.to_owned()]), 0, Vec::new());
    for pattern in &config.outputs {
        for file in find_output(folder, pattern)? {
            let name = name_output(&file)?;
            if !names.insert(name.clone()) {
                let message = format!("two outputs are called `{name}`, or it is the name of the log");
                return Err(fail(
                    message,
                    Some("an artifact is one folder: give its files different names".into()),
                ));
            }
            let size = folder.publish(&file, &name, &mut writer)?;
            lines.push(format!("{name}: {}", format_bytes(size)));
            bytes += size;
        }
    }
    finish_artifact(writer, output, lines, bytes)
}

fn finish_artifact(
    mut writer: ArtifactWriter,
    output: &CapturedOutput,
    lines: Vec<String>,
    bytes: u64,
) -> Result<Summary, Failure> {
    writer.write(OUTPUT_LOG, &output.bytes())?;
    let summary = Summary {
        headline: format!("{}, {}", count_noun(lines.len(), "file"), format_bytes(bytes)),
        metrics: [("files", lines.len() as f64), ("bytes", bytes as f64)]
            .map(|(name, value)| (name.to_owned(), value))
            .into(),
        lines,
    };
    writer.publish(&summary, &IndexMap::new())?;
    Ok(summary)
}

/// The files that a declared output stands for.
fn find_output(folder: &ProgramFolder, pattern: &str) -> Result<Vec<PathBuf>, Failure> {
    let (files, other) = folder.find(pattern)?;
    if let Some(other) = other {
        let name = other.strip_prefix(folder.path()).unwrap_or(&other).to_owned();
        let message = format!("the output `{}` is no regular file", show_path(name));
        let help = "outputs are files; of a folder, name the files: `output \"model/*\"`";
        return Err(fail(message, Some(help.into())));
    }
    if files.is_empty() {
        let made =
            folder.list(NAMED).iter().map(|name| format!("`{}`", escape_line(name))).collect::<Vec<_>>();
        let message =
            format!("its command made no `{}`; in its folder are {}", escape_line(pattern), made.join(", "));
        return Err(fail(
            message,
            Some("let it write its outputs into the folder that it is started in".into()),
        ));
    }
    Ok(files)
}

/// The name of an output in the artifact.
fn name_output(file: &Path) -> Result<String, Failure> {
    let name = file.file_name().expect("a file has a name");
    let plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '_' | '-');
    let taken = ["manifest.json", "summary.json"];
    let fits = |name: &&str| {
        name.chars().all(plain) && !name.starts_with('.') && name.len() <= 128 && !taken.contains(name)
    };
    name.to_str().filter(fits).map(str::to_owned).ok_or_else(|| {
        let message = format!("the output `{}` cannot be the name of a file in an artifact", show_path(name));
        let help = "use letters, digits, `-`, `_` and `.`, at most 128, and neither `manifest.json` nor `summary.json`";
        fail(message, Some(help.into()))
    })
}
