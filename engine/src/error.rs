//! Errors that do not point into the text of a configuration, with their help and exit codes.

mod foreign_entry;
mod library_panic;

use std::io;
use std::path::{Path, PathBuf};

pub(crate) use foreign_entry::ForeignEntry;
pub use library_panic::catch_library_panic;
pub(crate) use library_panic::is_panic_caught;

use crate::text::diagnostic::Diagnostic;
use crate::text::escape::show_path;

/// Every exit code with its meaning. The help prints this table, and a test compares it with `docs/commands.md`.
pub const EXIT_CODES: &[(u8, &str)] = &[
    (0, "the command did its job"),
    (1, "a stage failed, or has no result yet"),
    (2, "configuration or usage"),
    (3, "`plan --check` found work, or `check --runnable` something that `run` refuses"),
    (4, "an artifact or checkpoint is corrupt"),
    (5, "the store is locked by a live run"),
    (6, "out of space; resumable"),
    (7, "training diverged"),
    (8, "input is invalid, or changed since the plan"),
    (70, "a bug in fmflow"),
    (75, "stopped by a signal; resumable"),
];

/// Result of the store, the plan and the runner.
pub type Result<T> = std::result::Result<T, Error>;

/// An error that ends a command.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The command line, or the store that it names, cannot be used as requested.
    #[error("{message}")]
    Usage {
        /// What is wrong.
        message: String,
        /// How to fix it.
        help: Option<String>,
    },
    /// The configuration has errors. They have already been shown, so this message does not repeat them.
    #[error("the configuration has errors")]
    Config,
    /// A checkpoint folder that the configuration names cannot be used; the findings have been shown.
    #[error("a checkpoint folder cannot be used")]
    UnfitCheckpoint,
    /// `plan --check` found work.
    #[error("{0} stages would run")]
    WorkToDo(usize),
    /// `check --runnable` found something that `run` refuses. It has already been shown.
    #[error("`run` refuses {0} things")]
    NotRunnable(usize),
    /// A stage ended without a result.
    #[error("stage `{stage}`: {failure}")]
    Stage {
        /// Name of the stage.
        stage: String,
        /// Why it failed.
        failure: Failure,
    },
    /// A stage's settings contradict the checkpoint or the rows that it reads.
    #[error("the settings of stage `{stage}` contradict its inputs: {}", findings.first().map_or("", |f| f.message.as_str()))]
    Contradiction {
        /// Name of the stage.
        stage: String,
        /// The contradictions, each with its places in the configuration.
        findings: Vec<Diagnostic>,
    },
    /// A published folder does not match its manifest.
    #[error("`{file}` in {} is corrupt: {what}", show_path(folder))]
    Corrupt {
        /// The artifact or checkpoint.
        folder: PathBuf,
        /// Name of the damaged file inside the folder.
        file: String,
        /// What is wrong with the file.
        what: String,
    },
    /// Another run has locked the store.
    #[error("the store {} is in use by {holder}", show_path(store))]
    Locked {
        /// Folder of the store.
        store: PathBuf,
        /// Process id, host and start time of the run that holds the lock.
        holder: String,
    },
    /// The disk does not have enough space for what would be written.
    #[error("{0}")]
    Space(String),
    /// A file that the pipeline reads is invalid, or changed since the plan.
    #[error("{message}")]
    Input {
        /// What is wrong.
        message: String,
        /// How to fix it.
        help: Option<String>,
    },
    /// `doctor` found something that would stop a run.
    #[error("a run would stop here: {what}")]
    Unfit {
        /// The first obstacle.
        what: String,
        /// The exit code that the run would end with.
        exit: u8,
    },
    /// The operating system refused.
    #[error("cannot {action} {}: {source}", show_path(path))]
    Io {
        /// The attempted operation as a verb, such as `write`.
        action: &'static str,
        /// The file or folder it was attempted on.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
}

impl Error {
    /// A usage error with a message and a help line.
    pub(crate) fn usage(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self::Usage { message: message.into(), help: Some(help.into()) }
    }

