//! What to worry about: numbers of a run beside the range in which they are healthy, each range with its source or its rule.

mod results;

pub(super) use results::{check_scores, check_summary};

use crate::pipeline::config::TrainConfig;
use crate::store::metrics::UpdateClock;

use super::markup::{format_number, format_percent};
use super::series::{MetricSeries, SeriesPoint, find_median};
use super::training::find_declared_shares;

/// A number beside its healthy range.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct HealthCheck {
    /// What was measured.
    pub what: &'static str,
    /// What was found.
    pub found: String,
    /// The healthy range.
    pub healthy: &'static str,
    /// Who says so.
    pub source: &'static str,
    /// Whether it is healthy.
    pub verdict: HealthVerdict,
}

/// Whether a number is in its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum HealthVerdict {
    /// It is.
    Fine,
    /// It is not: look at it.
    Look,
    /// It is far from it, or something broke.
    Bad,
}

impl HealthVerdict {
    fn of(fine: bool) -> Self {
        if fine { Self::Fine } else { Self::Look }
    }

    /// The word for people, also the class in the page's style.
    #[must_use]
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Fine => "fine",
            Self::Look => "look",
            Self::Bad => "bad",
        }
    }
}

const AXOLOTL: &str = "axolotl, “Training Stability & Debugging”";
const OLMO: &str = "OLMo's spike rule, also the default of `guard spike`";
const OWN: &str = "a rule of this report";

/// The checks of a training; a check without enough numbers is left out.
#[must_use]
pub(super) fn check_training(series: &MetricSeries, config: Option<&TrainConfig>) -> Vec<HealthCheck> {
    let warm = find_warm(series, config);
    let mut checks = Vec::new();
    checks.extend(check_loss(series));
    checks.extend(check_held_out(series));
    checks.extend(check_spikes(series));
    checks.extend(check_guard(series));
    checks.extend(check_gradient(series, warm));
    checks.extend(config.and_then(|config| check_clipping(series, config, warm)));
    checks.extend(check_update_size(series, warm));
    checks.extend(config.and_then(|config| check_rate(series, config)));
    checks.extend(config.and_then(|config| check_mixture(series, config)));
    checks.extend(check_data_wait(series));
    checks.extend(check_speed(series));
    checks.extend(check_probes(series));
    checks
}

/// The first update whose numbers are those of training and not of its start.
fn find_warm(series: &MetricSeries, config: Option<&TrainConfig>) -> u64 {
    config.map_or(series.updates() / 10, |config| config.learning_rate.warmup)
}

fn from(points: &[SeriesPoint], first: u64) -> impl Iterator<Item = f64> {
    points.iter().filter(move |(step, _)| *step >= first).map(|(_, value)| *value)
}

fn check_loss(series: &MetricSeries) -> Option<HealthCheck> {
    let points = series.get("loss_unweighted");
    let part = points.len() / 10;
    let mean =
        |points: &[SeriesPoint]| points.iter().map(|(_, value)| value).sum::<f64>() / points.len() as f64;
    let (first, last) = (points.get(..part)?, points.get(points.len() - part..)?);
    (part > 0).then(|| HealthCheck {
        what: "unweighted loss, first and last tenth",
        found: format!("{} → {}", format_number(mean(first)), format_number(mean(last))),
        healthy: "falls",
        source: AXOLOTL,
        verdict: HealthVerdict::of(mean(last) < mean(first)),
    })
}

/// The worst dataset: how far its last held-out loss is above its best.
fn check_held_out(series: &MetricSeries) -> Option<HealthCheck> {
    let above = |(name, points): (&str, &[SeriesPoint])| {
        let best = points.iter().map(|(_, value)| *value).min_by(f64::total_cmp)?;
        let last = points.last().filter(|_| points.len() > 1)?.1;
        (best > 0.0).then(|| (last / best - 1.0, name.to_owned()))
    };
    let (above, name) =
        series.under("held_out_loss/").filter_map(above).max_by(|a, b| a.0.total_cmp(&b.0))?;
    Some(HealthCheck {
        what: "held-out loss, last above best",
        found: format!("{} ({name})", format_percent(above)),
        healthy: "at most 2 %: more is overfitting",
        source: "a rule of this report, with the margin of `guard diverged`",
        verdict: HealthVerdict::of(above <= 0.02),
    })
}

