//! Records at fault that a dataset allows to be left out.

use fmflow_engine::text::display::count_noun;
use fmflow_engine::text::escape::escape_line;

use super::CorpusError;

/// From this many records on, a share that is too large ends the reading at once.
const ENOUGH_RECORDS: u64 = 10_000;

/// Counts records at fault, and compares their share with the largest that is allowed.
#[derive(Debug)]
pub(super) struct SkippedRecords {
    most: f64,
    records: u64,
    skipped: u64,
    /// The first fault, as an error says it.
    first: String,
    /// The same for the artifact, without folders.
    first_described: String,
}

impl SkippedRecords {
    pub(super) fn new(most: f64) -> Self {
        Self { most, records: 0, skipped: 0, first: String::new(), first_described: String::new() }
    }

    /// Counts a record that could be read.
    pub(super) fn count(&mut self) {
        self.records += 1;
    }

    /// Leaves out a record at fault.
    pub(super) fn skip(&mut self, fault: &CorpusError) -> Result<(), CorpusError> {
        self.records += 1;
        self.skipped += 1;
        if self.skipped == 1 {
            self.first = escape_line(&fault.to_string()).into_owned();
            self.first_described = escape_line(&fault.without_folders()).into_owned();
        }
        if self.records < ENOUGH_RECORDS { Ok(()) } else { self.check() }
    }

    /// Refuses a share that is too large.
    pub(super) fn check(&self) -> Result<(), CorpusError> {
        if self.skipped as f64 <= self.most * self.records as f64 {
            return Ok(());
        }
        let most = format!("{} %", 100.0 * self.most);
        Err(CorpusError::TooManySkipped { text: self.share(), most, first: self.first.clone() })
    }

    fn share(&self) -> String {
        let percent = 100.0 * self.skipped as f64 / self.records.max(1) as f64;
        format!("{} of {} ({percent:.3} %)", self.skipped, count_noun(self.records, "record"))
    }

    /// What was left out; `None` if nothing was.
    pub(super) fn describe(&self) -> Option<String> {
        (self.skipped > 0).then(|| {
            format!("{} are at fault and skipped, the first: {}", self.share(), self.first_described)
        })
    }
}
