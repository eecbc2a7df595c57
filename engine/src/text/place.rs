//! Files of a configuration and places in them, which everything else points at.

use std::path::PathBuf;
use std::sync::Arc;

/// The byte order mark. Editors show none and count none.
pub(crate) const BYTE_ORDER_MARK: char = '\u{feff}';

/// A file of the configuration: where it came from and its text.
#[derive(Debug)]
pub struct ConfigFile {
    /// Name shown to people, relative to the current directory where possible.
    pub name: String,
    /// The whole text, valid UTF-8.
    pub text: String,
    /// The folder that paths in it are relative to, absolute.
    pub folder: PathBuf,
    /// Its number among the files of the configuration; the one that was named is 0.
    pub number: usize,
    /// How it takes part.
    pub role: FileRole,
}

/// How a file takes part in a configuration.
#[derive(Debug)]
pub enum FileRole {
    /// It was named.
    Root,
    /// The `include` at this place names it.
    Included(Span),
    /// No file: a setting given beside the file, with `--set`.
    Setting,
    /// The lock file beside the file that was named.
    Lock,
}

/// A place in the text of a configuration.
#[derive(Clone, Debug)]
pub struct Span {
    /// The file that the place lies in.
    pub file: Arc<ConfigFile>,
    /// First byte.
    pub offset: usize,
    /// Length in bytes.
    pub length: usize,
}

/// `file:line:column`, as compilers and editors write it.
impl std::fmt::Display for Span {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (line, column) = self.position();
        write!(f, "{}:{line}:{column}", self.file.name)
    }
}

impl Span {
    /// The text at the place.
    #[must_use]
    pub fn text(&self) -> &str {
        self.file.text.get(self.offset..self.offset + self.length).unwrap_or_default()
    }

    /// Line and column, both from 1; columns count characters, as editors do.
    #[must_use]
    pub fn position(&self) -> (usize, usize) {
        let before =
            self.file.text.get(..self.offset).unwrap_or_default().trim_start_matches(BYTE_ORDER_MARK);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        (line, column)
    }

    /// What orders places: the number of the file, then the byte.
    #[must_use]
    pub fn key(&self) -> (usize, usize) {
        (self.file.number, self.offset)
    }

    /// How a value came to be that is written here.
    #[must_use]
    pub fn origin(&self) -> Origin {
        match self.file.role {
            FileRole::Setting => Origin::Set,
            FileRole::Root | FileRole::Included(_) | FileRole::Lock => Origin::Written,
        }
    }
}

/// How a value came to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Written in the stage.
    Written,
    /// Copied from the named recipe.
    Recipe(String),
    /// The field table's default.
    Default,
    /// The lock file, for a branch or tag that is written, or for none.
    Lock,
    /// Given beside the file, with `--set`.
    Set,
}
