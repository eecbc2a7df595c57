//! Code benchmarks: a checkpoint writes programs, and the grader runs them.

use fmflow_engine::benchmark::{BenchmarkScores, GradedSample, read_problems, score_samples};
use fmflow_engine::error::Failure;
use fmflow_engine::pipeline::config::EvaluateConfig;
use fmflow_engine::pipeline::config::sample::CodeBenchmark;
use fmflow_engine::run::execute::{Job, Progress};
use fmflow_engine::text::escape::show_path;
use fmflow_grade::grading::{GradeError, Grader, Program};
use fmflow_grade::interpreter::Interpreter;
use fmflow_grade::problem::{Layout, Problem};
use fmflow_grade::sandbox::{Isolation, LIMITS};
use fmflow_grade::search::find_interpreter;
use fmflow_grade::session::{SessionError, Verdict};
use serde::Serialize;

use super::answers::{WrittenAnswer, WrittenAnswers, grading_failure};
use super::prompts::AskingStyle;
use crate::completion::{Completion, CompletionRequest, complete_listed};
use crate::failure::{input_failure, stage_failure};
use crate::job::{count_threads, find_source_files};
use crate::model::Model;

/// Answers that are written, graded and saved together.
const PART: usize = 64;

/// A benchmark with its problems and what runs the programs.
pub(super) struct OpenBenchmark<'a> {
    config: &'a CodeBenchmark,
    problems: Vec<Problem>,
    style: AskingStyle,
    interpreter: Interpreter,
}

/// The scores of a checkpoint, with everything that they depend on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct BenchmarkReport {
    #[serde(flatten)]
    pub scores: BenchmarkScores,
    /// Name and version of the prompt and of the texts at which an answer ends.
    prompt: &'static str,
    /// BLAKE3 of all prompts and of these texts.
    prompt_hash: String,
    stops: &'static [&'static str],
    sampler: String,
    samples: usize,
    new_tokens: usize,
    seed: u64,
    device: String,
    dtype: &'static str,
    python: String,
    sandbox: &'static str,
}

/// Reads the problems of all benchmarks and looks for the interpreter, before any work.
pub(super) fn open_benchmarks<'a>(
    job: &Job<'_>,
    config: &'a EvaluateConfig,
) -> Result<Vec<OpenBenchmark<'a>>, Failure> {
    if config.benchmarks.is_empty() {
        return Ok(Vec::new());
    }
    let interpreter = find_interpreter(Isolation::Enforced).map_err(|error| {
        let fix =
            "install Python 3.8 or newer where every user can run it, on Linux 6.2 or newer with Landlock";
        input_failure(error, fix)
    })?;
    config.benchmarks.iter().map(|benchmark| open_benchmark(job, benchmark, interpreter.clone())).collect()
}

fn open_benchmark<'a>(
    job: &Job<'_>,
    config: &'a CodeBenchmark,
    interpreter: Interpreter,
) -> Result<OpenBenchmark<'a>, Failure> {
    let layout = Layout::by_name(&config.name).expect("the field table names the same benchmarks");
    let files = find_source_files(job, &config.source())?;
    let [path] = files.as_slice() else {
        let what = format!("benchmark `{}` has {} files", config.name, files.len());
        return Err(input_failure(what, "name the one file of its problems in `from=`"));
    };
    let mut problems = read_problems(std::fs::File::open(path)?, &show_path(path), layout)
        .map_err(|error| input_failure(error.clone(), error.fix))?;
    problems.truncate(config.problems.unwrap_or(usize::MAX));
    Ok(OpenBenchmark { config, problems, style: AskingStyle::of(layout), interpreter })
}

impl OpenBenchmark<'_> {
    pub(super) fn name(&self) -> &str {
        &self.config.name
    }

    /// Answers in all.
    fn total(&self) -> usize {
        self.problems.len() * self.config.samples
    }

    /// The problem of an answer, and which of its samples it is.
    fn place(&self, number: usize) -> (&Problem, usize) {
        (&self.problems[number / self.config.samples], number % self.config.samples)
    }
}

/// Lets a checkpoint answer all problems of a benchmark, and grades the answers. Those in `written` are not asked again.
pub(super) fn measure_benchmark(
    job: &Job<'_>,
    benchmark: &OpenBenchmark<'_>,
    checkpoint: &str,
    model: &Model,
    written: &mut WrittenAnswers<'_>,
) -> Result<BenchmarkReport, Failure> {
    let mut answers = written.take(benchmark.total());
    while answers.len() < benchmark.total() {
        let part = answers.len()..benchmark.total().min(answers.len() + PART);
        let new = write_part(job, benchmark, checkpoint, model, part)?;
        answers.extend(new.iter().cloned());
        written.add(new)?;
        let (done, total) = (answers.len() as u64, benchmark.total() as u64);
        job.report.progress(&Progress { done, total, unit: "answer", text: benchmark.name() });
    }
    Ok(build_report(job, benchmark, &answers))
}

