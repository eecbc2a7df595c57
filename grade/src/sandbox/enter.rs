//! The process that gives up its rights and becomes the interpreter.

use std::ffi::c_int;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use rustix::io::Errno;
use rustix::process::{
    Gid, Resource, Rlimit, Signal, Uid, getuid, set_parent_process_death_signal, setrlimit, setsid,
};

use super::refusal::{OWN_USER, Refusal};
use super::{ARGUMENT, Isolation, SandboxPlan};

/// Where the interpreter reads messages.
const CHANNEL_IN: c_int = 3;

/// Where the interpreter writes messages.
const CHANNEL_OUT: c_int = 4;

/// The user that a program runs as if this one runs as root: nobody's number, so that it owns no file and no other process.
const USER: u32 = 61_234;

/// Most descriptors that a process may open.
const MAX_FILES: u64 = 32;

/// To be called first in `main`. A process that was started to run an interpreter becomes it here; it returns an exit code only if that
/// is impossible. Any other process gets `None` and goes on.
#[must_use]
pub fn enter_sandbox() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_none_or(|argument| argument != ARGUMENT) {
        return None;
    }
    let plan = arguments.next().and_then(|text| text.into_string().ok()).unwrap_or_default();
    let Ok(mut channel) = arrange_descriptors() else { return Some(ExitCode::FAILURE) };
    let refusal = become_interpreter(&plan);
    let body = refusal.what.replace(|c: char| !c.is_ascii() || c.is_control(), "?");
    // If nobody listens any more, the exit code still says that it failed.
    let _ = write!(channel, "{} 0 {}\n{body}", refusal.kind, body.len());
    Some(ExitCode::FAILURE)
}

/// Moves the channel from stdin and stdout to descriptors that nothing prints to, and closes what this process inherited by
/// mistake.
fn arrange_descriptors() -> std::io::Result<File> {
    move_descriptor(0, CHANNEL_IN)?;
    move_descriptor(1, CHANNEL_OUT)?;
    let null = File::options().read(true).write(true).open("/dev/null")?;
    for standard in 0..=2 {
        move_descriptor(null.as_raw_fd(), standard)?;
    }
    close_others_on_exec()?;
    // SAFETY: descriptor 4 was made above and nothing else in this process owns it.
    #[expect(unsafe_code, reason = "a descriptor by its number")]
    Ok(File::from(unsafe { OwnedFd::from_raw_fd(CHANNEL_OUT) }))
}

#[expect(unsafe_code, reason = "rustix moves only descriptors that it owns")]
fn move_descriptor(from: c_int, to: c_int) -> std::io::Result<()> {
    // SAFETY: dup2 reads no memory. This process has one thread and uses no descriptor but those arranged here.
    match unsafe { libc::dup2(from, to) } {
        -1 => Err(std::io::Error::last_os_error()),
        _ => Ok(()),
    }
}

#[expect(unsafe_code, reason = "rustix has no close_range")]
fn close_others_on_exec() -> std::io::Result<()> {
    let (first, last) = (CHANNEL_OUT as libc::c_uint + 1, libc::c_uint::MAX);
    // SAFETY: close_range reads no memory, and with this flag it closes nothing before the exec.
    match unsafe { libc::syscall(libc::SYS_close_range, first, last, libc::CLOSE_RANGE_CLOEXEC) } {
        -1 => Err(std::io::Error::last_os_error()),
        _ => Ok(()),
    }
}

fn become_interpreter(plan: &str) -> Refusal {
    let plan: SandboxPlan = match serde_json::from_str(plan) {
        Ok(plan) => plan,
        Err(error) => return Refusal::sandbox("the plan of the sandbox", error),
    };
    if let Err(refusal) = limit_process(&plan) {
        return refusal;
    }
    let error = Command::new(&plan.program)
        .args(&plan.arguments)
        .env_clear()
        // The order of a set of strings would differ from run to run, and with it the answers of some programs.
        .env("PYTHONHASHSEED", "0")
        .env("PYTHONUTF8", "1")
        .exec();
    Refusal::interpreter(&plan.program, &error)
}

fn limit_process(plan: &SandboxPlan) -> Result<(), Refusal> {
    setsid().map_err(|error| Refusal::sandbox("a session of its own", error))?;
    limit_resources(plan).map_err(|error| Refusal::sandbox("limits of resources", error))?;
    if plan.isolation == Isolation::Enforced && getuid().is_root() {
        change_user().map_err(|error| Refusal::sandbox(OWN_USER, error))?;
    }
    // After the change of user, which clears it.
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|error| Refusal::sandbox("the end with its parent", error))?;
    if plan.isolation == Isolation::Enforced {
        super::landlock::restrict_files(plan)?;
        super::syscalls::restrict_calls().map_err(|error| Refusal::sandbox("seccomp", error))?;
    }
    Ok(())
}

/// The soft limit of processor time ends a process with a signal of its own, the hard one a process that ignores it.
fn limit_resources(plan: &SandboxPlan) -> rustix::io::Result<()> {
    let seconds = plan.limits.cpu_seconds;
    let mut limits = vec![
        (Resource::As, plan.limits.memory_bytes, plan.limits.memory_bytes),
        (Resource::Cpu, seconds, seconds + 1),
        (Resource::Core, 0, 0),
    ];
    if plan.isolation == Isolation::Enforced {
        limits.extend([(Resource::Fsize, 0, 0), (Resource::Nofile, MAX_FILES, MAX_FILES)]);
    }
    for (resource, current, maximum) in limits {
        let allowed = rustix::process::getrlimit(resource).maximum.unwrap_or(u64::MAX);
        let limit = Rlimit { current: Some(current.min(allowed)), maximum: Some(maximum.min(allowed)) };
        setrlimit(resource, limit)?;
    }
    Ok(())
}

/// A namespace that has only one user answers EINVAL: there, root is an ordinary user of the machine already.
fn change_user() -> rustix::io::Result<()> {
    let (user, group) = (Uid::from_raw(USER), Gid::from_raw(USER));
    let change = || {
        rustix::thread::set_thread_groups(&[])?;
        rustix::thread::set_thread_res_gid(group, group, group)?;
        rustix::thread::set_thread_res_uid(user, user, user)
    };
    match change() {
        Err(Errno::INVAL) => Ok(()),
        Err(Errno::PERM) if !can_set_groups() => Ok(()),
        done => done,
    }
}

/// Whether the user namespace lets a process change its groups: one that an ordinary user made does not.
fn can_set_groups() -> bool {
    std::fs::read_to_string("/proc/self/setgroups").is_ok_and(|word| word.trim() == "allow")
}
