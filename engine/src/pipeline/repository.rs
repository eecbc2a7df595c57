//! Repositories on a hub: what a pipeline asks for, and the commits that the requests are pinned to.

/// The branch of the files that the hub converts to Parquet: `SUBSET/SPLIT/0000.parquet`.
pub(crate) const PARQUET_BRANCH: &str = "refs/convert/parquet";

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

/// A file of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinnedFile {
    /// Path within the repository.
    pub path: String,
    /// Size in bytes.
    pub size: u64,
    /// SHA-256 of its contents in hexadecimal, if the hub gives it: of files in LFS.
    pub sha256: Option<String>,
    /// SHA-1 of git's blob of the file in hexadecimal, for files that are not in LFS.
    pub blob: Option<String>,
}

/// The files of a repository that a stage reads, as the lock file pins them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepositoryFiles {
    /// Whether it is a model or a dataset.
    pub kind: RepositoryKind,
    /// `OWNER/NAME`, or `NAME` alone.
    pub name: String,
    /// 40 hexadecimal digits.
    pub commit: String,
    /// The files, in the order in which they are read.
    pub files: Vec<PinnedFile>,
    /// The first files that are left out, and how many there are.
    pub left: (Vec<String>, u64),
}

impl RepositoryFiles {
    /// Bytes of all files together.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files.iter().fold(0, |sum: u64, file| sum.saturating_add(file.size))
    }

    /// What the result of a stage that reads these files depends on: sizes and hashes of the contents, in order.
    pub(crate) fn identity(&self) -> impl Iterator<Item = String> {
        self.files.iter().map(|file| {
            let hash = file.sha256.as_ref().or(file.blob.as_ref());
            format!("{} {}\n", file.size, hash.map_or("", String::as_str))
        })
    }
}

/// Ends of the names of data files, and the word of `format=` for each.
const DATA_KINDS: [(&str, &str); 7] = [
    ("jsonl", "jsonl"),
    ("ndjson", "jsonl"),
    ("json", "json"),
    ("txt", "text"),
    ("text", "text"),
    ("parquet", "parquet"),
    ("arrow", "arrow"),
];

/// The word of `format=` for a file of this name, which may be compressed; `None` for a file that holds no documents.
#[must_use]
pub(crate) fn data_kind_of(path: &str) -> Option<&'static str> {
    let name = path.rsplit('/').next().unwrap_or(path);
    let bare = [".gz", ".zst"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
    let (_, end) = bare.rsplit_once('.')?;
    DATA_KINDS.iter().find(|(known, _)| *known == end).map(|(_, word)| *word)
}

/// The one word that [`data_kind_of`] has for all of these files; `None` if there is none, or several.
#[must_use]
pub(crate) fn find_data_kind<'a>(mut paths: impl Iterator<Item = &'a str>) -> Option<&'static str> {
    let first = data_kind_of(paths.next()?)?;
    paths.all(|path| data_kind_of(path) == Some(first)).then_some(first)
}

/// Whether a text is a commit: 40 hexadecimal digits.
#[must_use]
pub fn is_commit(text: &str) -> bool {
    is_hash(text, 40)
}

/// Whether a text is a hash of this many hexadecimal digits.
#[must_use]
pub fn is_hash(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit())
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
