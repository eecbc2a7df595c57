//! Event files of TensorBoard, made from the metrics: a file of events is a function of the lines of metrics and of the time at which the
//! stage began, so that a resumed or rewound stage leaves nothing twice.
//!
//! A record is a length (u64), its masked CRC, an `Event` of tensorflow/core/util/event.proto and its masked CRC, all little-endian
//! (tensorflow/core/lib/io/record_writer.h). The time of an event is the start of the stage plus the time of the updates so far:
//! metrics know how long an update took, and not when it was.

use serde_json::Value;

use crate::store::metrics::UpdateClock;

/// File name of the events: while a stage is unfinished, a number follows.
pub(crate) const EVENTS: &str = "events.out.tfevents";

/// Encodes lines of metrics as events, in their order.
#[derive(Clone, Debug)]
pub(super) struct EventEncoder {
    /// Seconds since 1970 at which the stage began.
    start: f64,
    /// Seconds of all updates so far.
    clock: f64,
    /// Turns updates into seconds.
    updates: UpdateClock,
}

impl EventEncoder {
    /// For a stage that began at `start`, in seconds since 1970.
    #[must_use]
    pub(super) fn new(start: f64) -> Self {
        Self { start, clock: 0.0, updates: UpdateClock::default() }
    }

    /// The beginning of a file: its version, and the word that makes a reader forget what it has read of earlier files of the
    /// stage, from update 0 on.
    #[must_use]
    pub(super) fn head(&self) -> Vec<u8> {
        let version = WireMessage::default().double(1, self.start).bytes(3, b"brain.Event:2");
        let session = WireMessage::default().varint(1, 1);
        let session = WireMessage::default().double(1, self.start).bytes(7, &session.0);
        [frame_record(&version.0), frame_record(&session.0)].concat()
    }

    /// The event of a line of metrics; empty if the line has no numbers for TensorBoard.
    #[must_use]
    pub(super) fn encode(&mut self, line: &str) -> Vec<u8> {
        let Ok(Value::Object(fields)) = serde_json::from_str(line) else { return Vec::new() };
        let number = |name: &str| fields.get(name).and_then(Value::as_f64);
        let Some(step) = fields.get("step").and_then(Value::as_u64) else { return Vec::new() };
        let mut values = Vec::new();
        for (name, value) in &fields {
            collect_scalars(name, value, &mut values);
        }
        // A band of t without positions has no loss; the 0 that is written for it means nothing.
        let empty = |band: usize| {
            fields.get("count_by_time").and_then(|counts| counts.get(band)?.as_u64()) == Some(0)
        };
        let bands = |tag: &str| tag.strip_prefix("train/loss_t").and_then(|band| band.parse().ok());
        values.retain(|(tag, _)| !bands(tag).is_some_and(empty));
        if let Some((tokens, speed)) = number("tokens").zip(number("tokens_per_second")) {
            let seconds = self.updates.count(tokens, speed);
            self.clock += seconds;
            let wait =
                number("data_wait").map(|wait| ("perf/data_wait_pct".to_owned(), 100.0 * wait / seconds));
            values.extend(wait.filter(|(_, share)| share.is_finite()));
        }
        if values.is_empty() {
            return Vec::new();
        }
        let mut summary = WireMessage::default();
        for (tag, value) in values {
            let value = WireMessage::default().bytes(1, tag.as_bytes()).float(2, value as f32);
            summary = summary.bytes(1, &value.0);
        }
        let event =
            WireMessage::default().double(1, self.start + self.clock).varint(2, step).bytes(5, &summary.0);
        frame_record(&event.0)
    }

    /// A whole file.
    #[must_use]
    pub(super) fn encode_all(&mut self, lines: &[String]) -> Vec<u8> {
        let mut bytes = self.head();
        lines.iter().for_each(|line| bytes.extend(self.encode(line)));
        bytes
    }
}

