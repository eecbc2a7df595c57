//! A stage's own summary of its result, stored beside the result.

use std::path::Path;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::store::vfs::Vfs;

/// File name in an artifact.
pub const SUMMARY_FILE: &str = "summary.json";

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

/// Reads the summary of an artifact.
///
/// # Errors
/// [`Error::Corrupt`] if it cannot be read: every artifact has one.
pub fn read_summary(vfs: &dyn Vfs, artifact: &Path) -> Result<Summary> {
    let corrupt =
        |what: String| Error::Corrupt { folder: artifact.to_owned(), file: SUMMARY_FILE.into(), what };
    let bytes = vfs
        .read(&artifact.join(SUMMARY_FILE))
        .map_err(|error| corrupt(format!("it cannot be read: {error}")))?;
    serde_json::from_slice(&bytes).map_err(|error| corrupt(format!("it cannot be read: {error}")))
}
