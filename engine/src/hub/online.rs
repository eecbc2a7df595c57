//! Asking a hub about the repositories of a pipeline: whether they are there and may be read, which commits their branches
//! stand for, and whether the files and columns that the pipeline names exist. Only `check --online` does this.

mod columns;
mod files;
mod report;
mod session;

use indexmap::IndexMap;

use crate::hub::lockfile::{Lockfile, PinnedFile};
use crate::pipeline::repository::RepositoryRequest;
pub use session::Session;

/// The secret that a hub is shown, if the pipeline declares it.
pub const TOKEN_VARIABLE: &str = "HF_TOKEN";

/// A place of repositories. Implemented by the stages crate; the engine knows no network.
pub trait Hub {
    /// The address that is asked, for messages.
    fn address(&self) -> &str;

    /// The commit that a repository's revision stands for, if its files may be read.
    ///
    /// # Errors
    /// What is in the way.
    fn commit(&self, asked: &RepositoryRequest, token: Option<&Secret>) -> Result<String, HubError>;

    /// All files of a repository at a commit.
    ///
    /// # Errors
    /// What is in the way.
    fn files(
        &self,
        asked: &RepositoryRequest,
        commit: &str,
        token: Option<&Secret>,
    ) -> Result<Vec<PinnedFile>, HubError>;

    /// Columns of a dataset by subset, of its default branch.
    ///
    /// # Errors
    /// What is in the way.
    fn columns(&self, dataset: &str, token: Option<&Secret>) -> Result<SubsetColumns, HubError>;
}

/// Columns by subset, in the order of the hub.
pub type SubsetColumns = IndexMap<String, Vec<String>>;

/// A secret's value. It is sent, and never shown.
pub struct Secret(String);

impl Secret {
    /// A secret of this value.
    #[must_use]
    pub fn new(value: String) -> Self {
        Self(value)
    }

    /// The value, for the one header that carries it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Why a hub does not answer as hoped; each has another cure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HubError {
    /// It shows no such repository: there is none, or it is private.
    NoRepository,
    /// The repository has no such branch, tag or commit.
    NoRevision,
    /// The repository's terms have to be accepted first.
    Gated,
    /// The token is not one of the hub's.
    BadToken,
    /// It refuses, and says why.
    Refused(String),
    /// It cannot be reached, or its answer cannot be used, and why.
    Unreachable(String),
}

/// What asking gave, besides diagnostics.
#[derive(Debug, Default)]
pub struct LockResolution {
    /// What became of every pin, in the order of the text; pins that are gone last.
    pub changes: Vec<PinChange>,
    /// The lock file as it should be.
    pub lock: Lockfile,
    /// Whether it differs from the one that was read.
    pub changed: bool,
}

/// What became of one pin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinChange {
    /// What it is for.
    pub asked: RepositoryRequest,
    /// The commit before, if there was one.
    pub old: Option<String>,
    /// The commit now, if there is one.
    pub new: Option<String>,
    /// What the revision stands for on the hub, where that is another commit.
    pub head: Option<String>,
}

/// A hub's words, fit for a terminal: one line of printable letters, not too long.
fn clean_hub_text(text: &str) -> String {
    const MOST: usize = 200;
    let words = text.split(|letter: char| letter.is_control() || letter.is_whitespace());
    let line = words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    if line.chars().count() <= MOST { line } else { line.chars().take(MOST).collect::<String>() + "..." }
}

#[cfg(test)]
mod tests;
