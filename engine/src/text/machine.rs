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
    let (memory, swap) = (find_kib(&text, "MemTotal:")?, find_kib(&text, "SwapTotal:").unwrap_or(0));
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limit = find_group_limit(&groups, Path::new("/sys/fs/cgroup"), swap);
    Some(memory.saturating_add(swap).min(limit.unwrap_or(u64::MAX)))
}

/// The least memory and swap that a control group of the second version, or one above it, is limited to, by `/proc/self/cgroup` and the folder
/// of all groups. A group without a limit for swap may use all of it.
fn find_group_limit(groups: &str, root: &Path, swap: u64) -> Option<u64> {
    let own = root.join(groups.lines().find_map(|line| line.strip_prefix("0::/"))?);
    let read =
        |folder: &Path, name: &str| fs::read_to_string(folder.join(name)).ok()?.trim().parse::<u64>().ok();
    let limit = |folder: &Path| {
        let memory = read(folder, "memory.max")?;
        Some(memory.saturating_add(read(folder, "memory.swap.max").unwrap_or(swap).min(swap)))
    };
    own.ancestors().take_while(|folder| folder.starts_with(root)).filter_map(limit).min()
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
    fn the_least_limit_of_a_group_and_those_above_counts() {
        let root = tempfile::tempdir().unwrap();
        let own = root.path().join("a/b");
        fs::create_dir_all(&own).unwrap();
        let find = || find_group_limit("4:memory:/x\n0::/a/b\n", root.path(), 50);
        assert_eq!(find(), None);
        fs::write(own.join("memory.max"), "max\n").unwrap();
        assert_eq!(find(), None);
        fs::write(root.path().join("a/memory.max"), "1000\n").unwrap();
        assert_eq!(find(), Some(1050));
        fs::write(root.path().join("a/memory.swap.max"), "0\n").unwrap();
        assert_eq!(find(), Some(1000));
        fs::write(own.join("memory.max"), "700\n").unwrap();
        assert_eq!(find(), Some(750));
        assert_eq!(find_group_limit("4:memory:/x\n", root.path(), 50), None);
    }

    #[test]
    fn the_peak_of_the_process_is_read() {
        let status = "Name:\tx\nVmPeak:\t  900 kB\nVmHWM:\t  12 kB\n";
        assert_eq!(find_kib(status, "VmHWM:"), Some(12 << 10));
        assert_eq!((find_kib(status, "VmRSS:"), find_kib("VmHWM: x kB", "VmHWM:")), (None, None));
        assert!(read_peak_memory().is_none_or(|bytes| bytes > 0));
    }
}
