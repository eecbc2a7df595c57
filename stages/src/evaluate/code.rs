//! Benchmarks: a checkpoint writes programs or answers, and the grader grades them.

use std::sync::OnceLock;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use fmflow_engine::benchmark::{BenchmarkScores, GradedSample, is_empty, score_samples};
use fmflow_engine::error::{Failure, FailureKind};
use fmflow_engine::pipeline::config::sample::{
    AnswerLength, Asking, AskingMode, BenchmarkSettings, WritingSettings,
};
use fmflow_engine::pipeline::message::Message;
use fmflow_engine::run::execute::{Job, Progress};
use fmflow_grade::grading::{GradeError, Grader, Program};
use fmflow_grade::problem::Problem;
use fmflow_grade::sandbox::LIMITS;
use fmflow_grade::session::{Outcome, SessionError, Verdict};

use super::answers::{WrittenAnswer, WrittenAnswers};
use super::benchmark::{BenchmarkReport, OpenBenchmark, PART, open_benchmarks};
use super::choice::{choose_part, refuse_unfit_choices, report_choices};
use super::fenced::find_block;
use super::gaps::fill_gaps;
use crate::completion::{Completion, CompletionRequest, complete_listed};
use crate::data::chat;
use crate::failure::{input_failure, stage_failure};
use crate::job::count_threads;
use crate::model::Model;

/// Answers of the first part on the processor: how long one takes is not known yet.
const FIRST_PART: usize = 8;

/// How long grading goes on after a signal. A choice.
const LAST_GRADING: Duration = Duration::from_secs(10);

/// Measures a benchmark in the probe of a training: no answer is kept, and none is taken from an earlier one.
///
/// # Errors
/// If the problems cannot be read, there is no interpreter, the model or the grader fails, or a signal requests a stop.
pub(crate) fn probe_benchmark(
    job: &Job<'_>,
    config: &BenchmarkSettings,
    name: &str,
    model: &Model,
) -> Result<BenchmarkReport, Failure> {
    let opened = open_benchmarks(job, std::slice::from_ref(config), false)?;
    measure_benchmark(job, &opened[0], name, model, &mut WrittenAnswers::unsaved(job))
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
    if matches!(benchmark.config.asking, Asking::Choose(_)) && answers.len() < benchmark.total() {
        refuse_unfit_choices(job, benchmark, model)?;
    }
    let mut size = if job.device == "cpu" { FIRST_PART } else { PART };
    while answers.len() < benchmark.total() {
        let (start, part) = (Instant::now(), answers.len()..benchmark.total().min(answers.len() + size));
        let new = match &benchmark.config.asking {
            Asking::Write(writing) => write_part(job, (benchmark, writing), checkpoint, model, part)?,
            Asking::Choose(choosing) => choose_part(job, (benchmark, choosing), checkpoint, model, part)?,
        };
        answers.extend(new.iter().cloned());
        written.add(new)?;
        if job.device == "cpu" {
            size = size_next_part(size, start.elapsed().as_secs_f64());
        }
        let (done, total) = (answers.len() as u64, benchmark.total() as u64);
        job.report.progress(&Progress { done, total, unit: "answer", text: benchmark.name() });
    }
    let choice = match &benchmark.config.asking {
        Asking::Write(_) => None,
        Asking::Choose(choosing) => Some(report_choices(benchmark, choosing, model, &answers)),
    };
    let unsafe_answers = answers.iter().any(|answer| answer.unsafe_no_sandbox);
    Ok(benchmark.report(job, model, score_answers(benchmark, &answers), (choice, unsafe_answers)))
}

/// How many answers come after a part of `size` that took `seconds`: whoever kills a process loses about a minute of work. On the processor
/// no answer depends on it.
fn size_next_part(size: usize, seconds: f64) -> usize {
    match seconds {
        _ if seconds < 15.0 => (size * 2).min(PART),
        _ if seconds > 60.0 => (size / 2).max(1),
        _ => size,
    }
}

