//! A failure as JSON, so that `--json` always prints exactly one object on stdout, whatever the exit code.
//!
//! A command that printed its answer before it fails (`plan --check`, `verify`, `run`) prints nothing more on stdout.

use std::ffi::OsString;

use serde_json::json;

use super::Color;
use super::output::{self, Output};
use crate::error::Error;
use crate::store::vfs::{Disk, Vfs};
use crate::text::diagnostic::Diagnostic;
use crate::text::display::format_bytes;
use crate::text::render;

/// A failure as programs see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FailureAnswer {
    /// A stable word, see [`Error::code`].
    pub(super) code: &'static str,
    pub(super) message: String,
    pub(super) help: Option<String>,
    pub(super) exit: u8,
}

impl FailureAnswer {
    pub(super) fn from_error(error: &Error) -> Self {
        Self { code: error.code(), message: error.to_string(), help: error.help(), exit: error.exit_code() }
    }

    /// The message and tip of clap, without its label and usage.
    pub(super) fn from_usage_error(error: &clap::Error, exit: u8) -> Self {
        let text = error.to_string();
        let (message, rest) = text.split_once("\n\n").unwrap_or((&text, ""));
        let message = message.trim_start_matches("error: ").trim().to_string();
        let help = rest.lines().find_map(|line| line.trim().strip_prefix("tip: ")).map(str::to_string);
        Self { code: "usage", message, help, exit }
    }

    /// Prints the failure, if the user wants JSON and nothing was printed yet.
    pub(super) fn print(&self, json: bool) {
        self.print_with_findings(&[], json);
    }

    /// Like [`Self::print`], with the errors of a configuration.
    pub(super) fn print_with_findings(&self, findings: &[Diagnostic], json: bool) {
        if !json || output::has_answered() {
            return;
        }
        let Self { code, message, help, exit } = self;
        let mut answer = json!({
            "schema": "fmflow.error/1", "code": code, "message": message, "help": help, "exit": exit,
        });
        if !findings.is_empty() {
            answer["diagnostics"] = render::render_diagnostics_json(findings);
        }
        let _ = Output::new(Color::Never).json(&answer);
    }
}

/// Adds to an error about full storage how much is free there, unless it says so already.
pub(super) fn add_free_space(error: Error) -> Error {
    let (Error::Io { path, .. }, Some(shortage)) = (&error, error.shortage()) else { return error };
    // A redirected stdout has no path.
    let place = path.ancestors().skip(1).find(|folder| folder.is_dir());
    match place.map(|place| Disk.free_bytes(place)) {
        Some(Ok(free)) => {
            Error::Space { message: format!("{error}; {} is free", format_bytes(free)), shortage }
        }
        _ => error,
    }
}

/// Whether the arguments ask for JSON. Looks at the raw words, because a wrong argument has to be reported as JSON too.
pub(super) fn wants_json(arguments: impl Iterator<Item = OsString>) -> bool {
    let words: Vec<_> = arguments.take_while(|word| word != "--").collect();
    let format = |pair: &[OsString]| {
        pair.first().is_some_and(|word| word == "--format") && pair.last().is_some_and(|word| word == "json")
    };
    words.iter().any(|word| word == "--json" || word == "--format=json") || words.windows(2).any(format)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_flags_are_recognized_in_raw_arguments() {
        let wants = |line: &str| wants_json(line.split(' ').map(OsString::from));
        assert!(wants("fmflow plan p.kdl --json"));
        assert!(wants("fmflow check --format json p.kdl") && wants("fmflow check --format=json p.kdl"));
        assert!(!wants("fmflow check --format human json") && !wants("fmflow show -- --json"));
    }

    #[test]
    fn a_usage_error_keeps_the_message_and_tip_of_clap() {
        let error =
            super::super::help::build_command().try_get_matches_from(["fmflow", "chekc"]).unwrap_err();
        let failure = FailureAnswer::from_usage_error(&error, 2);
        assert_eq!(failure.message, "unrecognized subcommand 'chekc'");
        assert!(failure.help.unwrap().contains("'check'"));
    }
}
