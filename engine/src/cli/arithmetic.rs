//! Whether a finished result has the last bits that it would have here.

use serde_json::Value;

use super::CommandContext;
use crate::pipeline::config::StageConfig;
use crate::plan::{PlanState, PlannedStage};
use crate::store::{StoreListing, compare_facts};

/// How the arithmetic of the finished result of a stage differs from what this program and machine would do on the same device; `None` if it
/// does not, or if nothing is known of it.
pub(super) fn compare_arithmetic(
    listing: &StoreListing,
    planned: &PlannedStage,
    config: &StageConfig,
    context: &CommandContext<'_>,
) -> Option<String> {
    let found = listing.artifact(&planned.key.name, &planned.key.fingerprint)?;
    let then = &found.manifest.as_ref().ok()?.facts;
    let device = then.get("device").and_then(Value::as_str)?;
    let execute = context.execute.filter(|_| planned.state == PlanState::Cached)?;
    compare_facts(then, &execute.describe_arithmetic(device, config))
}
