//! Checks of what was measured, and of the stages themselves.

use super::{HealthCheck, HealthVerdict, OWN};
use crate::report::markup::format_percent;
use crate::report::scores::MeasuredScore;
use crate::report::stage::{ReportStage, ReportedState};

/// The checks of an evaluation.
#[must_use]
pub(in crate::report) fn check_scores(scores: &[MeasuredScore]) -> Vec<HealthCheck> {
    let empty = scores.iter().filter_map(|score| Some((score.empty?, score)));
    let empty = empty.max_by(|a, b| a.0.total_cmp(&b.0)).map(|(share, score)| HealthCheck {
        what: "answers in which nothing is written",
        found: format!("{} at most ({})", format_percent(share), score.checkpoint),
        healthy: "at most 5 %: more is a collapse to the end of turn",
        source: OWN,
        verdict: HealthVerdict::of(share <= 0.05),
    });
    let width = |score: &MeasuredScore| score.interval.map(|(low, high)| high - low);
    let width = scores.iter().filter_map(width).max_by(f64::total_cmp).map(|width| HealthCheck {
        what: "width of the widest interval of 95 %",
        found: format!("{:.1} points", 100.0 * width),
        healthy: "at most 10 points: smaller differences are not seen",
        source: OWN,
        verdict: HealthVerdict::of(width <= 0.1),
    });
    empty.into_iter().chain(width).collect()
}

/// Checks of what a stage says of itself, whatever its kind.
#[must_use]
pub(in crate::report) fn check_summary(stage: &ReportStage) -> Vec<HealthCheck> {
    let diverged = stage.summary.as_ref().filter(|summary| summary.headline.starts_with("DIVERGED"));
    let check = |found: String, verdict| HealthCheck {
        what: "the stage itself",
        found,
        healthy: "it neither fails nor diverges",
        source: "the record of the run",
        verdict,
    };
    let state = match &stage.state {
        ReportedState::Failed(why) | ReportedState::Corrupt(why) => {
            let first = why.lines().next().unwrap_or_default();
            Some(check(format!("{}: {first}", stage.state.word()), HealthVerdict::Bad))
        }
        _ => None,
    };
    let certified =
        stage.files.get("certificate.json").and_then(|found| found.get("parity")?.get("holds")?.as_bool());
    let broken = certified
        .filter(|holds| !holds)
        .map(|_| check("the certificate does not hold".into(), HealthVerdict::Bad));
    let diverged = diverged.map(|summary| check(summary.headline.clone(), HealthVerdict::Bad));
    state.into_iter().chain(diverged).chain(broken).collect()
}
