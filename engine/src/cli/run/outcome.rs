//! What `run` prints at its end.

use serde_json::json;

use super::{CommandContext, ExecutionArguments, PipelineArguments};
use crate::cli::terminal::render_end_table;
use crate::error::{Error, FailureKind, Result};
use crate::run::RunOutcome;
use crate::text::read::display_path;

/// The line after the outcome of a run: the command to type next.
pub(super) fn list_next_commands(
    ran: &RunOutcome,
    source: &PipelineArguments,
    how: &ExecutionArguments,
    work: usize,
    context: &CommandContext<'_>,
) -> String {
    let last = ran.outcomes.last().map(|outcome| outcome.stage.as_str()).unwrap_or_default();
    let again = source.format_next_command("run", &how.format_flags(), context);
    let resume = source.format_next_command("resume", &how.format_flags(), context);
    let show = source.format_next_command("show", last, context);
    match &ran.error {
        Some(error) if matches!(error.exit_code(), 6 | 75) => format!("to resume: {resume}\n"),
        // The same settings give the same updates, bit by bit.
        Some(error) if error.exit_code() == FailureKind::Diverged.exit_code() => {
            format!("the same settings diverge again; once they are changed, run: {again}\n")
        }
        Some(_) => format!("once fixed, run: {again}\n"),
        None if work == 0 => format!("nothing to do\nnext: {show}\n"),
        None => format!("next: {show}\n"),
    }
}

/// Prints the outcome of the run, and what to do next. `replaced` is what a smoke run replaced.
pub(super) fn report_run(
    ran: &RunOutcome,
    next: &str,
    replaced: Option<&[String]>,
    json: bool,
    context: &CommandContext<'_>,
) -> Result<()> {
    if json {
        return context.output.json(&render_run_json(ran, replaced));
    }
    context.output.result(&format!("\n{}\n{next}", render_end_table(ran, display_path)))
}

fn render_run_json(ran: &RunOutcome, replaced: Option<&[String]>) -> serde_json::Value {
    let stages = ran.outcomes.iter().map(|outcome| {
        json!({
            "name": outcome.stage,
            "state": outcome.ended.word(),
            "seconds": outcome.seconds,
            "result": outcome.headline,
            "artifact": outcome.artifact,
        })
    });
    let mut answer = json!({
        "schema": "fmflow.run/1",
        "exit-code": ran.error.as_ref().map_or(0, Error::exit_code),
        "error": ran.error.as_ref().map(ToString::to_string),
        "stages": stages.collect::<Vec<_>>(),
    });
    if let Some(replaced) = replaced {
        answer["replaced"] = json!(replaced);
    }
    answer
}

/// Shows the errors beside the first one, which is the result.
pub(super) fn end_run(ran: RunOutcome, context: &CommandContext<'_>) -> Result<()> {
    ran.others.iter().for_each(|error| context.output.error(error));
    ran.error.map_or(Ok(()), Err)
}
