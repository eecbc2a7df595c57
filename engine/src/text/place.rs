//! Files of a configuration and places in them. Diagnostics, stages and settings all point at such places.

use std::path::PathBuf;
use std::sync::Arc;

/// The byte order mark. Columns do not count it, because editors neither show nor count it.
pub(crate) const BYTE_ORDER_MARK: char = '\u{feff}';

/// A file of the configuration: where it came from and its text.
#[derive(Debug)]
pub struct ConfigFile {
    /// Name for messages, relative to the current directory where possible.
    pub name: String,
    /// The whole text, valid UTF-8.
    pub text: String,
    /// Absolute path of the folder that paths in this file are relative to.
    pub folder: PathBuf,
    /// Number among the files of the configuration, which orders diagnostics; the root file is 0.
    pub number: usize,
    /// How the file became part of the configuration.
    pub role: FileRole,
}

/// How a file became part of a configuration.
#[derive(Debug)]
pub enum FileRole {
    /// It was named on the command line.
    Root,
    /// The `include` at this place names it.
    Included(Span),
    /// Not a file on disk: the text of one `--set` option.
    Setting,
    /// The lock file next to the root file.
    Lock,
}

/// A place in the text of a configuration.
#[derive(Clone, Debug)]
pub struct Span {
    /// The file that contains the place.
    pub file: Arc<ConfigFile>,
    /// First byte, counted from the start of the file.
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
    /// The text at the place; empty if the place is out of bounds.
    #[must_use]
    pub(crate) fn text(&self) -> &str {
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

    /// Sort key of a place: the number of the file, then the byte.
    #[must_use]
    pub(crate) fn key(&self) -> (usize, usize) {
        (self.file.number, self.offset)
    }

    /// The origin of a value that is written here.
    #[must_use]
    pub(crate) fn origin(&self) -> Origin {
        match self.file.role {
            FileRole::Setting => Origin::Set,
            FileRole::Root | FileRole::Included(_) | FileRole::Lock => Origin::Written,
        }
    }
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Written in the stage.
    Written,
    /// Copied from the named recipe.
    Recipe(String),
    /// The field table's default.
    Default,
    /// Pinned by the lock file, in place of a branch or tag, or of no revision at all.
    Lock,
    /// Given on the command line, with `--set`.
    Set,
}
