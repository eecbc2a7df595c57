//! Converts the errors of this crate to the engine's [`Failure`], whose kind decides the exit code.
//!
//! An error is passed as it is and not as its text, wherever there is one: what lies at its bottom, such as a full disk, has a
//! kind of its own.

use std::error::Error;
use std::fmt::Display;

use fmflow_engine::error::{Failure, FailureKind};

/// Help for a model whose numbers are not finite.
pub(crate) const BEYOND_F32: &str = "use another checkpoint: its weights or constants of config.json (`rms_norm_eps`, `rope_theta`) are beyond what f32 computes";

/// A failure of the stage itself, explained by its message.
pub(crate) fn stage_failure(error: impl Into<Box<dyn Error + Send + Sync>>) -> Failure {
    Failure::classify(&*error.into(), FailureKind::Stage, None)
}

/// A failure caused by an invalid input of the stage. `help` says how to fix it.
pub(crate) fn input_failure(
    error: impl Into<Box<dyn Error + Send + Sync>>,
    help: impl Into<String>,
) -> Failure {
    Failure::classify(&*error.into(), FailureKind::Input, Some(help.into()))
}

/// As [`input_failure`], for an error that does not name the place that it is about.
pub(crate) fn input_failure_in(
    place: impl Display,
    error: impl Into<Box<dyn Error + Send + Sync>>,
    help: impl Into<String>,
) -> Failure {
    let failure = input_failure(error, help);
    Failure { message: format!("{place}: {}", failure.message), ..failure }
}
