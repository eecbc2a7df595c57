//! The metrics of a stage: one JSON object per line. While the stage is unfinished, every line has a checksum.

use std::path::Path;

use serde_json::Value;

use crate::error::{Error, Result};
use crate::store::seal::{self, SealedLine};
use crate::store::vfs::{Vfs, is_absent};

/// File name of the metrics, in the work folder of an unfinished stage and in its artifact.
pub(crate) const METRICS: &str = "metrics.jsonl";

/// The metrics of a stage, whole or growing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Metrics {
    /// The lines without their checksums, each an object.
    pub lines: Vec<String>,
    /// Numbers of the lines that are not what was written, from 1.
    pub damaged: Vec<usize>,
}

impl Metrics {
    /// Reads the bytes of a file of metrics. A torn last line, which may be just being written, is left out.
    pub(super) fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let mut found = Self::default();
        for (at, line) in text.split('\n').enumerate() {
            match seal::open_line(line) {
                SealedLine::Whole(body) => found.lines.push(format!("{body}}}")),
                SealedLine::Damaged => found.damaged.push(at + 1),
                SealedLine::Torn => {}
            }
        }
        found
    }

    /// All lines, each with its line break.
    #[must_use]
    pub(crate) fn text(&self) -> String {
        self.lines.iter().map(|line| format!("{line}\n")).collect()
    }

    /// A sentence for the user about the damaged lines, if there are any.
    #[must_use]
    pub(crate) fn describe_damage(&self) -> Option<String> {
        let first = self.damaged.first()?;
        let more = match self.damaged.len() - 1 {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        Some(format!("line {first}{more} of {METRICS} is not what was written, and is left out"))
    }
}

/// The metrics in the folder of a stage; `None` where it has none.
///
/// # Errors
/// If the file cannot be read.
pub(crate) fn read_metrics(vfs: &dyn Vfs, folder: &Path) -> Result<Option<Metrics>> {
    let path = folder.join(METRICS);
    match vfs.read(&path) {
        Err(error) if is_absent(&error) => Ok(None),
        read => Ok(Some(Metrics::parse(&read.map_err(Error::io("read", &path))?))),
    }
}

/// Turns the tokens and the speed of updates, one after the other, into seconds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct UpdateClock {
    /// Tokens of all updates so far.
    tokens: f64,
}

impl UpdateClock {
    /// Seconds of the next update, after which the stage has seen `tokens`, without validation and checkpoints.
    pub(crate) fn count(&mut self, tokens: f64, tokens_per_second: f64) -> f64 {
        let own = tokens - self.tokens;
        self.tokens = tokens;
        own / tokens_per_second
    }

    /// As [`Self::count`], from a line of metrics; `None` if it is not that of an update.
    pub(crate) fn count_line(&mut self, line: &Value) -> Option<f64> {
        let number = |name: &str| line.get(name).and_then(Value::as_f64);
        Some(self.count(number("tokens")?, number("tokens_per_second")?))
    }
}

/// Seconds of each update of a training, with its number, from lines of metrics.
pub(crate) fn list_update_seconds(lines: &[String]) -> Vec<(u64, f64)> {
    let mut clock = UpdateClock::default();
    let of_line = |line: &String| {
        let line: Value = serde_json::from_str(line).expect("a line of metrics was parsed before");
        let seconds = clock.count_line(&line)?;
        Some((line.get("step")?.as_u64()?, seconds))
    };
    lines.iter().filter_map(of_line).collect()
}

/// Makes a line to append from a JSON object.
///
/// # Errors
/// [`Error::Defect`] if it is no object, or has no number where one was not finite: JSON would say `null`.
pub(super) fn seal_metrics(object: &str) -> Result<String> {
    let object = object.trim_end();
    match serde_json::from_str(object) {
        Ok(value @ Value::Object(_)) if !has_null(&value) => Ok(seal::seal_line(object) + "\n"),
        _ => Err(Error::Defect(format!("a line of metrics has a number that is not finite: {object}"))),
    }
}

fn has_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(values) => values.iter().any(has_null),
        Value::Object(fields) => fields.values().any(has_null),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// Whether a line belongs to an update before `step`, or to none.
pub(super) fn is_line_before(line: &str, step: u64) -> bool {
    let value: Option<Value> = serde_json::from_str(line).ok();
    value.is_some_and(|value| value.get("step").and_then(Value::as_u64).is_none_or(|found| found < step))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flip_is_found_or_leaves_the_lines_alone() {
        let text: String =
            (0..3).map(|step| seal_metrics(&format!("{{\"step\":{step}}}")).unwrap()).collect();
        let lines = ["{\"step\":0}", "{\"step\":1}", "{\"step\":2}"];
        assert_eq!(Metrics::parse(text.as_bytes()).lines, lines);
        for bit in 0..text.len() * 8 {
            let mut bytes = text.clone().into_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let found = Metrics::parse(&bytes);
            let known = found.lines.iter().all(|line| lines.iter().any(|known| starts_as(line, known)));
            assert!(known && found.lines.len() + 2 * found.damaged.len() >= 3, "bit {bit}: {found:?}");
        }
    }

    /// Whether a line has the fields of another: a flip in the name `check` leaves them alone.
    fn starts_as(line: &str, known: &str) -> bool {
        line.starts_with(known.strip_suffix('}').unwrap())
    }

    #[test]
    fn a_number_that_is_not_finite_is_a_defect_and_no_null() {
        let line = serde_json::json!({ "step": 1, "by_time": [0.5, f64::NAN] }).to_string();
        let error = seal_metrics(&line).unwrap_err();
        assert_eq!(error.exit_code(), 70, "{error}");
    }
}
