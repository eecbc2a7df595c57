//! Records at fault that a dataset allows to be left out.

use fmflow_engine::text::escape::escape_line;

use super::CorpusError;
use super::left_out::LeftOut;

/// Counts records at fault, and compares their share with the largest that is allowed.
#[derive(Debug)]
pub(super) struct SkippedRecords {
    most: f64,
    records: LeftOut,
    /// The first fault, as an error says it.
    first: String,
    /// The same for the artifact, without folders.
    first_described: String,
}

impl SkippedRecords {
    pub(super) fn new(most: f64) -> Self {
        Self { most, records: LeftOut::default(), first: String::new(), first_described: String::new() }
    }

    /// Counts a record that could be read.
    pub(super) fn count(&mut self) {
        self.records.keep();
    }

    /// Leaves out a record at fault.
    pub(super) fn skip(&mut self, fault: &CorpusError) -> Result<(), CorpusError> {
        self.records.leave();
        if self.records.left == 1 {
            self.first = escape_line(&fault.to_string()).into_owned();
            self.first_described = escape_line(&fault.without_folders()).into_owned();
        }
        if self.records.are_enough() { self.check() } else { Ok(()) }
    }

    /// Refuses a share that is too large.
    pub(super) fn check(&self) -> Result<(), CorpusError> {
        if !self.records.is_over(self.most) {
            return Ok(());
        }
        let (text, most) = (self.records.describe("record"), format!("{} %", 100.0 * self.most));
        Err(CorpusError::TooManySkipped { text, most, first: self.first.clone() })
    }

    /// What was left out; `None` if nothing was.
    pub(super) fn describe(&self) -> Option<String> {
        let share = self.records.describe("record");
        let first = &self.first_described;
        (self.records.left > 0).then(|| format!("{share} are at fault and skipped, the first: {first}"))
    }
}
