//! Grades many programs or answers, several at a time. The verdicts depend on neither the number of workers nor the load of the machine.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::answer::judge_answer;
use crate::interpreter::Interpreter;
use crate::problem::Problem;
use crate::sandbox::Limits;
use crate::session::{Attempt, Outcome, SessionError, Verdict, run_attempt};

/// One program or answer, and the problem that it is to solve.
#[derive(Clone, Copy, Debug)]
pub struct Program<'a> {
    /// The problem.
    pub problem: &'a Problem,
    /// The source, as a whole program; the text of an answer that is none.
    pub source: &'a str,
}

/// What grades.
#[derive(Clone, Copy)]
pub struct Grader<'a> {
    /// What runs the programs, where answers are programs.
    pub interpreter: Option<&'a Interpreter>,
    /// What one program may use.
    pub limits: Limits,
    /// Programs at a time.
    pub workers: usize,
    /// Whether to stop; asked before every program, and while one runs.
    pub stop: &'a (dyn Fn() -> bool + Sync),
}

/// Why not every program has a verdict.
#[derive(Debug, thiserror::Error)]
pub enum GradeError {
    /// It was asked to stop.
    #[error("grading was stopped")]
    Stopped,
    /// A problem or the machine is at fault, not the program.
    #[error("task {task}: {error}")]
    Session {
        /// `task_id` of the problem.
        task: String,
        /// What happened, twice if the machine is at fault.
        #[source]
        error: SessionError,
    },
}

impl Grader<'_> {
    /// Grades programs; the verdicts are in their order. `done` hears of each verdict as it is found, in any order.
    ///
    /// # Errors
    /// If it is stopped, a problem cannot be graded, or the machine fails twice.
    pub fn grade(
        &self,
        programs: &[Program<'_>],
        done: &(dyn Fn(usize, &Verdict) + Sync),
    ) -> Result<Vec<Verdict>, GradeError> {
        let slots: Vec<Mutex<Option<Result<Verdict, GradeError>>>> =
            programs.iter().map(|_| Mutex::new(None)).collect();
        let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
        let work = || {
            while !failed.load(Ordering::Relaxed) {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(program) = programs.get(at) else { break };
                let found = self.grade_one(program);
                match &found {
                    Ok(verdict) => done(at, verdict),
                    Err(_) => failed.store(true, Ordering::Relaxed),
                }
                *slots[at].lock().expect("no worker panics with the lock") = Some(found);
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..self.workers.clamp(1, programs.len().max(1)) {
                scope.spawn(work);
            }
        });
        collect_verdicts(slots)
    }

    fn grade_one(&self, program: &Program<'_>) -> Result<Verdict, GradeError> {
        if (self.stop)() {
            return Err(GradeError::Stopped);
        }
        let problem = match judge_answer(program.problem, program.source) {
            Ok(verdict) => return Ok(verdict),
            Err(tests) => tests,
        };
        let interpreter = self.interpreter.expect("who has tests to run looks for an interpreter first");
        let attempt =
            Attempt { interpreter, problem, program: program.source, limits: self.limits, stop: self.stop };
        run_twice(&attempt).map_err(|error| match error {
            SessionError::Stopped => GradeError::Stopped,
            error => GradeError::Session { task: program.problem.name.clone(), error },
        })
    }
}

/// What the machine does to a program is no failure of the program, so there is a second attempt. A program that is killed or starved
/// again probably causes it. Whatever else happens again is an error.
fn run_twice(attempt: &Attempt<'_>) -> Result<Verdict, SessionError> {
    match run_attempt(attempt) {
        Err(error @ (SessionError::Unfit(_) | SessionError::Stopped)) => Err(error),
        Err(_) => match run_attempt(attempt) {
            Err(error @ SessionError::CandidateKilled) => {
                Ok(Verdict::new(Outcome::Killed, error.to_string()))
            }
            // Whatever it answers, it must not end the grading of the others.
            Err(error @ SessionError::EndedByAnswer(_)) => {
                Ok(Verdict::new(Outcome::BadAnswer, error.to_string()))
            }
            Err(error @ SessionError::Starved(_)) => Ok(Verdict::new(Outcome::TimedOut, error.to_string())),
            second => second,
        },
        verdict => verdict,
    }
}

/// All verdicts, or the first error. After an error some programs have neither.
fn collect_verdicts(
    slots: Vec<Mutex<Option<Result<Verdict, GradeError>>>>,
) -> Result<Vec<Verdict>, GradeError> {
    let found = slots.into_iter().map(|slot| slot.into_inner().expect("no worker panics with the lock"));
    let found: Vec<Verdict> = found.flatten().collect::<Result<_, _>>()?;
    Ok(found)
}
