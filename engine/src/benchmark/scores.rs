//! Scores of graded samples.

use fmflow_grade::problem::{Layout, TaskId};
use fmflow_grade::score::{bootstrap_interval, estimate_pass_at, mean};
use fmflow_grade::session::{Outcome, Verdict};
use indexmap::IndexMap;
use serde::Serialize;

/// The k of pass@k, where there are as many samples.
const PASS_AT: [usize; 3] = [1, 10, 100];

/// A sample with its verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GradedSample {
    /// The problem.
    pub id: TaskId,
    /// `task_id` as it is shown.
    pub name: String,
    /// Whether nothing was written.
    pub empty: bool,
    /// Whether the answer ended because there was no room for more tokens; known only of answers that were just written.
    pub cut: Option<bool>,
    /// How it did.
    pub verdict: Verdict,
}

/// Samples of one problem.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProblemScore {
    /// Samples that were graded.
    pub samples: usize,
    /// Samples that passed.
    pub passed: usize,
}

/// Scores of a benchmark.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BenchmarkScores {
    /// Samples that passed.
    pub passed: usize,
    /// Samples that were graded.
    pub total: usize,
    /// The mean over problems of the unbiased estimate, by k. A k is left out if a problem has fewer samples.
    pub pass_at: IndexMap<String, f64>,
    /// The interval of 95 % of pass@1, by a bootstrap over problems.
    pub interval: (f64, f64),
    /// Samples in which nothing was written.
    pub empty: usize,
    /// Answers that ended because there was no room for more tokens, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cut: Option<usize>,
    /// Programs that used up their time.
    pub timed_out: usize,
    /// Programs that are no Python.
    pub syntax_errors: usize,
    /// Answers without the number that is asked for, of a benchmark that asks for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_number: Option<usize>,
    /// By problem, in the order of the samples.
    pub problems: IndexMap<String, ProblemScore>,
}

/// The scores of all samples of a benchmark of that layout.
#[must_use]
pub fn score_samples(samples: &[GradedSample], layout: Layout) -> BenchmarkScores {
    let mut problems: IndexMap<&TaskId, (&str, ProblemScore)> = IndexMap::new();
    for sample in samples {
        let empty = || (sample.name.as_str(), ProblemScore { samples: 0, passed: 0 });
        let (_, score) = problems.entry(&sample.id).or_insert_with(empty);
        score.samples += 1;
        score.passed += usize::from(sample.verdict.passed());
    }
    let count = |fits: &dyn Fn(&GradedSample) -> bool| samples.iter().filter(|sample| fits(sample)).count();
    let outcome = |outcome| count(&|sample: &GradedSample| sample.verdict.outcome == outcome);
    let estimates = |k| {
        let each = problems.values().map(|(_, score)| estimate_pass_at(k, score.samples, score.passed));
        each.collect::<Option<Vec<f64>>>().filter(|values| !values.is_empty())
    };
    let pass_at = PASS_AT.iter().filter_map(|k| Some((k.to_string(), mean(&estimates(*k)?)))).collect();
    BenchmarkScores {
        passed: outcome(Outcome::Passed),
        total: samples.len(),
        pass_at,
        interval: bootstrap_interval(&estimates(1).unwrap_or_default()),
        empty: count(&|sample| sample.empty),
        cut: samples.iter().any(|s| s.cut.is_some()).then(|| count(&|s| s.cut == Some(true))),
        timed_out: outcome(Outcome::TimedOut),
        syntax_errors: outcome(Outcome::SyntaxError),
        no_number: layout.finds_numbers().then(|| outcome(Outcome::NoNumber)),
        problems: problems.into_values().map(|(name, score)| (name.to_owned(), score)).collect(),
    }
}

impl BenchmarkScores {
    /// pass@1 in [0, 1].
    #[must_use]
    pub fn pass_at_one(&self) -> f64 {
        self.pass_at.get("1").copied().unwrap_or(0.0)
    }

    /// The scores as two lines of text.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let percent = |share: f64| format!("{:.1}", 100.0 * share);
        let shares: Vec<String> =
            self.pass_at.iter().map(|(k, share)| format!("pass@{k} {} %", percent(*share))).collect();
        let (low, high) = (percent(self.interval.0), percent(self.interval.1));
        let (passed, total, problems) = (self.passed, self.total, self.problems.len());
        let cut = self.cut.map(|cut| format!(", cut by the length {cut}")).unwrap_or_default();
        vec![
            format!(
                "{} (95 % interval of pass@1 {low} to {high}); {passed} of {total} samples for {problems} problems pass",
                shares.join(", ")
            ),
            match self.no_number {
                Some(count) => format!("empty {}{cut}, without a number {count}", self.empty),
                None => format!(
                    "empty {}{cut}, timed out {}, syntax errors {}",
                    self.empty, self.timed_out, self.syntax_errors
                ),
            },
        ]
    }
}

/// Whether an answer to a problem is nothing: no letter but blanks. In a gap, blanks are a text like another.
#[must_use]
pub fn is_empty(text: &str, layout: Layout) -> bool {
    match layout {
        Layout::Infilling => text.is_empty(),
        Layout::HumanEval | Layout::Mbpp | Layout::Gsm8k | Layout::Exact | Layout::Choice | Layout::Code => {
            text.trim().is_empty()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_are_an_answer_in_a_gap_alone() {
        for (text, gap, others) in [("", true, true), ("\n  ", false, true), (" x", false, false)] {
            assert_eq!(is_empty(text, Layout::Infilling), gap, "{text:?}");
            for layout in [Layout::HumanEval, Layout::Mbpp, Layout::Gsm8k, Layout::Exact, Layout::Code] {
                assert_eq!(is_empty(text, layout), others, "{text:?} {layout:?}");
            }
        }
    }

    fn sample(name: &str, outcome: Outcome) -> GradedSample {
        let verdict = Verdict { outcome, detail: String::new() };
        GradedSample { id: TaskId::from_name(name), name: name.into(), empty: false, cut: None, verdict }
    }

    #[test]
    fn scores_are_means_over_problems() {
        let mut samples = vec![sample("Mbpp/1", Outcome::Passed), sample("Mbpp/01", Outcome::SyntaxError)];
        samples.extend(vec![sample("Mbpp/2", Outcome::TimedOut); 10]);
        let scores = score_samples(&samples, Layout::HumanEval);
        assert_eq!((scores.passed, scores.total, scores.timed_out, scores.syntax_errors), (1, 12, 10, 1));
        // The first problem passes half of the time, the second never; only one of the two has 10 samples.
        assert_eq!(scores.pass_at, IndexMap::from([("1".to_owned(), 0.25)]));
        assert_eq!(scores.problems["Mbpp/1"], ProblemScore { samples: 2, passed: 1 });
        assert_eq!(
            scores.lines()[0],
            "pass@1 25.0 % (95 % interval of pass@1 0.0 to 50.0); 1 of 12 samples for 2 problems pass"
        );
        assert_eq!(scores.lines()[1], "empty 0, timed out 10, syntax errors 1");
        let asked = score_samples(&[sample("gsm8k/0", Outcome::NoNumber)], Layout::Gsm8k);
        assert_eq!((asked.no_number, scores.no_number), (Some(1), None));
        assert_eq!(asked.lines()[1], "empty 0, without a number 1");
    }
}
