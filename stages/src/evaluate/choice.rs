//! Multiple choice: which of several answers a checkpoint finds the likeliest. Nothing is written.
//!
//! The log-likelihood of a choice is that of its tokens behind the prompt: exact for a model with a law of the next token, for another one the
//! lower bound that the ELBO gives, with the draws and times that the benchmark names. All choices of a problem have the same draws of times.
//! All choices of a problem are charged for the same part of the text, which begins with the first token in which two of them differ, or
//! which holds letters of both the prompt and a choice.

use fmflow_engine::error::Failure;
use fmflow_engine::pipeline::config::sample::{ChoosingSettings, LikelihoodEstimator};
use fmflow_engine::run::execute::Job;
use fmflow_grade::problem::Problem;
use fmflow_grade::session::Outcome;

use super::answers::{MeasuredChoice, WrittenAnswer, make_until_stopped};
use super::benchmark::OpenBenchmark;
use super::chosen::{ChoiceReport, find_best, mean_scores};
use super::estimators::LikelihoodBatches;
use super::likelihood::find_usual_estimator;
use crate::data::packing::{PositionRole, Row};
use crate::data::tokenizer::PlacedIds;
use crate::failure::{BEYOND_F32, input_failure, input_failure_in, stage_failure};
use crate::job::{check_interrupt, count_threads};
use crate::model::Model;
use crate::threads::map_in_parallel;

/// Draws of one problem are this far from those of the next.
const DRAW_STRIDE: u64 = 1 << 32;

/// Problems that a refusal names beside the first.
const MOST_NAMED: usize = 4;

