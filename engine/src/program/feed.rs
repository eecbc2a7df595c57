//! A program that is given lines while others work: who writes a line never waits for it.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::Duration;

use super::ProgramPlan;
use super::capture::{Capture, CapturedOutput};
use super::group::{Feed, ProcessGroup};
use super::supervise::{Ended, wait_until};

/// Lines that wait for the program; one more is left out.
const WAITING: usize = 1024;

/// Bytes of its output that are kept of the beginning, and of the end.
const OUTPUT: usize = 8 << 10;

/// Why a line did not reach the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FeedLoss {
    /// It has closed its stdin or ended.
    Gone,
    /// It does not read as fast as lines come.
    Slow,
}

/// A program that reads lines.
pub(crate) struct FedProgram {
    group: ProcessGroup,
    lines: Option<SyncSender<String>>,
    capture: Capture,
}

impl FedProgram {
    /// Starts a program.
    ///
    /// # Errors
    /// If it cannot be started.
    pub(crate) fn start(plan: &ProgramPlan) -> io::Result<Self> {
        let (mut group, output) = ProcessGroup::start(plan, Feed::Lines)?;
        let input = group.take_input().expect("its stdin is a pipe");
        let capture = Capture::start(output, OUTPUT)?;
        let (lines, receive) = sync_channel(WAITING);
        let work = move || write_lines(input, &receive);
        // Nobody waits for this thread: a process that left the group may keep the pipe open for ever.
        thread::Builder::new().name("pipe".into()).spawn(work)?;
        Ok(Self { group, lines: Some(lines), capture })
    }

    /// Hands over a line, without waiting.
    ///
    /// # Errors
    /// If the line does not reach the program.
    pub(crate) fn send(&self, line: String) -> Result<(), FeedLoss> {
        let lines = self.lines.as_ref().expect("lines end only when the program does");
        lines.try_send(line).map_err(|error| match error {
            TrySendError::Full(_) => FeedLoss::Slow,
            TrySendError::Disconnected(_) => FeedLoss::Gone,
        })
    }

    /// Ends the lines, lets the program work for at most `patience`, and kills what is left of it.
    ///
    /// # Errors
    /// If it cannot be waited for.
    pub(crate) fn finish(mut self, patience: Duration) -> io::Result<(Ended, CapturedOutput)> {
        self.lines = None;
        let by_itself = wait_until(&self.group, patience)?;
        let status = self.group.end()?;
        let ended = if by_itself { Ended::Exit(status) } else { Ended::TimedOut };
        Ok((ended, self.capture.finish()))
    }
}

/// Writes lines until there are no more, or nobody reads them.
fn write_lines(mut input: impl Write, lines: &Receiver<String>) {
    for line in lines {
        // The sender notices that this thread is gone.
        if input.write_all(line.as_bytes()).is_err() || input.write_all(b"\n").is_err() {
            return;
        }
    }
}
