//! The pipeline that a command is about: its file as it was typed, and what is made of it.

use std::path::PathBuf;

use clap::Args;

use super::Context;
use crate::check::{self, Checked, Options};
use crate::diagnostic::{Diagnostic, Severity};
use crate::error::{Error, Result};
use crate::pipeline::Pipeline;
use crate::render;

/// Names a pipeline on the command line; every command that takes one takes this.
#[derive(Clone, Debug, Args)]
pub(super) struct Source {
    /// The pipeline
    pub(super) file: PathBuf,
}

impl Source {
    /// Everything that is found in it.
    pub(super) fn check(&self) -> Checked {
        check::check(&self.file, &Options::from_environment())
    }

    /// The pipeline. Errors are drawn on stderr; warnings are `check`'s business.
    pub(super) fn load(&self, context: &Context<'_>) -> Result<Pipeline> {
        let checked = self.check();
        let is_error = |finding: &&Diagnostic| finding.severity == Severity::Error;
        let errors: Vec<_> = checked.diagnostics.iter().filter(is_error).cloned().collect();
        context.output.message(&render::graphical(&errors, context.output.style()));
        checked.pipeline.ok_or(Error::Config)
    }

    /// A command about the same pipeline, to be typed next; `rest` follows the file.
    pub(super) fn next(&self, command: &str, rest: &str, context: &Context<'_>) -> String {
        let words = format!("{} {rest}", self.file.display());
        context.command(command, words.trim_end())
    }
}