/// Losses more than six deviations above the mean of the 128 before them.
fn check_spikes(series: &MetricSeries) -> Option<HealthCheck> {
    const WINDOW: usize = 128;
    const SIGMA: f64 = 6.0;
    let points = series.get("loss_unweighted");
    let is_spike = |window: &[SeriesPoint]| {
        let (last, before) = window.split_last().expect("a window is not empty");
        let mean = before.iter().map(|(_, value)| value).sum::<f64>() / WINDOW as f64;
        let square = |point: &SeriesPoint| (point.1 - mean) * (point.1 - mean);
        let deviation = (before.iter().map(square).sum::<f64>() / WINDOW as f64).sqrt().max(1e-3 * mean);
        (last.1 > mean + SIGMA * deviation).then_some(last.0)
    };
    let spikes: Vec<u64> = points.windows(WINDOW + 1).filter_map(is_spike).collect();
    (points.len() > WINDOW).then(|| HealthCheck {
        what: "jumps of the loss by 6 σ over 128 updates",
        found: match spikes.first() {
            None => "none".to_owned(),
            Some(first) => format!("{}, the first at update {first}", spikes.len()),
        },
        healthy: "none",
        source: OLMO,
        verdict: HealthVerdict::of(spikes.is_empty()),
    })
}

fn check_guard(series: &MetricSeries) -> Option<HealthCheck> {
    let (step, word, why) = series.guard.first()?;
    Some(HealthCheck {
        what: "updates that the guard refused",
        found: format!("{}, the first at update {step} ({word}: {why})", series.guard.len()),
        healthy: "none",
        source: OWN,
        verdict: HealthVerdict::Look,
    })
}

fn check_gradient(series: &MetricSeries, warm: u64) -> Option<HealthCheck> {
    let points = series.get("grad_norm");
    let median = find_median(from(points, warm))?;
    let largest = from(points, warm).max_by(f64::total_cmp)?;
    Some(HealthCheck {
        what: "gradient norm after warmup, median and largest",
        found: format!("{}, {}", format_number(median), format_number(largest)),
        healthy: "0.1 to 10; above 100 it is unstable",
        source: AXOLOTL,
        verdict: match (largest > 100.0, (0.1..=10.0).contains(&median)) {
            (true, _) => HealthVerdict::Bad,
            (false, fine) => HealthVerdict::of(fine),
        },
    })
}

fn check_clipping(series: &MetricSeries, config: &TrainConfig, warm: u64) -> Option<HealthCheck> {
    let clip = config.optimizer.clip?;
    let norms: Vec<f64> = from(series.get("grad_norm"), warm).collect();
    let clipped = norms.iter().filter(|norm| **norm > clip).count() as f64 / norms.len().max(1) as f64;
    (!norms.is_empty()).then(|| HealthCheck {
        what: "clipped updates after warmup",
        found: format_percent(clipped),
        healthy: "at most half: clipping is for outliers, and otherwise sets the step",
        source: OWN,
        verdict: HealthVerdict::of(clipped <= 0.5),
    })
}

fn check_update_size(series: &MetricSeries, warm: u64) -> Option<HealthCheck> {
    let median = find_median(from(series.get("update_ratio"), warm))?;
    Some(HealthCheck {
        what: "size of an update relative to the weights, median",
        found: format_number(median),
        healthy: "1e-4 to 1e-2",
        source: "A. Karpathy, “makemore”: about 1e-3",
        verdict: HealthVerdict::of((1e-4..=1e-2).contains(&median)),
    })
}

/// Whether every update had the learning rate that the schedule gives it.
fn check_rate(series: &MetricSeries, config: &TrainConfig) -> Option<HealthCheck> {
    let off = |(step, rate): &SeriesPoint| {
        let planned = config.learning_rate.at(*step, config.steps);
        (rate - planned).abs() > 1e-9 * config.learning_rate.peak
    };
    let points = series.get("learning_rate");
    let first = points.iter().find(|point| off(point));
    (!points.is_empty()).then(|| HealthCheck {
        what: "learning rate beside its schedule",
        found: first.map_or("equal".to_owned(), |(step, _)| format!("differs from update {step} on")),
        healthy: "equal in every update",
        source: OWN,
        verdict: if first.is_some() { HealthVerdict::Bad } else { HealthVerdict::Fine },
    })
}

/// The dataset whose share of the tokens is farthest from the declared one.
fn check_mixture(series: &MetricSeries, config: &TrainConfig) -> Option<HealthCheck> {
    let declared = find_declared_shares(config, series.updates());
    let tokens =
        |name: &str| series.get(&format!("tokens_by_dataset/{name}")).last().map_or(0.0, |point| point.1);
    let total: f64 = config.parts.iter().map(|part| tokens(&part.dataset)).sum();
    let off =
        config.parts.iter().zip(declared).map(|(part, declared)| {
            ((tokens(&part.dataset) / total - declared).abs(), part.dataset.as_str())
        });
    let (off, name) = off.max_by(|a, b| a.0.total_cmp(&b.0))?;
    (total > 0.0 && config.parts.len() > 1).then(|| HealthCheck {
        what: "share of the mixture, realized beside declared",
        found: format!("{:.1} points off ({name})", 100.0 * off),
        healthy: "at most 2 points",
        source: OWN,
        verdict: HealthVerdict::of(off <= 0.02),
    })
}

