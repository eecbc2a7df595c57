//! A process that renders one template, seen from the program that uses it.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use super::server::{ARGUMENT, TIMED_OUT};
use super::{TemplateRequest, TemplateSource};

/// How much of the child's last words is read, in bytes.
const MAX_LAST_WORDS: u64 = 4096;

/// A process that renders one template. It ends when this is dropped, or when this process ends.
#[derive(Debug)]
pub(super) struct TemplateChild(Mutex<ChildPipes>);

/// The process, and lines of JSON to and from it: the template first, then conversations, one answer each.
#[derive(Debug)]
struct ChildPipes {
    process: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
    last_words: ChildStderr,
}

impl TemplateChild {
    /// Starts a process and gives it the template.
    ///
    /// # Errors
    /// If no process can be started, or the template cannot be parsed within the limits.
    pub(super) fn start(source: &TemplateSource) -> Result<Self, String> {
        let mut pipes =
            ChildPipes::start().map_err(|e| format!("needs a process that cannot be started: {e}"))?;
        pipes.ask(source)?;
        Ok(Self(Mutex::new(pipes)))
    }

    /// Renders a conversation.
    ///
    /// # Errors
    /// If the template refuses it, or has exceeded a limit, now or before.
    pub(super) fn render(&self, request: &TemplateRequest) -> Result<String, String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).ask(request)
    }
}

impl ChildPipes {
    /// Starts this program again. In a process group of its own it gets no signal from the terminal: a stage that is
    /// interrupted ends in its own way.
    fn start() -> std::io::Result<Self> {
        let mut command = Command::new(find_own_program()?);
        command.arg(ARGUMENT).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut process = command.spawn()?;
        let pipes = (process.stdin.take(), process.stdout.take(), process.stderr.take());
        let (Some(requests), Some(answers), Some(last_words)) = pipes else {
            return Err(std::io::Error::other("it has no pipes"));
        };
        Ok(Self { process, requests, answers: BufReader::new(answers), last_words })
    }

    fn ask(&mut self, request: &impl Serialize) -> Result<String, String> {
        let mut line = serde_json::to_vec(request).map_err(|e| e.to_string())?;
        line.push(b'\n');
        let mut answer = String::new();
        let sent = self.requests.write_all(&line).and_then(|()| self.answers.read_line(&mut answer));
        match (sent, serde_json::from_str(&answer)) {
            (Ok(_), Ok(answer)) => answer,
            _ => Err(self.explain_end()),
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
        _ if says("has overflowed its stack") => "nests too deeply".into(),
        _ if says("memory allocation of") || says("capacity overflow") => {
            "takes more than 1 GiB of memory".into()
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
