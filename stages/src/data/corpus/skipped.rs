//! Records at fault that a dataset allows to be left out.

use fmflow_engine::text::escape::escape_line;

use super::CorpusError;
use super::left_out::LeftOut;

/// Counts records at fault, and compares their share with the largest that is allowed.
#[derive(Debug)]
pub(super) struct SkippedRecords {
    most: f64,
    records: LeftOut,
    /// The first fault.
    first: Option<CorpusError>,
}

impl SkippedRecords {
    pub(super) fn new(most: f64) -> Self {
        Self { most, records: LeftOut::default(), first: None }
    }

    /// Counts a record that could be read.
    pub(super) fn count(&mut self) {
        self.records.keep();
    }

    /// Leaves out a record at fault.
    pub(super) fn skip(&mut self, fault: CorpusError) -> Result<(), CorpusError> {
        self.records.leave();
        self.first.get_or_insert(fault);
        if self.records.are_enough() { self.check() } else { Ok(()) }
    }

    /// Refuses a share that is too large. Only then the line of the first fault is counted, if its part was read alone.
    pub(super) fn check(&self) -> Result<(), CorpusError> {
        if !self.records.is_over(self.most) {
            return Ok(());
        }
        let (text, most) = (self.records.describe("record"), format!("{} %", 100.0 * self.most));
        let first = self.first.as_ref().map(CorpusError::describe_counted).unwrap_or_default();
        Err(CorpusError::TooManySkipped { text, most, first: escape_line(&first).into_owned() })
    }

    /// What was left out, for the artifact; `None` if nothing was.
    pub(super) fn describe(&self) -> Option<String> {
        let (share, first) = (self.records.describe("record"), self.first.as_ref()?.without_folders());
        Some(format!("{share} are at fault and skipped, the first: {}", escape_line(&first)))
    }
}
