//! What is told when memory runs out: nothing can be allocated then, so it is known before which stages are at work.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::text::display::ByteCount;

/// The exit code of a process whose memory has run out.
pub const OUT_OF_MEMORY_EXIT: u8 = 8;

/// The stages at work, by name, each with the updates that it has done.
static AT_WORK: Mutex<BTreeMap<String, Option<u64>>> = Mutex::new(BTreeMap::new());

const HELP: &str = "`fmflow plan` shows what each stage takes. In training, a smaller `per-device` in `batch`, `recompute \"block\"`, \
    shorter rows or an `adapter` take less; side by side (`--jobs`), stages add up. Nothing is lost: the same command continues from the \
    last checkpoint";

/// A stage at work, until it is dropped.
pub(super) struct StageAtWork(String);

impl StageAtWork {
    pub(super) fn begin(name: &str) -> Self {
        AT_WORK.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), None);
        Self(name.to_owned())
    }
}

impl Drop for StageAtWork {
    fn drop(&mut self) {
        AT_WORK.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.0);
    }
}

/// Notes that a training has done `done` updates.
pub(super) fn note_updates(name: &str, done: u64) {
    let mut at_work = AT_WORK.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(updates) = at_work.get_mut(name) {
        *updates = Some(done);
    }
}

/// Whether this thread is the first to find that memory ran out; only that one tells it.
#[must_use]
pub fn is_first_to_tell() -> bool {
    static TOLD: AtomicBool = AtomicBool::new(false);
    !TOLD.swap(true, Ordering::Relaxed)
}

/// Whether the text of a panic, one of the standard library, says that a thread or its stack was refused.
pub(crate) fn tells_of_refused_thread(panic: &str) -> bool {
    ["failed to spawn thread", "failed to allocate an alternative stack"]
        .iter()
        .any(|text| panic.contains(text))
}

/// Tells that there was no room for so many bytes more, or `None`, for another thread. Allocates nothing, so it may be called where that
/// is forbidden.
///
/// # Errors
/// If `out` takes no more text.
pub fn write_out_of_memory(bytes: Option<u64>, out: &mut dyn Write) -> fmt::Result {
    out.write_str("error: out of memory")?;
    match bytes {
        Some(bytes) => write!(out, ": there is no room for {} more", ByteCount(bytes))?,
        None => out.write_str(": the system refuses another thread (`ulimit -v`, `ulimit -u`)")?,
    }
    // Whoever holds the lock may be the one whose memory ran out.
    let Ok(at_work) = AT_WORK.try_lock() else { return out.write_str("\n") };
    for (place, (name, updates)) in at_work.iter().enumerate() {
        write!(out, "{} `{name}`", if place == 0 { ", at work on" } else { "," })?;
        updates.map_or(Ok(()), |updates| write!(out, " (after update {updates})"))?;
    }
    match at_work.is_empty() {
        true => out.write_str("\n"),
        false => write!(out, "\nhelp: {HELP}\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_at_work_are_told_with_their_updates() {
        let told = |bytes| {
            let mut text = String::new();
            write_out_of_memory(bytes, &mut text).unwrap();
            text
        };
        let (first, second) = (StageAtWork::begin("last-words-a"), StageAtWork::begin("last-words-b"));
        note_updates("last-words-b", 12);
        note_updates("last-words-c", 13);
        let text = told(Some(3 << 30));
        assert!(
            text.starts_with("error: out of memory: there is no room for 3.0 GiB more, at work on"),
            "{text}"
        );
        assert!(
            text.contains("`last-words-a`") && text.contains("`last-words-b` (after update 12)"),
            "{text}"
        );
        assert!(text.contains("\nhelp: ") && !text.contains("last-words-c"), "{text}");
        drop((first, second));
        assert!(!told(None).contains("last-words"));
        assert!(told(None).starts_with("error: out of memory"));
        let thread = "failed to allocate an alternative stack: Cannot allocate memory (os error 12)";
        assert!(tells_of_refused_thread(thread) && !tells_of_refused_thread("index out of bounds"));
    }
}
