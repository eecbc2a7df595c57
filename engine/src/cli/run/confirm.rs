//! What a run asks before it starts.

use std::io::{self, IsTerminal};
use std::path::Path;

use super::{CommandContext, ExecutionArguments, PipelineArguments};
use crate::error::{Error, Result};
use crate::plan::Plan;
use crate::text::escape::escape_line;

/// Tells of work that the run would not use; more than an hour of it has to be confirmed.
pub(super) fn confirm_lost_work(
    plan: &Plan,
    source: &PipelineArguments,
    how: &ExecutionArguments,
    context: &CommandContext<'_>,
) -> Result<()> {
    for (planned, work) in plan.unused() {
        let lines = std::iter::once(work.describe_loss(&planned.key.name));
        let lines = lines.chain(work.changes.iter().map(|change| format!("  {change}")));
        lines.for_each(|line| context.output.message(&format!("note: {}\n", escape_line(&line))));
    }
    let Some(work) = plan.describe_large_loss() else { return Ok(()) };
    if how.yes || ask_on_terminal(context)? {
        return Ok(());
    }
    let message = format!("this run does not use {work}");
    let again = source.format_next_command("run", &how.format_confirmed_flags(), context);
    Err(Error::usage(
        message,
        format!("undo the changes to go on with it, or start over all the same: {again}"),
    ))
}

/// Asks whether to start over, if someone can answer.
fn ask_on_terminal(context: &CommandContext<'_>) -> Result<bool> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Ok(false);
    }
    context.output.message("start over? [y/N] ");
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).map_err(Error::io("read", Path::new("stdin")))?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
