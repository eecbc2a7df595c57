//! Work on batches, on several threads, with results in the order of the batches.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

/// Batches that wait for a thread, besides the one that it works on. More would take memory and gain nothing.
const WAITING: usize = 1;

/// Threads that work on batches. Batch i goes to thread i mod n, so nothing depends on which thread is quick.
pub(super) struct WorkThreads<T, R> {
    threads: Vec<(SyncSender<T>, Receiver<R>)>,
    /// Threads whose results are awaited, the oldest first.
    pending: VecDeque<usize>,
    next: usize,
}

impl<T, R> WorkThreads<T, R> {
    /// Whether a batch can be given without waiting for a thread.
    pub(super) fn has_room(&self) -> bool {
        self.pending.len() < self.threads.len() * (WAITING + 1)
    }

    /// Gives a batch to the next thread; there must be room.
    pub(super) fn give(&mut self, batch: T) {
        self.threads[self.next].0.send(batch).expect("a thread works until its batches end");
        self.pending.push_back(self.next);
        self.next = (self.next + 1) % self.threads.len();
    }

    /// The result of the oldest batch that was not taken; `None` if there is none.
    ///
    /// # Panics
    /// If the work panicked.
    pub(super) fn take(&mut self) -> Option<R> {
        let oldest = self.pending.pop_front()?;
        Some(self.threads[oldest].1.recv().expect("the work on a batch panicked"))
    }
}

/// Calls `drive` with threads that do `work`.
///
/// # Panics
/// If `work` panics.
pub(super) fn with_threads<T: Send, R: Send, O>(
    count: usize,
    work: impl Fn(T) -> R + Sync,
    drive: impl FnOnce(WorkThreads<T, R>) -> O,
) -> O {
    thread::scope(|scope| {
        let work = &work;
        let start = |_| {
            let (give, batches) = sync_channel::<T>(WAITING);
            let (answer, results) = sync_channel::<R>(WAITING + 1);
            // A result that nobody takes any more ends the thread: the work has failed elsewhere.
            scope.spawn(move || batches.into_iter().map(work).try_for_each(|result| answer.send(result)));
            (give, results)
        };
        let threads = (0..count.max(1)).map(start).collect();
        drive(WorkThreads { threads, pending: VecDeque::new(), next: 0 })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_from_any_number_of_threads() {
        for count in 1..5 {
            // The first batches take longest.
            let slow = |i: u64| {
                thread::sleep(std::time::Duration::from_millis(20_u64.saturating_sub(i)));
                i * i
            };
            let found = with_threads(count, slow, |mut threads| {
                let (mut batches, mut found) = ((0..30).peekable(), Vec::new());
                loop {
                    while threads.has_room() && batches.peek().is_some() {
                        threads.give(batches.next().unwrap());
                    }
                    match threads.take() {
                        Some(result) => found.push(result),
                        None => return found,
                    }
                }
            });
            assert_eq!(found, (0..30).map(|i| i * i).collect::<Vec<_>>());
        }
    }

    #[test]
    fn threads_end_when_the_driver_gives_up() {
        let left = with_threads(
            3,
            |i: u32| i,
            |mut threads| {
                (0..6).for_each(|i| threads.give(i));
                threads.take()
            },
        );
        assert_eq!(left, Some(0));
    }
}
