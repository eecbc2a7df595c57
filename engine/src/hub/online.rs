//! Asks a hub about the repositories of a pipeline, for `check --online` only.
//!
//! Do they exist, and may they be read? Which commits do their revisions point to? Do the files and columns exist that the
//! pipeline names?

mod columns;
mod files;
mod report;
mod selection;
mod session;

use indexmap::IndexMap;

use crate::hub::lockfile::Lockfile;
use crate::pipeline::repository::{PinnedFile, RepositoryRequest};
use crate::text::environment;
pub(crate) use session::Session;

/// The environment variable whose value is sent to the hub, if the pipeline declares it as a secret.
pub(crate) const TOKEN_VARIABLE: &str = environment::TOKEN_VARIABLE;

/// A server of repositories. The stages crate implements it; the engine itself never opens a connection.
pub trait Hub {
    /// Base URL of the hub, for messages.
    fn address(&self) -> &str;

    /// The commit that the requested revision points to, if the repository's files may be read.
    ///
    /// # Errors
    /// If the repository or revision does not exist, access is denied, or the hub gives no usable answer.
    fn commit(&self, asked: &RepositoryRequest, token: Option<&Secret>) -> Result<String, HubError>;

    /// All files of a repository at a commit.
    ///
    /// # Errors
    /// As [`Self::commit`].
    fn files(
        &self,
        asked: &RepositoryRequest,
        commit: &str,
        token: Option<&Secret>,
    ) -> Result<Vec<PinnedFile>, HubError>;

    /// The subsets that the card of a dataset (`README.md`) declares; empty if it declares none.
    ///
    /// # Errors
    /// As [`Self::commit`], and if the card cannot be understood.
    fn card(
        &self,
        asked: &RepositoryRequest,
        commit: &str,
        token: Option<&Secret>,
    ) -> Result<Vec<CardSubset>, HubError>;

    /// Columns of each subset of a dataset, on its default branch.
    ///
    /// # Errors
    /// As [`Self::commit`].
    fn columns(&self, dataset: &str, token: Option<&Secret>) -> Result<SubsetColumns, HubError>;
}

/// Names of the columns of each subset, in the order of the hub.
pub type SubsetColumns = IndexMap<String, Vec<String>>;

/// A subset that the card of a dataset declares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CardSubset {
    /// Its name.
    pub name: String,
    /// Whether it is the one without `subset=`.
    pub default: bool,
    /// The folder that its patterns are relative to, with a `/` at its end; empty for the top.
    pub folder: String,
    /// Patterns of its files by split, in the order of the card; empty if names show the splits.
    pub files: Vec<(String, Vec<String>)>,
}

/// The value of a secret. `Debug` does not show it, so that no log or panic can.
pub struct Secret(String);

impl Secret {
    /// Wraps `value`.
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

/// The token for the hub, if `HF_TOKEN` is among the declared `secrets` and is known: the variable, or the file that
/// `hf auth login` writes. An undeclared one is never sent.
#[must_use]
pub(crate) fn find_token(secrets: &[String]) -> Option<Secret> {
    let declared = secrets.iter().any(|name| name == TOKEN_VARIABLE);
    declared.then(environment::read_hub_token).flatten().map(Secret::new)
}

/// What signs requests to S3. `Debug` shows none of it.
#[derive(Debug)]
pub struct StorageKeys {
    /// Who asks.
    pub id: Secret,
    /// The key.
    pub key: Secret,
    /// The token of a session, if the key expires.
    pub session: Option<Secret>,
}

/// What signs requests to S3, if it is among the declared `secrets` and is set.
#[must_use]
pub(crate) fn find_storage_keys(secrets: &[String]) -> Option<StorageKeys> {
    let find = |name: &str| {
        let declared = secrets.iter().any(|secret| secret == name);
        declared.then(|| environment::read_variable(name)).flatten().map(Secret::new)
    };
    let (id, key) = (find(environment::STORAGE_ID_VARIABLE)?, find(environment::STORAGE_KEY_VARIABLE)?);
    Some(StorageKeys { id, key, session: find(environment::STORAGE_SESSION_VARIABLE) })
}

/// Why a hub gave no answer. There is one variant for each different piece of advice to the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HubError {
    /// The repository does not exist, or it is private: a hub does not tell the two apart.
    NoRepository,
    /// The repository has no such branch, tag or commit.
    NoRevision,
    /// The user has to accept the repository's terms first.
    Gated,
    /// The hub does not know the token.
    BadToken,
    /// The card of a dataset cannot be understood, for the given reason.
    BadCard(String),
    /// The hub refused, for the given reason.
    Refused(String),
    /// The hub cannot be reached, or its answer is unusable, for the given reason.
    Unreachable(String),
}

/// Result of asking a hub, besides diagnostics.
#[derive(Debug, Default)]
pub(crate) struct LockResolution {
    /// Every pin in the order of the text, changed or not; removed pins last.
    pub changes: Vec<PinChange>,
    /// The new lock file.
    pub lock: Lockfile,
    /// Whether its pins differ from those that were read.
    pub changed: bool,
}

/// The old and the new commit of one pin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PinChange {
    /// The repository and revision that the pipeline asks for.
    pub asked: RepositoryRequest,
    /// The commit before; `None` for a new pin.
    pub old: Option<String>,
    /// The commit now; `None` for a removed pin.
    pub new: Option<String>,
    /// The commit that the revision points to on the hub, if it is not [`Self::new`].
    pub head: Option<String>,
}

/// Makes a hub's text safe for a terminal: one short line without control characters.
fn clean_hub_text(text: &str) -> String {
    const MOST: usize = 200;
    let words = text.split(|letter: char| letter.is_control() || letter.is_whitespace());
    let line = words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    if line.chars().count() <= MOST { line } else { line.chars().take(MOST).collect::<String>() + "..." }
}

#[cfg(test)]
mod tests;
