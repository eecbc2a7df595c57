//! What the operating system allows this process to use.

use rustix::process::{Resource, getrlimit};

/// The memory that this process may use, in bytes, by `ulimit -v` and `ulimit -d`; `None` if it is not limited.
#[must_use]
pub(crate) fn read_memory_limit() -> Option<u64> {
    [Resource::As, Resource::Data].into_iter().filter_map(|resource| getrlimit(resource).current).min()
}

/// The stack that the first thread of this process may use, in bytes, by `ulimit -s`; `None` if it is not limited.
#[must_use]
pub(crate) fn read_stack_limit() -> Option<u64> {
    getrlimit(Resource::Stack).current
}

/// The largest file that this process may write, in bytes, by `ulimit -f`; `None` if it is not limited.
#[must_use]
pub(crate) fn read_file_size_limit() -> Option<u64> {
    getrlimit(Resource::Fsize).current
}
