//! Why a stage did not finish, and how its kind is found under the texts that were put around the cause.

use std::error::Error as StdError;
use std::io;

use super::{Error, Shortage, WRITABLE};

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
    /// Storage is full; resumable (6).
    Space(Shortage),
    /// The store cannot be written (2).
    Unwritable,
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
            Self::Space(_) => "out-of-space",
            Self::Unwritable => "usage",
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
            Self::Space(_) => 6,
            Self::Unwritable => 2,
            Self::Diverged => 7,
            Self::Input => 8,
            Self::Interrupted => 75,
            Self::Defect => 70,
        }
    }
}

impl Failure {
    /// Work that was stopped because the server stops.
    #[must_use]
    pub fn interrupted() -> Self {
        let message = "the server stopped before the request was answered".to_owned();
        Self { kind: FailureKind::Interrupted, message, help: None }
    }

    /// The failure that an error stands for. A cause that has a kind of its own keeps it, at whatever depth: an error of the
    /// store, or storage that is full. Any other error is of the kind, and has the help, that the caller gives.
    #[must_use]
    pub fn classify(error: &(dyn StdError + 'static), kind: FailureKind, help: Option<String>) -> Self {
        let own = visit_causes(error, |cause| match cause.downcast_ref::<Self>() {
            Some(failure) => Some(failure.clone()),
            None => cause.downcast_ref().map(Self::from_error),
        });
        let full = || {
            let shortage = Shortage::find(error)?;
            let (kind, help) = (FailureKind::Space(shortage), Some(shortage.help()));
            Some(Self { kind, message: error.to_string(), help })
        };
        // Stages write to the store alone.
        let read_only = || {
            visit_causes(error, |cause| {
                cause
                    .downcast_ref::<io::Error>()
                    .filter(|cause| cause.kind() == io::ErrorKind::ReadOnlyFilesystem)?;
                let (kind, help) = (FailureKind::Unwritable, Some(WRITABLE.to_owned()));
                Some(Self { kind, message: error.to_string(), help })
            })
        };
        own.or_else(full).or_else(read_only).unwrap_or_else(|| Self {
            kind,
            message: error.to_string(),
            help,
        })
    }

    fn from_error(error: &Error) -> Self {
        let kind = match (error.exit_code(), error.shortage()) {
            (_, Some(shortage)) => FailureKind::Space(shortage),
            (4, None) => FailureKind::Corrupt,
            (8, None) => FailureKind::Input,
            (70, None) => FailureKind::Defect,
            (_, None) if error.is_unwritable() => {
                let help = Some(WRITABLE.to_owned());
                return Self { kind: FailureKind::Unwritable, message: error.to_string(), help };
            }
            (_, None) => FailureKind::Stage,
        };
        Self { kind, message: error.to_string(), help: error.help() }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::from_error(&error)
    }
}

// Writes through `HashingFile` return I/O errors. A full disk must not become an ordinary failure there, because only
// `FailureKind::Space` is reported as resumable.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::classify(&error, FailureKind::Stage, None)
    }
}

// For a trait that returns I/O errors: the kind stays that of the cause.
impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        match &error {
            Error::Io { source, .. } => Self::new(source.kind(), error),
            _ => Self::other(error),
        }
    }
}

