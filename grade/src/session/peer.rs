//! One interpreter and the channel to it.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdin, ChildStdout, ExitStatus};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::{Pid, Signal, kill_process_group};

use super::message::{Message, MessageError};
use crate::sandbox::{self, SandboxPlan};

/// How often a process that does not answer is looked at.
const TICK: Duration = Duration::from_millis(100);

/// Most bytes read at once.
const CHUNK: usize = 1 << 16;

/// An interpreter that runs.
pub(super) struct Peer {
    child: Child,
    input: ChildStdin,
    output: ChildStdout,
    read: Vec<u8>,
}

/// Why a process does not answer.
#[derive(Debug)]
pub(super) enum Silence {
    /// It ended.
    Ended(ExitStatus),
    /// What it wrote is no message.
    Garbled(MessageError),
    /// It had the processor, or slept, for longer than it may.
    TooSlow,
    /// The time of the whole session is over.
    Starved,
    /// The pipe failed.
    Pipe(io::Error),
}

impl From<io::Error> for Silence {
    fn from(error: io::Error) -> Self {
        Self::Pipe(error)
    }
}

/// The time that a process has for one answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// Longest time that it may run or sleep. Time in which it waited for a processor does not count.
    pub active: Duration,
    /// When the whole session is over.
    pub end: Instant,
}

impl Peer {
    pub(super) fn start(plan: &SandboxPlan) -> io::Result<Self> {
        let mut child = sandbox::start(plan)?;
        let input = child.stdin.take().expect("its stdin is a pipe");
        let output = child.stdout.take().expect("its stdout is a pipe");
        let peer = Self { child, input, output, read: Vec::new() };
        for pipe in [peer.input.as_fd(), peer.output.as_fd()] {
            fcntl_setfl(pipe, fcntl_getfl(pipe)? | OFlags::NONBLOCK)?;
        }
        Ok(peer)
    }

    /// Sends a message.
    pub(super) fn send(&mut self, message: &Message, patience: Patience) -> Result<(), Silence> {
        let bytes = message.to_bytes();
        let (mut rest, start) = (bytes.as_slice(), Watch::new(&self.child));
        while !rest.is_empty() {
            match self.input.write(rest) {
                Ok(count) => rest = &rest[count..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    wait_for(self.input.as_fd(), PollFlags::OUT, patience)?;
                    start.check(patience)?;
                }
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Err(self.end()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Waits for a message.
    pub(super) fn receive(&mut self, patience: Patience) -> Result<Message, Silence> {
        let start = Watch::new(&self.child);
        let mut chunk = vec![0; CHUNK];
        loop {
            if let Some(message) = Message::take_from(&mut self.read).map_err(Silence::Garbled)? {
                return Ok(message);
            }
            match self.output.read(&mut chunk) {
                Ok(0) => return Err(self.end()),
                Ok(count) => self.read.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    wait_for(self.output.as_fd(), PollFlags::IN, patience)?;
                    start.check(patience)?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The end of a process that closed its pipe. It may have done so without ending, so it is killed; the status of one that ended
    /// itself stays.
    fn end(&mut self) -> Silence {
        let start = Instant::now();
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Silence::Ended(status),
                Ok(None) if start.elapsed() < TICK => std::thread::sleep(Duration::from_millis(1)),
                Ok(None) => return Silence::Ended(ExitStatus::from_raw(0)),
                Err(error) => return error.into(),
            }
        }
    }
}

impl Drop for Peer {
    /// Nothing of the process stays: it has no children in the sandbox, and without one its group is killed too.
    fn drop(&mut self) {
        let group = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        // The group exists once the process has a session of its own; before that there is nothing else in it.
        let _ = group.map(|group| kill_process_group(group, Signal::KILL));
        // It has ended already if it cannot be killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits for a pipe, but no longer than a tick.
fn wait_for(pipe: BorrowedFd<'_>, flags: PollFlags, patience: Patience) -> Result<(), Silence> {
    let tick = Timespec::try_from(TICK).expect("a tick is short");
    match poll(&mut [PollFd::from_borrowed_fd(pipe, flags)], Some(&tick)) {
        Ok(_) | Err(rustix::io::Errno::INTR) if Instant::now() < patience.end => Ok(()),
        Ok(_) | Err(rustix::io::Errno::INTR) => Err(Silence::Starved),
        Err(error) => Err(io::Error::from(error).into()),
    }
}

/// Since when one answer is waited for.
struct Watch {
    process: u32,
    start: Instant,
    waited: Duration,
}

impl Watch {
    fn new(child: &Child) -> Self {
        let process = child.id();
        Self { process, start: Instant::now(), waited: read_waited(process) }
    }

    fn check(&self, patience: Patience) -> Result<(), Silence> {
        let passed = self.start.elapsed();
        if passed < patience.active {
            return Ok(());
        }
        let waited = read_waited(self.process).saturating_sub(self.waited);
        if passed.saturating_sub(waited) < patience.active { Ok(()) } else { Err(Silence::TooSlow) }
    }
}

/// How long a process was ready to run but had no processor: the second number of its `schedstat`. Zero where the kernel does not
/// count it; then a starved process is only saved by its processor time being far from the limit.
fn read_waited(process: u32) -> Duration {
    let text = std::fs::read_to_string(format!("/proc/{process}/schedstat")).unwrap_or_default();
    let nanos = text.split(' ').nth(1).and_then(|word| word.parse().ok());
    Duration::from_nanos(nanos.unwrap_or(0))
}
