//! The command line: what was typed, which command answers, and the number the process ends with.
//!
//! Results go to stdout, everything else to stderr. Only this room and [`crate::cli::terminal`] print.

mod check;
mod doctor;
mod explain;
mod failure;
mod gc;
mod graph;
mod help;
mod init;
mod log;
mod online;
mod output;
mod plan;
mod resolved;
mod run;
mod schema;
mod show;
mod source;
mod status;
pub mod terminal;
mod verify;
mod why;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::error::{Error, Result};
use crate::hub::online::Hub;
use crate::run::execute::Execute;
use crate::store::Store;
use output::Output;

/// Turns an autoregressive language model into a discrete flow matching model, from KDL files.
#[derive(Debug, Parser)]
#[command(name = "fmflow", version, arg_required_else_help = true)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
struct Global {
    /// Folder of the store
    #[arg(long, global = true, value_name = "DIR", default_value = ".fmflow", help_heading = help::EVERYWHERE)]
    store: PathBuf,
    /// When to use colours
    #[arg(long, global = true, value_enum, default_value = "auto", help_heading = help::EVERYWHERE)]
    color: Color,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Color {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write a small project to start from
    Init(init::Arguments),
    /// Look for mistakes in a file, without running anything
    Check(check::Arguments),
    /// Show what a run would do, why, and what it takes
    Plan(plan::Arguments),
    /// Run what is missing; go on with what was interrupted
    Run(run::Arguments),
    /// Go on with an interrupted run; refuse a changed configuration
    Resume(run::ResumeArguments),
    /// Show where every stage stands
    Status(status::Arguments),
    /// Show what changed since a stage last ran, and where that is written
    Why(why::Arguments),
    /// Show a finished stage, or every setting with its origin
    Show(show::Arguments),
    /// List the runs of the store, or print the metrics of a stage
    Log(log::Arguments),
    /// Draw the stages and what they read
    Graph(graph::Arguments),
    /// Re-hash every byte of an artifact or checkpoint
    Verify(verify::Arguments),
    /// Find results that no pipeline refers to, and remove them if told so
    Gc(gc::Arguments),
    /// Show what this build, machine and store offer, and what would stop a run
    Doctor(doctor::Arguments),
    /// Explain a code, or a node of the language
    Explain(explain::Arguments),
    /// Print the language: every node and field, with types, ranges and defaults
    Schema(schema::Arguments),
    /// Print the script that completes commands in a shell
    Completions(schema::CompletionsArguments),
}

/// What every command is given.
struct Context<'a> {
    store: PathBuf,
    output: Output,
    /// Whether the answer, be it a failure, is one JSON object.
    json: bool,
    execute: Option<&'a dyn Execute>,
    hub: Option<&'a dyn Hub>,
}

impl Context<'_> {
    /// The store for reading, if there is one.
    fn open(&self) -> Result<Option<Store>> {
        Store::open(&self.store)
    }

    /// The command that names a file, with the store where it is not the usual one.
    fn command(&self, command: &str, rest: &str) -> String {
        let store = match self.store.to_str() {
            Some(".fmflow") => String::new(),
            _ => format!(" --store {}", source::typed(&self.store)),
        };
        format!("fmflow {command} {rest}{store}")
    }
}

/// The program: reads the arguments, answers, and gives the exit code. `execute` does the work of stages and
/// `hub` answers about repositories, if they were built in.
#[must_use]
pub fn main(execute: Option<&dyn Execute>, hub: Option<&dyn Hub>) -> ExitCode {
    std::panic::set_hook(Box::new(|panic| output::complain(&format!("bug: {panic}"))));
    let json = failure::wants_json(std::env::args_os());
    let answer = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| answer(json, execute, hub)));
    ExitCode::from(answer.unwrap_or_else(|_| {
        let help = "this is a defect of fmflow; please report it with the command and the file";
        output::complain(&format!("help: {help}"));
        failure::Failure {
            code: "bug",
            message: "fmflow has a defect".into(),
            help: Some(help.into()),
            exit: 70,
        }
        .answer(json);
        70
    }))
}

fn answer(json: bool, execute: Option<&dyn Execute>, hub: Option<&dyn Hub>) -> u8 {
    let cli = match help::parse() {
        Ok(cli) => cli,
        Err(error) if !error.use_stderr() => return page(&error),
        Err(error) => {
            let _ = error.print();
            let exit = u8::try_from(error.exit_code()).unwrap_or(2);
            failure::Failure::of_usage(&error, exit).answer(json);
            return exit;
        }
    };
    let output = Output::new(cli.global.color);
    let context = Context { store: cli.global.store, output, json, execute, hub };
    match dispatch(cli.command, &context) {
        Ok(()) => 0,
        Err(error) => {
            context.output.error(&error);
            failure::Failure::of(&error).answer(json);
            error.exit_code()
        }
    }
}

/// Prints what was asked for instead of a command: help or the version.
fn page(page: &clap::Error) -> u8 {
    match output::written(page.print()) {
        Ok(()) => 0,
        Err(error) => {
            output::complain(&format!("error: {error}"));
            error.exit_code()
        }
    }
}

fn dispatch(command: Command, context: &Context<'_>) -> Result<()> {
    match command {
        Command::Init(arguments) => init::init(&arguments, context),
        Command::Check(arguments) => check::check(&arguments, context),
        Command::Plan(arguments) => plan::plan(&arguments, context),
        Command::Run(arguments) => run::run(&arguments, context),
        Command::Resume(arguments) => run::resume(&arguments, context),
        Command::Status(arguments) => status::status(&arguments, context),
        Command::Why(arguments) => why::why(&arguments, context),
        Command::Show(arguments) => show::show(&arguments, context),
        Command::Log(arguments) => log::log(&arguments, context),
        Command::Graph(arguments) => graph::graph(&arguments, context),
        Command::Verify(arguments) => verify::verify(&arguments, context),
        Command::Gc(arguments) => gc::gc(&arguments, context),
        Command::Doctor(arguments) => doctor::doctor(&arguments, context),
        Command::Explain(arguments) => explain::explain(&arguments, context),
        Command::Schema(arguments) => schema::schema(&arguments, context),
        Command::Completions(arguments) => schema::completions(&arguments, context),
    }
}

/// A path as people know it: relative to the current directory where possible.
fn shown(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(&here).unwrap_or(path).display().to_string()
}

/// A wrong use of a command, without a cure.
fn refuse(message: impl Into<String>) -> Error {
    Error::Usage { message: message.into(), help: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        help::command().debug_assert();
    }

    #[test]
    fn the_store_is_named_before_or_after_the_command() {
        for line in [["fmflow", "--store", "x", "status", "f"], ["fmflow", "status", "f", "--store", "x"]] {
            assert_eq!(Cli::try_parse_from(line).unwrap().global.store, Path::new("x"));
        }
    }
}
