//! Scores that an evaluation requires. They are compared after its report is published, so a failed run keeps what was
//! measured and a changed limit does not measure again.

use crate::error::{Failure, FailureKind};
use crate::pipeline::config::StageConfig;
use crate::pipeline::stage::Stage;
use crate::store::summary::{Summary, format_exact_match_metric};

/// The summary of an evaluation lacks a score that the evaluation measures.
#[derive(Debug, thiserror::Error)]
#[error("it has no metric `{metric}`")]
pub(crate) struct MissingScore {
    /// Name of the metric.
    pub metric: String,
}

/// The first required score that was not reached, as a failure that lists all scores.
///
/// # Errors
/// The first required score that is missing.
pub(super) fn check_required_scores(
    stage: &Stage,
    summary: &Summary,
) -> Result<Option<Failure>, MissingScore> {
    let unmet = find_unmet_score(stage, summary)?;
    Ok(unmet.map(|message| {
        let lines: Vec<_> = summary.lines.iter().map(|line| format!("\n  {line}")).collect();
        let help = format!("train it longer, or lower `at-least=`; all scores:{}", lines.concat());
        Failure { kind: FailureKind::Stage, message, help: Some(help) }
    }))
}

/// The first required score that was not reached, as a sentence; `None` for other kinds of stages.
///
/// # Errors
/// The first required score that is missing.
pub(crate) fn find_unmet_score(stage: &Stage, summary: &Summary) -> Result<Option<String>, MissingScore> {
    let StageConfig::Evaluate(config) = &stage.config else { return Ok(None) };
    for wanted in &config.require {
        for item in &config.exact_match {
            let (checkpoint, dataset) = (&wanted.checkpoint, &item.dataset);
            let metric = format_exact_match_metric(checkpoint, dataset);
            let Some(&share) = summary.metrics.get(&metric) else { return Err(MissingScore { metric }) };
            if share < wanted.at_least {
                let (reached, required) = (100.0 * share, 100.0 * wanted.at_least);
                return Ok(Some(format!(
                    "checkpoint `{checkpoint}` reaches {reached:.1} % exact match on `{dataset}`, but {required:.1} % is required"
                )));
            }
        }
    }
    Ok(None)
}
