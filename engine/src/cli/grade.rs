//! `fmflow grade`: grades samples, programs or answers, that somebody or a model wrote, without a model.

use std::fs::File;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use clap::Args;
use clap::builder::PossibleValuesParser;
use fmflow_grade::grading::{GradeError, Grader, Program};
use fmflow_grade::interpreter::Interpreter;
use fmflow_grade::problem::{Layout, NAMES, Problem, TaskId};
use fmflow_grade::sandbox::{Isolation, LIMITS};
use fmflow_grade::search::{InterpreterError, find_interpreter};
use fmflow_grade::session::{SessionError, Verdict};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use super::{CommandContext, signals};
use crate::benchmark::{
    BenchmarkFileError, BenchmarkScores, GradedSample, LeftOut, Sample, SampleFile, WantedSamples,
    read_problems, read_samples, score_samples,
};
use crate::error::{Error, Failure, FailureKind, Result};
use crate::text::display::count_noun;
use crate::text::escape::{escape_line, show_path};

/// Most failed samples and uncovered problems that are listed for people.
const MOST_LISTED: usize = 20;

#[derive(Debug, Args)]
pub(super) struct GradeArguments {
    /// The benchmark
    #[arg(value_name = "NAME", value_parser = PossibleValuesParser::new(NAMES))]
    name: String,
    /// Its problems: JSON lines, in the layout of the benchmark or of EvalPlus; may be compressed
    #[arg(long, value_name = "FILE")]
    problems: PathBuf,
    /// The samples: JSON lines with `task_id`, and `completion` or `solution`
    #[arg(long, value_name = "FILE")]
    samples: PathBuf,
    /// Which benchmark's samples, of a file of several; others are left out [default: that of NAME]
    #[arg(long, value_name = "NAME")]
    benchmark: Option<String>,
    /// Which checkpoint's samples, of a file of several
    #[arg(long, value_name = "NAME")]
    checkpoint: Option<String>,
    /// Samples at a time [default: one for each core]
    #[arg(long, value_name = "COUNT")]
    workers: Option<NonZeroUsize>,
    /// Run the samples with the rights of this user, if this machine has no sandbox
    #[arg(long)]
    unsafe_no_sandbox: bool,
    /// Answer with one JSON object
    #[arg(long)]
    json: bool,
}

/// What the samples were graded with.
struct Graded {
    samples: Vec<GradedSample>,
    left_out: LeftOut,
    scores: BenchmarkScores,
    uncovered: Vec<String>,
}

pub(super) fn run_grade(arguments: &GradeArguments, context: &CommandContext<'_>) -> Result<()> {
    let layout = Layout::by_name(&arguments.name).expect("clap accepts only known names");
    let (file, shown) = open(&arguments.problems)?;
    let problems = read_problems(vec![(file, shown)], layout).map_err(file_error)?;
    let (file, shown) = open(&arguments.samples)?;
    let wanted = WantedSamples {
        name: &arguments.name,
        benchmark: arguments.benchmark.as_deref(),
        checkpoint: arguments.checkpoint.as_deref(),
    };
    let samples = read_samples(file, &shown, &problems, &wanted).map_err(file_error)?;
    let interpreter = match layout.runs_programs() {
        true => Some(choose_interpreter(arguments.unsafe_no_sandbox)?),
        false => None,
    };
    let interpreter = interpreter.as_ref();
    let graded = grade_samples((arguments, layout), interpreter, &problems, samples)?;
    match arguments.json {
        true => context.output.json(&render_json(arguments, interpreter, &graded)),
        false => context.output.result(&render_text(arguments, interpreter, &graded)),
    }
}

fn open(path: &Path) -> Result<(File, String)> {
    let file = File::open(path).map_err(Error::io("read", path))?;
    if !file.metadata().map_err(Error::io("read", path))?.is_file() {
        return Err(Error::io("read", path)(std::io::Error::other("it is not a file")));
    }
    Ok((file, show_path(path)))
}

fn file_error(error: BenchmarkFileError) -> Error {
    Error::Input { message: error.to_string(), help: Some(error.fix) }
}

/// The interpreter in the sandbox; without one only if the command line says so.
fn choose_interpreter(unsafe_no_sandbox: bool) -> Result<Interpreter> {
    let refuse = |error: InterpreterError| {
        let help = match &error {
            InterpreterError::None(_) => "install Python 3.8 or newer where every user can run it",
            InterpreterError::NoSandbox(_) if error.is_of_rights() => {
                "run fmflow as an ordinary user, or as one that may change its user (CAP_SETUID and CAP_SETGID); `--unsafe-no-sandbox` runs the samples with all your rights"
            }
            InterpreterError::NoSandbox(_) => {
                "use Linux 6.2 or newer with Landlock and seccomp; `--unsafe-no-sandbox` runs the samples with all your rights"
            }
        };
        Error::usage(error.to_string(), help)
    };
    match find_interpreter(Isolation::Enforced) {
        Err(InterpreterError::NoSandbox(_)) if unsafe_no_sandbox => {
            find_interpreter(Isolation::UnsafeNoSandbox).map_err(refuse)
        }
        found => found.map_err(refuse),
    }
}

