//! A process that renders one template, seen from the program that uses it.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use super::server::{ARGUMENT, NO_LIMITS, TIMED_OUT};
use super::{TemplateRequest, TemplateSource};

/// How much of the child's last words is read, in bytes.
const MAX_LAST_WORDS: u64 = 4096;

/// Where a dynamic linker looks: the only variable of the environment that the process gets.
const LIBRARIES: &str = "LD_LIBRARY_PATH";

/// Renders one template in a process that starts when it is first needed, and ends when this is dropped or this process ends.
#[derive(Debug)]
pub(super) struct TemplateChild(Mutex<ChildState>);

#[derive(Debug)]
enum ChildState {
    /// Not started yet.
    Waiting(TemplateSource),
    Running(ChildPipes),
    /// Why it cannot render any more, as the predicate of a sentence about the template.
    Ended(String),
}

/// The process, and lines of JSON to and from it: the template first, then lists of conversations, one answer each.
#[derive(Debug)]
struct ChildPipes {
    process: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
    last_words: ChildStderr,
}

/// Why a template gives no text.
#[derive(Debug)]
pub(super) enum RenderingFault {
    /// The template is at fault: the predicate of a sentence about it.
    Template(String),
    /// The machine is: no process could be started. The next request tries again.
    NoProcess(std::io::Error),
}

/// Why a request has no text.
enum ChildFailure {
    /// The template refuses it; others may be rendered.
    Refused(String),
    /// The process has ended, for this reason.
    Ended(String),
}

impl TemplateChild {
    pub(super) fn new(source: TemplateSource) -> Self {
        Self(Mutex::new(ChildState::Waiting(source)))
    }

    /// Starts the process and gives it the template, unless that was done.
    ///
    /// # Errors
    /// If no process can be started, or the template cannot be parsed within the limits.
    pub(super) fn prepare(&self) -> Result<(), RenderingFault> {
        self.with_process(|_| Ok(()))
    }

    /// Renders conversations.
    ///
    /// # Errors
    /// As [`Self::prepare`], and if the template refuses one, or has exceeded a limit, now or before.
    pub(super) fn render_all(&self, requests: &[TemplateRequest<'_>]) -> Result<Vec<String>, RenderingFault> {
        self.with_process(|pipes| pipes.ask(requests))
    }

    fn with_process<T>(
        &self,
        call: impl FnOnce(&mut ChildPipes) -> Result<T, ChildFailure>,
    ) -> Result<T, RenderingFault> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let ChildState::Waiting(source) = &*state {
            *state = match ChildPipes::spawn().map_err(RenderingFault::NoProcess)?.take_template(source) {
                Ok(pipes) => ChildState::Running(pipes),
                Err(cause) => ChildState::Ended(cause),
            };
        }
        let found = match &mut *state {
            ChildState::Ended(cause) => return Err(RenderingFault::Template(cause.clone())),
            ChildState::Waiting(_) => unreachable!("a process that waits was started above"),
            ChildState::Running(pipes) => call(pipes),
        };
        found.map_err(|failure| match failure {
            ChildFailure::Refused(cause) => RenderingFault::Template(cause),
            ChildFailure::Ended(cause) => {
                *state = ChildState::Ended(cause.clone());
                RenderingFault::Template(cause)
            }
        })
    }
}

impl ChildPipes {
    /// Gives the process its template. The error is the predicate of a sentence about the template.
    fn take_template(mut self, source: &TemplateSource) -> Result<Self, String> {
        match self.ask(source) {
            Ok(_) => Ok(self),
            Err(ChildFailure::Refused(cause) | ChildFailure::Ended(cause)) => Err(cause),
        }
    }

    /// Starts this program again. In a process group of its own it gets no signal from the terminal: a stage that is
    /// interrupted ends in its own way. A template needs no secret of the environment, and a backtrace could fill the pipe.
    fn spawn() -> std::io::Result<Self> {
        let mut command = Command::new(find_own_program()?);
        command.arg(ARGUMENT).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.env_clear().envs(std::env::var_os(LIBRARIES).map(|path| (LIBRARIES, path)));
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut process = command.spawn()?;
        let pipes = (process.stdin.take(), process.stdout.take(), process.stderr.take());
        let (Some(requests), Some(answers), Some(last_words)) = pipes else {
            unreachable!("all three were asked for");
        };
        Ok(Self { process, requests, answers: BufReader::new(answers), last_words })
    }

    fn ask(&mut self, request: &(impl Serialize + ?Sized)) -> Result<Vec<String>, ChildFailure> {
        let mut line = serde_json::to_vec(request).expect("a request has only strings as keys");
        line.push(b'\n');
        let mut answer = String::new();
        let sent = self.requests.write_all(&line).and_then(|()| self.answers.read_line(&mut answer));
        match (sent, serde_json::from_str::<Result<Vec<String>, String>>(&answer)) {
            (Ok(_), Ok(answer)) => answer.map_err(ChildFailure::Refused),
            (Ok(length), Err(_)) if length > 0 && answer.ends_with('\n') => Err(ChildFailure::Ended(
                "is rendered by another version of this program: its file was replaced".into(),
            )),
            _ => Err(ChildFailure::Ended(self.explain_end())),
        }
    }

    /// Why the process ended.
    fn explain_end(&mut self) -> String {
        let mut words = Vec::new();
        // What it said only makes the message better, so an error here changes nothing.
        let _ = self.last_words.by_ref().take(MAX_LAST_WORDS).read_to_end(&mut words);
        match self.process.wait() {
            Ok(status) => name_exceeded_limit(status, &String::from_utf8_lossy(&words)),
            Err(error) => format!("cannot be rendered: {error}"),
        }
    }
}

/// The limit that a process exceeded, by the way in which the Rust runtime ends.
fn name_exceeded_limit(status: ExitStatus, words: &str) -> String {
    let says = |what: &str| words.contains(what);
    match status.code() {
        Some(TIMED_OUT) => "takes too long".into(),
        Some(NO_LIMITS) => {
            format!("cannot be rendered, because its process cannot be limited: {}", words.trim())
        }
        _ if says("has overflowed its stack") => "nests too deeply".into(),
        _ if says("memory allocation of") || says("capacity overflow") => {
            "takes more memory than it may (1 GiB)".into()
        }
        _ => format!("ended the process that renders it ({status})"),
    }
}

/// The file of this program; on Linux by a name that works even after the file was replaced.
fn find_own_program() -> std::io::Result<std::path::PathBuf> {
    match cfg!(target_os = "linux") {
        true => Ok("/proc/self/exe".into()),
        false => std::env::current_exe(),
    }
}

impl Drop for ChildPipes {
    /// The process holds nothing of value, so it is not asked to end.
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
