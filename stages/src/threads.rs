//! Runs independent work in parallel on the cores of one machine.

use std::num::NonZero;

#[cfg(feature = "cpu")]
use fmflow_ops::serially;

/// Without kernels on the processor there is nothing to keep on a thread.
#[cfg(not(feature = "cpu"))]
fn serially<R>(work: impl FnOnce() -> R) -> R {
    work()
}

/// Runs `work` on every item, each on its own thread. Results come in the order of the items, whatever thread finishes
/// first. A single item runs on the calling thread.
///
/// # Panics
/// If `work` panics.
pub(crate) fn map_in_parallel<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    if let [only] = items {
        return vec![work(only)];
    }
    let work = &work;
    // Threads that are as many as the cores keep them busy by themselves.
    let busy = items.len() >= std::thread::available_parallelism().map_or(1, NonZero::get);
    let run = move |item| if busy { serially(|| work(item)) } else { work(item) };
    std::thread::scope(|scope| {
        let running: Vec<_> = items.iter().map(|item| scope.spawn(move || run(item))).collect();
        running.into_iter().map(|t| t.join().unwrap_or_else(|p| std::panic::resume_unwind(p))).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_keep_the_order_of_the_items() {
        for n in 0..5 {
            let items: Vec<usize> = (0..n).collect();
            let squares: Vec<usize> = items.iter().map(|i| i * i).collect();
            assert_eq!(map_in_parallel(&items, |i| i * i), squares);
        }
    }
}
