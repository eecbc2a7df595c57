//! Shares of what is left out of a dataset, counted through parts of it that are read one after another.

use fmflow_engine::pipeline::config::DatasetConfig;

use super::contents::MissingContents;
use super::skipped::SkippedRecords;
use super::{BeforePart, Copies, CorpusError, Documents, Filtered};

/// Records at fault and contents that are missing, so far.
#[derive(Debug)]
pub(crate) struct LeftOutShares {
    skipped: Option<SkippedRecords>,
    missing: MissingContents,
    /// What was read of the file in which the last part ended.
    before: BeforePart,
}

impl LeftOutShares {
    /// Nothing was read yet.
    #[must_use]
    pub(crate) fn new(dataset: &DatasetConfig) -> Self {
        let skipped = dataset.skipped.map(SkippedRecords::new);
        Self { skipped, missing: MissingContents::default(), before: BeforePart::default() }
    }

    /// Refuses shares that are too large, once the whole dataset was read.
    ///
    /// # Errors
    /// If more records are at fault, or more contents are missing, than the dataset allows.
    pub(crate) fn check(&self) -> Result<(), CorpusError> {
        self.skipped.as_ref().map_or(Ok(()), SkippedRecords::check)?;
        self.missing.check(false)
    }
}

impl Documents<'_> {
    /// Says that the files are a part of their dataset, and goes on counting what is left out of it. The share of many records is still
    /// compared at once, and at the end of the part nothing is.
    #[must_use]
    pub(crate) fn with_shares(self, shares: LeftOutShares) -> Self {
        let LeftOutShares { skipped, missing, before } = shares;
        Self { skipped, missing, before, partial: true, carried: true, ..self }
    }

    /// What was left out so far.
    #[must_use]
    pub(crate) fn into_shares(self) -> LeftOutShares {
        LeftOutShares { skipped: self.skipped, missing: self.missing, before: self.before }
    }

    /// What a dataset did to its records before they became documents, in sentences.
    #[must_use]
    pub(crate) fn describe_left_out(&self) -> Vec<String> {
        let Filtered { passed, left_out } = self.filtered;
        let percent = 100.0 * left_out as f64 / (passed + left_out).max(1) as f64;
        let filtered = self.parser.list_filtered_fields().next().is_some().then(|| {
            format!("filter: {left_out} of {} records ({percent:.1} %) left out", passed + left_out)
        });
        let skipped = self.skipped.as_ref().and_then(SkippedRecords::describe);
        let missing = self.missing.describe();
        let copies = self.copies.as_ref().and_then(Copies::describe);
        filtered.into_iter().chain(missing).chain(skipped).chain(copies).collect()
    }

    /// What is wrong with all records together that were read. The iterator looks at its end, which a cap may not reach.
    pub(crate) fn find_fault_of_all(&self) -> Option<CorpusError> {
        if self.carried {
            return None;
        }
        let Filtered { passed, left_out } = self.filtered;
        let skipped = self.skipped.as_ref().and_then(|skipped| skipped.check().err());
        let skipped = skipped.or_else(|| self.missing.check(self.partial).err());
        if self.partial {
            return skipped;
        }
        if passed == 0 && left_out > 0 {
            return Some(CorpusError::AllFiltered { records: left_out });
        }
        skipped.or_else(|| self.tally.find_absent_field().map(CorpusError::no_such_field))
    }
}
