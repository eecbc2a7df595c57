//! Errors that do not point into the text of a configuration, with their help and exit codes.

mod damage;
mod failure;
mod foreign_entry;
mod library_panic;
mod shortage;

use std::io;
use std::path::{Path, PathBuf};

pub use failure::{Failure, FailureKind};
pub(crate) use foreign_entry::ForeignEntry;
pub use library_panic::catch_library_panic;
pub(crate) use library_panic::{find_running_library_call, is_panic_caught};
pub use shortage::Shortage;

use crate::text::diagnostic::Diagnostic;
use crate::text::escape::show_path;

/// Every exit code with its meaning. The help prints this table, and a test compares it with `docs/commands.md`.
pub const EXIT_CODES: &[(u8, &str)] = &[
    (0, "the command did its job"),
    (1, "a stage failed, or has no result yet"),
    (2, "configuration or usage"),
    (3, "`plan --check` found work, or `check --runnable` something that `run` refuses"),
    (4, "an artifact or checkpoint is corrupt"),
    (5, "a live run makes the same stage, or has the store alone"),
    (6, "out of space; resumable"),
    (7, "training diverged"),
    (8, "input is invalid, or changed since the plan"),
    (70, "a bug in fmflow"),
    (75, "stopped by a signal; resumable"),
];

/// How to fix a store that cannot be written.
pub(crate) const WRITABLE: &str = "make the store writable, or name another folder with `--store`";

/// Operations that only write. Others, such as `open`, may read what belongs to somebody else.
const WRITING: [&str; 13] = [
    "write", "create", "remove", "sync", "lock", "copy", "move", "replace", "complete", "publish", "link",
    "protect", "set",
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
    /// Another run makes what this one would make.
    #[error("{message}")]
    Busy {
        /// Who makes what.
        message: String,
    },
    /// Storage has no room for what is written, or would be.
    #[error("{message}")]
    Space {
        /// What has no room, how much is needed and how much is free.
        message: String,
        /// What the room is short of, which decides the help.
        shortage: Shortage,
    },
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
    /// Something that cannot happen in a program without bugs.
    #[error("{0}")]
    Defect(String),
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

    /// For `map_err`: turns an I/O error into one that names the operation and the file. One that names them already stays as
    /// it is.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| {
            source.downcast().unwrap_or_else(|source| Self::Io { action, path: path.to_path_buf(), source })
        }
    }

    /// Whether something cannot be written, because of its permissions or a file system that is read-only.
    #[must_use]
    pub(crate) fn is_unwritable(&self) -> bool {
        let Self::Io { action, source, .. } = self else { return false };
        match source.kind() {
            io::ErrorKind::ReadOnlyFilesystem => true,
            io::ErrorKind::PermissionDenied => WRITING.contains(action),
            _ => false,
        }
    }

    /// What storage is short of, if this error is about that.
    #[must_use]
    pub(crate) fn shortage(&self) -> Option<Shortage> {
        match self {
            Self::Space { shortage, .. } => Some(*shortage),
            Self::Io { source, .. } => Shortage::find(source),
            Self::Stage { failure: Failure { kind: FailureKind::Space(shortage), .. }, .. } => {
                Some(*shortage)
            }
            _ => None,
        }
    }

    /// The exit code, one of [`EXIT_CODES`].
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage { .. } | Self::Config => 2,
            Self::WorkToDo(_) | Self::NotRunnable(_) => 3,
            Self::Corrupt { .. } => 4,
            Self::Locked { .. } | Self::Busy { .. } => 5,
            Self::Space { .. } => 6,
            Self::Input { .. } | Self::Contradiction { .. } | Self::UnfitCheckpoint => 8,
            Self::Io { source, .. } if Shortage::find(source).is_some() => 6,
            Self::Io { source, .. } if ForeignEntry::find(source).is_some() => 2,
            Self::Io { .. } => 1,
            Self::Defect(_) => 70,
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
            Self::Locked { .. } | Self::Busy { .. } => "locked",
            Self::Space { .. } => "out-of-space",
            Self::Input { .. } | Self::Contradiction { .. } | Self::UnfitCheckpoint => "input",
            Self::Io { source, .. } if Shortage::find(source).is_some() => "out-of-space",
            Self::Io { source, .. } if ForeignEntry::find(source).is_some() => "usage",
            Self::Io { .. } => "io",
            Self::Defect(_) => "bug",
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
            Self::Corrupt { folder, file, .. } => Some(damage::explain_damage(folder, file)),
            Self::Locked { .. } => {
                Some("wait for that run to end, or use another store with `--store`".into())
            }
            Self::Busy { .. } => {
                Some("wait for that run to end, or run other stages with `--only` or `--until`".into())
            }
            Self::Space { .. } => self.shortage().map(Shortage::help),
            Self::Io { source, .. } if ForeignEntry::find(source).is_some() => Some(
                "a store holds only its own folders and regular files, and nothing that leads elsewhere: remove this if \
                 you put it there, or name another folder with `--store`"
                    .into(),
            ),
            Self::Config
            | Self::UnfitCheckpoint
            | Self::WorkToDo(_)
            | Self::NotRunnable(_)
            | Self::Unfit { .. } => None,
            Self::Defect(_) => Some("this is a bug in fmflow; please report it with the command and the file".into()),
            Self::Io { source, .. } => Shortage::find(source).map(Shortage::help),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_of_a_library_is_caught_with_its_text() {
        std::panic::set_hook(Box::new(|_| assert!(is_panic_caught())));
        assert_eq!(catch_library_panic(|| 3), Ok(3));
        assert_eq!(catch_library_panic(|| -> u8 { panic!("row {}", 7) }), Err("row 7".into()));
        assert!(!is_panic_caught());
        let _ = std::panic::take_hook();
    }
}
