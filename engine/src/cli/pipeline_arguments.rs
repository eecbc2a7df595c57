//! The pipeline that a command is about: its file and settings as they were typed, and what is made of them.

use std::path::{Path, PathBuf};

use clap::Args;

use super::CommandContext;
use super::failure::FailureAnswer;
use crate::check::{self, CheckOptions, CheckResult};
use crate::error::{Error, Result};
use crate::hub::online::{Hub, LockResolution};
use crate::pipeline::Pipeline;
use crate::text::diagnostic::{Diagnostic, Severity};
use crate::text::render;

/// Names a pipeline on the command line; every command that takes one takes this.
#[derive(Clone, Debug, Args)]
pub(super) struct PipelineArguments {
    /// The pipeline
    pub(super) file: PathBuf,
    #[command(flatten)]
    pub(super) settings: SettingArguments,
}

/// Settings that stand in for the file's.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct SettingArguments {
    /// Set a field, such as `train.sft.steps=20`; may be repeated, the last one wins
    #[arg(long = "set", value_name = "PATH=VALUE")]
    pub(super) set: Vec<String>,
}

impl PipelineArguments {
    /// Everything that is found in it.
    pub(super) fn check(&self) -> CheckResult {
        self.check_with(CheckOptions::from_environment())
    }

    /// The same, with more options.
    pub(super) fn check_with(&self, options: CheckOptions) -> CheckResult {
        check::check_path(&self.file, &CheckOptions { settings: self.settings.set.clone(), ..options })
    }

    /// The same, after asking a hub about its repositories; pins stay unless `update` is set.
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

    /// The pipeline. Errors are drawn on stderr.
    pub(super) fn load(&self, context: &CommandContext<'_>) -> Result<Pipeline> {
        self.load_with_warnings(context).map(|(pipeline, _)| pipeline)
    }

    /// The pipeline and its warnings, for commands that do or announce its work. Errors are drawn on stderr.
    pub(super) fn load_with_warnings(
        &self,
        context: &CommandContext<'_>,
    ) -> Result<(Pipeline, Vec<Diagnostic>)> {
        let (errors, warnings, pipeline) = self.read_all(context);
        match pipeline {
            Some(pipeline) => Ok((pipeline, warnings)),
            None => {
                FailureAnswer::from_error(&Error::Config).print_with_findings(&errors, context.json);
                Err(Error::Config)
            }
        }
    }

    /// The same for a command that goes on without a pipeline: the errors, and the pipeline where there are none.
    pub(super) fn read(&self, context: &CommandContext<'_>) -> (Vec<Diagnostic>, Option<Pipeline>) {
        let (errors, _, pipeline) = self.read_all(context);
        (errors, pipeline)
    }

    /// Errors, which are drawn, warnings, and the pipeline where there are no errors.
    fn read_all(&self, context: &CommandContext<'_>) -> (Vec<Diagnostic>, Vec<Diagnostic>, Option<Pipeline>) {
        let checked = self.check();
        let is_error = |finding: &Diagnostic| finding.severity == Severity::Error;
        let (errors, warnings): (Vec<_>, Vec<_>) = checked.diagnostics.into_iter().partition(is_error);
        context.output.message(&render::render_drawings(&errors, context.output.style()));
        (errors, warnings, checked.pipeline)
    }

    /// Warnings in a line each, and where they are explained; nothing where there are none.
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

    /// A command about the same pipeline, to be typed next; `rest` follows the file.
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
        for setting in &self.settings.set {
            words += &format!(" --set {}", quote_word(setting));
        }
        context.format_command(command, &words)
    }
}

/// A path as it is typed in a shell: in quotes where that matters, and never like an option.
pub(super) fn quote_path(path: &Path) -> String {
    let text = path.display().to_string();
    quote_word(&if text.starts_with('-') { format!("./{text}") } else { text })
}

/// A word as a shell reads it.
fn quote_word(word: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "._-=/:,+%@".contains(letter);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_quoted_for_a_shell() {
        assert_eq!(quote_word("train.sft.steps=20"), "train.sft.steps=20");
        assert_eq!(quote_word("a.b=it's"), "'a.b=it'\\''s'");
        assert_eq!(quote_word(""), "''");
        assert_eq!(quote_path(Path::new("my models/p.kdl")), "'my models/p.kdl'");
        assert_eq!(quote_path(Path::new("-p.kdl")), "./-p.kdl");
    }
}
