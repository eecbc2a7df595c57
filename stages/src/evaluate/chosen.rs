//! Compares the likelihoods of choices, and says how sure the comparison is.

use fmflow_engine::benchmark::BenchmarkScores;
use fmflow_engine::pipeline::config::sample::{ChoiceDivisor, ChoosingSettings, LikelihoodEstimator};
use fmflow_engine::text::display::count_noun;
use indexmap::IndexMap;
use serde::Serialize;

use super::answers::{MeasuredChoice, WrittenAnswer};
use super::likelihood::find_mean;

/// How answers were compared, and how sure the comparison is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct ChoiceReport {
    /// How likelihoods were measured.
    estimator: LikelihoodEstimator,
    /// `exact` or `lower bound`, of log-likelihoods.
    kind: &'static str,
    /// What the log-likelihoods were divided by for the score.
    normalise: &'static str,
    /// Times of a draw, of a bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    times: Option<usize>,
    /// Draws; 1 of what is exact.
    draws: usize,
    /// The share of right choices by divisor.
    accuracy: IndexMap<&'static str, f64>,
    /// The standard deviation of the score from draw to draw, with two draws or more.
    #[serde(skip_serializing_if = "Option::is_none")]
    spread: Option<f64>,
    /// Problems whose best two choices are less than two standard errors apart, with two draws or more.
    #[serde(skip_serializing_if = "Option::is_none")]
    undecided: Option<usize>,
}

/// The scores of all choices in one draw.
fn scores_of_draw(measured: &[MeasuredChoice], divisor: ChoiceDivisor, draw: usize) -> Vec<f64> {
    let score = |choice: &MeasuredChoice| {
        choice.log_likelihoods[draw]
            / match divisor {
                ChoiceDivisor::None => 1.0,
                ChoiceDivisor::Tokens => choice.tokens.max(1) as f64,
                ChoiceDivisor::Bytes => choice.bytes.max(1) as f64,
            }
    };
    measured.iter().map(score).collect()
}

/// The scores of all choices, as the means over the draws.
pub(super) fn mean_scores(measured: &[MeasuredChoice], divisor: ChoiceDivisor) -> Vec<f64> {
    let draws = measured.first().map_or(0, |choice| choice.log_likelihoods.len());
    let mut sums = vec![0.0; measured.len()];
    for draw in 0..draws {
        let scores = scores_of_draw(measured, divisor, draw);
        sums.iter_mut().zip(scores).for_each(|(sum, score)| *sum += score / draws as f64);
    }
    sums
}

/// The largest score; of equal ones the first.
pub(super) fn find_best(scores: &[f64]) -> usize {
    (1..scores.len()).fold(0, |best, at| if scores[at] > scores[best] { at } else { best })
}

/// Whether the best two choices are less than two standard errors of their difference apart.
fn is_undecided(measured: &[MeasuredChoice], divisor: ChoiceDivisor, draws: usize) -> bool {
    let means = mean_scores(measured, divisor);
    let best = find_best(&means);
    let others = (0..means.len()).filter(|at| *at != best);
    let Some(second) = others.reduce(|second, at| if means[at] > means[second] { at } else { second }) else {
        return false;
    };
    let difference = |draw| {
        let scores = scores_of_draw(measured, divisor, draw);
        scores[best] - scores[second]
    };
    let (mean, error) = find_mean(&(0..draws).map(difference).collect::<Vec<f64>>());
    error.is_some_and(|error| mean < 2.0 * error)
}

impl ChoiceReport {
    /// The report on answers, each with the number of the right choice. `estimator` is that of the checkpoint.
    pub(super) fn of(
        choosing: &ChoosingSettings,
        estimator: LikelihoodEstimator,
        answers: &[(&WrittenAnswer, usize)],
    ) -> Self {
        let draws = if estimator.is_exact() { 1 } else { choosing.draws };
        let measured = || answers.iter().filter(|(answer, _)| !answer.choices.is_empty());
        let share = |best: &dyn Fn(&[MeasuredChoice]) -> usize| {
            let right = measured().filter(|(answer, right)| best(&answer.choices) == *right).count();
            right as f64 / answers.len().max(1) as f64
        };
        let accuracy = |divisor: ChoiceDivisor| {
            (divisor.word(), share(&|choices| find_best(&mean_scores(choices, divisor))))
        };
        let of_draw = |draw| share(&|choices| find_best(&scores_of_draw(choices, choosing.normalise, draw)));
        let by_draw: Vec<f64> = (0..draws).map(of_draw).collect();
        let undecided = || {
            measured().filter(|(answer, _)| is_undecided(&answer.choices, choosing.normalise, draws)).count()
        };
        Self {
            estimator,
            kind: if estimator.is_exact() { "exact" } else { "lower bound" },
            normalise: choosing.normalise.word(),
            times: (!estimator.is_exact()).then_some(choosing.times),
            draws,
            accuracy: ChoiceDivisor::ALL.into_iter().map(accuracy).collect(),
            // From the standard error of a mean back to one draw.
            spread: find_mean(&by_draw).1.map(|error| error * (draws as f64).sqrt()),
            undecided: (draws > 1).then(undecided),
        }
    }

