//! Converts the errors of this crate to the engine's [`Failure`], whose kind decides the exit code.

use std::fmt::Display;

use fmflow_engine::error::{Failure, FailureKind};

/// A failure of the stage itself, explained by its message.
pub(crate) fn stage_failure(error: impl Display) -> Failure {
    Failure { kind: FailureKind::Stage, message: error.to_string(), help: None }
}

/// A failure caused by an invalid input of the stage. `help` says how to fix it.
pub(crate) fn input_failure(error: impl Display, help: impl Into<String>) -> Failure {
    Failure { kind: FailureKind::Input, message: error.to_string(), help: Some(help.into()) }
}
