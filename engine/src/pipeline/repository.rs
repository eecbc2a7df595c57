//! Repositories on a hub: what a pipeline asks for, and the commits that the requests are pinned to.

/// Kind of a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RepositoryKind {
    /// A checkpoint, which a `fetch` names.
    Model,
    /// Documents, which a `dataset` names.
    Dataset,
}

impl RepositoryKind {
    /// Both, in the order of a lock file.
    pub(crate) const ALL: [Self; 2] = [Self::Model, Self::Dataset];

    /// The word in lock files and messages.
    #[must_use]
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Dataset => "dataset",
        }
    }

    /// The KDL node that names such a repository.
    #[must_use]
    pub(crate) fn node(self) -> &'static str {
        match self {
            Self::Model => "fetch",
            Self::Dataset => "dataset",
        }
    }
}

/// A repository at a revision, as a pipeline asks for it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RepositoryRequest {
    /// Whether it is a model or a dataset.
    pub kind: RepositoryKind,
    /// `OWNER/NAME`, or `NAME` alone.
    pub name: String,
    /// Branch, tag or commit; `None`: the repository's default branch.
    pub revision: Option<String>,
}

impl RepositoryRequest {
    /// Whether the revision is already a commit, so that no pin is needed.
    #[must_use]
    pub(crate) fn is_commit(&self) -> bool {
        self.revision.as_deref().is_some_and(is_commit)
    }
}

impl std::fmt::Display for RepositoryRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.revision {
            Some(revision) => write!(f, "{} {} {revision}", self.kind.word(), self.name),
            None => write!(f, "{} {}", self.kind.word(), self.name),
        }
    }
}

/// A repository with the commit that it is pinned to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinnedRepository {
    /// What the pipeline asks for.
    pub asked: RepositoryRequest,
    /// 40 hexadecimal digits.
    pub commit: String,
}

/// Whether a text is a commit: 40 hexadecimal digits.
#[must_use]
pub fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_has_forty_digits() {
        assert!(is_commit(&"0aF9".repeat(10)));
        assert!(!is_commit("main") && !is_commit(&"g".repeat(40)) && !is_commit(&"a".repeat(39)));
    }
}
