//! From the errors of the rooms to the engine's [`Failure`], whose kind decides the exit code.

use std::fmt::Display;

use fmflow_engine::error::Error;
use fmflow_engine::execute::{Failure, FailureKind};

/// The stage failed for a reason that its message tells.
pub fn stage(error: impl Display) -> Failure {
    Failure { kind: FailureKind::Stage, message: error.to_string(), help: None }
}

/// What the stage was given is invalid.
pub fn input(error: impl Display, help: impl Into<String>) -> Failure {
    Failure { kind: FailureKind::Input, message: error.to_string(), help: Some(help.into()) }
}

/// The store failed; the exit code is the store's own.
#[expect(clippy::needless_pass_by_value, reason = "for use with `map_err`")]
pub fn store(error: Error) -> Failure {
    let kind = match error.exit_code() {
        4 => FailureKind::Corrupt,
        6 => FailureKind::Space,
        8 => FailureKind::Input,
        _ => FailureKind::Stage,
    };
    Failure { kind, message: error.to_string(), help: error.help() }
}

/// Writing failed; a full disk keeps its own exit code.
#[expect(clippy::needless_pass_by_value, reason = "for use with `map_err`")]
pub fn io(error: std::io::Error) -> Failure {
    let full = matches!(error.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded);
    let kind = if full { FailureKind::Space } else { FailureKind::Stage };
    Failure { kind, message: error.to_string(), help: None }
}
