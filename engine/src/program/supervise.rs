//! Runs a program to its end, or ends it.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::ProgramPlan;
use super::capture::{Capture, CapturedOutput};
use super::group::{Feed, ProcessGroup};

/// How often a running program is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// Bounds of a program.
pub(crate) struct ProgramLimits<'a> {
    /// Longest time that it may run; without one it may run for ever.
    pub time: Option<Duration>,
    /// How long it may take to end once it is asked to.
    pub grace: Duration,
    /// Bytes of its output that are kept of the beginning, and of the end.
    pub output: usize,
    /// Whether it has to stop.
    pub stop: &'a dyn Fn() -> bool,
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// By itself.
    Exit(ExitStatus),
    /// It ran for too long and was killed.
    TimedOut,
    /// It was told to stop.
    Stopped,
}

impl Ended {
    /// Why it did not succeed; `None` if it did.
    #[must_use]
    pub(crate) fn describe_failure(self) -> Option<String> {
        match self {
            Self::Exit(status) if status.success() => None,
            Self::Exit(status) => Some(match (status.code(), status.signal()) {
                // What a shell says of a program that a signal ended.
                (Some(code @ 129..=192), _) => format!("ended by signal {}", code - 128),
                (Some(code), _) => format!("exit code {code}"),
                (None, Some(signal)) => format!("ended by signal {signal}"),
                (None, None) => status.to_string(),
            }),
            Self::TimedOut => Some("took too long and was killed".into()),
            Self::Stopped => Some("was stopped".into()),
        }
    }
}

/// Runs a program. When this returns, nothing of its process group is left.
///
/// # Errors
/// If it cannot be started or waited for.
pub(crate) fn run_program(
    plan: &ProgramPlan,
    limits: &ProgramLimits<'_>,
) -> io::Result<(Ended, CapturedOutput)> {
    let (mut group, output) = ProcessGroup::start(plan, Feed::Nothing)?;
    let _lifeline = group.take_input();
    let capture = Capture::start(output, limits.output)?;
    let ended = wait_for(&group, limits)?;
    let status = group.end()?;
    Ok((ended.unwrap_or(Ended::Exit(status)), capture.finish()))
}

/// Waits for the end of a program. `None` if it ended by itself.
fn wait_for(group: &ProcessGroup, limits: &ProgramLimits<'_>) -> io::Result<Option<Ended>> {
    let start = Instant::now();
    loop {
        if group.has_ended()? {
            return Ok(None);
        }
        let ended = match limits.time {
            _ if (limits.stop)() => Ended::Stopped,
            Some(time) if start.elapsed() >= time => Ended::TimedOut,
            _ => {
                sleep(LOOK);
                continue;
            }
        };
        group.terminate();
        wait_until(group, limits.grace)?;
        return Ok(Some(ended));
    }
}

/// Waits for the end of a program, but not longer than `time`. Whether it ended.
pub(super) fn wait_until(group: &ProcessGroup, time: Duration) -> io::Result<bool> {
    let start = Instant::now();
    while start.elapsed() < time {
        if group.has_ended()? {
            return Ok(true);
        }
        sleep(LOOK);
    }
    group.has_ended()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(command: &str, time: Option<Duration>, stop: &dyn Fn() -> bool) -> (Ended, String, Duration) {
        let plan = ProgramPlan {
            command: command.into(),
            folder: std::env::temp_dir(),
            environment: vec![("GIVEN".into(), "a b".into())],
            bare: false,
        };
        let start = Instant::now();
        let limits = ProgramLimits { time, grace: Duration::from_millis(300), output: 1 << 10, stop };
        let (ended, output) = run_program(&plan, &limits).expect("sh can be started");
        (ended, String::from_utf8_lossy(&output.bytes()).into_owned(), start.elapsed())
    }

    fn failure(command: &str) -> Option<String> {
        run(command, None, &|| false).0.describe_failure()
    }

    #[test]
    fn the_end_of_a_program_is_told() {
        let (ended, output, _) =
            run("echo \"$GIVEN\"; echo err >&2; read x || echo no input", None, &|| false);
        assert_eq!((ended.describe_failure(), output.as_str()), (None, "a b\nerr\nno input\n"));
        assert_eq!(failure("exit 7").as_deref(), Some("exit code 7"));
        assert_eq!(failure("kill -9 $$").as_deref(), Some("ended by signal 9"));
        assert_eq!(failure("not-a-program-at-all").as_deref(), Some("exit code 127"));
    }

    #[test]
    fn a_program_that_kills_its_parent_and_its_group_kills_only_itself() {
        assert_eq!(failure("kill -9 $PPID; sleep 20").as_deref(), Some("ended by signal 9"));
        assert_eq!(failure("kill -9 0").as_deref(), Some("ended by signal 9"));
        let parents = "kill -9 -$(cut -d' ' -f5 /proc/$PPID/stat)";
        assert_eq!(failure(parents).as_deref(), Some("ended by signal 9"));
    }

    #[test]
    fn a_program_that_takes_too_long_is_killed_with_what_it_started() {
        let far = Duration::from_secs(20);
        let hang = "trap '' TERM; sleep 60 & sleep 60; sleep 60; sleep 60";
        let (ended, _, took) = run(hang, Some(Duration::from_millis(200)), &|| false);
        assert!(ended == Ended::TimedOut && took < far, "{ended:?} after {took:?}");
        let (ended, _, took) = run("sleep 60", None, &|| true);
        assert!(ended == Ended::Stopped && took < far, "{ended:?} after {took:?}");
        // A process that is left behind keeps nothing waiting.
        let (ended, output, took) = run("sleep 60 & echo done", None, &|| false);
        assert!(ended.describe_failure().is_none() && took < far, "{ended:?} after {took:?}");
        assert_eq!(output, "done\n");
    }

    #[test]
    fn a_program_that_floods_is_read_and_forgotten() {
        let (ended, output, _) = run("yes | head -c 50000000; echo end", None, &|| false);
        assert!(ended.describe_failure().is_none());
        assert!(output.len() < 4096 && output.ends_with("y\nend\n"), "{}", output.len());
        assert!(output.contains("bytes are left out"));
    }
}
