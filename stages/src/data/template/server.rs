//! The process that renders a template: reads it and then conversations, one line of JSON each, and answers in lines.

use std::io::{BufRead, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};

use super::jinja::JinjaTemplate;
use super::{TemplateRequest, TemplateSource};

/// The only argument of a process that renders a template.
pub(super) const ARGUMENT: &str = "--render-template";

/// The exit code after a rendering that took too long.
pub(super) const TIMED_OUT: i32 = 3;

/// Memory of the process, in bytes.
const MAX_MEMORY_BYTES: u64 = 1 << 30;

/// Stack of the thread that renders, in bytes: recursion that the library permits fits in.
const STACK_BYTES: usize = 64 << 20;

/// Processor time for one template or conversation: not the time of day, so that a busy machine changes no result.
const MAX_TIME: Duration = Duration::from_secs(1);

static ISOLATED: AtomicBool = AtomicBool::new(false);

/// Renders templates in processes of their own from now on. To be called first in `main`: such a process is this program, started
/// again with one argument, and then this function does its work and returns the exit code.
#[must_use]
pub fn isolate_templates() -> Option<ExitCode> {
    if std::env::args_os().nth(1).is_some_and(|argument| argument == ARGUMENT) {
        return Some(serve());
    }
    ISOLATED.store(true, Ordering::Relaxed);
    None
}

/// Whether [`isolate_templates`] was called.
pub(super) fn is_isolated() -> bool {
    ISOLATED.load(Ordering::Relaxed)
}

fn serve() -> ExitCode {
    if limit_resources().is_err() {
        return ExitCode::FAILURE;
    }
    let ((requests, work), (answer, answers)) = (channel(), channel());
    let thread = std::thread::Builder::new().name("template".into()).stack_size(STACK_BYTES);
    if thread.spawn(move || answer_requests(&work, &answer)).is_err() {
        return ExitCode::FAILURE;
    }
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let Ok(line) = line else { return ExitCode::FAILURE };
        let answer = requests.send(line).ok().and_then(|()| wait_for_answer(&answers));
        let Some(answer) = answer else { return ExitCode::FAILURE };
        if writeln!(out, "{answer}").and_then(|()| out.flush()).is_err() {
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// Caps memory, and writes no core file: it could hold a conversation.
fn limit_resources() -> rustix::io::Result<()> {
    for (resource, most) in [(Resource::As, MAX_MEMORY_BYTES), (Resource::Core, 0)] {
        let now = getrlimit(resource);
        let most = now.maximum.map_or(most, |maximum| maximum.min(most));
        setrlimit(resource, Rlimit { current: Some(most), maximum: now.maximum })?;
    }
    Ok(())
}

/// Parses the first request as a template and renders the others with it.
fn answer_requests(requests: &Receiver<String>, answers: &Sender<String>) {
    let mut template = None;
    for line in requests {
        let answer = match &template {
            None => parse_line::<TemplateSource>(&line).and_then(JinjaTemplate::parse).map(|parsed| {
                template = Some(parsed);
                String::new()
            }),
            Some(parsed) => parse_line::<TemplateRequest>(&line).and_then(|request| parsed.render(&request)),
        };
        if answers.send(serde_json::json!(answer).to_string()).is_err() {
            return;
        }
    }
}

fn parse_line<T: serde::de::DeserializeOwned>(line: &str) -> Result<T, String> {
    serde_json::from_str(line).map_err(|e| format!("cannot be given its input: {e}"))
}

/// The next answer; `None` if the thread ended. Ends the process when the answer takes too long: a thread cannot be stopped.
fn wait_for_answer(answers: &Receiver<String>) -> Option<String> {
    let start = read_processor_time();
    loop {
        match answers.recv_timeout(Duration::from_millis(20)) {
            Ok(answer) => return Some(answer),
            Err(RecvTimeoutError::Disconnected) => return None,
            Err(RecvTimeoutError::Timeout) if read_processor_time().saturating_sub(start) > MAX_TIME => {
                std::process::exit(TIMED_OUT)
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

/// Processor time of this process.
fn read_processor_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).expect("a process has used no negative time")
}