    /// The report as two lines of text.
    pub(super) fn lines(&self, scores: &BenchmarkScores) -> Vec<String> {
        let percent = |share: f64| format!("{:.1}", 100.0 * share);
        let (low, high) = (percent(scores.interval.0), percent(scores.interval.1));
        let spread = self
            .spread
            .map_or_else(String::new, |spread| format!(", ± {} from draw to draw", percent(spread)));
        let (estimator, kind, draws) = (self.estimator.word(), self.kind, self.draws);
        let drawn = self.times.map_or_else(String::new, |times| {
            format!(", {} of {}", count_noun(draws, "draw"), count_noun(times, "time"))
        });
        let others: Vec<String> =
            self.accuracy.iter().map(|(divisor, share)| format!("{divisor} {} %", percent(*share))).collect();
        let undecided = self
            .undecided
            .map_or_else(String::new, |count| format!("; undecided within their noise {count}"));
        vec![
            format!(
                "accuracy {} % (95 % interval {low} to {high}{spread}); {} of {} problems are right",
                percent(scores.pass_at_one()),
                scores.passed,
                scores.total
            ),
            format!(
                "by {estimator} likelihood ({kind}{drawn}), normalised by {}; accuracy by divisor: {}{undecided}; too long {}",
                self.normalise,
                others.join(", "),
                scores.cut.unwrap_or_default()
            ),
        ]
    }
}

#[cfg(test)]
mod tests {
    use fmflow_grade::session::Outcome;

    use super::*;

    fn choice(log_likelihoods: &[f64], tokens: u64, bytes: usize) -> MeasuredChoice {
        MeasuredChoice { log_likelihoods: log_likelihoods.to_vec(), tokens, bytes }
    }

    fn answer(choices: Vec<MeasuredChoice>) -> WrittenAnswer {
        WrittenAnswer {
            task_id: "0".into(),
            completion: None,
            solution: None,
            answer: None,
            checkpoint: String::new(),
            benchmark: String::new(),
            sample: 0,
            cut: choices.is_empty(),
            tokens: 0,
            passes: 0,
            outcome: Outcome::WrongAnswer,
            detail: String::new(),
            choices,
            unsafe_no_sandbox: false,
        }
    }

    #[test]
    fn each_divisor_may_find_another_choice_the_best() {
        let measured = [choice(&[-3.0], 1, 4), choice(&[-4.0], 2, 4), choice(&[-5.0], 2, 10)];
        let best = ChoiceDivisor::ALL.map(|divisor| find_best(&mean_scores(&measured, divisor)));
        assert_eq!(best, [0, 1, 2]);
        assert_eq!(mean_scores(&measured, ChoiceDivisor::Bytes), [-0.75, -1.0, -0.5]);
        assert_eq!(find_best(&[1.0, 2.0, 2.0]), 1, "of equal ones the first");
    }

    #[test]
    fn a_report_has_the_spread_of_its_draws() {
        let choosing = ChoosingSettings { normalise: ChoiceDivisor::None, times: 8, draws: 2 };
        // The first problem is clear, the second one turns with the draw, the third one was not measured.
        let all = [
            answer(vec![choice(&[-1.0, -1.1], 1, 1), choice(&[-9.0, -9.0], 1, 1)]),
            answer(vec![choice(&[-1.0, -3.0], 1, 1), choice(&[-2.0, -1.0], 1, 1)]),
            answer(Vec::new()),
        ];
        let answers: Vec<(&WrittenAnswer, usize)> = all.iter().zip([0, 0, 0]).collect();
        let report = ChoiceReport::of(&choosing, LikelihoodEstimator::Elbo, &answers);
        assert_eq!(report.accuracy["none"], 1.0 / 3.0);
        assert_eq!((report.undecided, report.kind, report.times), (Some(1), "lower bound", Some(8)));
        // The draws solve two and one of three: the standard deviation of 2/3 and 1/3.
        let expected = (2.0 * (1.0_f64 / 6.0).powi(2)).sqrt();
        assert!((report.spread.unwrap() - expected).abs() < 1e-12, "{report:?}");
        let exact = ChoiceReport::of(&choosing, LikelihoodEstimator::Autoregressive, &answers);
        assert_eq!((exact.draws, exact.spread, exact.undecided, exact.times), (1, None, None, None));
    }
}