/// The numbers of a field of metrics under the names that other tools use; what the clock needs is not repeated.
fn collect_scalars(name: &str, value: &Value, found: &mut Vec<(String, f64)>) {
    let tag = match name {
        "learning_rate" => "optim/lr",
        "loss" => "train/loss",
        "loss_unweighted" => "train/loss_unweighted",
        "loss_by_time" => "train/loss_t",
        "grad_norm" => "optim/grad_norm",
        "grad_norm_by_group" => "optim/grad_norm/",
        "clip_rate" => "optim/grad_clipped",
        "update_ratio" => "optim/update_ratio",
        "tokens" => "data/tokens",
        "tokens_by_dataset" => "data/tokens/",
        "epochs_by_dataset" => return collect_epochs(value, found),
        "tokens_per_second" => "perf/tok_s",
        "mfu" => "perf/mfu",
        "peak_memory_gib" => "mem/max_gib",
        "teacher_kl" => "train/teacher_kl",
        "held_out_loss" => "eval/loss/",
        "retention_kl" => "eval/retention_kl/",
        "probe" => "probe/",
        _ => return,
    };
    match value {
        Value::Number(number) => found.extend(number.as_f64().map(|number| (tag.to_owned(), number))),
        Value::Object(fields) => {
            let inner = fields.iter().filter_map(|(name, value)| Some((name, value.as_f64()?)));
            found.extend(inner.map(|(name, number)| (format!("{tag}{name}"), number)));
        }
        Value::Array(items) => {
            let inner = items.iter().enumerate().filter_map(|(at, value)| Some((at, value.as_f64()?)));
            found.extend(inner.map(|(at, number)| (format!("{tag}{at}"), number)));
        }
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

/// The epochs of datasets, whose names stand in the middle.
fn collect_epochs(value: &Value, found: &mut Vec<(String, f64)>) {
    let datasets = value.as_object().into_iter().flatten();
    found
        .extend(datasets.filter_map(|(name, epochs)| Some((format!("data/{name}/epoch"), epochs.as_f64()?))));
}

/// A message of protocol buffers.
#[derive(Default)]
struct WireMessage(Vec<u8>);

impl WireMessage {
    fn key(mut self, field: u64, wire: u64) -> Self {
        self.push_varint(field << 3 | wire);
        self
    }

    fn push_varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn varint(self, field: u64, value: u64) -> Self {
        let mut message = self.key(field, 0);
        message.push_varint(value);
        message
    }

    fn double(self, field: u64, value: f64) -> Self {
        let mut message = self.key(field, 1);
        message.0.extend(value.to_le_bytes());
        message
    }

    fn bytes(self, field: u64, value: &[u8]) -> Self {
        let mut message = self.key(field, 2);
        message.push_varint(value.len() as u64);
        message.0.extend(value);
        message
    }

    fn float(self, field: u64, value: f32) -> Self {
        let mut message = self.key(field, 5);
        message.0.extend(value.to_le_bytes());
        message
    }
}

fn frame_record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let sums = [&length[..], data].map(|bytes| mask_checksum(compute_crc32c(bytes)).to_le_bytes());
    [&length[..], &sums[0], data, &sums[1]].concat()
}

/// The mask that makes a checksum of bytes with checksums a checksum (tensorflow/core/lib/hash/crc32c.h).
fn mask_checksum(sum: u32) -> u32 {
    sum.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// CRC-32C (Castagnoli), reflected, as in RFC 3720.
fn compute_crc32c(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = build_crc_table();
    let step = |sum: u32, byte: &u8| (sum >> 8) ^ TABLE[usize::from(sum as u8 ^ byte)];
    !bytes.iter().fold(!0, step)
}

const fn build_crc_table() -> [u32; 256] {
    /// The polynomial 0x1edc6f41, reflected.
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    let mut table = [0; 256];
    let mut at = 0;
    while at < table.len() {
        let (mut sum, mut bit) = (at as u32, 0);
        while bit < 8 {
            sum = if sum & 1 == 1 { sum >> 1 ^ POLYNOMIAL } else { sum >> 1 };
            bit += 1;
        }
        table[at] = sum;
        at += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_the_standards() {
        assert_eq!(compute_crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(compute_crc32c(&[0; 32]), 0x8a91_36aa, "RFC 3720, B.4");
        assert_eq!(compute_crc32c(&[0xff; 32]), 0x62a8_ab43, "RFC 3720, B.4");
        assert_eq!(mask_checksum(0), 0xa282_ead8);
        assert_eq!(mask_checksum(0x8000), 0xa282_ead9);
    }

    /// A file that the Python package `tensorboard` reads: what its own writer makes of the same values, byte by byte.
    #[test]
    fn events_are_those_of_the_format() {
        let mut encoder = EventEncoder::new(1000.0);
        let version = b"\x09\0\0\0\0\0\x40\x8f\x40\x1a\x0dbrain.Event:2";
        let session = b"\x09\0\0\0\0\0\x40\x8f\x40\x3a\x02\x08\x01";
        assert_eq!(encoder.head(), [frame_record(version), frame_record(session)].concat());
        assert_eq!(&frame_record(version)[..8], &[24, 0, 0, 0, 0, 0, 0, 0]);
        let line = r#"{"step":300,"loss":0.5,"tokens":200,"tokens_per_second":100.0,"data_wait":0.5}"#;
        let values: &[u8] = b"\x0a\x11\x0a\x0atrain/loss\x15\0\0\0\x3f\
                              \x0a\x12\x0a\x0bdata/tokens\x15\0\0\x48\x43\
                              \x0a\x11\x0a\x0aperf/tok_s\x15\0\0\xc8\x42\
                              \x0a\x19\x0a\x12perf/data_wait_pct\x15\0\0\xc8\x41";
        let event = [b"\x09\0\0\0\0\0\x50\x8f\x40\x10\xac\x02\x2a\x55", values].concat();
        assert_eq!(encoder.encode(line), frame_record(&event), "two seconds after the start");
    }

    #[test]
    fn a_band_without_positions_has_no_loss() {
        let line = r#"{"step":1,"loss_by_time":[0.0,0.5],"count_by_time":[0,3]}"#;
        let event = EventEncoder::new(0.0).encode(line);
        let holds = |tag: &str| event.windows(tag.len()).any(|part| part == tag.as_bytes());
        assert!(holds("train/loss_t1") && !holds("train/loss_t0"));
    }

    #[test]
    fn names_are_those_of_other_tools() {
        let tags = |line: &str| {
            let Ok(Value::Object(fields)) = serde_json::from_str(line) else { panic!("{line}") };
            let mut found = Vec::new();
            fields.iter().for_each(|(name, value)| collect_scalars(name, value, &mut found));
            found.into_iter().map(|(tag, _)| tag).collect::<Vec<_>>()
        };
        assert_eq!(tags(r#"{"step":1,"loss_by_time":[1,2]}"#), ["train/loss_t0", "train/loss_t1"]);
        assert_eq!(tags(r#"{"mfu":0.4,"peak_memory_gib":2.5}"#), ["perf/mfu", "mem/max_gib"]);
        assert_eq!(tags(r#"{"held_out_loss":{"text":1}}"#), ["eval/loss/text"]);
        assert_eq!(tags(r#"{"probe":{"samples":[1],"exact_match/tasks":0.5}}"#), ["probe/exact_match/tasks"]);
        assert_eq!(tags(r#"{"step":3,"guard":"rewind","from":9,"why":"x"}"#), [""; 0]);
    }
}
