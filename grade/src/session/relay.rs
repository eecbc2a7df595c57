//! The conversation of judge and candidate.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use super::message::{Message, MessageError};
use super::peer::{Patience, Peer, Silence};
use super::{Attempt, Outcome, SessionError, Verdict};
use crate::interpreter::FLAGS;
use crate::literal::{encode_text, read_words};
use crate::sandbox::{Limits, NO_INTERPRETER, NO_SANDBOX, SandboxPlan};

const CANDIDATE: &str = concat!(include_str!("../python/codec.py"), include_str!("../python/candidate.py"));
const JUDGE: &str = concat!(
    include_str!("../python/codec.py"),
    include_str!("../python/evalplus.py"),
    include_str!("../python/judge.py")
);

/// How many times its processor time a session may last. Generous: it ends only what does not get the machine.
const WALL_FACTOR: u32 = 20;

/// What the tests may use more than the program: they also run the reference solution.
const JUDGE_FACTOR: u64 = 3;

/// How many times its processor time a program may sleep in all of its answers.
const SLEEP_FACTOR: u32 = 6;

struct Session<'a> {
    judge: Peer,
    candidate: Peer,
    patience: Patience<'a>,
    seconds: u64,
    /// Whether the judge has heard of the candidate. Before that, nothing that the judge does is the candidate's fault.
    answered: bool,
}

/// What a candidate may say about a call.
const ANSWERS: [&str; 4] = ["answer", "raised", "missing", "unsayable"];

/// How the conversation ended early.
enum Stop {
    Verdict(Verdict),
    Error(SessionError),
}

impl From<SessionError> for Stop {
    fn from(error: SessionError) -> Self {
        Self::Error(error)
    }
}

/// Grades one program, once.
pub(crate) fn run_attempt(attempt: &Attempt<'_>) -> Result<Verdict, SessionError> {
    match converse(attempt) {
        Ok(verdict) | Err(Stop::Verdict(verdict)) => Ok(verdict),
        Err(Stop::Error(error)) => Err(error),
    }
}

/// The judge begins: a problem that cannot be graded is found whatever the program is.
fn converse(attempt: &Attempt<'_>) -> Result<Verdict, Stop> {
    let mut session = Session::start(attempt)?;
    session.tell_judge(&Message::new("problem", 0, attempt.problem.as_bytes()))?;
    let mut asked = session.hear_judge()?;
    if asked.kind == "verdict" {
        return read_verdict(&asked).map_err(Stop::Error);
    }
    let body = encode_text(attempt.program);
    let loaded = session.ask_candidate(&Message::new("load", 0, body.as_bytes()))?;
    match loaded.kind.as_str() {
        "loaded" => {}
        "syntax" => return Ok(Verdict::new(Outcome::SyntaxError, describe(&loaded))),
        "raised" => return Ok(Verdict::new(Outcome::Raised, describe(&loaded))),
        _ => return Ok(forged()),
    }
    while asked.kind != "verdict" {
        let answer = session.ask_candidate(&asked)?;
        if !ANSWERS.contains(&answer.kind.as_str()) {
            return Ok(forged());
        }
        session.answered = true;
        session.tell_judge(&answer)?;
        asked = session.hear_judge()?;
    }
    read_verdict(&asked).map_err(Stop::Error)
}

impl<'a> Session<'a> {
    fn start(attempt: &Attempt<'a>) -> Result<Self, SessionError> {
        let start = |script: &str, factor: u64| Peer::start(&build_plan(attempt, script, factor));
        let (judge, candidate) = (start(JUDGE, JUDGE_FACTOR)?, start(CANDIDATE, 1)?);
        let seconds = attempt.limits.cpu_seconds;
        let wall = Duration::from_secs(seconds.max(1)) * WALL_FACTOR;
        let patience = Patience {
            sleep: Duration::from_secs(seconds + 1),
            all_sleep: Duration::from_secs(seconds.max(1)) * SLEEP_FACTOR,
            end: Instant::now() + wall,
            stop: attempt.stop,
        };
        let mut session = Self { judge, candidate, patience, seconds, answered: false };
        let patience = session.judge_patience();
        expect_hello(&mut session.judge, patience)?;
        expect_hello(&mut session.candidate, patience)?;
        Ok(session)
    }

