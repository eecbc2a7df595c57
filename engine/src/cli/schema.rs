//! `fmflow schema` and `completions`: describe the language and the commands to other programs.

use clap::Args;
use clap_complete::Shell;

use super::{CommandContext, help};
use crate::error::Result;
use crate::language::{explain, reference};

#[derive(Debug, Args)]
pub(super) struct SchemaArguments {
    #[command(flatten)]
    form: SchemaForm,
}

/// At most one form; the default is Markdown.
#[derive(Debug, Args)]
#[group(multiple = false)]
struct SchemaForm {
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

pub(super) fn run_schema(arguments: &SchemaArguments, context: &CommandContext<'_>) -> Result<()> {
    match arguments.form {
        SchemaForm { json: true, .. } => context.output.json(&reference::render_schema_json()),
        SchemaForm { kdl_schema: true, .. } => context.output.result(&reference::render_schema_kdl()),
        _ => context.output.result(&explain::render_schema_markdown()),
    }
}

pub(super) fn run_completions(arguments: &CompletionsArguments, context: &CommandContext<'_>) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut help::build_command(), "fmflow", &mut script);
    context.output.result(&String::from_utf8_lossy(&script))
}
