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
const TICK: Duration = Duration::from_millis(25);

/// How many ticks one look may stand for: this process may have been kept from looking.
const MOST_TICKS: u32 = 4;

/// Most bytes read at once.
const CHUNK: usize = 1 << 16;

/// An interpreter that runs.
pub(super) struct Peer {
    child: Child,
    input: ChildStdin,
    output: ChildStdout,
    read: Vec<u8>,
    /// How long it slept while somebody waited for it.
    slept: Duration,
}

/// Why a process does not answer.
#[derive(Debug)]
pub(super) enum Silence {
    /// It ended.
    Ended(ExitStatus),
    /// What it wrote is no message.
    Garbled(MessageError),
    /// It slept for longer than it may before one answer.
    SleptLong,
    /// It slept for longer than it may before all of its answers.
    SleptOften,
    /// The grader was asked to stop.
    Stopped,
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

/// The time that a process has. How long it may run is a limit of the sandbox; time in which it waits for a processor does not count.
#[derive(Clone, Copy)]
pub(super) struct Patience<'a> {
    /// Longest time that it may sleep before one answer.
    pub sleep: Duration,
    /// Longest time that it may sleep before all of its answers.
    pub all_sleep: Duration,
    /// When the whole session is over.
    pub end: Instant,
    /// Whether to stop.
    pub stop: &'a dyn Fn() -> bool,
}

impl Peer {
    pub(super) fn start(plan: &SandboxPlan) -> io::Result<Self> {
        let mut child = sandbox::start(plan)?;
        let input = child.stdin.take().expect("its stdin is a pipe");
        let output = child.stdout.take().expect("its stdout is a pipe");
        let peer = Self { child, input, output, read: Vec::new(), slept: Duration::ZERO };
        for pipe in [peer.input.as_fd(), peer.output.as_fd()] {
            fcntl_setfl(pipe, fcntl_getfl(pipe)? | OFlags::NONBLOCK)?;
        }
        Ok(peer)
    }

    /// Sends a message.
    pub(super) fn send(&mut self, message: &Message, patience: Patience<'_>) -> Result<(), Silence> {
        let bytes = message.to_bytes();
        let (mut rest, mut watch) = (bytes.as_slice(), Watch::new());
        while !rest.is_empty() {
            match self.input.write(rest) {
                Ok(count) => rest = &rest[count..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.count_sleep(&mut watch, patience)?;
                    wait_for(self.input.as_fd(), PollFlags::OUT, patience)?;
                }
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Err(self.end()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Waits for a message.
    pub(super) fn receive(&mut self, patience: Patience<'_>) -> Result<Message, Silence> {
        let mut watch = Watch::new();
        let mut chunk = vec![0; CHUNK];
        loop {
            if let Some(message) = Message::take_from(&mut self.read).map_err(Silence::Garbled)? {
                return Ok(message);
            }
            match self.output.read(&mut chunk) {
                Ok(0) => return Err(self.end()),
                Ok(count) => self.read.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.count_sleep(&mut watch, patience)?;
                    wait_for(self.output.as_fd(), PollFlags::IN, patience)?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Called when nothing more of it is there: a process that sleeps now has slept since the last look.
    fn count_sleep(&mut self, watch: &mut Watch, patience: Patience<'_>) -> Result<(), Silence> {
        let passed = watch.last.elapsed();
        if passed < TICK {
            return Ok(());
        }
        watch.last = Instant::now();
        if !could_run(self.child.id()) {
            let passed = passed.min(TICK * MOST_TICKS);
            watch.slept += passed;
            self.slept += passed;
        }
        match () {
            () if watch.slept >= patience.sleep => Err(Silence::SleptLong),
            () if self.slept >= patience.all_sleep => Err(Silence::SleptOften),
            () => Ok(()),
        }
    }

    /// The end of a process that closed its pipe. It may have done so without ending, so it is killed; the status of one that ended
    /// itself stays.
    fn end(&mut self) -> Silence {
        let start = Instant::now();
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Silence::Ended(status),
                Ok(None) if start.elapsed() < TICK * MOST_TICKS => {
                    std::thread::sleep(Duration::from_millis(1))
                }
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
fn wait_for(pipe: BorrowedFd<'_>, flags: PollFlags, patience: Patience<'_>) -> Result<(), Silence> {
    let tick = Timespec::try_from(TICK).expect("a tick is short");
    match poll(&mut [PollFd::from_borrowed_fd(pipe, flags)], Some(&tick)) {
        Ok(_) | Err(rustix::io::Errno::INTR) if (patience.stop)() => Err(Silence::Stopped),
        Ok(_) | Err(rustix::io::Errno::INTR) if Instant::now() < patience.end => Ok(()),
        Ok(_) | Err(rustix::io::Errno::INTR) => Err(Silence::Starved),
        Err(error) => Err(io::Error::from(error).into()),
    }
}

/// How long one answer is waited for.
struct Watch {
    last: Instant,
    slept: Duration,
}

impl Watch {
    fn new() -> Self {
        Self { last: Instant::now(), slept: Duration::ZERO }
    }
}

/// Whether a thread of a process runs, waits for a processor, or waits for a disk: whoever has much of the load of a machine does one of
/// these. Its other threads may sleep meanwhile. A process of which nothing can be read is taken for one that sleeps.
fn could_run(process: u32) -> bool {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{process}/task")) else { return false };
    tasks.flatten().any(|task| {
        // `NUMBER (NAME) STATE ..`; the name may hold anything.
        let text = std::fs::read(task.path().join("stat")).unwrap_or_default();
        let name = text.iter().rposition(|byte| *byte == b')');
        name.and_then(|end| text.get(end + 2)).is_some_and(|state| matches!(state, b'R' | b'D'))
    })
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    /// How many of ten looks see that a script of Python could run.
    fn looks(script: &str) -> usize {
        let mut child = Command::new("python3")
            .args(["-c", &format!("import threading, time\nprint(flush=True)\n{script}")])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdout.take().unwrap().read_exact(&mut [0]).unwrap();
        let look = |_: &u32| {
            std::thread::sleep(Duration::from_millis(20));
            could_run(child.id())
        };
        let found = (0..10).filter(look).count();
        child.kill().unwrap();
        child.wait().unwrap();
        found
    }

    #[test]
    fn a_thread_that_works_is_no_sleep() {
        let work = "def work():\n    while True: pass";
        let found =
            looks(&format!("{work}\nthread = threading.Thread(target=work)\nthread.start()\nthread.join()"));
        assert!(found >= 8, "{found}");
        let found =
            looks("thread = threading.Thread(target=time.sleep, args=[99])\nthread.start()\nthread.join()");
        assert!(found <= 2, "{found}");
    }
}