/// Measures the choices of a part of the problems, or what a signal leaves of it.
pub(super) fn choose_part(
    job: &Job<'_>,
    (benchmark, choosing): (&OpenBenchmark<'_>, &ChoosingSettings),
    checkpoint: &str,
    model: &Model,
    part: std::ops::Range<usize>,
) -> Result<Vec<WrittenAnswer>, Failure> {
    make_until_stopped(part, |number| {
        let measured = measure_choices(job, benchmark, number, model, choosing)?;
        Ok(build_answer(benchmark, benchmark.place(number).0, checkpoint, (choosing, measured)))
    })
}

/// Refuses problems of which a choice has no likelihood, all together and before the first answer.
///
/// # Errors
/// If there is one, or a signal requests a stop.
pub(super) fn refuse_unfit_choices(
    job: &Job<'_>,
    benchmark: &OpenBenchmark<'_>,
    model: &Model,
) -> Result<(), Failure> {
    let (mut unpredicted, mut without_tokens) = (Vec::new(), Vec::new());
    for number in 0..benchmark.problems.len() {
        check_interrupt(job)?;
        let rows = build_rows(benchmark, number, model)?;
        let supervised = |row: &Row, at: usize| row.roles.get(at) == Some(&PositionRole::Supervised);
        if predicts_no_first_token(model) && rows.iter().any(|row| supervised(row, 0)) {
            unpredicted.push(benchmark.show_problem(number));
        } else if rows.iter().any(|row| !supervised(row, row.tokens.len().saturating_sub(1))) {
            without_tokens.push(benchmark.show_problem(number));
        }
    }
    let refuse = |problems: &[String], what: &str, fix: &str| match problems {
        [] => Ok(()),
        [first, others @ ..] => {
            let more = match others.len() {
                0 => String::new(),
                more => format!(" (and {more} more: {})", others[..more.min(MOST_NAMED)].join(", ")),
            };
            Err(input_failure(format!("{first}{more}: a choice {what}"), fix))
        }
    };
    refuse(
        &unpredicted,
        "begins in the first token of the text, which nothing predicts",
        "write a longer `prompt`, or begin each choice with the blank that separates it",
    )?;
    refuse(&without_tokens, "adds no token to its prompt", "write another text as this choice")
}

/// The likelihoods of all choices; `None` if one of them is longer than the context with its prompt.
fn measure_choices(
    job: &Job<'_>,
    benchmark: &OpenBenchmark<'_>,
    number: usize,
    model: &Model,
    choosing: &ChoosingSettings,
) -> Result<Option<Vec<MeasuredChoice>>, Failure> {
    check_interrupt(job)?;
    let problem = benchmark.place(number).0;
    let texts = &problem.choices.as_ref().expect("its layout has choices").texts;
    let rows = build_rows(benchmark, number, model)?;
    let context = model.backbone.config().max_position_embeddings;
    if rows.iter().any(|row| row.tokens.len() > context) {
        return Ok(None);
    }
    let estimator = find_usual_estimator(model);
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

/// Whether the model predicts each token at the one before it, so that the first one has no likelihood.
fn predicts_no_first_token(model: &Model) -> bool {
    find_usual_estimator(model) == LikelihoodEstimator::Autoregressive || model.contract.shift
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

/// Each choice behind its prompt as one document, of which what [`find_split`] leaves is predicted.
fn build_rows(benchmark: &OpenBenchmark<'_>, number: usize, model: &Model) -> Result<Vec<Row>, Failure> {
    let (problem, tokenizer) = (benchmark.place(number).0, model.tokenizer()?);
    let encode = |choice: &String| {
        let text = format!("{}{choice}", problem.prompt);
        let fix = "shorten its prompt and choices, or remove it";
        let placed = tokenizer.encode_with_places(&text);
        placed.map_err(|error| input_failure_in(benchmark.show_problem(number), error, fix))
    };
    let texts = &problem.choices.as_ref().expect("its layout has choices").texts;
    let placed: Vec<PlacedIds> = texts.iter().map(encode).collect::<Result<_, _>>()?;
    let split = find_split(&placed, problem.prompt.len(), predicts_no_first_token(model));
    Ok(placed.into_iter().map(|placed| build_row(placed, split)).collect())
}

/// The number of tokens that all choices of a problem share and that none of them pays for: those before the first token that differs, and
/// before the first that holds letters of a choice. So each choice is charged for the same part of the text, even if a blank at the
/// end of the prompt is a token of its own before one choice and a part of the first token of another. A first token that nothing predicts
/// and that all share is left out, too: it is the same for all.
fn find_split(rows: &[PlacedIds], prompt: usize, unpredicted: bool) -> usize {
    let shortest = rows.iter().map(Vec::len).min().unwrap_or_default();
    let differs = |at: &usize| rows.iter().any(|row| row[*at].0 != rows[0][*at].0);
    let shared = (0..shortest).find(differs).unwrap_or(shortest);
    let before = |row: &PlacedIds| row.iter().take_while(|(_, place)| place.end <= prompt).count();
    let split = rows.iter().map(before).min().unwrap_or_default().min(shared);
    match unpredicted && shared > 0 && shortest > 1 {
        true => split.max(1),
        false => split,
    }
}

fn build_row(placed: PlacedIds, split: usize) -> Row {
    let role = |at: usize| match at < split {
        true => PositionRole::Prompt,
        false => PositionRole::Supervised,
    };
    Row {
        roles: (0..placed.len()).map(role).collect(),
        segments: vec![0; placed.len()],
        tokens: placed.into_iter().map(|(token, _)| token).collect(),
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::tokenizer::tests::small;

    fn placed(prompt: &str, choices: &[&str]) -> Vec<PlacedIds> {
        let encode = |choice: &&str| small().encode_with_places(&format!("{prompt}{choice}")).unwrap();
        choices.iter().map(encode).collect()
    }

    /// Rows of tokens of one byte each, but for those with a length.
    fn row(tokens: &[(u32, usize)]) -> PlacedIds {
        let mut end = 0;
        let place = |(token, length): &(u32, usize)| {
            end += length;
            (*token, end - length..end)
        };
        tokens.iter().map(place).collect()
    }

    #[test]
    fn every_choice_is_charged_for_the_same_text() {
        // The blank at the end of the prompt is a token of its own before `:`, and a part of ` a`.
        let rows = placed("sort: ", &["a", ":"]);
        let blank = |row: &PlacedIds| row.iter().position(|(_, place)| place.end > 5).unwrap();
        assert!(rows[0][blank(&rows[0])].1 == (5..7) && rows[1][blank(&rows[1])].1 == (5..6), "{rows:?}");
        assert_eq!(find_split(&rows, 6, true), blank(&rows[0]));
        // With the blank in the choices nothing is shared but the prompt.
        let rows = placed("sort:", &[" a", " b"]);
        assert_eq!(find_split(&rows, 5, true), blank(&rows[0]));
    }

    #[test]
    fn the_split_is_at_the_first_difference_or_the_first_letter_of_a_choice() {
        let split = |rows: &[&[(u32, usize)]], prompt: usize, unpredicted: bool| {
            find_split(&rows.iter().map(|tokens| row(tokens)).collect::<Vec<_>>(), prompt, unpredicted)
        };
        // All begin with the same token, which belongs to them.
        assert_eq!(split(&[&[(1, 2), (5, 1), (6, 1)], &[(1, 2), (5, 1), (7, 1)]], 2, false), 1);
        // One goes on where the other ends.
        assert_eq!(split(&[&[(1, 2), (5, 1)], &[(1, 2), (5, 1), (7, 1)]], 2, false), 1);
        // A token in the prompt differs.
        assert_eq!(split(&[&[(1, 1), (2, 1), (3, 1)], &[(1, 1), (4, 2)]], 2, false), 1);
        // The first token holds letters of the choices, the same for all: nobody pays for what nothing predicts.
        let shared: [&[(u32, usize)]; 2] = [&[(1, 2), (5, 1)], &[(1, 2), (6, 1)]];
        assert_eq!((split(&shared, 1, false), split(&shared, 1, true)), (0, 1));
        // Where it differs, or where a choice has no other, it cannot be left out.
        assert_eq!(split(&[&[(1, 2), (5, 1)], &[(2, 2), (5, 1)]], 1, true), 0);
        assert_eq!(split(&[&[(1, 2)], &[(1, 2), (5, 1)]], 1, true), 0);
    }
}
