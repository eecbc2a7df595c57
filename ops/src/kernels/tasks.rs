//! Spreads the tasks of an operation over the cores, unless the caller has spread its own work already.
//!
//! How tasks are spread changes no bit: each writes its own part of the result, and what they return is used in their order.

use std::cell::Cell;

use rayon::prelude::*;

/// Elementary operations below which handing tasks to other cores costs more than it gains.
const WORTH: usize = 1 << 17;

thread_local! {
    static SERIAL: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work` with operations that stay on this thread. For callers that keep every core busy with threads of their own:
/// handing tasks over would cost more than it gains.
pub fn serially<R>(work: impl FnOnce() -> R) -> R {
    let before = SERIAL.replace(true);
    let result = work();
    SERIAL.set(before);
    result
}

/// Runs `work` on every task. `cost` is about the number of vector operations of all of them.
pub(crate) fn run<T: Send>(cost: usize, tasks: impl Iterator<Item = T>, work: impl Fn(T) + Sync + Send) {
    map(cost, tasks, work);
}

/// What `work` returns for every task, in their order; `cost` as for [`run`].
pub(crate) fn map<T: Send, R: Send>(
    cost: usize,
    tasks: impl Iterator<Item = T>,
    work: impl Fn(T) -> R + Sync + Send,
) -> Vec<R> {
    if SERIAL.get() || cost < WORTH {
        return tasks.map(work).collect();
    }
    let tasks: Vec<T> = tasks.collect();
    match tasks.len() {
        0 | 1 => tasks.into_iter().map(work).collect(),
        _ => tasks.into_par_iter().map(work).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_keep_the_order_of_the_tasks() {
        for n in [0, 1, 2, 100] {
            let squares: Vec<usize> = (0..n).map(|i| i * i).collect();
            assert_eq!(map(usize::MAX, 0..n, |i| i * i), squares);
            assert_eq!(serially(|| map(usize::MAX, 0..n, |i| i * i)), squares);
        }
    }

    #[test]
    fn a_serial_caller_keeps_its_tasks_on_its_thread() {
        let own = std::thread::current().id();
        let threads = serially(|| map(usize::MAX, 0..100, |_| std::thread::current().id()));
        assert!(threads.iter().all(|thread| *thread == own));
    }
}