    /// How long the session may last.
    fn wall_seconds(&self) -> u64 {
        self.seconds.max(1) * u64::from(WALL_FACTOR)
    }

    fn judge_patience(&self) -> Patience<'a> {
        let factor = u32::try_from(JUDGE_FACTOR).expect("it is small");
        let Patience { sleep, all_sleep, .. } = self.patience;
        Patience { sleep: sleep * factor, all_sleep: all_sleep * factor, ..self.patience }
    }

    /// Passes a question to the candidate. Only an answer to this question counts.
    fn ask_candidate(&mut self, question: &Message) -> Result<Message, Stop> {
        let sent = self.candidate.send(question, self.patience);
        let answer = sent.and_then(|()| self.candidate.receive(self.patience));
        match answer {
            Ok(answer) if answer.number == question.number => Ok(answer),
            Ok(_) => Err(Stop::Verdict(forged())),
            Err(silence) => Err(self.blame_candidate(silence)),
        }
    }

    fn blame_candidate(&self, silence: Silence) -> Stop {
        let verdict = |outcome, detail: &str| Stop::Verdict(Verdict::new(outcome, detail));
        match silence {
            Silence::Ended(status) if used_up_time(status) => {
                verdict(Outcome::TimedOut, "no processor time left")
            }
            Silence::Ended(status) if was_killed(status) => SessionError::CandidateKilled.into(),
            Silence::Ended(status) => verdict(Outcome::Exited, &format!("the program ended: {status}")),
            Silence::Garbled(MessageError::TooLong) => verdict(Outcome::BadAnswer, "an answer is too long"),
            Silence::Garbled(error) => verdict(Outcome::BadAnswer, &format!("an answer is none: {error}")),
            Silence::SleptLong => verdict(Outcome::TimedOut, "no answer in time"),
            Silence::SleptOften => verdict(Outcome::TimedOut, "its answers take too long in all"),
            Silence::Stopped => SessionError::Stopped.into(),
            Silence::Starved => SessionError::Starved(self.wall_seconds()).into(),
            Silence::Pipe(error) => SessionError::Pipe(error).into(),
        }
    }

    fn tell_judge(&mut self, message: &Message) -> Result<(), Stop> {
        let sent = self.judge.send(message, self.judge_patience());
        sent.map_err(|silence| blame_judge(silence, self.answered, self.wall_seconds()))
    }

    fn hear_judge(&mut self) -> Result<Message, Stop> {
        let heard = self.judge.receive(self.judge_patience());
        heard.map_err(|silence| blame_judge(silence, self.answered, self.wall_seconds()))
    }
}

/// What the tests do before an answer is their own fault; afterwards, it is that of an answer.
fn blame_judge(silence: Silence, answered: bool, wall_seconds: u64) -> Stop {
    let blame = |outcome, answers: &str, tests: String| match answered {
        true => Stop::Verdict(Verdict::new(outcome, answers)),
        false => SessionError::Unfit(tests).into(),
    };
    let slow = || {
        let tests = "the tests do not come to their first question".to_owned();
        blame(Outcome::TimedOut, "the tests do not come to an end with its answers", tests)
    };
    match silence {
        Silence::Ended(status) if used_up_time(status) => slow(),
        Silence::SleptLong | Silence::SleptOften => slow(),
        Silence::Ended(status) if answered => SessionError::EndedByAnswer(status.to_string()).into(),
        Silence::Ended(status) => SessionError::JudgeEnded(status.to_string()).into(),
        Silence::Garbled(error) => {
            let tests = format!("a question is too large: {error}");
            blame(Outcome::BadAnswer, "the tests make a question of its answers that is too large", tests)
        }
        Silence::Stopped => SessionError::Stopped.into(),
        Silence::Starved if answered => SessionError::Starved(wall_seconds).into(),
        Silence::Starved => SessionError::JudgeStarved(wall_seconds).into(),
        Silence::Pipe(error) => SessionError::Pipe(error).into(),
    }
}