/// Seconds of each update, from its tokens and its speed.
fn list_seconds(series: &MetricSeries) -> Vec<f64> {
    let mut clock = UpdateClock::default();
    let updates = series.get("tokens").iter().zip(series.get("tokens_per_second"));
    updates.map(|((_, tokens), (_, speed))| clock.count(*tokens, *speed)).collect()
}

fn check_data_wait(series: &MetricSeries) -> Option<HealthCheck> {
    let wait: f64 = series.get("data_wait").iter().map(|(_, seconds)| seconds).sum();
    let all: f64 = list_seconds(series).iter().sum();
    (all > 0.0).then(|| HealthCheck {
        what: "time spent on rows and noise",
        found: format_percent(wait / all),
        healthy: "at most 5 % of an update",
        source: OWN,
        verdict: HealthVerdict::of(wait / all <= 0.05),
    })
}

fn check_speed(series: &MetricSeries) -> Option<HealthCheck> {
    let points = series.get("tokens_per_second");
    let part = points.len() / 4;
    let median = |points: &[SeriesPoint]| find_median(points.iter().map(|(_, value)| *value));
    let (first, last) = (median(points.get(..part)?)?, median(points.get(points.len() - part..)?)?);
    Some(HealthCheck {
        what: "tokens per second, first and last quarter",
        found: format!("{first:.0} → {last:.0}"),
        healthy: "the last at least 80 % of the first",
        source: OWN,
        verdict: HealthVerdict::of(last >= 0.8 * first),
    })
}

fn check_probes(series: &MetricSeries) -> Option<HealthCheck> {
    let failed = |(_, probe): &&(u64, serde_json::Value)| probe.get("failed").is_some();
    let failed = series.probes.iter().filter(failed).count();
    (!series.probes.is_empty()).then(|| HealthCheck {
        what: "probes that failed",
        found: format!("{failed} of {}", series.probes.len()),
        healthy: "none",
        source: OWN,
        verdict: HealthVerdict::of(failed == 0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 300 updates: a falling loss with an even speed, and what a closure adds to it.
    fn series(loss: impl Fn(u64) -> f64, norm: f64, speed: impl Fn(u64) -> f64) -> MetricSeries {
        let line = |step: u64| {
            format!(
                r#"{{"step":{step},"loss":1,"loss_unweighted":{},"grad_norm":{norm},"update_ratio":0.001,"tokens":{},"tokens_per_second":{},"data_wait":0.001}}"#,
                loss(step),
                (step + 1) * 100,
                speed(step)
            )
        };
        MetricSeries::parse(&(0..300).map(line).collect::<Vec<_>>())
    }

    fn verdicts(series: &MetricSeries) -> Vec<(&'static str, HealthVerdict)> {
        check_training(series, None).iter().map(|check| (check.what, check.verdict)).collect()
    }

    #[test]
    fn a_healthy_training_is_fine() {
        let wave = |step: u64| 5.0 - step as f64 * 0.01 + (step % 7) as f64 * 0.05;
        let found = verdicts(&series(wave, 0.8, |_| 1000.0));
        assert!(
            found.len() >= 6 && found.iter().all(|(_, verdict)| *verdict == HealthVerdict::Fine),
            "{found:?}"
        );
    }

    #[test]
    fn each_illness_is_found() {
        let ill = |found: &MetricSeries, what: &str| {
            let found = verdicts(found);
            let check =
                found.iter().find(|(name, _)| name.starts_with(what)).unwrap_or_else(|| panic!("{found:?}"));
            check.1
        };
        let flat = |_: u64| 3.0;
        let jump = |step: u64| if step == 200 { 9.0 } else { 3.0 + (step % 5) as f64 * 0.01 };
        assert_eq!(ill(&series(flat, 1.0, |_| 1000.0), "unweighted loss"), HealthVerdict::Look);
        assert_eq!(ill(&series(jump, 1.0, |_| 1000.0), "jumps"), HealthVerdict::Look);
        assert_eq!(ill(&series(flat, 1.0, |_| 1000.0), "jumps"), HealthVerdict::Fine);
        assert_eq!(ill(&series(flat, 200.0, |_| 1000.0), "gradient norm"), HealthVerdict::Bad);
        assert_eq!(ill(&series(flat, 0.001, |_| 1000.0), "gradient norm"), HealthVerdict::Look);
        assert_eq!(
            ill(&series(flat, 1.0, |step| 1000.0 - step as f64), "tokens per second"),
            HealthVerdict::Look
        );
        assert_eq!(ill(&series(flat, 1.0, |_| 90_000.0), "time spent"), HealthVerdict::Look);
        let mut guarded = series(flat, 1.0, |_| 1000.0);
        guarded.guard.push((7, "skip".into(), "the loss is NaN".into()));
        assert_eq!(ill(&guarded, "updates that the guard"), HealthVerdict::Look);
    }
}
