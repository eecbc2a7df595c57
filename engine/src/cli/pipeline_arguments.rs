//! The pipeline arguments of a command: the file and the `--set` settings, and loading the pipeline from them.

use std::path::{Path, PathBuf};

use clap::Args;

use super::CommandContext;
use super::failure::FailureAnswer;
use crate::check::{self, CheckOptions, CheckResult};
use crate::error::{Error, Result};
use crate::hub::online::{Hub, LockResolution};
use crate::pipeline::Pipeline;
use crate::text::diagnostic::{Code, Diagnostic, Severity};
use crate::text::render;
use crate::text::shell::{format_settings, quote_word};

/// Names a pipeline on the command line. Every command that takes a pipeline flattens these arguments.
#[derive(Clone, Debug, Args)]
pub(super) struct PipelineArguments {
    /// The pipeline file
    pub(super) file: PathBuf,
    #[command(flatten)]
    pub(super) settings: SettingArguments,
}

/// Settings that override those of the file.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct SettingArguments {
    /// Set a field, such as `train.sft.steps=20`; may be repeated, the last one wins
    #[arg(long = "set", value_name = "PATH=VALUE")]
    pub(super) set: Vec<String>,
}

impl SettingArguments {
    /// The flags as one types them in a shell.
    pub(super) fn format_flags(&self) -> String {
        format_settings(&self.set, quote_word)
    }
}

impl PipelineArguments {
    /// Checks the file.
    pub(super) fn check(&self) -> CheckResult {
        self.check_with(CheckOptions::from_environment())
    }

    /// Checks the file with more options; `--set` overrides `options.settings`.
    pub(super) fn check_with(&self, options: CheckOptions) -> CheckResult {
        check::check_path(&self.file, &CheckOptions { settings: self.settings.set.clone(), ..options })
    }

    /// Checks the file after asking a hub about its repositories. Existing pins are kept unless `update` is set.
    pub(super) fn check_online(
        &self,
        options: CheckOptions,
        hub: &dyn Hub,
        update: bool,
    ) -> (CheckResult, LockResolution) {
        check::check_online(
            &self.file,
            &CheckOptions { settings: self.settings.set.clone(), ..options },
            hub,
            update,
        )
    }

    /// Loads the pipeline, for commands that only show it: its data may have faulty lines. Errors are drawn on stderr.
    pub(super) fn load(&self, context: &CommandContext<'_>) -> Result<Pipeline> {
        let (errors, _, pipeline) = self.read_all(context);
        pipeline.ok_or_else(|| {
            FailureAnswer::from_error(&Error::Config).print_with_findings(&errors, context.json);
            Error::Config
        })
    }

    /// Loads the pipeline and its warnings, for commands that run or plan it. Errors are drawn on stderr.
    pub(super) fn load_with_warnings(
        &self,
        context: &CommandContext<'_>,
    ) -> Result<(Pipeline, Vec<Diagnostic>)> {
        let (errors, warnings, pipeline) = self.read_all(context);
        let Some(error) = classify_errors(&errors, pipeline.is_some()) else {
            return Ok((pipeline.expect("a file without errors is a pipeline"), warnings));
        };
        FailureAnswer::from_error(&error).print_with_findings(&errors, context.json);
        Err(error)
    }

    /// Loads the pipeline for a smoke run, for which files may be absent. Its warnings are those of `check`, and not shown.
    pub(super) fn load_for_smoke(&self, context: &CommandContext<'_>) -> Result<Pipeline> {
        let checked = self.check_with(CheckOptions { smoke: true, ..CheckOptions::from_environment() });
        let (errors, _, pipeline) = self.draw_errors(checked, context);
        match classify_errors(&errors, pipeline.is_some()) {
            None => Ok(pipeline.expect("a file without errors is a pipeline")),
            Some(error) => {
                FailureAnswer::from_error(&error).print_with_findings(&errors, context.json);
                Err(error)
            }
        }
    }

    /// For a command that continues without a pipeline: the errors, and the pipeline if the file is valid.
    pub(super) fn read(&self, context: &CommandContext<'_>) -> (Vec<Diagnostic>, Option<Pipeline>) {
        let (errors, _, pipeline) = self.read_all(context);
        (errors, pipeline)
    }

    /// Draws the errors; returns errors, warnings, and the pipeline if the file is valid: its data may have errors.
    fn read_all(&self, context: &CommandContext<'_>) -> (Vec<Diagnostic>, Vec<Diagnostic>, Option<Pipeline>) {
        self.draw_errors(self.check(), context)
    }

    fn draw_errors(
        &self,
        checked: CheckResult,
        context: &CommandContext<'_>,
    ) -> (Vec<Diagnostic>, Vec<Diagnostic>, Option<Pipeline>) {
        let is_error = |finding: &Diagnostic| finding.severity == Severity::Error;
        let (errors, warnings): (Vec<_>, Vec<_>) = checked.diagnostics.into_iter().partition(is_error);
        context.output.drawings(&errors);
        (errors, warnings, checked.pipeline)
    }

    /// The warnings, one line each, and the command that explains them; empty if there are none.
    pub(super) fn render_warnings(&self, warnings: &[Diagnostic], context: &CommandContext<'_>) -> String {
        if warnings.is_empty() {
            return String::new();
        }
        format!(
            "{}see: {}\n",
            render::render_concise_lines(warnings),
            self.format_next_command("check", "", context)
        )
    }

    /// A command on the same pipeline for the user to paste; `rest` follows the file.
    pub(super) fn format_next_command(
        &self,
        command: &str,
        rest: &str,
        context: &CommandContext<'_>,
    ) -> String {
        let mut words = quote_path(&self.file);
        if !rest.is_empty() {
            words += &format!(" {rest}");
        }
        if !self.settings.set.is_empty() {
            words += &format!(" {}", self.settings.format_flags());
        }
        context.format_command(command, &words)
    }
}

/// The error that the errors of a check stand for; `valid` says that there is a pipeline all the same. A configuration whose only
/// errors are about its data, or about the checkpoints that it names, is right itself: those are inputs that do not fit.
pub(super) fn classify_errors(errors: &[Diagnostic], valid: bool) -> Option<Error> {
    match errors {
        [] if valid => None,
        _ if valid => Some(build_data_error()),
        [_, ..] if errors.iter().all(|finding| finding.code == Code::UnfitCheckpoint) => {
            Some(Error::UnfitCheckpoint)
        }
        _ => Some(Error::Config),
    }
}

/// The error of a valid file whose data have faulty lines, which have been drawn.
pub(super) fn build_data_error() -> Error {
    let help = "fix or remove these lines; `run` looks through all lines and reports the others";
    Error::Input { message: "the data have faulty lines".to_owned(), help: Some(help.to_owned()) }
}

/// A path as one types it in a shell: quoted if needed, and with `./` if it would look like an option.
pub(super) fn quote_path(path: &Path) -> String {
    let text = path.to_string_lossy();
    quote_word(&if text.starts_with('-') { format!("./{text}").into() } else { text })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_quoted_for_a_shell() {
        assert_eq!(quote_path(Path::new("my models/p.kdl")), "'my models/p.kdl'");
        assert_eq!(quote_path(Path::new("-p.kdl")), "./-p.kdl");
        assert_eq!(quote_path(Path::new("a\n'\u{202e}.kdl")), r"$'a\x0a\'\u202e.kdl'");
    }
}
