//! A code benchmark that is ready: its problems, and what runs programs. Its report says everything that the scores depend on.

use fmflow_engine::benchmark::{BenchmarkFileError, BenchmarkScores, read_problems};
use fmflow_engine::error::Failure;
use fmflow_engine::pipeline::config::sample::CodeBenchmark;
use fmflow_engine::run::execute::Job;
use fmflow_engine::text::escape::show_path;
use fmflow_grade::interpreter::Interpreter;
use fmflow_grade::problem::{Layout, Problem};
use fmflow_grade::sandbox::Isolation;
use fmflow_grade::search::find_interpreter;
use serde::Serialize;

use super::prompts::AskingStyle;
use crate::failure::input_failure;
use crate::job::find_source_files;

/// A benchmark with its problems and what runs the programs.
pub(super) struct OpenBenchmark<'a> {
    pub config: &'a CodeBenchmark,
    pub problems: Vec<Problem>,
    pub style: AskingStyle,
    pub interpreter: Interpreter,
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
    pub sampler: String,
    pub samples: usize,
    pub new_tokens: usize,
    seed: u64,
    device: String,
    dtype: &'static str,
    python: String,
    sandbox: &'static str,
}

/// Reads the problems of benchmarks and looks for the interpreter, before any work. Problems of a repository are downloaded.
pub(super) fn open_benchmarks<'a>(
    job: &Job<'_>,
    benchmarks: &'a [CodeBenchmark],
) -> Result<Vec<OpenBenchmark<'a>>, Failure> {
    if benchmarks.is_empty() {
        return Ok(Vec::new());
    }
    let interpreter = find_interpreter(Isolation::Enforced).map_err(|error| {
        let fix =
            "install Python 3.8 or newer where every user can run it, on Linux 6.2 or newer with Landlock";
        input_failure(error, fix)
    })?;
    benchmarks.iter().map(|benchmark| open_benchmark(job, benchmark, interpreter.clone())).collect()
}

fn open_benchmark<'a>(
    job: &Job<'_>,
    config: &'a CodeBenchmark,
    interpreter: Interpreter,
) -> Result<OpenBenchmark<'a>, Failure> {
    let layout = Layout::by_name(&config.name).expect("the field table names the same benchmarks");
    let paths = find_source_files(job, &config.source())?;
    let open = |path: std::path::PathBuf| Ok((std::fs::File::open(&path)?, show_path(path)));
    let files = paths.into_iter().map(open).collect::<Result<Vec<_>, std::io::Error>>()?;
    let mut problems = read_problems(files, layout).map_err(|error| {
        let BenchmarkFileError { fix, .. } = error.clone();
        input_failure(error, fix)
    })?;
    problems.truncate(config.problems.unwrap_or(usize::MAX));
    Ok(OpenBenchmark { config, problems, style: AskingStyle::of(layout), interpreter })
}

impl OpenBenchmark<'_> {
    pub(super) fn name(&self) -> &str {
        &self.config.name
    }

    /// Answers in all.
    pub(super) fn total(&self) -> usize {
        self.problems.len() * self.config.samples
    }

    /// The problem of an answer, and which of its samples it is.
    pub(super) fn place(&self, number: usize) -> (&Problem, usize) {
        (&self.problems[number / self.config.samples], number % self.config.samples)
    }

    pub(super) fn report(&self, job: &Job<'_>, scores: BenchmarkScores) -> BenchmarkReport {
        let config = self.config;
        BenchmarkReport {
            scores,
            prompt: self.style.name,
            prompt_hash: self.style.hash(&self.problems),
            stops: self.style.stops,
            sampler: config.sampler.name.clone(),
            samples: config.samples,
            new_tokens: config.new_tokens,
            seed: job.seed,
            device: job.device.to_owned(),
            dtype: "f32",
            python: self.interpreter.version.clone(),
            sandbox: self.interpreter.isolation.word(),
        }
    }
}
