//! Counts and gauges, in the text format of Prometheus.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use fmflow_engine::service::TextService;

/// What a server counts.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    /// Answers of HTTP, by status.
    responses: Mutex<BTreeMap<u16, u64>>,
    /// Connections that are open.
    pub(crate) connections: AtomicI64,
    /// Requests for text that are waiting or at work.
    pub(crate) requests: AtomicI64,
    /// Tokens and passes of finished answers.
    pub(crate) tokens: AtomicU64,
    pub(crate) passes: AtomicU64,
}

impl Metrics {
    pub(crate) fn count_response(&self, status: u16) {
        let mut responses = self.responses.lock().unwrap_or_else(PoisonError::into_inner);
        *responses.entry(status).or_default() += 1;
    }

    /// All of it as text.
    pub(crate) fn render(&self, service: &dyn TextService) -> String {
        let mut text = String::new();
        let mut tell = |name: &str, kind: &str, help: &str, values: &[(String, i64)]| {
            let _ = writeln!(text, "# HELP fmflow_{name} {help}\n# TYPE fmflow_{name} {kind}");
            for (labels, value) in values {
                let _ = writeln!(text, "fmflow_{name}{labels} {value}");
            }
        };
        let responses = self.responses.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let responses: Vec<_> = responses
            .iter()
            .map(|(status, count)| (format!("{{status=\"{status}\"}}"), count.cast_signed()))
            .collect();
        tell("http_responses_total", "counter", "Answers of HTTP by status.", &responses);
        let one = |value: i64| vec![(String::new(), value)];
        let count = |value: &AtomicU64| one(value.load(Ordering::Relaxed).cast_signed());
        tell("tokens_total", "counter", "Tokens of answers.", &count(&self.tokens));
        tell(
            "passes_total",
            "counter",
            "Forward passes of answers, each counted by itself.",
            &count(&self.passes),
        );
        let gauge = |value: &AtomicI64| one(value.load(Ordering::Relaxed));
        tell("connections", "gauge", "Open connections.", &gauge(&self.connections));
        tell("requests", "gauge", "Requests for text, waiting or at work.", &gauge(&self.requests));
        let loads = service.models().iter().enumerate().map(|(at, model)| (&model.id, service.load(at)));
        let loads: Vec<_> =
            loads.map(|(id, load)| (format!("{{model=\"{}\"}}", escape_label(id)), load)).collect();
        let of = |read: fn(&fmflow_engine::service::QueueLoad) -> usize| {
            let value =
                |(label, load): &(String, _)| (label.clone(), i64::try_from(read(load)).unwrap_or(i64::MAX));
            loads.iter().map(value).collect::<Vec<_>>()
        };
        tell("waiting", "gauge", "Requests in the queue.", &of(|load| load.waiting));
        tell("answers", "gauge", "Answers that are being written.", &of(|load| load.answers));
        text
    }
}

fn escape_label(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// Counts one up, and down again when it is dropped.
pub(crate) struct Counted(Arc<Metrics>, fn(&Metrics) -> &AtomicI64);

impl Counted {
    pub(crate) fn new(metrics: &Arc<Metrics>, gauge: fn(&Metrics) -> &AtomicI64) -> Self {
        gauge(metrics).fetch_add(1, Ordering::Relaxed);
        Self(metrics.clone(), gauge)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        (self.1)(&self.0).fetch_sub(1, Ordering::Relaxed);
    }
}
