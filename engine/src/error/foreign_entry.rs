//! What does not belong into a store, as an error of the file system.

use std::io;
use std::path::Path;

/// Something in a store that fmflow never makes there, such as a link or a pipe. It travels inside an [`io::Error`].
#[derive(Debug, thiserror::Error)]
#[error("`{name}` is {what}")]
pub(crate) struct ForeignEntry {
    /// Last name of its path.
    name: String,
    /// What it is, such as `a link`.
    pub what: String,
}

impl ForeignEntry {
    pub(crate) fn new(path: &Path, what: impl Into<String>) -> Self {
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        Self { name, what: what.into() }
    }

    /// The entry that an error is about, if it is about one.
    pub(crate) fn find(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }
}

impl From<ForeignEntry> for io::Error {
    fn from(entry: ForeignEntry) -> Self {
        Self::other(entry)
    }
}
