//! What the machine is: its system, threads and memory.

use std::fs;
use std::path::Path;

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
    Some((find_kib(&text, "MemTotal:")?, find_kib(&text, "MemAvailable:")?))
}

/// The bytes that processes may hold here, in memory and swapped out: what the machine has, or less if the control group of this process
/// is limited to that. `None` on systems without `/proc/meminfo`.
#[must_use]
pub(crate) fn find_machine_memory() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let total = find_kib(&text, "MemTotal:")?.saturating_add(find_kib(&text, "SwapTotal:").unwrap_or(0));
    let group = fs::read_to_string("/proc/self/cgroup").ok().and_then(|text| find_group_limit(&text));
    Some(group.map_or(total, |limit| limit.min(total)))
}

/// The least memory that a control group of the second version, or one above it, is limited to (`memory.max`), by `/proc/self/cgroup`.
fn find_group_limit(groups: &str) -> Option<u64> {
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let folders = Path::new("/sys/fs/cgroup").join(own);
    let limits = folders.ancestors().take_while(|folder| folder.starts_with("/sys/fs/cgroup"));
    limits.filter_map(|folder| fs::read_to_string(folder.join("memory.max")).ok()?.trim().parse().ok()).min()
}

/// The most memory that this process has held since it started, in bytes, of all its stages and threads; `None` on systems without
/// `/proc/self/status`.
#[must_use]
pub fn read_peak_memory() -> Option<u64> {
    find_kib(&fs::read_to_string("/proc/self/status").ok()?, "VmHWM:")
}

/// Bytes of a line such as `VmHWM:  123 kB`.
fn find_kib(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_of_the_process_is_read() {
        let status = "Name:\tx\nVmPeak:\t  900 kB\nVmHWM:\t  12 kB\n";
        assert_eq!(find_kib(status, "VmHWM:"), Some(12 << 10));
        assert_eq!((find_kib(status, "VmRSS:"), find_kib("VmHWM: x kB", "VmHWM:")), (None, None));
        assert!(read_peak_memory().is_none_or(|bytes| bytes > 0));
    }
}
