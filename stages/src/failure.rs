//! Converts the errors of this crate to the engine's [`Failure`], whose kind decides the exit code.

use std::fmt::Display;

use fmflow_engine::error::{Failure, FailureKind};

/// Help for a model whose numbers are not finite.
pub(crate) const BEYOND_F32: &str = "use another checkpoint: its weights or constants of config.json (`rms_norm_eps`, `rope_theta`) are beyond what f32 computes";

/// A failure of the stage itself, explained by its message.
pub(crate) fn stage_failure(error: impl Display) -> Failure {
    Failure { kind: FailureKind::Stage, message: error.to_string(), help: None }
}

/// A failure caused by an invalid input of the stage. `help` says how to fix it.
pub(crate) fn input_failure(error: impl Display, help: impl Into<String>) -> Failure {
    Failure { kind: FailureKind::Input, message: error.to_string(), help: Some(help.into()) }
}