fn grade_samples(
    (arguments, layout): (&GradeArguments, Layout),
    interpreter: Option<&Interpreter>,
    problems: &[Problem],
    SampleFile { samples, left_out }: SampleFile,
) -> Result<Graded> {
    let by_id: std::collections::HashMap<&TaskId, &Problem> =
        problems.iter().map(|problem| (&problem.id, problem)).collect();
    let of = |sample: &Sample| by_id[&sample.id];
    let sources: Vec<String> = samples.iter().map(|sample| sample.program(of(sample))).collect();
    let programs: Vec<Program<'_>> = samples
        .iter()
        .zip(&sources)
        .map(|(sample, source)| Program { problem: of(sample), source })
        .collect();
    let verdicts = grade_programs(arguments, interpreter, &programs)?;
    let samples: Vec<GradedSample> = samples
        .into_iter()
        .zip(verdicts)
        .map(|(sample, verdict)| {
            let empty = sample.is_empty(layout);
            GradedSample { id: sample.id, name: sample.name, empty, cut: None, verdict }
        })
        .collect();
    let covered: std::collections::HashSet<&TaskId> = samples.iter().map(|sample| &sample.id).collect();
    let uncovered = problems.iter().filter(|problem| !covered.contains(&problem.id));
    let uncovered = uncovered.map(|problem| problem.name.clone()).collect();
    Ok(Graded { scores: score_samples(&samples, layout), uncovered, samples, left_out })
}

fn grade_programs(
    arguments: &GradeArguments,
    interpreter: Option<&Interpreter>,
    programs: &[Program<'_>],
) -> Result<Vec<Verdict>> {
    let interrupt = signals::install_interrupt_flag()?;
    let bar = build_bar(programs.len());
    let passed = AtomicUsize::new(0);
    let done = |_: usize, verdict: &Verdict| {
        let passed = passed.fetch_add(usize::from(verdict.passed()), Ordering::Relaxed);
        bar.set_message(format!("{} passed", passed + usize::from(verdict.passed())));
        bar.inc(1);
    };
    let cores = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let workers = arguments.workers.map_or_else(cores, NonZeroUsize::get);
    let stop = || interrupt.load(Ordering::SeqCst);
    let grader = Grader { interpreter, limits: LIMITS, workers, stop: &stop };
    let verdicts = grader.grade(programs, &done);
    bar.finish_and_clear();
    verdicts.map_err(grading_error)
}

fn build_bar(total: usize) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(total as u64), ProgressDrawTarget::stderr_with_hz(8));
    let style = ProgressStyle::with_template("grade  {elapsed_precise} {wide_bar} {pos}/{len}  {msg}  {eta}");
    bar.set_style(style.expect("indicatif reads this template").progress_chars("━╸ "));
    bar.enable_steady_tick(Duration::from_secs(1));
    bar
}

fn grading_error(error: GradeError) -> Error {
    let kind = match &error {
        GradeError::Stopped => FailureKind::Interrupted,
        GradeError::Session { error: SessionError::Unfit(_), .. } => FailureKind::Input,
        GradeError::Session { .. } => FailureKind::Stage,
    };
    let help = match kind {
        FailureKind::Interrupted => "run the same command again: grading starts anew",
        FailureKind::Input => "use the benchmark's own file",
        _ => "no sample is at fault; run the same command again, with fewer `--workers` if memory is short",
    };
    let failure = Failure { kind, message: error.to_string(), help: Some(help.into()) };
    Error::Stage { stage: "grade".into(), failure }
}

fn render_text(arguments: &GradeArguments, interpreter: Option<&Interpreter>, graded: &Graded) -> String {
    let mut lines: Vec<String> =
        graded.scores.lines().into_iter().map(|line| format!("{}: {line}", arguments.name)).collect();
    let failed: Vec<&GradedSample> =
        graded.samples.iter().filter(|sample| !sample.verdict.passed()).collect();
    for sample in failed.iter().take(MOST_LISTED) {
        let outcome = serde_json::to_value(sample.verdict.outcome).expect("an outcome is a word");
        let outcome = outcome.as_str().expect("an outcome is a word").replace('-', " ");
        let line = format!("  {}  {outcome}: {}", sample.name, sample.verdict.detail);
        lines.push(escape_line(&line).into_owned());
    }
    if failed.len() > MOST_LISTED {
        lines.push(format!("  and {} more that failed; `--json` lists all", failed.len() - MOST_LISTED));
    }
    if !graded.uncovered.is_empty() {
        let some: Vec<&str> = graded.uncovered.iter().take(MOST_LISTED).map(String::as_str).collect();
        let more = if graded.uncovered.len() > MOST_LISTED { ", ..." } else { "" };
        let (count, some) = (graded.uncovered.len(), escape_line(&some.join(", ")).into_owned());
        lines.push(format!("no sample for {}: {some}{more}", count_noun(count, "problem")));
    }
    lines.extend(graded.left_out.lines());
    lines.extend(interpreter.map(|interpreter| {
        let program = show_path(&interpreter.program);
        format!("Python {} ({program}), sandbox: {}", interpreter.version, interpreter.isolation.word())
    }));
    lines.join("\n") + "\n"
}

fn render_json(
    arguments: &GradeArguments,
    interpreter: Option<&Interpreter>,
    graded: &Graded,
) -> serde_json::Value {
    let results: Vec<_> = graded
        .samples
        .iter()
        .map(|sample| {
            json!({
                "task_id": sample.name,
                "passed": sample.verdict.passed(),
                "outcome": sample.verdict.outcome,
                "detail": sample.verdict.detail,
            })
        })
        .collect();
    let scores = &graded.scores;
    let mut answer = json!({
        "schema": "fmflow.grade/1",
        "benchmark": arguments.name,
        "passed": scores.passed,
        "total": scores.total,
        "pass_at": scores.pass_at,
        "interval": scores.interval,
        "empty": scores.empty,
        "timed_out": scores.timed_out,
        "syntax_errors": scores.syntax_errors,
        "problems": scores.problems,
        "uncovered": graded.uncovered,
        "left_out": graded.left_out,
        "sandbox": interpreter.map(|interpreter| interpreter.isolation.word()),
        "python": interpreter.map(|interpreter| &interpreter.version),
        "results": results,
    });
    if let Some(count) = scores.no_number {
        answer["no_number"] = count.into();
    }
    answer
}
