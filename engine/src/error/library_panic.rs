//! Calls of libraries on a stranger's file: their panics are caught, and they are counted, because they cannot be interrupted.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

/// Calls that have begun and that have ended, on all threads.
static BEGUN: AtomicU64 = AtomicU64::new(0);
static ENDED: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static CATCHES_PANICS: Cell<bool> = const { Cell::new(false) };
}

/// Calls code of a library that may panic on a stranger's file; returns what the panic says. A panic that is caught here is no
/// bug of this program, so it is not printed as one.
///
/// # Errors
/// If the code panics.
pub fn catch_library_panic<T>(call: impl FnOnce() -> T) -> std::result::Result<T, String> {
    let before = CATCHES_PANICS.replace(true);
    BEGUN.fetch_add(1, Ordering::Relaxed);
    let called = std::panic::catch_unwind(std::panic::AssertUnwindSafe(call));
    ENDED.fetch_add(1, Ordering::Relaxed);
    CATCHES_PANICS.set(before);
    called.map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it does not say why").to_owned()
    })
}

/// The number of the latest call, if a call is running. As long as it stays the same, no call has ended and begun.
#[must_use]
pub(crate) fn find_running_library_call() -> Option<u64> {
    let ended = ENDED.load(Ordering::Relaxed);
    let begun = BEGUN.load(Ordering::Relaxed);
    (begun > ended).then_some(begun)
}

/// Whether a panic on this thread would be caught by [`catch_library_panic`].
#[must_use]
pub(crate) fn is_panic_caught() -> bool {
    CATCHES_PANICS.get()
}
