//! Programs as stages.

use std::path::PathBuf;
use std::time::Duration;

/// Runs a program. Roles `input/<name>` are artifacts that it reads; sources `program` and `input/<name>` are files.
#[derive(Clone, Debug, PartialEq)]
pub struct CommandConfig {
    /// The command, for `sh`.
    pub command: String,
    /// Files of the program, which are copied into the folder that it runs in.
    pub programs: Vec<PlacedFile>,
    /// What it reads, by name.
    pub inputs: Vec<CommandInput>,
    /// Environment variables that it gets; one without a value is taken over.
    pub environment: Vec<(String, Option<String>)>,
    /// Patterns of files that it makes, relative to its folder. Each has to match.
    pub outputs: Vec<String>,
    /// Whether it draws random numbers, and gets the seed.
    pub seeded: bool,
    /// How long it may run; for ever, if it does not say.
    pub timeout: Option<Duration>,
}

/// A file, and its path in the folder that a program runs in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacedFile {
    /// Absolute path of the file.
    pub path: PathBuf,
    /// Path in the folder, of plain parts.
    pub place: PathBuf,
}

/// Something that a program reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandInput {
    /// Its name, which is that of a folder below `inputs`.
    pub name: String,
    /// Its files, with their paths in that folder; `None` for an artifact.
    pub files: Option<Vec<PlacedFile>>,
}
