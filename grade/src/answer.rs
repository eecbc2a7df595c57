//! Verdicts on answers that are no programs.

use crate::number::{Decimal, find_last_number};
use crate::problem::{Check, Problem};
use crate::session::{Outcome, Verdict};

/// Longest part of an answer that a verdict shows, in letters.
const SHOWN: usize = 80;

/// The verdict on an answer; `Err` with the tests, as the judge reads them, if it is a program.
pub(crate) fn judge_answer<'a>(problem: &'a Problem, answer: &str) -> Result<Verdict, &'a str> {
    match &problem.check {
        Check::Tests(wire) => Err(wire),
        Check::Number(expected) => Ok(judge_number(expected, answer)),
        Check::Texts(expected) => Ok(judge_text(expected, answer.trim())),
    }
}

fn judge_number(expected: &Decimal, answer: &str) -> Verdict {
    let Some(found) = find_last_number(answer) else {
        return Verdict::new(Outcome::NoNumber, "the answer has no number");
    };
    match Decimal::read(found).as_ref() == Some(expected) {
        true => Verdict::new(Outcome::Passed, ""),
        false => Verdict::new(Outcome::WrongAnswer, format!("{found} instead of {expected}")),
    }
}

fn judge_text(expected: &[String], answer: &str) -> Verdict {
    if expected.iter().any(|expected| expected.trim() == answer) {
        return Verdict::new(Outcome::Passed, "");
    }
    let begin = |text: &str| text.chars().take(SHOWN).collect::<String>();
    let first = expected.first().map(|first| begin(first.trim())).unwrap_or_default();
    Verdict::new(Outcome::WrongAnswer, format!("{:?} instead of {first:?}", begin(answer)))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::problem::Layout;

    fn verdict(layout: Layout, record: &Value, answer: &str) -> (Outcome, String) {
        let problem = Problem::from_record(layout, record.as_object().unwrap()).unwrap();
        let verdict = judge_answer(&problem, &problem.complete(answer)).unwrap();
        (verdict.outcome, verdict.detail)
    }

    #[test]
    fn a_question_is_answered_by_its_last_number() {
        let reference = "48/2 = <<48/2=24>>24\n48+24 = 72\n#### 1,072";
        let record = json!({"question": "How many?", "answer": reference});
        let verdict = |answer: &str| verdict(Layout::Gsm8k, &record, answer);
        assert_eq!(verdict(reference), (Outcome::Passed, String::new()));
        assert_eq!(verdict("It is $1072.00."), (Outcome::Passed, String::new()));
        assert_eq!(verdict("1072, no: -1072"), (Outcome::WrongAnswer, "-1072 instead of 1072".into()));
        assert_eq!(verdict("I cannot say."), (Outcome::NoNumber, "the answer has no number".into()));
    }

    #[test]
    fn an_answer_is_compared_word_by_word() {
        let record = json!({"prompt": "The capital of France is", "answer": ["Paris", "Paris, France"]});
        let verdict = |answer: &str| verdict(Layout::Exact, &record, answer);
        for right in [" Paris\n", "Paris, France"] {
            assert_eq!(verdict(right), (Outcome::Passed, String::new()), "{right}");
        }
        for wrong in ["paris", "Paris.", ""] {
            assert_eq!(verdict(wrong), (Outcome::WrongAnswer, format!("{wrong:?} instead of \"Paris\"")));
        }
        assert!(verdict(&"x".repeat(1000)).1.len() < 200);
    }
}
