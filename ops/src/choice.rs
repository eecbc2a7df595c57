//! Whether operations run by their kernels or by their reference.

use std::sync::atomic::{AtomicUsize, Ordering};

/// How many callers of [`by_reference`] are at work.
static CALLERS: AtomicUsize = AtomicUsize::new(0);

/// Does `work` with the [`reference`](crate::reference) of every operation, on every thread of the process until it ends. Its numbers differ
/// in the last bits, so nothing that is stored may come of it.
pub fn by_reference<T>(work: impl FnOnce() -> T) -> T {
    struct Caller;
    impl Drop for Caller {
        fn drop(&mut self) {
            CALLERS.fetch_sub(1, Ordering::SeqCst);
        }
    }
    CALLERS.fetch_add(1, Ordering::SeqCst);
    let _caller = Caller;
    work()
}

/// Whether somebody asked for the reference.
#[cfg(feature = "kernels")]
pub(crate) fn wants_reference() -> bool {
    CALLERS.load(Ordering::SeqCst) > 0
}
