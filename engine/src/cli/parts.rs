//! What a build consists of besides the engine, and what is said where a part is missing.

use super::{CommandContext, usage_error};
use crate::error::Result;
use crate::hub::online::Hub;
use crate::run::execute::Execute;
use crate::service::Serve;

/// What a build consists of besides the engine; `None` where it was built without.
#[derive(Clone, Copy, Default)]
pub struct BuildParts<'a> {
    /// Runs stages.
    pub execute: Option<&'a dyn Execute>,
    /// Answers questions about repositories.
    pub hub: Option<&'a dyn Hub>,
    /// Serves checkpoints.
    pub server: Option<&'a dyn Serve>,
}

impl<'a> CommandContext<'a> {
    /// What computes.
    ///
    /// # Errors
    /// If the program was built without it.
    pub(super) fn executor(&self) -> Result<&'a dyn Execute> {
        let missing = "this program was built without an execution backend; rebuild with `--features cpu`";
        self.execute.ok_or_else(|| usage_error(missing))
    }

    /// What serves.
    ///
    /// # Errors
    /// If the program was built without it.
    pub(super) fn server(&self) -> Result<&'a dyn Serve> {
        let missing = "this program was built without a server; rebuild with `--features serve`";
        self.server.ok_or_else(|| usage_error(missing))
    }
}