/// Writes and grades a part of the answers. An answer depends on its number and not on its part.
fn write_part(
    job: &Job<'_>,
    benchmark: &OpenBenchmark<'_>,
    checkpoint: &str,
    model: &Model,
    part: std::ops::Range<usize>,
) -> Result<Vec<WrittenAnswer>, Failure> {
    let requests: Vec<Option<CompletionRequest>> =
        part.clone().map(|number| build_request(benchmark, number, model)).collect::<Result<_, _>>()?;
    let asked: Vec<(u64, &CompletionRequest)> = part
        .clone()
        .zip(&requests)
        .filter_map(|(number, request)| Some((number as u64, request.as_ref()?)))
        .collect();
    let work = (job.seed, count_threads(job));
    let mut completions = complete_listed(model, &asked, &benchmark.config.sampler, work)?.into_iter();
    let mut texts = Vec::new();
    for request in &requests {
        // A prompt that leaves no room for an answer is not asked: its answer is empty, and cut.
        let completion = request.as_ref().map(|_| completions.next().expect("each request has a completion"));
        texts.push(read_answer(benchmark, model, completion.as_ref())?);
    }
    let verdicts = grade_texts(job, benchmark, part.start, &texts)?;
    let answers = part.zip(texts).zip(verdicts).map(|((number, text), verdict)| WrittenAnswer {
        task_id: benchmark.place(number).0.name.clone(),
        completion: text.completion,
        checkpoint: checkpoint.to_owned(),
        benchmark: benchmark.name().to_owned(),
        sample: benchmark.place(number).1,
        cut: text.cut,
        tokens: text.tokens,
        passes: text.passes,
        outcome: verdict.outcome,
        detail: verdict.detail,
    });
    Ok(answers.collect())
}

/// The request of an answer; `None` if the context has no room for an answer.
fn build_request(
    benchmark: &OpenBenchmark<'_>,
    number: usize,
    model: &Model,
) -> Result<Option<CompletionRequest>, Failure> {
    let (problem, _) = benchmark.place(number);
    let prompt = benchmark.style.prompt(problem);
    let prefix = model.tokenizer()?.encode(&prompt).map_err(stage_failure)?;
    let room = model.backbone.config().max_position_embeddings.saturating_sub(prefix.len());
    let length = benchmark.config.new_tokens.min(room);
    let request = CompletionRequest { prefix, length, suffix: Vec::new() };
    Ok(Some(request).filter(|request| length > 0 && !request.prefix.is_empty()))
}

/// The text of an answer.
struct AnswerText {
    completion: String,
    cut: bool,
    tokens: usize,
    passes: usize,
}

fn read_answer(
    benchmark: &OpenBenchmark<'_>,
    model: &Model,
    completion: Option<&Completion>,
) -> Result<AnswerText, Failure> {
    let Some(completion) = completion else {
        return Ok(AnswerText { completion: String::new(), cut: true, tokens: 0, passes: 0 });
    };
    let ends = model.ends();
    let before_end = completion.until_end(&ends);
    let text = model.tokenizer()?.decode(before_end, false).map_err(stage_failure)?;
    let (kept, stopped) = benchmark.style.cut(&text);
    let ended = before_end.len() < completion.tokens.len();
    Ok(AnswerText {
        completion: kept.to_owned(),
        cut: !stopped && !ended,
        tokens: completion.generated(&ends),
        passes: completion.passes,
    })
}

fn grade_texts(
    job: &Job<'_>,
    benchmark: &OpenBenchmark<'_>,
    first: usize,
    texts: &[AnswerText],
) -> Result<Vec<Verdict>, Failure> {
    let problem = |at: usize| benchmark.place(first + at).0;
    let sources: Vec<String> =
        texts.iter().enumerate().map(|(at, text)| problem(at).complete(&text.completion)).collect();
    let programs: Vec<Program<'_>> =
        sources.iter().enumerate().map(|(at, source)| Program { problem: problem(at), source }).collect();
    let grader =
        Grader { interpreter: &benchmark.interpreter, limits: LIMITS, workers: job.cores, stop: &|| false };
    grader.grade(&programs, &|_, _| {}).map_err(|error| match error {
        GradeError::Session { error: SessionError::Unfit(_), .. } => {
            input_failure(error.to_string(), "use the benchmark's own file")
        }
        _ => grading_failure(error),
    })
}

fn build_report(job: &Job<'_>, benchmark: &OpenBenchmark<'_>, answers: &[WrittenAnswer]) -> BenchmarkReport {
    let graded = answers.iter().enumerate().map(|(number, answer)| GradedSample {
        id: benchmark.place(number).0.id.clone(),
        name: answer.task_id.clone(),
        empty: answer.completion.trim().is_empty(),
        cut: Some(answer.cut),
        verdict: Verdict { outcome: answer.outcome, detail: answer.detail.clone() },
    });
    let config = benchmark.config;
    BenchmarkReport {
        scores: score_samples(&graded.collect::<Vec<_>>()),
        prompt: benchmark.style.name,
        prompt_hash: benchmark.style.hash(&benchmark.problems),
        stops: benchmark.style.stops,
        sampler: config.sampler.name.clone(),
        samples: config.samples,
        new_tokens: config.new_tokens,
        seed: job.seed,
        device: job.device.to_owned(),
        dtype: "f32",
        python: benchmark.interpreter.version.clone(),
        sandbox: benchmark.interpreter.isolation.word(),
    }
}
