//! What the machine is: its system, threads and memory.

use std::fs;

use super::display::format_bytes;

/// System, threads and memory, as far as they are known, by name.
#[must_use]
pub(crate) fn describe_machine() -> Vec<(&'static str, String)> {
    let threads = std::thread::available_parallelism().ok();
    let memory = read_memory().map(|(total, _)| ("memory", format_bytes(total)));
    [("system", describe_system())]
        .into_iter()
        .chain(threads.map(|threads| ("threads", threads.to_string())))
        .chain(memory)
        .collect()
}

/// Name, release and architecture of the operating system.
#[must_use]
pub(crate) fn describe_system() -> String {
    let system = rustix::system::uname();
    let text = |part: &std::ffi::CStr| part.to_string_lossy().into_owned();
    [system.sysname(), system.release(), system.machine()].map(text).join(" ")
}

/// Total and available memory in bytes; `None` on systems without `/proc/meminfo`.
#[must_use]
pub(crate) fn read_memory() -> Option<(u64, u64)> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib << 10)
    };
    Some((field("MemTotal:")?, field("MemAvailable:")?))
}