/// Writes and grades a part of the answers, or what a signal leaves of it. An answer depends on its number and not on its part.
fn write_part(
    job: &Job<'_>,
    (benchmark, writing): (&OpenBenchmark<'_>, &WritingSettings),
    checkpoint: &str,
    model: &Model,
    part: std::ops::Range<usize>,
) -> Result<Vec<WrittenAnswer>, Failure> {
    let completions = match writing.length {
        AnswerLength::AtMost(tokens) => {
            answer_part(job, (benchmark, writing), model, (part.clone(), tokens))?
        }
        AnswerLength::Gap(gap) => fill_gaps(job, (benchmark, writing), model, (part.clone(), gap))?,
    };
    let part = part.start..part.start + completions.len();
    let read = |(number, completion): (usize, &Option<Completion>)| {
        read_answer((benchmark, benchmark.place(number).0), model, completion.as_ref())
    };
    let texts: Vec<AnswerText> = part.clone().zip(&completions).map(read).collect::<Result<_, _>>()?;
    let verdicts = grade_texts(job, benchmark, part.start, &texts)?;
    let answers = part.zip(texts).zip(verdicts).map(|((number, text), verdict)| WrittenAnswer {
        task_id: benchmark.place(number).0.name.clone(),
        completion: text.solution.is_none().then(|| text.text.clone()),
        answer: text.solution.is_some().then_some(text.text),
        solution: text.solution,
        checkpoint: checkpoint.to_owned(),
        benchmark: benchmark.name().to_owned(),
        sample: benchmark.place(number).1,
        cut: text.cut,
        tokens: text.tokens,
        passes: text.passes,
        outcome: verdict.outcome,
        detail: verdict.detail,
        choices: Vec::new(),
        unsafe_no_sandbox: benchmark.is_unsafe(),
    });
    Ok(answers.collect())
}

/// Answers of at most so many tokens. A prompt that leaves no room for an answer is not asked.
fn answer_part(
    job: &Job<'_>,
    (benchmark, writing): (&OpenBenchmark<'_>, &WritingSettings),
    model: &Model,
    (part, tokens): (std::ops::Range<usize>, usize),
) -> Result<Vec<Option<Completion>>, Failure> {
    let build = |number| build_request(benchmark, number, model, tokens);
    let requests: Vec<Option<CompletionRequest>> = part.clone().map(build).collect::<Result<_, _>>()?;
    let asked: Vec<(u64, &CompletionRequest)> = part
        .zip(&requests)
        .filter_map(|(number, request)| Some((number as u64, request.as_ref()?)))
        .collect();
    let work = (job.seed, count_threads(job));
    let mut completions = complete_listed(model, &asked, &writing.sampler, work)?.into_iter();
    let found = requests
        .iter()
        .map(|request| request.as_ref().map(|_| completions.next().expect("each request has a completion")));
    Ok(found.collect())
}

/// The request of an answer; `None` if the context has no room for an answer.
fn build_request(
    benchmark: &OpenBenchmark<'_>,
    number: usize,
    model: &Model,
    tokens: usize,
) -> Result<Option<CompletionRequest>, Failure> {
    let (problem, _) = benchmark.place(number);
    let (prompt, tokenizer) = (benchmark.style.prompt(problem), model.tokenizer()?);
    let prefix = match benchmark.style.mode {
        AskingMode::Base => tokenizer.encode(&prompt),
        AskingMode::Chat => chat::encode_prompt(tokenizer, &[Message::user(&prompt)]),
    };
    let prefix = prefix?;
    let room = model.backbone.config().max_position_embeddings.saturating_sub(prefix.len());
    let length = tokens.min(room);
    let request = CompletionRequest { prefix, length, ..CompletionRequest::default() };
    Ok(Some(request).filter(|request| length > 0 && !request.prefix.is_empty()))
}

/// The text of an answer.
struct AnswerText {
    /// What follows the prompt, up to its end.
    text: String,
    /// The program in it, if it is the answer of a conversation.
    solution: Option<String>,
    /// Whether the context had room for it.
    written: bool,
    cut: bool,
    tokens: usize,
    passes: usize,
}

fn read_answer(
    (benchmark, problem): (&OpenBenchmark<'_>, &Problem),
    model: &Model,
    completion: Option<&Completion>,
) -> Result<AnswerText, Failure> {
    let find = |text: &str| problem.complete_block(find_block(text));
    let find = |text: &str| benchmark.style.finds_block().then(|| find(text));
    let Some(completion) = completion else {
        let (text, solution) = (String::new(), find(""));
        return Ok(AnswerText { text, solution, written: false, cut: true, tokens: 0, passes: 0 });
    };
    // The text of a gap has no end.
    let gap = problem.suffix.is_some();
    let ends = if gap { Vec::new() } else { model.ends() };
    let before_end = completion.until_end(&ends);
    let text = model.tokenizer()?.decode(before_end, false).map_err(stage_failure)?;
    let (kept, stopped) = benchmark.style.cut(&text);
    let ended = before_end.len() < completion.tokens.len();
    Ok(AnswerText {
        text: kept.to_owned(),
        solution: find(kept),
        written: true,
        cut: !gap && !stopped && !ended,
        tokens: completion.generated(&ends),
        passes: completion.passes,
    })
}

/// The verdict on an answer that was never written. Empty, it could pass: a gap of which nothing is missing.
fn fail_unwritten() -> Verdict {
    let detail = "the context has no room for an answer".to_owned();
    Verdict { outcome: Outcome::WrongAnswer, detail }
}

/// The verdicts on answers; one that was never written fails without being graded.
fn grade_texts(
    job: &Job<'_>,
    benchmark: &OpenBenchmark<'_>,
    first: usize,
    texts: &[AnswerText],
) -> Result<Vec<Verdict>, Failure> {
    let problem = |at: usize| benchmark.place(first + at).0;
    let source = |(at, text): (usize, &AnswerText)| {
        (at, text.solution.clone().unwrap_or_else(|| problem(at).complete(&text.text)))
    };
    let written = texts.iter().enumerate().filter(|(_, text)| text.written);
    let sources: Vec<(usize, String)> = written.map(source).collect();
    let programs: Vec<Program<'_>> =
        sources.iter().map(|(at, source)| Program { problem: problem(*at), source }).collect();
    let interpreter = benchmark.interpreter.as_ref();
    // After a signal the answers that are written can mostly still be graded, and then saved.
    let asked = OnceLock::new();
    let stop =
        || job.interrupt.load(Ordering::SeqCst) && asked.get_or_init(Instant::now).elapsed() > LAST_GRADING;
    let grader = Grader { interpreter, limits: LIMITS, workers: job.cores, stop: &stop };
    let failed = |error| grading_failure(&job.stage.name, error);
    let mut graded = grader.grade(&programs, &|_, _| {}).map_err(failed)?.into_iter();
    let verdict = |text: &AnswerText| match text.written {
        true => graded.next().expect("each program has a verdict"),
        false => fail_unwritten(),
    };
    Ok(texts.iter().map(verdict).collect())
}

fn score_answers(benchmark: &OpenBenchmark<'_>, answers: &[WrittenAnswer]) -> BenchmarkScores {
    let graded = answers.iter().enumerate().map(|(number, answer)| GradedSample {
        id: benchmark.place(number).0.id.clone(),
        name: answer.task_id.clone(),
        empty: is_empty(answer.text(), benchmark.config.layout),
        cut: Some(answer.cut),
        verdict: Verdict { outcome: answer.outcome, detail: answer.detail.clone() },
    });
    score_samples(&graded.collect::<Vec<_>>(), benchmark.config.layout)
}

/// A failure of the grader, as one of the stage. Its cause, such as a full disk, decides its kind.
fn grading_failure(stage: &str, error: GradeError) -> Failure {
    match error {
        GradeError::Stopped => {
            let message = format!(
                "stage `{stage}` was stopped while answers were graded; the next run continues after those that are saved"
            );
            Failure { kind: FailureKind::Interrupted, message, help: None }
        }
        GradeError::Session { error: SessionError::Unfit(_), .. } => {
            input_failure(error, "use the benchmark's own file")
        }
        GradeError::Session { .. } => stage_failure(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_take_about_a_minute() {
        let grown = [8, 16, 32, 64].map(|size| size_next_part(size, 1.0));
        assert_eq!(grown, [16, 32, 64, 64]);
        assert_eq!([64, 2, 1].map(|size| size_next_part(size, 3600.0)), [32, 1, 1]);
        assert_eq!(size_next_part(16, 40.0), 16);
    }
}
