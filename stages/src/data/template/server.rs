//! The process that renders a template: reads it and then lists of conversations, a line of JSON each, and answers in lines.

use std::io::{BufRead, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};

use super::ReceivedRequest;
use super::jinja::JinjaTemplate;

/// The only argument of a process that renders a template.
pub(super) const ARGUMENT: &str = "--render-template";

/// The exit code after a rendering that took too long.
pub(super) const TIMED_OUT: i32 = 3;

/// The exit code when the process cannot be limited; the reason is on stderr.
pub(super) const NO_LIMITS: i32 = 4;

/// Memory of the process, in bytes.
const MAX_MEMORY_BYTES: u64 = 1 << 30;

/// Stack of the thread that renders, in bytes: recursion that the library permits fits in.
const STACK_BYTES: usize = 64 << 20;

/// Processor time for the template or one list of conversations, in microseconds: not the time of day, so that a busy machine
/// changes no result.
const MAX_MICROS: u64 = 1_000_000;

/// How often the time is looked at.
const WATCH_INTERVAL: Duration = Duration::from_millis(50);

/// The processor time of this process when the work on a line began, in microseconds, or [`IDLE`].
static BUSY_SINCE: AtomicU64 = AtomicU64::new(IDLE);

const IDLE: u64 = u64::MAX;

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

/// The thread that this starts reads, renders and answers, so that a request wakes up one thread only; this one watches its
/// time.
fn serve() -> ExitCode {
    if let Err(error) = limit_resources() {
        return report_no_limits(&error);
    }
    let thread = std::thread::Builder::new().name("template".into()).stack_size(STACK_BYTES);
    match thread.spawn(answer_requests) {
        Ok(thread) => watch_time(thread),
        Err(error) => report_no_limits(&error),
    }
}

fn report_no_limits(error: &dyn std::fmt::Display) -> ExitCode {
    // If stderr is gone, the exit code still says what happened.
    let _ = writeln!(std::io::stderr(), "{error}");
    std::process::exit(NO_LIMITS)
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

/// Parses the first line as a template and renders the conversations of the others with it, until there is no more.
fn answer_requests() -> std::io::Result<()> {
    let mut template = None;
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        BUSY_SINCE.store(read_processor_micros(), Ordering::Relaxed);
        let answer = answer_line(&mut template, &line);
        BUSY_SINCE.store(IDLE, Ordering::Relaxed);
        out.write_all((serde_json::json!(answer).to_string() + "\n").as_bytes())?;
        out.flush()?;
    }
    Ok(())
}

fn answer_line(template: &mut Option<JinjaTemplate>, line: &str) -> Result<Vec<String>, String> {
    let Some(template) = template else {
        *template = Some(JinjaTemplate::parse(parse_line(line)?)?);
        return Ok(Vec::new());
    };
    let requests: Vec<ReceivedRequest> = parse_line(line)?;
    requests
        .iter()
        .map(|request| template.render(&request.messages, &request.options, request.marked))
        .collect()
}

fn parse_line<T: serde::de::DeserializeOwned>(line: &str) -> Result<T, String> {
    serde_json::from_str(line).map_err(|e| format!("cannot be given its input: {e}"))
}

/// Waits for the end of the thread that renders. Ends the process when a line takes too long: a thread cannot be stopped.
fn watch_time(thread: JoinHandle<std::io::Result<()>>) -> ExitCode {
    while !thread.is_finished() {
        std::thread::sleep(WATCH_INTERVAL);
        let since = BUSY_SINCE.load(Ordering::Relaxed);
        if since != IDLE && read_processor_micros().saturating_sub(since) > MAX_MICROS {
            std::process::exit(TIMED_OUT);
        }
    }
    match thread.join() {
        Ok(Ok(())) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// Processor time of this process, in microseconds.
fn read_processor_micros() -> u64 {
    let time = Duration::try_from(clock_gettime(ClockId::ProcessCPUTime));
    let micros = time.expect("a process has used no negative time").as_micros();
    u64::try_from(micros).expect("no process runs for 500,000 years")
}
