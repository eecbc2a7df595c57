//! One program against the tests of its problem: two interpreters, and the messages between them.
//!
//! The judge runs the tests. When they call the program, the judge asks, this process passes the question to the candidate, checks the
//! answer and passes it back. The judge never reads a byte that is not a checked literal, and the candidate never sees the tests.

mod message;
mod peer;
mod relay;

use std::io;

pub(crate) use relay::run_attempt;

use crate::interpreter::Interpreter;
use crate::sandbox::Limits;

/// Longest detail of a verdict, in bytes: a program may write any text instead of an exception.
const MAX_DETAIL: usize = 4096;

/// One program that is to be graded.
#[derive(Clone, Copy)]
pub(crate) struct Attempt<'a> {
    pub interpreter: &'a Interpreter,
    /// What the judge gets, as a literal.
    pub problem: &'a str,
    /// The source of the program.
    pub program: &'a str,
    pub limits: Limits,
    /// Whether to stop; asked while it runs, too.
    pub stop: &'a dyn Fn() -> bool,
}

/// How a program did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Every test holds.
    Passed,
    /// A test does not hold.
    WrongAnswer,
    /// The program raised an exception that no test expects.
    Raised,
    /// The program is no Python.
    SyntaxError,
    /// It used up its processor time, or slept too long.
    TimedOut,
    /// It ended before it answered.
    Exited,
    /// It was killed from outside, twice: probably it used up the memory of the machine.
    Killed,
    /// An answer is too long, too deep, or none.
    BadAnswer,
    /// A text that should give a number has none.
    NoNumber,
}

/// An outcome, with what happened.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Verdict {
    /// How the program did.
    pub outcome: Outcome,
    /// In words of the interpreter, at most 4 KiB of them; empty if it passed.
    pub detail: String,
}

impl Verdict {
    pub(crate) fn new(outcome: Outcome, detail: impl Into<String>) -> Self {
        Self { outcome, detail: cut_detail(detail.into()) }
    }

    /// Whether every test holds.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.outcome == Outcome::Passed
    }
}

/// A text of at most [`MAX_DETAIL`] bytes, which says so if something is missing.
fn cut_detail(text: String) -> String {
    if text.len() <= MAX_DETAIL {
        return text;
    }
    let mark = format!(" ... (cut: it has {} bytes)", text.len());
    // A text of its own: what is cut off must not stay in memory.
    [&text[..text.floor_char_boundary(MAX_DETAIL - mark.len())], &mark].concat()
}

/// Why there is no verdict. Nothing of this is a failure of the program.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The machine does not offer the sandbox.
    #[error("no sandbox: {0}")]
    NoSandbox(String),
    /// A process did not start.
    #[error("an interpreter does not start: {0}")]
    NoStart(String),
    /// The problem cannot be graded, whatever the program is.
    #[error("the problem cannot be graded: {0}")]
    Unfit(String),
    /// The judge ended without a verdict, before it heard anything of the program.
    #[error("the interpreter of the tests ended: {0}")]
    JudgeEnded(String),
    /// The judge ended without a verdict, after an answer of the program.
    #[error("the interpreter of the tests ended after an answer of the program: {0}")]
    EndedByAnswer(String),
    /// The candidate was killed by something else than its limits.
    #[error("the program was killed")]
    CandidateKilled,
    /// The judge did not get enough of the machine, before it heard anything of the program.
    #[error("the tests did not begin in {0} seconds of wall time")]
    JudgeStarved(u64),
    /// The processes did not get enough of the machine.
    #[error("the processes did not end in {0} seconds of wall time")]
    Starved(u64),
    /// It was asked to stop.
    #[error("grading was stopped")]
    Stopped,
    /// A pipe failed.
    #[error("a pipe failed: {0}")]
    Pipe(#[from] io::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_detail_of_a_verdict_is_bounded_and_says_so() {
        let detail = |text: String| Verdict::new(Outcome::Raised, text).detail;
        assert_eq!(detail("x".repeat(MAX_DETAIL)), "x".repeat(MAX_DETAIL));
        let cut = detail("ä".repeat(300_000));
        assert!(cut.len() <= MAX_DETAIL && cut.capacity() <= MAX_DETAIL, "{}", cut.len());
        assert!(cut.ends_with("ä ... (cut: it has 600000 bytes)"), "{cut}");
    }
}
