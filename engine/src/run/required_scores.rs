//! Scores that an evaluation requires. They are compared after its report is published, so a failed run keeps what was
//! measured and a changed limit does not measure again.

use crate::error::{Failure, FailureKind};
use crate::pipeline::config::{EvaluateConfig, StageConfig};
use crate::pipeline::stage::Stage;
use crate::store::summary::Summary;

/// Fails if a finished evaluation is below a score that its stage requires. The failure lists all scores.
pub(super) fn refuse_unmet_score(stage: &Stage, summary: &Summary) -> Result<(), Failure> {
    let Some(message) = find_unmet_score(stage, summary) else { return Ok(()) };
    let help = format!("train it longer, or lower `at-least=`; all scores:\n{}", summary.lines.join("\n"));
    Err(Failure { kind: FailureKind::Stage, message, help: Some(help) })
}

/// The first required score that was not reached, as a sentence; `None` for other kinds of stages.
#[must_use]
pub fn find_unmet_score(stage: &Stage, summary: &Summary) -> Option<String> {
    let StageConfig::Evaluate(config) = &stage.config else { return None };
    list_required_scores(config, summary).find(|(_, _, share, least)| share < least).map(|(checkpoint, dataset, share, least)| {
        let (reached, required) = (100.0 * share, 100.0 * least);
        format!("checkpoint `{checkpoint}` reaches {reached:.1} % exact match on `{dataset}`, but {required:.1} % is required")
    })
}

/// For each requirement: checkpoint, dataset, measured share of exact matches, required share.
fn list_required_scores<'a>(
    config: &'a EvaluateConfig,
    summary: &'a Summary,
) -> impl Iterator<Item = (&'a str, &'a str, f64, f64)> {
    config.require.iter().flat_map(move |wanted| {
        config.exact_match.iter().map(move |item| {
            let name = format!("exact_match/{}/{}", wanted.checkpoint, item.dataset);
            // A score that was not measured counts as 0.
            let share = summary.metrics.get(&name).copied().unwrap_or(0.0);
            (wanted.checkpoint.as_str(), item.dataset.as_str(), share, wanted.at_least)
        })
    })
}
