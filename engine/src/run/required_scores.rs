//! Scores that an evaluation requires. They are compared after its report is published, so a failed run keeps what was
//! measured and a changed limit does not measure again.

use crate::error::{Failure, FailureKind};
use crate::pipeline::config::StageConfig;
use crate::pipeline::stage::Stage;
use crate::store::summary::{Summary, format_benchmark_metric, format_exact_match_metric};

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
        let checkpoint = &wanted.checkpoint;
        let exact = config
            .exact_match
            .iter()
            .map(|item| (format_exact_match_metric(checkpoint, &item.dataset), "exact match", &item.dataset));
        let benchmarks = config.benchmarks.iter().map(|item| {
            let measure = if item.writing().is_some() { "pass@1" } else { "accuracy" };
            (format_benchmark_metric(checkpoint, &item.name), measure, &item.name)
        });
        for (metric, measure, name) in exact.chain(benchmarks) {
            let Some(&share) = summary.metrics.get(&metric) else { return Err(MissingScore { metric }) };
            if !reaches_limit(share, wanted.at_least) {
                let (reached, required) = (100.0 * share, 100.0 * wanted.at_least);
                return Ok(Some(format!(
                    "checkpoint `{checkpoint}` reaches {reached:.1} % {measure} on `{name}`, but {required:.1} % is required"
                )));
            }
        }
    }
    Ok(None)
}

/// Whether a share of matches reaches a limit. NaN and what is no share reach none: NaN is also below none, so asking whether
/// the score is too low would pass it.
fn reaches_limit(share: f64, at_least: f64) -> bool {
    (0.0..=1.0).contains(&share) && share >= at_least
}

#[cfg(test)]
mod tests {
    use super::reaches_limit;

    #[test]
    fn nonsense_reaches_no_limit() {
        assert!(reaches_limit(0.5, 0.5) && reaches_limit(1.0, 0.0) && !reaches_limit(0.49, 0.5));
        for share in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1.5, -0.5] {
            assert!(!reaches_limit(share, 0.0), "{share}");
        }
        assert!(!reaches_limit(1.0, f64::NAN));
    }
}