fn build_plan(attempt: &Attempt<'_>, script: &str, factor: u64) -> SandboxPlan {
    let (interpreter, limits) = (attempt.interpreter, attempt.limits);
    let arguments = FLAGS.iter().copied().chain([script]).map(str::to_owned).collect();
    SandboxPlan {
        isolation: interpreter.isolation,
        limits: Limits { cpu_seconds: limits.cpu_seconds * factor, ..limits },
        execute: interpreter.execute.clone(),
        read: interpreter.read.clone(),
        program: interpreter.program.clone(),
        arguments,
    }
}

/// The first message of an interpreter that works.
fn expect_hello(peer: &mut Peer, patience: Patience<'_>) -> Result<(), SessionError> {
    match peer.receive(patience) {
        Ok(message) if message.kind == "hello" => Ok(()),
        Ok(message) if message.kind == NO_SANDBOX => Err(SessionError::NoSandbox(message.text())),
        Ok(message) if message.kind == NO_INTERPRETER => Err(SessionError::NoStart(message.text())),
        Ok(message) => Err(SessionError::NoStart(format!("it says `{}`", message.kind))),
        Err(Silence::Ended(status)) => Err(SessionError::NoStart(format!("it ends with {status}"))),
        Err(Silence::Pipe(error)) => Err(SessionError::Pipe(error)),
        Err(Silence::Stopped) => Err(SessionError::Stopped),
        Err(silence) => Err(SessionError::NoStart(format!("it does not answer: {silence:?}"))),
    }
}

fn read_verdict(message: &Message) -> Result<Verdict, SessionError> {
    let words = read_words(&message.body).unwrap_or_default();
    let [kind, text, line] = words.as_slice() else {
        return Err(SessionError::JudgeEnded("its verdict is garbled".into()));
    };
    let detail = if line == "0" { text.clone() } else { format!("{text} (line {line} of the tests)") };
    match kind.as_str() {
        "passed" => Ok(Verdict::new(Outcome::Passed, "")),
        "assertion" | "test-error" => Ok(Verdict::new(Outcome::WrongAnswer, detail)),
        "raised" => Ok(Verdict::new(Outcome::Raised, detail)),
        _ => Err(SessionError::Unfit(text.clone())),
    }
}

/// The exception in a report of the candidate, which may hold anything.
fn describe(message: &Message) -> String {
    let words = read_words(&message.body).unwrap_or_default();
    match words.as_slice() {
        [name, .., text] if !text.is_empty() => format!("{name}: {text}"),
        [name, ..] => name.clone(),
        [] => "an exception".into(),
    }
}

fn forged() -> Verdict {
    Verdict::new(Outcome::BadAnswer, "it answers what nobody asked")
}

fn used_up_time(status: ExitStatus) -> bool {
    status.signal() == Some(libc::SIGXCPU)
}

fn was_killed(status: ExitStatus) -> bool {
    status.signal() == Some(libc::SIGKILL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_that_get_no_time_are_blamed_on_the_program_only_after_an_answer() {
        let found = |answered| match blame_judge(Silence::Starved, answered, 20) {
            Stop::Error(error) => error.to_string(),
            Stop::Verdict(verdict) => panic!("{verdict:?}"),
        };
        assert_eq!(found(true), "the processes did not end in 20 seconds of wall time");
        assert_eq!(found(false), "the tests did not begin in 20 seconds of wall time");
    }
}
