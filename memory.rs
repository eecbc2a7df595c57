//! Memory that runs out: the process says so, with the stages at work, and ends as it does for input that is too large.

#![expect(unsafe_code, reason = "an allocator, and a handler of a signal")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::fmt::{self, Write};
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

use fmflow_engine::run::last_words::{OUT_OF_MEMORY_EXIT, is_first_to_tell, write_out_of_memory};
use signal_hook::consts::SIGABRT;
use signal_hook::low_level::{exit, register};

/// The allocator of the system. It remembers the last request that was refused.
pub(crate) struct WatchedAllocator;

/// The bytes of that request; 0 if there was none.
static REFUSED: AtomicUsize = AtomicUsize::new(0);

fn watch(allocated: *mut u8, bytes: usize) -> *mut u8 {
    if allocated.is_null() {
        REFUSED.store(bytes, Ordering::Relaxed);
    }
    allocated
}

// SAFETY: every request is passed on to the allocator of the system as it is.
unsafe impl GlobalAlloc for WatchedAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract of this function, which is the same.
        watch(unsafe { System.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        watch(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above.
        watch(unsafe { System.realloc(old, layout, size) }, size)
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(old, layout) }
    }
}

/// Whoever cannot go on without memory that was refused aborts the process: from now on, that tells why, with an exit code of its own.
///
/// # Errors
/// If the system takes no handler.
pub(crate) fn tell_when_it_runs_out() -> io::Result<()> {
    // SAFETY: the handler reads atomic numbers, writes to a file descriptor and ends the process, all of which is allowed in it.
    unsafe { register(SIGABRT, end_if_out_of_memory) }.map(|_| ())
}

/// Does nothing after any other abort, which then takes its course.
fn end_if_out_of_memory() {
    let bytes = REFUSED.load(Ordering::Relaxed);
    if bytes > 0 {
        if is_first_to_tell() {
            // Nobody is left who could be told that stderr is closed.
            let _ = write_out_of_memory(Some(bytes as u64), &mut Stderr);
        }
        exit(i32::from(OUT_OF_MEMORY_EXIT));
    }
}

/// Standard error without locks and buffers.
struct Stderr;

impl Write for Stderr {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            let written = rustix::io::write(rustix::stdio::stderr(), rest).map_err(|_| fmt::Error)?;
            rest = &rest[written..];
        }
        Ok(())
    }
}
