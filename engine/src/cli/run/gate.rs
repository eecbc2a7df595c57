//! What lets the commands of a pipeline through.

use std::sync::Arc;

use super::{ExecutionArguments, PipelineArguments};
use crate::cli::CommandContext;
use crate::cli::consent::{AllCommands, Consent};
use crate::error::Result;
use crate::pipeline::Pipeline;
use crate::plan::Plan;
use crate::run::CommandGate;

/// What lets the commands of a run through: the user's approvals, or `--allow-commands`.
///
/// # Errors
/// If a command that would run is not approved.
pub(super) fn find_gate(
    pipeline: &Pipeline,
    plan: &Plan,
    source: &PipelineArguments,
    how: &ExecutionArguments,
    context: &CommandContext<'_>,
) -> Result<Arc<dyn CommandGate>> {
    if how.allow_commands {
        return Ok(Arc::new(AllCommands));
    }
    let running = plan.running();
    if running.is_empty() {
        return Ok(Arc::new(Consent::default()));
    }
    let stages = running.into_iter().map(|planned| pipeline.stage(planned.id));
    let consent = Consent::find(pipeline, stages)?;
    consent.refuse_unapproved(&source.format_next_command("approve", "", context))?;
    Ok(Arc::new(consent))
}
