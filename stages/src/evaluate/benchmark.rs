//! A benchmark that is ready: its problems, and what runs programs. Its report says everything that the scores depend on.

use fmflow_engine::benchmark::{BenchmarkFileError, BenchmarkScores, read_placed_problems};
use fmflow_engine::error::Failure;
use fmflow_engine::pipeline::config::sample::{AnswerLength, AskingMode, BenchmarkSettings, GapLength};
use fmflow_engine::run::execute::Job;
use fmflow_engine::text::display::count_noun;
use fmflow_engine::text::escape::{escape_line, show_path};
use fmflow_grade::interpreter::Interpreter;
use fmflow_grade::problem::Problem;
use fmflow_grade::sandbox::Isolation;
use fmflow_grade::search::{InterpreterError, find_interpreter};
use serde::Serialize;

use super::chosen::ChoiceReport;
use super::exact::find_approximate_cache;
use super::prompts::AskingStyle;
use crate::completion::BATCH;
use crate::data::tokenizer::Tokenizer;
use crate::failure::input_failure;
use crate::job::find_source_files;
use crate::model::Model;

/// Most answers that are written, graded and saved together.
pub(super) const PART: usize = BATCH;

/// A benchmark with its problems and what runs the programs.
pub(super) struct OpenBenchmark<'a> {
    pub config: &'a BenchmarkSettings,
    pub problems: Vec<Problem>,
    /// File and line of each problem.
    pub places: Vec<String>,
    pub style: AskingStyle,
    /// What runs programs, of a benchmark whose answers are programs.
    pub interpreter: Option<Interpreter>,
}

/// The scores of a checkpoint, with everything that they depend on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct BenchmarkReport {
    #[serde(flatten)]
    pub scores: BenchmarkScores,
    /// Name and version of the prompt and of the texts at which an answer ends.
    pub prompt: &'static str,
    /// BLAKE3 of all prompts and of these texts.
    pub prompt_hash: String,
    stops: &'static [&'static str],
    /// BLAKE3 of the chat template by which a conversation is laid out; `chatml` if the checkpoint has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    chat_template: Option<String>,
    /// Name and version of the rule that finds the answer in a text, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    extraction: Option<&'static str>,
    /// How answers were written, if some were.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sampler: Option<String>,
    /// Its cache, if that is approximate: answers without it may be others.
    #[serde(skip_serializing_if = "Option::is_none")]
    cache: Option<&'static str>,
    pub samples: usize,
    /// Most tokens of an answer that ends by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new_tokens: Option<usize>,
    /// Tokens of a gap: a number, a range from which the model chose, or `reference`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub length: Option<String>,
    /// How answers were compared, if they were chosen and not written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub choice: Option<ChoiceReport>,
    seed: u64,
    /// Most answers in a forward pass; on the processor no answer depends on the others.
    batch: usize,
    device: String,
    dtype: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    python: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sandbox: Option<&'static str>,
}

impl BenchmarkReport {
    /// The scores as two lines of text.
    #[must_use]
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut lines = match &self.choice {
            None => self.scores.lines(),
            Some(choice) => choice.lines(&self.scores),
        };
        lines.extend(self.cache.map(|cache| format!("with the approximate cache `{cache}`")));
        if self.sandbox == Some(Isolation::UnsafeNoSandbox.word()) {
            lines.push(
                "programs ran without a sandbox, with all rights of the user (unsafe-no-sandbox)".to_owned(),
            );
        }
        lines
    }
}

/// Reads the problems of benchmarks and looks for the interpreter, before any work. Problems of a repository are downloaded.
/// `unsafe_no_sandbox`: whether the file lets programs run where there is no sandbox.
pub(super) fn open_benchmarks<'a>(
    job: &Job<'_>,
    benchmarks: &'a [BenchmarkSettings],
    unsafe_no_sandbox: bool,
) -> Result<Vec<OpenBenchmark<'a>>, Failure> {
    let interpreter = match benchmarks.iter().any(|config| config.layout.runs_programs()) {
        true => Some(open_interpreter(job, unsafe_no_sandbox)?),
        false => None,
    };
    let open = |config: &'a BenchmarkSettings| {
        open_benchmark(job, config, interpreter.clone().filter(|_| config.layout.runs_programs()))
    };
    benchmarks.iter().map(open).collect()
}

/// The interpreter in the sandbox; without one only if the file and the command line say so.
fn open_interpreter(job: &Job<'_>, unsafe_no_sandbox: bool) -> Result<Interpreter, Failure> {
    let refuse = |error: InterpreterError| {
        let fix = match (&error, unsafe_no_sandbox) {
            (InterpreterError::None(_), _) => "install Python 3.8 or newer where every user can run it",
            (InterpreterError::NoSandbox(_), _) if error.is_of_rights() => {
                "run fmflow as an ordinary user, or as one that may change its user (CAP_SETUID and CAP_SETGID)"
            }
            (InterpreterError::NoSandbox(_), false) => {
                "use Linux 6.2 or newer with Landlock and seccomp; with `unsafe-no-sandbox=#true` in the stage and `--unsafe-no-sandbox` on the command line, programs run with all your rights"
            }
            (InterpreterError::NoSandbox(_), true) => {
                "use Linux 6.2 or newer with Landlock and seccomp; the stage has `unsafe-no-sandbox`, and with `--unsafe-no-sandbox` on the command line programs run with all your rights"
            }
        };
        input_failure(error, fix)
    };
    match find_interpreter(Isolation::Enforced) {
        Err(InterpreterError::NoSandbox(what)) if unsafe_no_sandbox && job.unsafe_no_sandbox => {
            job.report.note(&format!("programs run without a sandbox, with all your rights: {what}"));
            find_interpreter(Isolation::UnsafeNoSandbox).map_err(refuse)
        }
        found => found.map_err(refuse),
    }
}

