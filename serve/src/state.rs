//! What all connections share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use fmflow_engine::service::TextService;

use crate::keys::Keys;
use crate::limits::Limits;
use crate::metrics::Metrics;

/// What all connections share.
pub(crate) struct ServerState {
    pub(crate) service: Arc<dyn TextService>,
    pub(crate) keys: Option<Keys>,
    pub(crate) limits: Limits,
    pub(crate) metrics: Arc<Metrics>,
    /// Whether only names of this machine are right: a page elsewhere must not reach the server by a name of its own.
    pub(crate) local: bool,
    /// Set when answers have to end.
    pub(crate) cut: Arc<AtomicBool>,
    /// Set when nothing new is begun.
    pub(crate) closing: AtomicBool,
    /// Seconds since 1970 at the start.
    pub(crate) started: u64,
    next: AtomicU64,
}

impl ServerState {
    pub(crate) fn new(
        service: Arc<dyn TextService>,
        keys: Option<Keys>,
        limits: Limits,
        local: bool,
    ) -> Self {
        Self {
            service,
            keys,
            limits,
            metrics: Arc::default(),
            local,
            cut: Arc::default(),
            closing: AtomicBool::new(false),
            started: read_clock(),
            next: AtomicU64::new(1),
        }
    }

    /// A name for an answer that no other has.
    pub(crate) fn name_answer(&self, prefix: &str) -> String {
        format!("{prefix}-{:x}-{}", self.started, self.next.fetch_add(1, Ordering::Relaxed))
    }
}

/// Seconds since 1970.
pub(crate) fn read_clock() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}
