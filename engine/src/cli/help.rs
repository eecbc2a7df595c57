//! The pages of `--help`: what a command is for, examples to paste, then usage. Every command has its examples here.

mod examples;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, Command, CommandFactory, FromArgMatches};

use self::examples::{CommandExample, EXAMPLES, FIRST};
use super::Cli;
use super::other_commands::find_own_command;
use crate::error::EXIT_CODES;
use crate::text::escape::escape_line;

/// Examples come before usage, because they are what people look for.
const TEMPLATE: &str = "{about-with-newline}\n{before-help}{usage-heading} {usage}\n\n{all-args}{after-help}";

/// Heading of the options that every command has.
pub(super) const GLOBAL_OPTIONS: &str = "Global options";

/// The clap command of the program, with its help pages.
pub(super) fn build_command() -> Command {
    let codes = EXIT_CODES.iter().map(|(code, meaning)| format!("  {code:<4}{meaning}\n"));
    let codes: String = codes.collect();
    Cli::command()
        .help_template(TEMPLATE)
        .disable_help_flag(true)
        .arg(
            // Only the short form of help: clap's long form spreads every option over several lines.
            Arg::new("help")
                .short('h')
                .long("help")
                .action(ArgAction::HelpShort)
                .global(true)
                .help_heading(GLOBAL_OPTIONS)
                .help("Print this page"),
        )
        .before_help(format_examples(FIRST))
        .after_help(format!("Exit codes:\n{}", codes.trim_end()))
        .mut_subcommands(|command| {
            let found = EXAMPLES.iter().find(|(name, _)| *name == command.get_name());
            let (_, examples) = found.expect("every command has examples");
            let command = command.help_template(TEMPLATE).before_help(format_examples(examples));
            command.mut_subcommands(|inner| inner.help_template(TEMPLATE))
        })
}

/// Parses the arguments of the process.
pub(super) fn parse_command_line() -> Result<Cli, clap::Error> {
    let error = match build_command().try_get_matches() {
        Ok(matches) => return Cli::from_arg_matches(&matches),
        Err(error) => error,
    };
    Err(escape_words(replace_tip(error)))
}

/// Drops clap's tip to write `-- --word`, which is never right here: no argument starts with a dash. `--dry-run`, `-n` and
/// commands of other tools get a tip of their own.
fn replace_tip(mut error: clap::Error) -> clap::Error {
    let typed = |kind| error.get(kind).map(ToString::to_string);
    let tip = match error.kind() {
        ErrorKind::UnknownArgument => {
            let dry =
                typed(ContextKind::InvalidArg).is_some_and(|typed| typed == "--dry-run" || typed == "-n");
            error.remove(ContextKind::Suggested);
            dry.then_some("`fmflow plan FILE` shows what a run would do")
        }
        ErrorKind::InvalidSubcommand => {
            typed(ContextKind::InvalidSubcommand).and_then(|typed| find_own_command(&typed))
        }
        _ => None,
    };
    if let Some(tip) = tip {
        error.remove(ContextKind::SuggestedSubcommand);
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    }
    error
}

/// Escapes the words that were typed. clap prints them as they are, between colors of its own.
fn escape_words(mut error: clap::Error) -> clap::Error {
    let typed = error.context().filter_map(|(kind, value)| match value {
        ContextValue::String(word) => Some((kind, ContextValue::String(escape_line(word).into_owned()))),
        ContextValue::Strings(words) => {
            let words = words.iter().map(|word| escape_line(word).into_owned());
            Some((kind, ContextValue::Strings(words.collect())))
        }
        _ => None,
    });
    for (kind, value) in typed.collect::<Vec<_>>() {
        error.insert(kind, value);
    }
    error
}

/// Examples with their meanings aligned.
fn format_examples(examples: &[CommandExample]) -> String {
    let width = examples.iter().map(|(line, _)| line.chars().count()).max().unwrap_or(0);
    let lines = examples.iter().map(|(line, meaning)| format!("\n  {line:<width$}  {meaning}"));
    format!("Examples:{}", lines.collect::<String>())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    /// The arguments of an example that go to fmflow, without the shell syntax around them.
    fn words(example: &str) -> Vec<&str> {
        let start = example.find("fmflow").unwrap();
        let own = example[start..].split(['|', '>', '<', ')']).next().unwrap();
        let own = own.split("\"$(").next().unwrap().trim();
        let mut words: Vec<_> = own.split(' ').collect();
        if example.contains("\"$(") && start == 0 {
            words.push("FOLDER");
        }
        words
    }

    #[test]
    fn every_command_has_examples_and_they_parse() {
        let command = Cli::command();
        let names: Vec<_> = command.get_subcommands().map(Command::get_name).collect();
        let known: Vec<_> = EXAMPLES.iter().map(|(name, _)| *name).collect();
        assert_eq!(known, names);
        for (line, meaning) in EXAMPLES.iter().flat_map(|(_, examples)| *examples).chain(FIRST) {
            assert!(!meaning.is_empty());
            let parsed = Cli::try_parse_from(words(line));
            assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
        }
    }
}
