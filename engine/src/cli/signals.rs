//! Signals: which of them stop a run with a checkpoint, and which must not end the process.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGXCPU, SIGXFSZ};
use signal_hook::flag::{register, register_conditional_shutdown};

use super::output::Output;
use crate::error::{Error, Result, find_running_library_call};

/// How long an interrupted run waits for a call of a library to end.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often an interrupted run looks.
const LOOK: Duration = Duration::from_millis(50);

/// Lets a write beyond the limit on the size of a file fail with an error, which names the file, instead of ending the process.
pub(super) fn survive_large_files() -> Result<()> {
    register(SIGXFSZ, Arc::default()).map(drop).map_err(refused_signal())
}

/// A flag that the first signal sets, so that stages write a checkpoint and stop. A second signal ends the process at once.
pub(super) fn install_interrupt_flag() -> Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    let optional = [SIGHUP, SIGQUIT].into_iter().filter(|signal| !is_ignored(*signal));
    for signal in [SIGINT, SIGTERM, SIGUSR1, SIGUSR2].into_iter().chain(optional) {
        register_conditional_shutdown(signal, 75, flag.clone()).map_err(refused_signal())?;
        register(signal, flag.clone()).map_err(refused_signal())?;
    }
    // The system repeats this one every second until the limit at which it kills, so that a second one is no second wish.
    register(SIGXCPU, flag.clone()).map_err(refused_signal())?;
    Ok(flag)
}

/// A flag that Ctrl-C sets, so that an answer stops and the program goes on. If it is still set, another Ctrl-C ends the process.
pub(super) fn install_answer_flag() -> Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    register_conditional_shutdown(SIGINT, 75, flag.clone()).map_err(refused_signal())?;
    register(SIGINT, flag.clone()).map_err(refused_signal())?;
    Ok(flag)
}

/// Lets SIGTERM end the process at once, with the exit code of work that was stopped; or, if something has to be put back `first`, set the
/// flag, and end it if it is set already.
pub(super) fn end_when_asked(flag: &Arc<AtomicBool>, first: bool) -> Result<()> {
    let at_once = if first { flag.clone() } else { Arc::new(AtomicBool::new(true)) };
    register_conditional_shutdown(SIGTERM, 75, at_once).map_err(refused_signal())?;
    register(SIGTERM, flag.clone()).map(drop).map_err(refused_signal())
}

/// Ends the process when it is interrupted and a library works on one text for longer than [`PATIENCE`], which nothing can
/// stop. No result is damaged by that, but other running stages lose the updates since their last checkpoint.
pub(super) fn watch_library_calls(interrupt: Arc<AtomicBool>, output: Output) {
    std::thread::spawn(move || {
        let mut since = (None, Instant::now());
        loop {
            std::thread::sleep(LOOK);
            let call = find_running_library_call().filter(|_| interrupt.load(Ordering::SeqCst));
            if call.is_none() || call != since.0 {
                since = (call, Instant::now());
            } else if since.1.elapsed() > PATIENCE {
                output.message(
                    "interrupted while a library works on one long text; the same command continues\n",
                );
                std::process::exit(75);
            }
        }
    });
}

fn refused_signal() -> impl FnOnce(std::io::Error) -> Error {
    Error::io("listen for signals of", Path::new("this process"))
}

/// Whether the process was started with this signal ignored, as `nohup` does with SIGHUP and a shell with SIGQUIT of what it
/// runs in the background: then it has to stay ignored. Known on Linux only.
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask & (1 << (signal - 1)) != 0
}