fn open_benchmark<'a>(
    job: &Job<'_>,
    config: &'a BenchmarkSettings,
    interpreter: Option<Interpreter>,
) -> Result<OpenBenchmark<'a>, Failure> {
    let paths = find_source_files(job, &config.source())?;
    let open = |path: std::path::PathBuf| Ok((std::fs::File::open(&path)?, show_path(path)));
    let files = paths.into_iter().map(open).collect::<Result<Vec<_>, std::io::Error>>()?;
    let mut placed = read_placed_problems(files, config.layout).map_err(|error| {
        let BenchmarkFileError { fix, .. } = error.clone();
        input_failure(error, fix)
    })?;
    if let Some(asked) = config.problems.filter(|asked| *asked > placed.len()) {
        let has = count_noun(placed.len(), "problem");
        job.report.note(&format!("benchmark `{}` has {has}: `problems={asked}` asks for all", config.name));
    }
    placed.truncate(config.problems.unwrap_or(usize::MAX));
    let (places, problems): (Vec<_>, Vec<_>) = placed.into_iter().unzip();
    if config.writing().map(|writing| writing.length) == Some(AnswerLength::Gap(GapLength::Reference)) {
        require_references(config, &problems)?;
    }
    let style = AskingStyle::of(&problems, config.writing().map_or(AskingMode::Base, |writing| writing.mode));
    Ok(OpenBenchmark { config, problems, places, style, interpreter })
}

/// Every gap has a length only if every problem has a reference solution.
fn require_references(config: &BenchmarkSettings, problems: &[Problem]) -> Result<(), Failure> {
    let Some(problem) = problems.iter().find(|problem| problem.reference_gap.is_none()) else {
        return Ok(());
    };
    let what = format!(
        "task {} of benchmark `{}` has no `canonical_solution`, so that its gap has no length",
        escape_line(&problem.name),
        config.name
    );
    Err(input_failure(what, "write a number or a range as `length=`"))
}

fn name_template(model: &Model) -> String {
    let template = model.tokenizer().ok().and_then(Tokenizer::template);
    template.map_or_else(|| "chatml".to_owned(), |template| template.digest().to_owned())
}

impl OpenBenchmark<'_> {
    pub(super) fn name(&self) -> &str {
        &self.config.name
    }

    /// Whether programs run without a sandbox.
    pub(super) fn is_unsafe(&self) -> bool {
        self.interpreter.as_ref().is_some_and(|found| found.isolation == Isolation::UnsafeNoSandbox)
    }

    /// Answers to each problem.
    fn samples(&self) -> usize {
        self.config.writing().map_or(1, |writing| writing.samples)
    }

    /// Answers in all.
    pub(super) fn total(&self) -> usize {
        self.problems.len() * self.samples()
    }

    /// The problem of an answer, and which of its samples it is.
    pub(super) fn place(&self, number: usize) -> (&Problem, usize) {
        (&self.problems[number / self.samples()], number % self.samples())
    }

    /// File, line and name of a problem, for errors.
    pub(super) fn show_problem(&self, number: usize) -> String {
        format!("{}: task {}", self.places[number], escape_line(&self.problems[number].name))
    }

    pub(super) fn report(
        &self,
        job: &Job<'_>,
        model: &Model,
        scores: BenchmarkScores,
        (choice, unsafe_answers): (Option<ChoiceReport>, bool),
    ) -> BenchmarkReport {
        let writing = self.config.writing();
        let (new_tokens, length) = match writing.map(|writing| writing.length) {
            Some(AnswerLength::AtMost(tokens)) => (Some(tokens), None),
            Some(AnswerLength::Gap(gap)) => (None, Some(gap.to_string())),
            None => (None, None),
        };
        BenchmarkReport {
            scores,
            prompt: self.style.name,
            prompt_hash: self.style.hash(&self.problems),
            stops: self.style.stops,
            chat_template: (self.style.mode == AskingMode::Chat).then(|| name_template(model)),
            extraction: self.style.extraction,
            sampler: writing.map(|writing| writing.sampler.name.clone()),
            cache: writing.and_then(|writing| find_approximate_cache(&writing.sampler)),
            samples: self.samples(),
            new_tokens,
            length,
            choice,
            seed: job.seed,
            batch: PART,
            device: job.device.to_owned(),
            dtype: "f32",
            python: self.interpreter.as_ref().map(|interpreter| interpreter.version.clone()),
            sandbox: self.interpreter.as_ref().map(|interpreter| match unsafe_answers {
                // Some were graded on another machine, or before this one had a sandbox.
                true => Isolation::UnsafeNoSandbox.word(),
                false => interpreter.isolation.word(),
            }),
        }
    }
}
