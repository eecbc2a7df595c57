//! From the errors of the rooms to the engine's [`Failure`], whose kind decides the exit code.

use std::fmt::Display;

use fmflow_engine::error::{Failure, FailureKind};

/// The stage failed for a reason that its message tells.
pub fn stage_failure(error: impl Display) -> Failure {
    Failure { kind: FailureKind::Stage, message: error.to_string(), help: None }
}

/// What the stage was given is invalid.
pub fn input_failure(error: impl Display, help: impl Into<String>) -> Failure {
    Failure { kind: FailureKind::Input, message: error.to_string(), help: Some(help.into()) }
}
