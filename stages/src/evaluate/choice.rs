//! Multiple choice: which of several answers a checkpoint finds the likeliest. Nothing is written.
//!
//! The log-likelihood of a choice is that of its tokens behind the prompt: exact for a model with a law of the next token, for another one the
//! lower bound that the ELBO gives, with the draws and times that the benchmark names. All choices of a problem have the same draws of times.
//! A token that holds letters of both the prompt and the choice counts for the choice.

use fmflow_engine::error::Failure;
use fmflow_engine::pipeline::config::sample::{ChoosingSettings, LikelihoodEstimator};
use fmflow_engine::run::execute::Job;
use fmflow_grade::problem::Problem;
use fmflow_grade::session::Outcome;

use super::answers::{MeasuredChoice, WrittenAnswer};
use super::benchmark::OpenBenchmark;
use super::chosen::{ChoiceReport, find_best, mean_scores};
use super::estimators::LikelihoodBatches;
use super::likelihood::find_usual_estimator;
use crate::data::packing::{PositionRole, Row};
use crate::data::tokenizer::Tokenizer;
use crate::failure::{BEYOND_F32, input_failure, stage_failure};
use crate::job::{check_interrupt, count_threads};
use crate::model::Model;
use crate::threads::map_in_parallel;

/// Draws of one problem are this far from those of the next.
const DRAW_STRIDE: u64 = 1 << 32;