/// What `find` says of the first error for which it says anything: the error itself, its cause, the cause of that, and so on.
pub(super) fn visit_causes<T>(
    error: &(dyn StdError + 'static),
    find: impl Fn(&(dyn StdError + 'static)) -> Option<T>,
) -> Option<T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = find(error) {
            return Some(found);
        }
        // The `source` of an `io::Error` is not the error that it wraps, but the source of that.
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = wrapped.map(|wrapped| wrapped as &(dyn StdError + 'static)).or_else(|| error.source());
    }
    None
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rustix::io::Errno;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("`{file}` cannot be made: {cause}")]
    struct Wrapped {
        file: &'static str,
        #[source]
        cause: io::Error,
    }

    const FULL: [(Errno, Shortage); 3] =
        [(Errno::NOSPC, Shortage::Disk), (Errno::DQUOT, Shortage::Quota), (Errno::FBIG, Shortage::FileSize)];

    #[test]
    fn full_storage_is_resumable_everywhere() {
        for (number, shortage) in FULL {
            let full = || io::Error::from(number);
            let error = Error::io("write", Path::new("x"))(full());
            assert_eq!((error.exit_code(), error.code()), (6, "out-of-space"), "{shortage:?}");
            assert!(error.help().is_some_and(|help| help.contains("run the same command again")));
            for failure in [error.into(), full().into()] {
                let Failure { kind, .. } = failure;
                assert_eq!(kind, FailureKind::Space(shortage));
            }
        }
    }

    #[test]
    fn a_cause_keeps_its_kind_under_any_number_of_texts() {
        for (number, shortage) in FULL {
            let full = io::Error::from(number);
            let inner = io::Error::from(Error::io("write", Path::new("/s/tmp/rows.bin"))(full));
            let error = io::Error::other(Wrapped { file: "rows.bin", cause: inner });
            let failure = Failure::classify(&error, FailureKind::Input, Some("look at the dataset".into()));
            assert_eq!(failure.kind, FailureKind::Space(shortage));
            assert!(failure.message.starts_with("cannot write /s/tmp/rows.bin: "), "{failure}");
        }
        let bare = Wrapped { file: "rows.bin", cause: io::ErrorKind::StorageFull.into() };
        let failure = Failure::classify(&bare, FailureKind::Input, None);
        assert_eq!(failure.kind, FailureKind::Space(Shortage::Disk));
        assert!(failure.message.starts_with("`rows.bin` cannot be made: "), "{failure}");
    }

    #[test]
    fn an_error_of_the_store_keeps_its_kind_and_any_other_gets_that_of_the_caller() {
        let (folder, file, what) = ("/s/artifacts/a-1".into(), "x".into(), "its contents differ".into());
        let corrupt = Wrapped { file: "x", cause: Error::Corrupt { folder, file, what }.into() };
        assert_eq!(Failure::classify(&corrupt, FailureKind::Input, None).kind, FailureKind::Corrupt);
        let denied = Error::io("read", Path::new("x"))(io::ErrorKind::PermissionDenied.into());
        let denied = Wrapped { file: "x", cause: denied.into() };
        assert_eq!(denied.cause.kind(), io::ErrorKind::PermissionDenied);
        assert_eq!(Failure::classify(&denied, FailureKind::Input, None).kind, FailureKind::Stage);
        let plain = Wrapped { file: "x", cause: io::Error::other("no") };
        let failure = Failure::classify(&plain, FailureKind::Input, Some("write it".into()));
        assert_eq!((failure.kind, failure.help.as_deref()), (FailureKind::Input, Some("write it")));
    }

    #[test]
    fn a_store_that_cannot_be_written_is_no_failure_of_the_stage() {
        use io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
        let named =
            |action, kind: io::ErrorKind| Failure::from(Error::io(action, Path::new("x"))(kind.into()));
        for failure in [
            named("publish", PermissionDenied),
            named("read", ReadOnlyFilesystem),
            io::Error::from(ReadOnlyFilesystem).into(),
        ] {
            assert_eq!(failure.kind, FailureKind::Unwritable, "{failure}");
            assert!(failure.help.is_some_and(|help| help.contains("--store")));
        }
        for action in ["read", "open", "list"] {
            assert_eq!(
                named(action, PermissionDenied).kind,
                FailureKind::Stage,
                "data may be unreadable: {action}"
            );
        }
    }

    #[test]
    fn an_error_that_names_its_file_is_not_named_again() {
        let inner = Error::io("write", Path::new("a"))(io::ErrorKind::StorageFull.into());
        let error = Error::io("sync", Path::new("b"))(inner.into());
        assert!(error.to_string().starts_with("cannot write a: "), "{error}");
    }
}
