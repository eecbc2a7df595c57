//! Shares of what is left out of a dataset, counted through parts of it that are read one after another.

use fmflow_engine::pipeline::config::DatasetConfig;

use super::contents::MissingContents;
use super::skipped::SkippedRecords;
use super::{CorpusError, Documents};

/// Records at fault and contents that are missing, so far.
#[derive(Debug)]
pub(crate) struct LeftOutShares {
    skipped: Option<SkippedRecords>,
    missing: MissingContents,
}

impl LeftOutShares {
    /// Nothing was read yet.
    #[must_use]
    pub(crate) fn new(dataset: &DatasetConfig) -> Self {
        let skipped = dataset.skipped.map(SkippedRecords::new);
        Self { skipped, missing: MissingContents::default() }
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
        let LeftOutShares { skipped, missing } = shares;
        Self { skipped, missing, partial: true, carried: true, ..self }
    }

    /// What was left out so far.
    #[must_use]
    pub(crate) fn into_shares(self) -> LeftOutShares {
        LeftOutShares { skipped: self.skipped, missing: self.missing }
    }
}