/// Measures the choices of a part of the problems.
pub(super) fn choose_part(
    job: &Job<'_>,
    (benchmark, choosing): (&OpenBenchmark<'_>, &ChoosingSettings),
    checkpoint: &str,
    model: &Model,
    part: std::ops::Range<usize>,
) -> Result<Vec<WrittenAnswer>, Failure> {
    let mut answers = Vec::with_capacity(part.len());
    for number in part {
        let problem = benchmark.place(number).0;
        let measured = measure_choices(job, (number, problem), model, choosing)?;
        answers.push(build_answer(benchmark, problem, checkpoint, (choosing, measured)));
    }
    Ok(answers)
}

/// The likelihoods of all choices; `None` if one of them is longer than the context with its prompt.
fn measure_choices(
    job: &Job<'_>,
    (number, problem): (usize, &Problem),
    model: &Model,
    choosing: &ChoosingSettings,
) -> Result<Option<Vec<MeasuredChoice>>, Failure> {
    check_interrupt(job)?;
    let texts = &problem.choices.as_ref().expect("its layout has choices").texts;
    let row = |choice: &String| build_row(model.tokenizer()?, &problem.prompt, choice);
    let rows: Vec<Row> = texts.iter().map(row).collect::<Result<_, _>>()?;
    let context = model.backbone.config().max_position_embeddings;
    if rows.iter().any(|row| row.tokens.len() > context) {
        return Ok(None);
    }
    let estimator = find_usual_estimator(model);
    refuse_first_token(model, estimator, problem, &rows)?;
    let draws = if estimator.is_exact() { 1 } else { choosing.draws };
    let asked: Vec<(usize, u64)> =
        (0..rows.len()).flat_map(|at| (0..draws as u64).map(move |draw| (at, draw))).collect();
    let measure = |(at, draw): &(usize, u64)| {
        let drawn = (choosing.times, number as u64 * DRAW_STRIDE + draw);
        measure_row(estimator, model, &rows[*at], drawn)
    };
    let mut found = Vec::with_capacity(asked.len());
    for wave in asked.chunks(count_threads(job).max(1)) {
        check_interrupt(job)?;
        for one in map_in_parallel(wave, measure) {
            found.push(one?);
        }
    }
    let choice = |(drawn, text): (&[(f64, u64)], &String)| MeasuredChoice {
        log_likelihoods: drawn.iter().map(|(log_likelihood, _)| *log_likelihood).collect(),
        tokens: drawn[0].1,
        bytes: text.len(),
    };
    if let Some((bad, _)) = found.iter().find(|(log_likelihood, _)| !log_likelihood.is_finite()) {
        let what = format!("the log-likelihood of a choice of task {} is {bad}", problem.name);
        return Err(input_failure(what, BEYOND_F32));
    }
    Ok(Some(found.chunks(draws).zip(texts).map(choice).collect()))
}

/// A choice has no likelihood if its first token is that of the text and the model predicts each token at the one before it.
fn refuse_first_token(
    model: &Model,
    estimator: LikelihoodEstimator,
    problem: &Problem,
    rows: &[Row],
) -> Result<(), Failure> {
    let shifted = estimator == LikelihoodEstimator::Autoregressive || model.contract.shift;
    if !shifted || rows.iter().all(|row| row.roles.first() != Some(&PositionRole::Supervised)) {
        return Ok(());
    }
    let what = format!("a choice of task {} begins in the first token, which nothing predicts", problem.name);
    Err(input_failure(what, "write a longer `prompt`, or begin each choice with the blank that separates it"))
}

/// The log-likelihood of the supervised tokens of a row, and how many they are.
fn measure_row(
    estimator: LikelihoodEstimator,
    model: &Model,
    row: &Row,
    drawn: (usize, u64),
) -> Result<(f64, u64), Failure> {
    let batches = LikelihoodBatches::build(estimator, model, std::slice::from_ref(row), drawn)?;
    let mut nats = 0.0;
    for batch in &batches.batches {
        nats += batches.sum_batch(model, batch).map_err(stage_failure)?;
    }
    /// Nine decimals: the text of such a number is read back as the same number.
    const DECIMALS: f64 = 1e9;
    // Without the negative zero, whose text is another one.
    let rounded = (-nats / batches.copies * DECIMALS).round() / DECIMALS + 0.0;
    Ok((rounded, batches.tokens))
}

/// Prompt and choice as one document, of which the choice is predicted.
fn build_row(tokenizer: &Tokenizer, prompt: &str, choice: &str) -> Result<Row, Failure> {
    let text = format!("{prompt}{choice}");
    let placed = tokenizer.encode_with_places(&text).map_err(stage_failure)?;
    let role = |end: usize| match end > prompt.len() {
        true => PositionRole::Supervised,
        false => PositionRole::Prompt,
    };
    Ok(Row {
        roles: placed.iter().map(|(_, place)| role(place.end)).collect(),
        segments: vec![0; placed.len()],
        tokens: placed.into_iter().map(|(token, _)| token).collect(),
    })
}

fn build_answer(
    benchmark: &OpenBenchmark<'_>,
    problem: &Problem,
    checkpoint: &str,
    (choosing, measured): (&ChoosingSettings, Option<Vec<MeasuredChoice>>),
) -> WrittenAnswer {
    let choices = problem.choices.as_ref().expect("its layout has choices");
    let chosen = measured.as_ref().map(|measured| find_best(&mean_scores(measured, choosing.normalise)));
    let text = chosen.map_or("", |chosen| choices.texts[chosen].as_str());
    let (outcome, detail) = match chosen {
        Some(chosen) if chosen == choices.right => (Outcome::Passed, String::new()),
        Some(_) => {
            let right = &choices.texts[choices.right];
            (Outcome::WrongAnswer, format!("{text:?} instead of {right:?}"))
        }
        None => (Outcome::WrongAnswer, "a choice is longer than the context".to_owned()),
    };
    WrittenAnswer {
        task_id: problem.name.clone(),
        completion: Some(text.to_owned()),
        solution: None,
        answer: None,
        checkpoint: checkpoint.to_owned(),
        benchmark: benchmark.name().to_owned(),
        sample: 0,
        cut: measured.is_none(),
        tokens: 0,
        passes: 0,
        outcome,
        detail,
        choices: measured.unwrap_or_default(),
        unsafe_no_sandbox: false,
    }
}

/// The report on all answers of a checkpoint.
pub(super) fn report_choices(
    benchmark: &OpenBenchmark<'_>,
    choosing: &ChoosingSettings,
    model: &Model,
    answers: &[WrittenAnswer],
) -> ChoiceReport {
    let right = |number: usize| {
        let choices = benchmark.place(number).0.choices.as_ref();
        choices.expect("its layout has choices").right
    };
    let answers: Vec<(&WrittenAnswer, usize)> =
        answers.iter().enumerate().map(|(number, answer)| (answer, right(number))).collect();
    ChoiceReport::of(choosing, find_usual_estimator(model), &answers)
}
