//! The pages of `--help`: what a command is for, examples to paste, then usage. Every command has its examples here.

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, Command, CommandFactory, FromArgMatches};

use super::Cli;
use super::other_commands::find_own_command;
use crate::error::EXIT_CODES;
use crate::text::escape::escape_line;

/// Examples come before usage, because they are what people look for.
const TEMPLATE: &str = "{about-with-newline}\n{before-help}{usage-heading} {usage}\n\n{all-args}{after-help}";

/// Heading of the options that every command has.
pub(super) const GLOBAL_OPTIONS: &str = "Global options";

/// A line to paste, and what it does.
type CommandExample = (&'static str, &'static str);

/// The commands that a new user needs first.
const FIRST: &[CommandExample] = &[
    ("fmflow init", "write a small project to start from"),
    ("fmflow check pipeline.kdl", "check it for mistakes"),
    ("fmflow plan pipeline.kdl", "see what would run, and why"),
    ("fmflow run pipeline.kdl", "run it, or continue it"),
    ("fmflow explain learning-rate.peak", "what a field, a node or a code means"),
];

/// Examples of every command, in the order of the commands.
const EXAMPLES: &[(&str, &[CommandExample])] = &[
    ("init", &[("fmflow init", "in this folder"), ("fmflow init first", "in a folder of its own")]),
    (
        "check",
        &[
            ("fmflow check pipeline.kdl", "all mistakes at once, each with a fix"),
            (
                "fmflow check pipeline.kdl --online",
                "ask the hub about repositories, pin them in pipeline.lock",
            ),
            ("fmflow check pipeline.kdl --runnable", "exit with 3 if `run` would refuse something"),
            ("fmflow check pipeline.kdl --format concise", "one line each, for an editor"),
            ("fmflow check pipeline.kdl --format github", "annotations in a GitHub workflow"),
        ],
    ),
    (
        "plan",
        &[
            ("fmflow plan pipeline.kdl", "stages, reasons, learning rates, tokens, disk"),
            ("fmflow plan pipeline.kdl --until sft", "what `run` with the same options would do"),
            ("fmflow plan pipeline.kdl --check", "exit with 3 if something would run"),
        ],
    ),
    (
        "run",
        &[
            ("fmflow run pipeline.kdl", "all missing stages"),
            ("fmflow run pipeline.kdl --until pretrain", "this stage and what it needs"),
            ("fmflow run pipeline.kdl --only sft", "this stage alone; its inputs have to be finished"),
            ("fmflow run pipeline.kdl --from sft", "this stage and what depends on it, even if finished"),
            ("fmflow run pipeline.kdl --jobs 2", "two stages at a time, if neither needs the other"),
            ("fmflow run pipeline.kdl --device cuda:0", "on the first GPU"),
        ],
    ),
    (
        "resume",
        &[
            ("fmflow resume", "the last run of the store"),
            ("fmflow resume pipeline.kdl", "this pipeline, unless it changed"),
        ],
    ),
    (
        "status",
        &[
            ("fmflow status pipeline.kdl", "which stages are finished, unfinished or missing"),
            ("fmflow status pipeline.kdl --follow", "watch a run in another terminal until it ends"),
            ("fmflow status pipeline.kdl --json", "the same for a program"),
        ],
    ),
    (
        "why",
        &[
            ("fmflow why pipeline.kdl", "what changed, in every stage that would run"),
            ("fmflow why pipeline.kdl sft", "what changed since its newest result, and what else will run"),
            ("fmflow why pipeline.kdl sft --vs 3", "what changed since run 3; `fmflow log` lists the runs"),
            ("fmflow why pipeline.kdl sft --key", "everything that its result depends on"),
        ],
    ),
    (
        "show",
        &[
            ("fmflow show pipeline.kdl", "the results of all finished stages"),
            ("fmflow show pipeline.kdl sft", "its result, its files and their folder"),
            ("fmflow show pipeline.kdl sft --resolved", "every setting, and where it comes from"),
            ("cd \"$(fmflow show pipeline.kdl sft --path)\"", "only the folder"),
        ],
    ),
    (
        "data",
        &[
            ("fmflow data show pipeline.kdl chat/tasks", "the first rows, with what is learned"),
            ("fmflow data show pipeline.kdl chat/tasks --row 7 --at 0.5", "a row with half of its noise"),
            ("fmflow data stats pipeline.kdl", "tokens, packing and losses of all rows"),
            ("fmflow data stats pipeline.kdl chat/tasks", "lengths, and what is left out"),
        ],
    ),
    (
        "log",
        &[
            ("fmflow log", "every run of the store: when, what, how it ended"),
            ("fmflow log pipeline.kdl", "the runs of one pipeline"),
            ("fmflow log pipeline.kdl sft --plot", "the curves of a training, also while it runs"),
            (
                "fmflow log pipeline.kdl sft | tail -1",
                "the last metrics of a stage, one JSON object per line",
            ),
        ],
    ),
    (
        "graph",
        &[
            ("fmflow graph pipeline.kdl", "one line per stage"),
            ("fmflow graph pipeline.kdl --format dot | dot -Tsvg > p.svg", "a picture"),
            ("fmflow graph pipeline.kdl --format mermaid", "for Markdown"),
        ],
    ),
    (
        "generate",
        &[
            ("fmflow generate pipeline.kdl sft --chat --prompt Hello", "a user's turn, to a finished stage"),
            ("fmflow generate FOLDER --prompt Once --new-tokens 128", "a prompt, to a checkpoint folder"),
            (
                "fmflow generate FOLDER --file prompt.txt --sampler confidence steps=16 block=8",
                "with another sampler",
            ),
            (
                "fmflow generate FOLDER --prefix Once --suffix End. --length 4..16",
                "the gap between two texts",
            ),
            ("fmflow generate FOLDER --prompt Once -n 4 --seed 7 --json", "four samples, for a program"),
        ],
    ),
    (
        "chat",
        &[
            ("fmflow chat pipeline.kdl sft", "with a finished stage"),
            (
                "fmflow chat FOLDER --sampler confidence steps=16",
                "with a checkpoint folder and another sampler",
            ),
            ("fmflow chat FOLDER < questions.txt", "a line is a message; one that ends with \\ goes on"),
        ],
    ),
    (
        "bench",
        &[
            (
                "fmflow bench generate pipeline.kdl sft --questions tasks.jsonl",
                "the sampler that `generate` uses",
            ),
            (
                "fmflow bench generate pipeline.kdl sft --questions tasks.jsonl --sampler fast --sampler exact",
                "two samplers of the file",
            ),
            ("fmflow bench generate FOLDER --questions tasks.jsonl --json", "for a program"),
        ],
    ),
    (
        "verify",
        &[
            ("fmflow verify \"$(fmflow show pipeline.kdl sft --path)\"", "check every byte of an artifact"),
            ("fmflow verify FOLDER --deep", "also recompute the logits of its certificate"),
            ("fmflow verify FOLDER --batches", "also compare answers alone, in batches and with a cache"),
        ],
    ),
    (
        "grade",
        &[
            (
                "fmflow grade humaneval --problems HumanEval.jsonl.gz --samples samples.jsonl",
                "how many samples pass, and why the others do not",
            ),
            (
                "fmflow grade mbpp --problems mbpp.jsonl --samples samples.jsonl --json",
                "the same for a program, with every verdict",
            ),
        ],
    ),
    (
        "gc",
        &[
            ("fmflow gc", "what can be removed, and what uses the rest"),
            ("fmflow gc --yes", "remove it"),
            ("fmflow gc pipeline.kdl", "keep only what this pipeline and the last run use"),
            ("fmflow gc --pin sft-02be333369fb", "keep this artifact, even if no pipeline uses it"),
        ],
    ),
    (
        "doctor",
        &[
            ("fmflow doctor", "before the first run, or for a bug report"),
            ("fmflow doctor pipeline.kdl", "also check whether this pipeline can run here"),
        ],
    ),
    (
        "explain",
        &[
            ("fmflow explain train", "a node and its fields"),
            ("fmflow explain learning-rate.peak", "a field"),
            ("fmflow explain max_steps", "a name that another tool uses"),
            ("fmflow explain elbo", "a word of papers, or an idea"),
            ("fmflow explain --list", "all diagnostic codes"),
        ],
    ),
    (
        "schema",
        &[
            ("fmflow schema", "the language reference, as Markdown"),
            ("fmflow schema --json", "the field table for a program"),
            ("fmflow schema --kdl-schema > fmflow.schema.kdl", "for an editor that supports KDL schemas"),
        ],
    ),
    (
        "completions",
        &[
            ("source <(fmflow completions bash)", "for this shell"),
            (
                "fmflow completions fish > ~/.config/fish/completions/fmflow.fish",
                "for every shell from now on",
            ),
        ],
    ),
];

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
