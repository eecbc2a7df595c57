//! What a program writes, read as fast as it writes and kept within bounds: its beginning and its end.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// Bytes read at once.
const CHUNK: usize = 1 << 16;

/// How long the end of the output is waited for once the program has ended: a process that left the group may keep it open.
const PATIENCE: Duration = Duration::from_secs(1);

/// The beginning and the end of what a program wrote.
#[derive(Clone, Debug, Default)]
pub(crate) struct CapturedOutput {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    /// Bytes between the two, which are not kept.
    left_out: u64,
    most: usize,
}

impl CapturedOutput {
    /// At most `most` bytes of the beginning, and as many of the end.
    fn new(most: usize) -> Self {
        Self { most, ..Self::default() }
    }

    fn add(&mut self, bytes: &[u8]) {
        let (first, rest) = bytes.split_at(bytes.len().min(self.most - self.head.len()));
        self.head.extend_from_slice(first);
        self.tail.extend(rest);
        let over = self.tail.len().saturating_sub(self.most);
        self.tail.drain(..over);
        self.left_out += over as u64;
    }

    /// All that is kept, with a line where something is left out.
    #[must_use]
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut all = self.head.clone();
        if self.left_out > 0 {
            all.extend_from_slice(format!("\n[{} bytes are left out]\n", self.left_out).as_bytes());
        }
        all.extend(&self.tail);
        all
    }

    /// The last `most` lines that are not empty, each at most `width` characters.
    #[must_use]
    pub(crate) fn last_lines(&self, most: usize, width: usize) -> Vec<String> {
        let all = self.bytes();
        let text = String::from_utf8_lossy(&all);
        let lines = text.lines().map(str::trim_end).filter(|line| !line.is_empty());
        let shorten = |line: &str| match line.chars().count() > width {
            true => line.chars().take(width - 1).chain(['…']).collect(),
            false => line.to_owned(),
        };
        let mut last: Vec<String> = lines.rev().take(most).map(shorten).collect();
        last.reverse();
        last
    }
}

/// A thread that reads the output of a program.
pub(super) struct Capture {
    kept: Arc<Mutex<CapturedOutput>>,
    done: Receiver<()>,
}

impl Capture {
    /// Reads until the end, and keeps at most `most` bytes of the beginning and as many of the end.
    pub(super) fn start(from: impl Read + Send + 'static, most: usize) -> io::Result<Self> {
        let kept = Arc::new(Mutex::new(CapturedOutput::new(most)));
        let (send, done) = channel();
        let shared = Arc::clone(&kept);
        let work = move || {
            read_all(from, &shared);
            // Nobody waits for the end of an output that took too long.
            let _ = send.send(());
        };
        thread::Builder::new().name("output".into()).spawn(work)?;
        Ok(Self { kept, done })
    }

    /// What was written, once the program has ended. A process that keeps the pipe open is waited for only shortly.
    pub(super) fn finish(self) -> CapturedOutput {
        match self.done.recv_timeout(PATIENCE) {
            Ok(()) | Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
        }
        lock(&self.kept).clone()
    }
}

fn read_all(mut from: impl Read, kept: &Mutex<CapturedOutput>) {
    let mut chunk = vec![0; CHUNK];
    loop {
        match from.read(&mut chunk) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // A pipe that cannot be read has nothing more to tell.
            Ok(0) | Err(_) => return,
            Ok(count) => lock(kept).add(&chunk[..count]),
        }
    }
}

fn lock(kept: &Mutex<CapturedOutput>) -> MutexGuard<'_, CapturedOutput> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_and_the_end_are_kept() {
        let mut kept = CapturedOutput::new(4);
        [&b"ab"[..], b"cdef", b"ghijkl", b"m"].iter().for_each(|bytes| kept.add(bytes));
        assert_eq!(kept.bytes(), b"abcd\n[5 bytes are left out]\njklm");
        let mut short = CapturedOutput::new(4);
        short.add(b"abcdefgh");
        assert_eq!(short.bytes(), b"abcdefgh");
    }

    #[test]
    fn the_last_lines_are_short() {
        let mut kept = CapturedOutput::new(100);
        kept.add(b"one\n\n two \nthree\xff\nfour five six\n\n");
        assert_eq!(kept.last_lines(3, 8), [" two", "three\u{fffd}", "four fi…"]);
    }
}
