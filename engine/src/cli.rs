//! The command line: parses the arguments, dispatches to a command, and decides the exit code.
//!
//! Results go to stdout, everything else to stderr. Only this room prints.

mod approve;
mod arithmetic;
mod asking;
mod bench;
mod chat;
mod check;
mod consent;
mod data;
mod diff;
mod doctor;
mod explain;
mod failure;
mod gc;
mod generate;
mod grade;
mod graph;
mod help;
mod init;
mod live_run;
mod log;
mod online;
mod other_commands;
mod output;
mod page_file;
mod parts;
mod pipeline_arguments;
mod plan;
mod process_limits;
mod report;
mod resolved;
mod run;
mod schema;
mod serve;
mod show;
mod signals;
mod status;
mod store_place;
mod subject;
pub mod terminal;
mod verify;
mod why;
mod window_text;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::error::{Error, Result, is_panic_caught};
use crate::hub::online::Hub;
use crate::run::execute::Execute;
use crate::run::last_words;
use crate::service::Serve;
use crate::store::{Store, StoreTrust};
use crate::text::table::fit_tables;
use output::Output;
pub use parts::BuildParts;

/// Turns an autoregressive language model into a discrete flow matching model, from KDL files.
#[derive(Debug, Parser)]
#[command(name = "fmflow", version, arg_required_else_help = true)]
struct Cli {
    #[command(flatten)]
    global: GlobalArguments,
    #[command(subcommand)]
    command: CliCommand,
}

#[derive(Debug, Args)]
struct GlobalArguments {
    /// Folder of the store [default: the nearest .fmflow from the file upwards]
    #[arg(long, global = true, value_name = "DIR", help_heading = help::GLOBAL_OPTIONS)]
    store: Option<PathBuf>,
    /// When to use colors
    #[arg(long, global = true, value_enum, default_value = "auto", help_heading = help::GLOBAL_OPTIONS)]
    color: Color,
}

/// When to use colors.
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
enum CliCommand {
    /// Write a small project to start from
    Init(init::InitArguments),
    /// Check a file for mistakes, without running anything
    Check(check::CheckArguments),
    /// Show what a run would do, why, and what it costs
    Plan(plan::PlanArguments),
    /// Run missing stages; continue interrupted ones
    Run(run::RunArguments),
    /// Continue an interrupted run; refuse a changed configuration
    Resume(run::ResumeArguments),
    /// Approve the commands that a pipeline executes
    Approve(approve::ApproveArguments),
    /// Show the state of every stage
    Status(status::StatusArguments),
    /// Show what changed since a stage last ran, and where that is written
    Why(why::WhyArguments),
    /// Show what differs between two results or runs, and which problems flip
    Diff(diff::DiffArguments),
    /// Show a finished stage, or every setting with its origin
    Show(show::ShowArguments),
    /// Show rows as text, or count what is in them
    Data(data::DataArguments),
    /// List the runs of the store, or print the metrics of a stage
    Log(log::LogArguments),
    /// Write a page about a pipeline or a run: curves, scores, samples, what to worry about
    Report(report::ReportArguments),
    /// Draw the stages and what they read
    Graph(graph::GraphArguments),
    /// Ask a checkpoint for text, and show how fast it is
    Generate(generate::GenerateArguments),
    /// Talk with a checkpoint
    Chat(chat::ChatArguments),
    /// Serve checkpoints over HTTP as OpenAI's API, with a page
    Serve(serve::ServeArguments),
    /// Measure samplers: passes, speed and exact match
    Bench(bench::BenchArguments),
    /// Re-hash every byte of an artifact or checkpoint
    Verify(verify::VerifyArguments),
    /// Grade answers to the problems of a benchmark
    Grade(grade::GradeArguments),
    /// Find results that no pipeline uses, and remove them with `--yes`
    Gc(gc::GcArguments),
    /// Show what this build, machine and store offer, and what would stop a run
    Doctor(doctor::DoctorArguments),
    /// Explain a diagnostic code, a node or field of the language, or a word of papers
    Explain(explain::ExplainArguments),
    /// Print the language: every node and field, with types, ranges and defaults
    Schema(schema::SchemaArguments),
    /// Print a completion script for a shell
    Completions(schema::CompletionsArguments),
}

/// What every command gets.
struct CommandContext<'a> {
    store: PathBuf,
    /// Whether the user named the store.
    trust: StoreTrust,
    output: Output,
    /// Whether the answer is one JSON object, even if it is a failure.
    json: bool,
    execute: Option<&'a dyn Execute>,
    hub: Option<&'a dyn Hub>,
    server: Option<&'a dyn Serve>,
}

impl CommandContext<'_> {
    /// Opens the store for reading, if it exists.
    fn open_store(&self) -> Result<Option<Store>> {
        Store::open_as(&self.store, self.trust)
    }

    /// Opens the store, and creates it if it does not exist.
    fn create_store(&self) -> Result<Store> {
        Store::create_as(&self.store, self.trust)
    }

    /// A command line for the user to paste, with `--store` if the user named one.
    fn format_command(&self, command: &str, rest: &str) -> String {
        let store = match self.trust {
            StoreTrust::Found => String::new(),
            StoreTrust::Named => format!(" --store {}", pipeline_arguments::quote_path(&self.store)),
        };
        format!("fmflow {command} {rest}{store}")
    }
}