    /// For `map_err`: turns an I/O error into one that names the operation and the file.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_path_buf(), source }
    }

    /// The exit code, one of [`EXIT_CODES`].
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage { .. } | Self::Config => 2,
            Self::WorkToDo(_) | Self::NotRunnable(_) => 3,
            Self::Corrupt { .. } => 4,
            Self::Locked { .. } => 5,
            Self::Space(_) => 6,
            Self::Input { .. } | Self::Contradiction { .. } | Self::UnfitCheckpoint => 8,
            Self::Io { source, .. } if is_disk_full(source) => 6,
            Self::Io { source, .. } if ForeignEntry::find(source).is_some() => 2,
            Self::Io { .. } => 1,
            Self::Unfit { exit, .. } => *exit,
            Self::Stage { failure, .. } => failure.kind.exit_code(),
        }
    }

    /// A stable identifier for programs, printed with `--json`.
    #[must_use]
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Usage { .. } => "usage",
            Self::Config => "configuration",
            Self::WorkToDo(_) => "work-to-do",
            Self::NotRunnable(_) => "not-runnable",
            Self::Corrupt { .. } => "corrupt",
            Self::Locked { .. } => "locked",
            Self::Space(_) => "out-of-space",
            Self::Input { .. } | Self::Contradiction { .. } | Self::UnfitCheckpoint => "input",
            Self::Io { source, .. } if is_disk_full(source) => "out-of-space",
            Self::Io { source, .. } if ForeignEntry::find(source).is_some() => "usage",
            Self::Io { .. } => "io",
            Self::Unfit { .. } => "unfit",
            Self::Stage { failure, .. } => failure.kind.code(),
        }
    }

    /// How to fix it, if that is known.
    #[must_use]
    pub(crate) fn help(&self) -> Option<String> {
        match self {
            Self::Usage { help, .. } | Self::Input { help, .. } => help.clone(),
            Self::Stage { failure, .. } => failure.help.clone(),
            Self::Contradiction { findings, .. } => findings.first().and_then(|finding| finding.help.clone()),
            Self::Corrupt { folder, .. } if is_store_folder(folder) => {
                Some(format!("remove {} and run again: the run recreates it", show_path(folder)))
            }
            Self::Corrupt { .. } => {
                Some("do not use this folder; restore it from a copy, or make it again".into())
            }
            Self::Locked { .. } => {
                Some("wait for that run to end, or use another store with `--store`".into())
            }
            Self::Space(_) => {
                Some("free some space, then run the same command again: it continues where it stopped".into())
            }
            Self::Io { source, .. } if is_disk_full(source) => {
                Some("free some space, then run the same command again: it continues where it stopped".into())
            }
            Self::Io { source, .. } if ForeignEntry::find(source).is_some() => Some(
                "a store holds only its own folders and regular files, and nothing that leads elsewhere: remove this if \
                 you put it there, or name another folder with `--store`"
                    .into(),
            ),
            Self::Config
            | Self::UnfitCheckpoint
            | Self::WorkToDo(_)
            | Self::NotRunnable(_)
            | Self::Unfit { .. }
            | Self::Io { .. } => None,
        }
    }
}

/// Why a stage did not finish.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// The kind, which decides the exit code.
    pub kind: FailureKind,
    /// What happened; it names the file, line, tensor or field.
    pub message: String,
    /// How to fix it.
    pub help: Option<String>,
}

/// Kinds of failure, each with its exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// The stage failed (1).
    Stage,
    /// An artifact or checkpoint is corrupt (4).
    Corrupt,
    /// The disk is full; resumable (6).
    Space,
    /// Training diverged (7).
    Diverged,
    /// Input is invalid or changed since the plan (8).
    Input,
    /// Stopped by a signal after a checkpoint; resumable (75).
    Interrupted,
    /// A bug in fmflow (70).
    Defect,
}

impl FailureKind {
    /// A stable identifier for programs, printed with `--json`.
    #[must_use]
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::Stage => "stage-failed",
            Self::Corrupt => "corrupt",
            Self::Space => "out-of-space",
            Self::Diverged => "diverged",
            Self::Input => "input",
            Self::Interrupted => "stopped",
            Self::Defect => "bug",
        }
    }

    /// The exit code, one of [`EXIT_CODES`].
    #[must_use]
    pub(crate) fn exit_code(self) -> u8 {
        match self {
            Self::Stage => 1,
            Self::Corrupt => 4,
            Self::Space => 6,
            Self::Diverged => 7,
            Self::Input => 8,
            Self::Interrupted => 75,
            Self::Defect => 70,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let kind = match error.exit_code() {
            4 => FailureKind::Corrupt,
            6 => FailureKind::Space,
            8 => FailureKind::Input,
            _ => FailureKind::Stage,
        };
        Self { kind, message: error.to_string(), help: error.help() }
    }
}

// Writes through `HashingFile` return plain I/O errors. A full disk must not become an ordinary failure there, because
// only `FailureKind::Space` is reported as resumable.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        let kind = if is_disk_full(&error) { FailureKind::Space } else { FailureKind::Stage };
        Self { kind, message: error.to_string(), help: None }
    }
}

/// Whether a folder belongs to a store, so that a run can recreate it. Help must never suggest removing any other folder.
fn is_store_folder(folder: &Path) -> bool {
    let within = folder.parent().and_then(Path::file_name);
    folder.is_absolute() && within.is_some_and(|name| name == "artifacts" || name == "checkpoints")
}

/// A full quota counts as a full disk.
fn is_disk_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_never_suggests_removing_a_folder_outside_a_store() {
        let help = |folder: &str| {
            let (file, what) = ("manifest.json".into(), "it is missing".into());
            Error::Corrupt { folder: folder.into(), file, what }.help().unwrap()
        };
        assert!(help("/p/.fmflow/artifacts/ar-0123").starts_with("remove /p/.fmflow/artifacts/ar-0123 "));
        assert!(["/home/me", ".", "/"].iter().all(|folder| !help(folder).contains("remove")));
    }

    #[test]
    fn a_panic_of_a_library_is_caught_with_its_text() {
        std::panic::set_hook(Box::new(|_| assert!(is_panic_caught())));
        assert_eq!(catch_library_panic(|| 3), Ok(3));
        assert_eq!(catch_library_panic(|| -> u8 { panic!("row {}", 7) }), Err("row 7".into()));
        assert!(!is_panic_caught());
        let _ = std::panic::take_hook();
    }

    #[test]
    fn a_full_disk_is_resumable_everywhere() {
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        let error = Error::io("write", Path::new("x"))(full());
        assert_eq!(error.exit_code(), 6);
        assert_eq!(Failure::from(error).kind, FailureKind::Space);
        assert_eq!(Failure::from(full()).kind, FailureKind::Space);
    }
}
