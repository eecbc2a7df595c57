//! Starts an interpreter with limits: this program again, which gives up every right that an interpreter does not need and then
//! becomes the interpreter.
//!
//! Three layers, each enough against most attacks: an own user if this program runs as root, Landlock for files, seccomp for
//! everything else (sockets, processes, signals, memory of others). They need no namespaces and no helper programs.

#[cfg(target_os = "linux")]
mod enter;
#[cfg(target_os = "linux")]
mod landlock;
mod refusal;
#[cfg(target_os = "linux")]
mod syscalls;

#[cfg(target_os = "linux")]
pub use enter::enter_sandbox;
pub(crate) use refusal::{NO_INTERPRETER, NO_SANDBOX, OWN_USER};

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde::{Deserialize, Serialize};

/// The first argument of a process that enters the sandbox; the second is a [`SandboxPlan`] as JSON.
const ARGUMENT: &str = "--enter-sandbox";

/// How far a program is kept from the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Isolation {
    /// All layers are in force.
    Enforced,
    /// Only limits of time and memory: the program may read, write and send whatever its user may.
    UnsafeNoSandbox,
}

impl Isolation {
    /// The word in reports.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Enforced => "enforced",
            Self::UnsafeNoSandbox => "unsafe-no-sandbox",
        }
    }
}

/// What a process may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Processor time, in seconds.
    pub cpu_seconds: u64,
    /// Address space, in bytes.
    pub memory_bytes: u64,
}

/// What a program may use for all calls of its tests: 10 seconds of processor time and 1 GiB.
pub const LIMITS: Limits = Limits { cpu_seconds: 10, memory_bytes: 1 << 30 };

/// What a process becomes, and with which rights.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SandboxPlan {
    pub isolation: Isolation,
    pub limits: Limits,
    /// The interpreter, and the loader that starts it: what may be executed.
    pub execute: Vec<PathBuf>,
    /// Files, and folders with all that they contain, that may be read.
    pub read: Vec<PathBuf>,
    pub program: PathBuf,
    pub arguments: Vec<String>,
}

/// Elsewhere no interpreter is started, so no process is one.
#[cfg(not(target_os = "linux"))]
#[must_use]
pub fn enter_sandbox() -> Option<std::process::ExitCode> {
    None
}

/// Starts the process. Its descriptors 3 and 4 become the channel, which this side has as its stdin and stdout.
pub(crate) fn start(plan: &SandboxPlan) -> std::io::Result<Child> {
    if !cfg!(target_os = "linux") {
        return Err(std::io::Error::other("the sandbox needs Linux"));
    }
    let text = serde_json::to_string(plan).map_err(std::io::Error::other)?;
    Command::new("/proc/self/exe")
        .args([ARGUMENT, &text])
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
}
