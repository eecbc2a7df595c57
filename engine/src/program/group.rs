//! A process group: the program, and everything that it starts and that does not leave the group on purpose.

use std::io::{self, PipeReader, pipe};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use super::ProgramPlan;

/// Where a program's stdin comes from, and with it what ends the program if this process is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Feed {
    /// It has none. The pipe only tells a watcher that this process is gone, and the watcher kills the group.
    Nothing,
    /// Lines. It sees their end if this process is gone.
    Lines,
}

/// The program's parent is this shell and not fmflow, so that a program that kills its parent, or its parent's group, kills
/// only itself. A termination of the group is left to the program: the watcher has to outlive one, because the program may.
/// `read` returns when fmflow has ended.
const WATCHED: &str = "trap : TERM INT HUP
exec 3<&0 </dev/null
(trap '' TERM INT HUP; read -r _ <&3; kill -KILL 0) >/dev/null 2>&1 &
/bin/sh -c \"$1\" 3<&-
exit $?";

/// The same for a program that reads its stdin.
const FED: &str = "trap : TERM INT HUP
/bin/sh -c \"$1\"
exit $?";

/// A running program, which is killed with its group when this is dropped.
pub(super) struct ProcessGroup {
    child: Child,
    id: Pid,
    ended: bool,
}

impl ProcessGroup {
    /// Starts a program. Its output, both streams together, can be read from the pipe.
    pub(super) fn start(plan: &ProgramPlan, feed: Feed) -> io::Result<(Self, PipeReader)> {
        let (output, writer) = pipe()?;
        let mut command = Command::new("/bin/sh");
        if plan.bare {
            command.env_clear();
        }
        let script = if feed == Feed::Lines { FED } else { WATCHED };
        command
            .args(["-c", script, "sh", plan.command.as_str()])
            .current_dir(&plan.folder)
            .envs(plan.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(writer.try_clone()?)
            .stderr(writer)
            .process_group(0);
        let child = command.spawn()?;
        let id = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let id = id.expect("a process that was started has a positive number");
        Ok((Self { child, id, ended: false }, output))
    }

    /// The pipe to its stdin; a second call gets nothing. Dropping it tells a program without lines that this process is gone.
    pub(super) fn take_input(&mut self) -> Option<std::process::ChildStdin> {
        self.child.stdin.take()
    }

    /// Whether the program has ended. Its number is not free before [`Self::end`], so that no other group can have it.
    pub(super) fn has_ended(&self) -> io::Result<bool> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        match waitid(WaitId::Pid(self.id), options) {
            Ok(found) => Ok(found.is_some()),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Asks the program and what it started to end.
    pub(super) fn terminate(&self) {
        // The group may be gone already; then there is nobody to ask.
        let _ = kill_process_group(self.id, Signal::TERM);
    }

    /// Kills what is left of the group, and returns how the program ended.
    pub(super) fn end(&mut self) -> io::Result<ExitStatus> {
        if !self.ended {
            // The group may be empty already; then there is nobody to kill.
            let _ = kill_process_group(self.id, Signal::KILL);
        }
        self.ended = true;
        self.child.wait()
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        // Nothing can be done about a process that cannot be waited for, and nobody needs its status.
        let _ = self.end();
    }
}
