//! Answers to benchmarks, saved while they are written, so that an evaluation that is stopped or killed continues.

use std::ops::Range;

use fmflow_engine::error::{Failure, FailureKind};
use fmflow_engine::run::execute::Job;
use fmflow_engine::store::Summary;
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::failure::input_failure_in;

/// The file in a checkpoint.
const FILE: &str = "samples.jsonl";

/// One line of `samples.jsonl`: the fields of EvalPlus, then what is known of the answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct WrittenAnswer {
    pub task_id: String,
    /// What follows the prompt, of an answer that is graded so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion: Option<String>,
    /// The program in the answer of a conversation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub solution: Option<String>,
    /// That answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
    pub checkpoint: String,
    pub benchmark: String,
    /// The number of the sample among those of its problem.
    pub sample: usize,
    /// Whether it ended because there was no room for more tokens.
    pub cut: bool,
    /// New tokens up to the end.
    pub tokens: usize,
    /// Forward passes.
    pub passes: usize,
    pub outcome: fmflow_grade::session::Outcome,
    pub detail: String,
    /// Whether the program ran without a sandbox.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unsafe_no_sandbox: bool,
    /// The likelihoods of the choices, of a question that has some.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<MeasuredChoice>,
}

/// The likelihood of one of several answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct MeasuredChoice {
    /// The log-likelihood, or its lower bound, of each draw, in nats, to nine decimals: so a saved one comes back as it was.
    pub log_likelihoods: Vec<f64>,
    /// Its tokens that were predicted.
    pub tokens: u64,
    /// Its bytes.
    pub bytes: usize,
}

impl WrittenAnswer {
    /// What the model wrote.
    pub(super) fn text(&self) -> &str {
        self.answer.as_deref().or(self.completion.as_deref()).unwrap_or_default()
    }
}

/// Makes the answers of these numbers one after the other. A signal ends that early: what is finished is kept, so that it can be saved.
///
/// # Errors
/// As `make`; that of a signal only if nothing is finished.
pub(super) fn make_until_stopped<T>(
    numbers: Range<usize>,
    mut make: impl FnMut(usize) -> Result<T, Failure>,
) -> Result<Vec<T>, Failure> {
    let mut made = Vec::with_capacity(numbers.len());
    for number in numbers {
        match make(number) {
            Ok(one) => made.push(one),
            Err(failure) if failure.kind == FailureKind::Interrupted && !made.is_empty() => break,
            Err(failure) => return Err(failure),
        }
    }
    Ok(made)
}

/// Answers in the order in which they are asked.
pub(super) struct WrittenAnswers<'a> {
    job: &'a Job<'a>,
    /// Whether they are saved in checkpoints of the stage.
    saved: bool,
    answers: Vec<WrittenAnswer>,
    /// How many of them this evaluation has used.
    used: usize,
}

impl<'a> WrittenAnswers<'a> {
    /// Continues with those of the newest checkpoint, if the stage has benchmarks.
    pub(super) fn open(job: &'a Job<'a>, benchmarks: bool) -> Result<Self, Failure> {
        let mut answers = Vec::new();
        if let Some(checkpoint) = job.slot.latest_checkpoint()?.filter(|_| benchmarks) {
            checkpoint.notes.iter().for_each(|note| job.report.note(note));
            let text = std::fs::read_to_string(checkpoint.path.join(FILE))?;
            let read = |line: &str| serde_json::from_str(line);
            answers = text.lines().map(read).collect::<Result<_, _>>().map_err(|error| {
                input_failure_in(
                    "the saved answers cannot be read",
                    error,
                    "remove the unfinished stage with `fmflow gc`",
                )
            })?;
        }
        Ok(Self { job, saved: true, answers, used: 0 })
    }

    /// Answers of a stage whose checkpoints are not theirs.
    pub(super) fn unsaved(job: &'a Job<'a>) -> Self {
        Self { job, saved: false, answers: Vec::new(), used: 0 }
    }

    /// Up to `count` answers that exist already, in the order in which they were asked.
    pub(super) fn take(&mut self, count: usize) -> Vec<WrittenAnswer> {
        let end = self.answers.len().min(self.used + count);
        let taken = self.answers[self.used..end].to_vec();
        self.used = end;
        taken
    }

    /// Adds new answers and saves all. Stops afterwards if a signal asked for it.
    pub(super) fn add(&mut self, new: Vec<WrittenAnswer>) -> Result<(), Failure> {
        self.answers.extend(new);
        self.used = self.answers.len();
        if self.saved {
            self.save()?;
        }
        self.check_interrupt()
    }

    fn save(&self) -> Result<(), Failure> {
        let mut writer = self.job.slot.checkpoint(self.answers.len() as u64)?;
        writer.write(FILE, self.text().as_bytes())?;
        let summary = Summary { headline: String::new(), lines: Vec::new(), metrics: IndexMap::new() };
        writer.publish(&summary, &IndexMap::new())?;
        Ok(self.job.slot.prune_checkpoints(1, |_| false)?)
    }

    fn check_interrupt(&self) -> Result<(), Failure> {
        if !self.job.interrupt.load(std::sync::atomic::Ordering::SeqCst) {
            return Ok(());
        }
        let message = format!(
            "stage `{}` was stopped after {} answers; the next run continues",
            self.job.stage.name,
            self.answers.len()
        );
        Err(Failure { kind: FailureKind::Interrupted, message, help: None })
    }

    /// All answers as lines of JSON.
    pub(super) fn text(&self) -> String {
        let line = |answer| serde_json::to_string(answer).expect("an answer has a text") + "\n";
        self.answers.iter().map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_finished_before_a_signal_is_kept() {
        let make = |kind: FailureKind, last: usize| {
            make_until_stopped(3..9, |number| match number < last {
                true => Ok(number),
                false => Err(Failure { kind, message: String::new(), help: None }),
            })
        };
        assert_eq!(make(FailureKind::Interrupted, 9).unwrap(), [3, 4, 5, 6, 7, 8]);
        assert_eq!(make(FailureKind::Interrupted, 6).unwrap(), [3, 4, 5]);
        assert_eq!(make(FailureKind::Interrupted, 3).unwrap_err().kind, FailureKind::Interrupted);
        assert_eq!(make(FailureKind::Input, 6).unwrap_err().kind, FailureKind::Input);
    }
}
