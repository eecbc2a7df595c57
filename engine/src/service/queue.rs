//! Orders that wait for a checkpoint: first come, first served, and no more than there is room for.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use crate::error::Failure;
use crate::run::text::{TextOrder, TextOrders};

/// A bounded queue between clients and one checkpoint.
pub struct OrderQueue {
    state: Mutex<QueueState>,
    changed: Condvar,
    /// Most orders that wait.
    room: usize,
    /// Whether orders take what earlier ones have in common with them.
    sharing: bool,
}

struct QueueState {
    waiting: VecDeque<TextOrder>,
    busy: usize,
    open: bool,
}

/// How busy a checkpoint is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct QueueLoad {
    /// Orders that wait.
    pub waiting: usize,
    /// Answers at work.
    pub answers: usize,
}

/// Why an order was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueRefusal {
    /// As many wait as there is room for.
    Full,
    /// The queue is closed.
    Closed,
}

impl OrderQueue {
    /// An open queue in which `room` orders may wait.
    #[must_use]
    pub fn new(room: usize) -> Self {
        let state = QueueState { waiting: VecDeque::new(), busy: 0, open: true };
        Self { state: Mutex::new(state), changed: Condvar::new(), room, sharing: true }
    }

    /// The same, whose orders take what earlier ones have in common with them, or not.
    #[must_use]
    pub fn sharing(self, sharing: bool) -> Self {
        Self { sharing, ..self }
    }

    /// No invariant spans a panic of a customer, so that a poisoned lock is as good as another.
    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether an order would be taken now.
    ///
    /// # Errors
    /// If the queue is full or closed.
    pub fn check_room(&self) -> Result<(), QueueRefusal> {
        let mut state = self.lock();
        state.forget_those_who_left();
        self.check(&state)
    }

    fn check(&self, state: &QueueState) -> Result<(), QueueRefusal> {
        match (state.open, state.waiting.len() < self.room) {
            (false, _) => Err(QueueRefusal::Closed),
            (true, false) => Err(QueueRefusal::Full),
            (true, true) => Ok(()),
        }
    }

    /// Puts an order at the end.
    ///
    /// # Errors
    /// If the queue is full or closed; the order is dropped.
    pub fn offer(&self, order: TextOrder) -> Result<(), QueueRefusal> {
        let mut state = self.lock();
        state.forget_those_who_left();
        self.check(&state)?;
        state.waiting.push_back(order);
        self.changed.notify_all();
        Ok(())
    }

    /// Takes no orders any more, and tells those who wait. What is at work goes on.
    pub fn close(&self) {
        let mut state = self.lock();
        state.open = false;
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        self.changed.notify_all();
        for mut order in waiting {
            order.customer.fail(Failure::interrupted());
        }
    }

    /// How busy the checkpoint is. Customers who left do not wait.
    #[must_use]
    pub fn load(&self) -> QueueLoad {
        let mut state = self.lock();
        state.forget_those_who_left();
        QueueLoad { waiting: state.waiting.len(), answers: state.busy }
    }
}

impl QueueState {
    fn forget_those_who_left(&mut self) {
        self.waiting.retain_mut(|order| order.customer.goes_on(0));
    }
}

impl TextOrders for &OrderQueue {
    fn are_shared(&self) -> bool {
        self.sharing
    }

    fn note_busy(&mut self, answers: usize) {
        self.lock().busy = answers;
    }

    fn next_order(&mut self, idle: bool) -> Option<TextOrder> {
        let mut state = self.lock();
        if idle {
            state.busy = 0;
        }
        loop {
            state.forget_those_who_left();
            let next = state.waiting.pop_front();
            if next.is_some() {
                return next;
            }
            if !idle || !state.open {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use super::*;
    use crate::pipeline::config::{Prompt, PromptKind, Sampler, SamplerKind};
    use crate::run::text::TextAnswer;
    use crate::run::text::TextCustomer;

    #[derive(Clone, Default)]
    struct Watched {
        left: Arc<AtomicBool>,
        failures: Arc<AtomicUsize>,
    }

    impl TextCustomer for Watched {
        fn hear(&mut self, _: usize, _: &str) {}

        fn goes_on(&mut self, _: usize) -> bool {
            !self.left.load(Ordering::SeqCst)
        }

        fn take(&mut self, _: usize, _: TextAnswer) {}

        fn fail(&mut self, _: Failure) {
            self.failures.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn order(seed: u64, samples: usize, customer: &Watched) -> TextOrder {
        let sampler = Sampler { temperature: 0.0, ..Sampler::new("test", SamplerKind::Autoregressive) };
        let prompt = Prompt {
            kind: PromptKind::Text("x".into()),
            sampler,
            new_tokens: Some(1),
            shortest: None,
            grow: None,
        };
        TextOrder { prompt, samples, seed, customer: Box::new(customer.clone()) }
    }

    #[test]
    fn the_first_come_are_the_first_served() {
        let (queue, customer) = (OrderQueue::new(3), Watched::default());
        for (seed, samples) in [(1, 4), (2, 1), (3, 1)] {
            queue.offer(order(seed, samples, &customer)).unwrap();
        }
        assert_eq!(queue.offer(order(4, 1, &customer)), Err(QueueRefusal::Full));
        assert_eq!(queue.check_room(), Err(QueueRefusal::Full));
        let mut orders = &queue;
        let next = |mut orders: &OrderQueue| orders.next_order(false).map(|order| order.seed);
        assert_eq!(
            [next(&queue), next(&queue), next(&queue), next(&queue)],
            [Some(1), Some(2), Some(3), None]
        );
        orders.note_busy(5);
        assert_eq!(queue.load(), QueueLoad { waiting: 0, answers: 5 });
    }

    #[test]
    fn who_left_makes_room() {
        let (queue, stays, leaves) = (OrderQueue::new(2), Watched::default(), Watched::default());
        queue.offer(order(1, 1, &leaves)).unwrap();
        queue.offer(order(2, 1, &stays)).unwrap();
        assert_eq!(queue.offer(order(3, 1, &stays)), Err(QueueRefusal::Full));
        leaves.left.store(true, Ordering::SeqCst);
        assert_eq!((queue.load().waiting, queue.check_room()), (1, Ok(())));
        queue.offer(order(3, 1, &stays)).unwrap();
        let mut orders = &queue;
        assert_eq!(orders.next_order(true).map(|order| order.seed), Some(2));
    }

    #[test]
    fn a_closed_queue_tells_those_who_wait_and_ends_the_work() {
        let (queue, customer) = (OrderQueue::new(2), Watched::default());
        queue.offer(order(1, 1, &customer)).unwrap();
        queue.close();
        assert_eq!(customer.failures.load(Ordering::SeqCst), 1);
        assert_eq!(queue.offer(order(2, 1, &customer)), Err(QueueRefusal::Closed));
        assert_eq!(queue.check_room(), Err(QueueRefusal::Closed));
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| (&queue).next_order(true).is_none());
            assert!(waits.join().unwrap());
        });
    }

    #[test]
    fn an_idle_checkpoint_wakes_up() {
        let (queue, customer) = (OrderQueue::new(2), Watched::default());
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| (&queue).next_order(true).map(|order| order.seed));
            std::thread::sleep(std::time::Duration::from_millis(20));
            queue.offer(order(7, 1, &customer)).unwrap();
            assert_eq!(waits.join().unwrap(), Some(7));
        });
    }
}
