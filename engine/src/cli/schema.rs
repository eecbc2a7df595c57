//! `fmflow schema` and `completions`: the language and the commands for other programs.

use clap::Args;
use clap_complete::Shell;

use super::{Context, help};
use crate::error::Result;
use crate::language::{explain, reference};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    form: Form,
}

/// At most one form; Markdown without.
#[derive(Debug, Args)]
#[group(multiple = false)]
struct Form {
    /// Markdown, for people
    #[arg(long)]
    md: bool,
    /// One JSON object
    #[arg(long)]
    json: bool,
    /// A document of the KDL Schema Language
    #[arg(long)]
    kdl_schema: bool,
}

#[derive(Debug, Args)]
pub(super) struct CompletionsArguments {
    /// The shell
    shell: Shell,
}

pub(super) fn schema(arguments: &Arguments, context: &Context<'_>) -> Result<()> {
    match arguments.form {
        Form { json: true, .. } => context.output.json(&reference::schema_json()),
        Form { kdl_schema: true, .. } => context.output.result(&reference::schema_kdl()),
        _ => context.output.result(&explain::schema_markdown()),
    }
}

pub(super) fn completions(arguments: &CompletionsArguments, context: &Context<'_>) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut help::command(), "fmflow", &mut script);
    context.output.result(&String::from_utf8_lossy(&script))
}
