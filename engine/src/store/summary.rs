//! A stage's own summary of its result, stored beside the result.

use std::path::Path;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::store::vfs::{Vfs, is_absent};

/// File name in an artifact.
pub(crate) const SUMMARY_FILE: &str = "summary.json";

/// A stage's summary of its result; stored as `summary.json` beside the artifact's files.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// A few words for the table at the end of a run, such as `held-out 2.31` or `exact match 98.4 %`.
    pub headline: String,
    /// Lines that `show` prints: a certificate, samples, scores.
    pub lines: Vec<String>,
    /// Metrics by name, for `require` and other programs.
    pub metrics: IndexMap<String, f64>,
}

impl Summary {
    /// Refuses a metric that is not finite. JSON has no word for it: it would be written as `null`, and read back as no number.
    ///
    /// # Errors
    /// [`Error::Defect`] with the first one: a stage reports such a number as a failure of its own.
    pub(super) fn refuse_nonfinite(&self) -> Result<()> {
        match self.metrics.iter().find(|(_, value)| !value.is_finite()) {
            Some((name, value)) => {
                Err(Error::Defect(format!("the metric `{name}` of a finished stage is {value}")))
            }
            None => Ok(()),
        }
    }
}

/// Name of the metric of an evaluation for the share of exact matches of a checkpoint on a dataset. Every reader and writer of
/// the metric uses it, so that a required score cannot be looked up under another name.
#[must_use]
pub fn format_exact_match_metric(checkpoint: &str, dataset: &str) -> String {
    format!("exact_match/{checkpoint}/{dataset}")
}

/// Name of the same metric for one kind of task of the dataset.
#[must_use]
pub fn format_task_metric(checkpoint: &str, dataset: &str, task: &str) -> String {
    format!("{}/{task}", format_exact_match_metric(checkpoint, dataset))
}

/// Name of the metric of an evaluation for pass@1 of a checkpoint on a benchmark.
#[must_use]
pub fn format_benchmark_metric(checkpoint: &str, benchmark: &str) -> String {
    format!("pass_at_1/{checkpoint}/{benchmark}")
}

/// Name of the metric of an evaluation for the held-out loss of a checkpoint on a dataset.
#[must_use]
pub fn format_held_out_metric(checkpoint: &str, dataset: &str) -> String {
    format!("held_out/{checkpoint}/{dataset}")
}

/// Reads the summary of an artifact.
///
/// # Errors
/// [`Error::Corrupt`] if it is missing or does not parse: every artifact has one. [`Error::Io`] if it cannot be read.
pub(crate) fn read_summary(vfs: &dyn Vfs, artifact: &Path) -> Result<Summary> {
    let corrupt = |what: String| corrupt_summary(artifact, what);
    let path = artifact.join(SUMMARY_FILE);
    let bytes = match vfs.read(&path) {
        Err(error) if is_absent(&error) => return Err(corrupt("it is missing".into())),
        other => other.map_err(Error::io("read", &path))?,
    };
    serde_json::from_slice(&bytes).map_err(|error| corrupt(format!("it does not parse: {error}")))
}

/// What an artifact says of itself is not what its stage wrote.
#[must_use]
pub(crate) fn corrupt_summary(artifact: &Path, what: String) -> Error {
    Error::Corrupt { folder: artifact.to_owned(), file: SUMMARY_FILE.into(), what }
}
