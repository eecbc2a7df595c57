//! `fmflow approve`: approves the commands that a pipeline executes.

use clap::Args;
use serde_json::json;

use super::CommandContext;
use super::consent::{self, Consent};
use super::pipeline_arguments::PipelineArguments;
use crate::error::Result;
use crate::plan::commands::{AskedCommand, render_folders};
use crate::text::display::count_noun;

#[derive(Debug, Args)]
pub(super) struct ApproveArguments {
    #[command(flatten)]
    pub(super) source: PipelineArguments,
    /// Take the approval of these commands back
    #[arg(long)]
    revoke: bool,
    /// Answer with one JSON object
    #[arg(long)]
    json: bool,
}

/// Approves every command of the file, or takes the approvals back, and shows them.
pub(super) fn run_approve(arguments: &ApproveArguments, context: &CommandContext<'_>) -> Result<()> {
    let pipeline = arguments.source.load(context)?;
    let found = Consent::find(&pipeline, pipeline.stages.iter())?.commands;
    let mut changed = 0;
    for (command, known) in &found {
        changed += usize::from(change_approval(command, *known, arguments.revoke)?);
    }
    let commands: Vec<AskedCommand> = found.into_iter().map(|(command, _)| command).collect();
    if arguments.json {
        return context.output.json(&json!({
            "schema": "fmflow.approve/1",
            "changed": changed,
            "commands": commands.iter().map(|asked| asked.to_json(!arguments.revoke)).collect::<Vec<_>>(),
        }));
    }
    context.output.result(&render_answer(&commands, changed, arguments.revoke))
}

/// Whether the approval of a command changed.
fn change_approval(command: &AskedCommand, known: bool, revoke: bool) -> Result<bool> {
    match revoke {
        true => consent::revoke(command),
        false if known => Ok(false),
        false => consent::approve(command).map(|()| true),
    }
}

fn render_answer(commands: &[AskedCommand], changed: usize, revoke: bool) -> String {
    if commands.is_empty() {
        return "this pipeline executes no commands\n".to_owned();
    }
    let all: String = commands.iter().map(|command| command.render("")).collect();
    let (what, count) =
        (if revoke { "taken back" } else { "approved" }, count_noun(commands.len(), "command"));
    let others = match commands.len() - changed {
        0 => String::new(),
        same if revoke => format!(", {same} of them not approved before"),
        same => format!(", {same} of them before"),
    };
    format!("{all}{count} {what}{others}, for files in {}\n", render_folders(commands))
}