/// Runs the program: parses the arguments, runs the command and returns the exit code.
///
/// A panic anywhere becomes exit code 70 with a message, so that no input ends in a Rust backtrace; 8 if the system refused a thread.
#[must_use]
pub fn run_command_line(parts: BuildParts<'_>) -> ExitCode {
    std::panic::set_hook(Box::new(|panic| {
        if is_panic_caught() {
            return;
        }
        let text = panic.to_string();
        if last_words::tells_of_refused_thread(&text) {
            output::end_out_of_memory();
        }
        output::write_stderr_line(&format!("bug: {text}"));
    }));
    let json = failure::wants_json(std::env::args_os());
    if let Some(error) = process_limits::refuse_small_stack() {
        output::write_stderr_line(&format!("error: {error}\nhelp: {}", error.help().unwrap_or_default()));
        failure::FailureAnswer::from_error(&error).print(json);
        return ExitCode::from(error.exit_code());
    }
    let answer = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| parse_and_dispatch(json, parts)));
    ExitCode::from(answer.unwrap_or_else(|_| {
        let help = "this is a bug in fmflow; please report it with the command and the file";
        output::write_stderr_line(&format!("help: {help}"));
        failure::FailureAnswer {
            code: "bug",
            message: "fmflow has a bug".into(),
            help: Some(help.into()),
            exit: 70,
        }
        .print(json);
        70
    }))
}

// Its frame must not be part of that of its caller, which looks at the stack first.
#[inline(never)]
fn parse_and_dispatch(json: bool, parts: BuildParts<'_>) -> u8 {
    let cli = match help::parse_command_line() {
        Ok(cli) => cli,
        Err(error) if !error.use_stderr() => return print_help_page(&error),
        Err(error) => {
            let _ = error.print();
            let exit = u8::try_from(error.exit_code()).expect("clap ends with 2");
            failure::FailureAnswer::from_usage_error(&error, exit).print(json);
            return exit;
        }
    };
    let output = Output::new(cli.global.color);
    output.find_table_columns().into_iter().for_each(fit_tables);
    let trust = if cli.global.store.is_some() { StoreTrust::Named } else { StoreTrust::Found };
    let store = cli.global.store.unwrap_or_else(|| store_place::find_store(cli.command.find_file()));
    let BuildParts { execute, hub, server } = parts;
    let context = CommandContext { store, trust, output, json, execute, hub, server };
    let done = process_limits::prepare_process().and_then(|()| dispatch_command(cli.command, &context));
    match done.map_err(failure::add_free_space) {
        Ok(()) => 0,
        Err(error) => {
            context.output.error(&error);
            failure::FailureAnswer::from_error(&error).print(json);
            error.exit_code()
        }
    }
}

/// Prints help or the version, which clap reports as errors.
fn print_help_page(page: &clap::Error) -> u8 {
    match output::confirm_stdout_write(page.print()) {
        Ok(()) => 0,
        Err(error) => {
            output::write_stderr_line(&format!("error: {error}"));
            error.exit_code()
        }
    }
}

fn dispatch_command(command: CliCommand, context: &CommandContext<'_>) -> Result<()> {
    match command {
        CliCommand::Init(arguments) => init::run_init(&arguments, context),
        CliCommand::Check(arguments) => check::run_check(&arguments, context),
        CliCommand::Plan(arguments) => plan::run_plan(&arguments, context),
        CliCommand::Run(arguments) => run::run_pipeline(&arguments, context),
        CliCommand::Resume(arguments) => run::run_resume(&arguments, context),
        CliCommand::Approve(arguments) => approve::run_approve(&arguments, context),
        CliCommand::Status(arguments) => status::run_status(&arguments, context),
        CliCommand::Why(arguments) => why::run_why(&arguments, context),
        CliCommand::Diff(arguments) => diff::run_diff(&arguments, context),
        CliCommand::Show(arguments) => show::run_show(&arguments, context),
        CliCommand::Data(arguments) => data::run_data(&arguments, context),
        CliCommand::Log(arguments) => log::run_log(&arguments, context),
        CliCommand::Report(arguments) => report::run_report(&arguments, context),
        CliCommand::Graph(arguments) => graph::run_graph(&arguments, context),
        CliCommand::Generate(arguments) => generate::run_generate(&arguments, context),
        CliCommand::Chat(arguments) => chat::run_chat(&arguments, context),
        CliCommand::Serve(arguments) => serve::run_serve(&arguments, context),
        CliCommand::Bench(arguments) => bench::run_bench(&arguments, context),
        CliCommand::Verify(arguments) => verify::run_verify(&arguments, context),
        CliCommand::Grade(arguments) => grade::run_grade(&arguments, context),
        CliCommand::Gc(arguments) => gc::run_gc(&arguments, context),
        CliCommand::Doctor(arguments) => doctor::run_doctor(&arguments, context),
        CliCommand::Explain(arguments) => explain::run_explain(&arguments, context),
        CliCommand::Schema(arguments) => schema::run_schema(&arguments, context),
        CliCommand::Completions(arguments) => schema::run_completions(&arguments, context),
    }
}

/// A usage error for which there is no help.
fn usage_error(message: impl Into<String>) -> Error {
    Error::Usage { message: message.into(), help: None }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn clap_finds_no_fault_in_the_arguments() {
        help::build_command().debug_assert();
    }

    #[test]
    fn the_store_option_works_before_and_after_the_command() {
        for line in [["fmflow", "--store", "x", "status", "f"], ["fmflow", "status", "f", "--store", "x"]] {
            assert_eq!(Cli::try_parse_from(line).unwrap().global.store.as_deref(), Some(Path::new("x")));
        }
    }
}
