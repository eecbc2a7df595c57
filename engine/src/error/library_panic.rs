//! Panics of libraries on a stranger's file.

use std::cell::Cell;

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
    let called = std::panic::catch_unwind(std::panic::AssertUnwindSafe(call));
    CATCHES_PANICS.set(before);
    called.map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it does not say why").to_owned()
    })
}

/// Whether a panic on this thread would be caught by [`catch_library_panic`].
#[must_use]
pub(crate) fn is_panic_caught() -> bool {
    CATCHES_PANICS.get()
}
