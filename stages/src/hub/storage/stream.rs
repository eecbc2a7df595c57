//! Objects in the order in which they were asked for, fetched on several threads within bounded memory.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::bucket::Bucket;
use super::error::StorageError;
use super::fetch::{Fetched, fetch_object};
use crate::hub::RemoteHub;
use crate::hub::client::{HttpClient, IDLE};
use crate::hub::transfer::{GLANCE, pause_unless};

/// Objects that are fetched at once. They are small, so that most of the time is waiting.
const THREADS: usize = IDLE;

/// Bytes that may wait to be taken, besides one object for each thread.
const WAITING_BYTES: usize = 64 << 20;

/// Objects of a bucket, in order.
pub(crate) struct ObjectStream {
    shared: Arc<StreamShared>,
    asked: u64,
    taken: u64,
    threads: usize,
}

struct StreamShared {
    client: HttpClient,
    bucket: Bucket,
    /// The largest object, in bytes.
    most: u64,
    state: Mutex<StreamState>,
    changed: Condvar,
    /// Ends the threads.
    stop: AtomicBool,
}

#[derive(Default)]
struct StreamState {
    /// Numbers and keys of objects that no thread has begun.
    asked: VecDeque<(u64, String)>,
    done: BTreeMap<u64, Result<Fetched, StorageError>>,
    /// Bytes of those that are done.
    bytes: usize,
}

impl ObjectStream {
    /// A stream of objects of at most `most` bytes. Nothing is asked for yet.
    pub(crate) fn new(bucket: Bucket, most: u64) -> Self {
        Self::with_client(RemoteHub::build_client(), bucket, most)
    }

    pub(super) fn with_client(client: HttpClient, bucket: Bucket, most: u64) -> Self {
        let (state, changed, stop) = (Mutex::default(), Condvar::new(), AtomicBool::new(false));
        let shared = Arc::new(StreamShared { client, bucket, most, state, changed, stop });
        Self { shared, asked: 0, taken: 0, threads: 0 }
    }

    /// The bucket.
    pub(crate) fn bucket(&self) -> &Bucket {
        &self.shared.bucket
    }

    /// Whether the environment forbids the network.
    pub(crate) fn is_offline(&self) -> bool {
        self.shared.client.offline
    }

    /// Asks for an object.
    pub(crate) fn ask(&mut self, key: &str) {
        self.shared.lock().asked.push_back((self.asked, key.to_owned()));
        self.asked += 1;
        if self.threads < THREADS {
            self.threads += 1;
            let shared = self.shared.clone();
            // Not awaited: one that is in the middle of an answer ends with it.
            thread::spawn(move || shared.work());
        }
        self.shared.changed.notify_all();
    }

    /// The first object that was asked for and not taken.
    ///
    /// # Errors
    /// Why it is not here.
    ///
    /// # Panics
    /// If there is none.
    pub(crate) fn take(&mut self, interrupt: &AtomicBool) -> Result<Fetched, StorageError> {
        assert!(self.taken < self.asked, "an object is taken after it was asked for");
        let mut state = self.shared.lock();
        let fetched = loop {
            if let Some(fetched) = state.done.remove(&self.taken) {
                break fetched;
            }
            if interrupt.load(Ordering::SeqCst) {
                return Err(StorageError::Interrupted);
            }
            let woken = self.shared.changed.wait_timeout(state, GLANCE);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        };
        state.bytes -= count_bytes(&fetched);
        drop(state);
        self.taken += 1;
        self.shared.changed.notify_all();
        fetched
    }
}

impl Drop for ObjectStream {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.shared.changed.notify_all();
    }
}

impl StreamShared {
    fn lock(&self) -> MutexGuard<'_, StreamState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fetches objects until the stream ends.
    fn work(&self) {
        while let Some((number, key)) = self.begin() {
            let pause = |time| self.pause(time);
            let fetched = fetch_object(&self.client, &self.bucket, &key, self.most, pause);
            let mut state = self.lock();
            state.bytes += count_bytes(&fetched);
            state.done.insert(number, fetched);
            drop(state);
            self.changed.notify_all();
        }
    }

    /// The next object to fetch. Those before it are fetched or begun, so that what waits is always taken in the end.
    fn begin(&self) -> Option<(u64, String)> {
        let mut state = self.lock();
        loop {
            if self.stop.load(Ordering::SeqCst) {
                return None;
            }
            if state.bytes < WAITING_BYTES
                && let Some(next) = state.asked.pop_front()
            {
                return Some(next);
            }
            let woken = self.changed.wait_timeout(state, GLANCE);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits, and says whether to stop.
    fn pause(&self, time: Duration) -> bool {
        pause_unless(time, || self.stop.load(Ordering::SeqCst))
    }
}

fn count_bytes(fetched: &Result<Fetched, StorageError>) -> usize {
    match fetched {
        Ok(Fetched::Bytes(bytes)) => bytes.len(),
        _ => 0,
    }
}
