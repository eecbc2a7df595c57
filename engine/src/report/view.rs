//! One stage as the template is given it: words of others are in one line, and escaped by the template; only `svg` is markup already.

use serde::Serialize;
use serde_json::Value;

use super::chart::LineChart;
use super::collect::ReportData;
use super::health::{HealthCheck, check_scores, check_summary, check_training};
use super::markup::{format_percent, show_line, show_time};
use super::samples::{MOST_SAMPLES, ProbeView, SampleView, view_probe, view_sample};
use super::scores::{MeasuredScore, list_certificate, read_scores, show_interval, show_score};
use super::series::MetricSeries;
use super::stage::{ReportStage, ReportedSetting, ReportedState};
use super::training::{MixtureShare, build_charts, list_mixture};
use crate::pipeline::config::TrainConfig;
use crate::text::display::{count_noun, format_bytes, format_count, format_duration};

#[derive(Serialize)]
pub(super) struct WorryView {
    pub stage: String,
    pub id: String,
    pub verdict: &'static str,
    pub what: String,
    pub found: String,
    pub healthy: String,
    pub source: String,
}

#[derive(Serialize)]
pub(super) struct StageView {
    pub id: String,
    pub name: String,
    pub kind: String,
    /// Whether there is more to show than words.
    pub detailed: bool,
    pub state: &'static str,
    pub detail: String,
    pub time: String,
    pub headline: String,
    pub lines: Vec<String>,
    pub made: Vec<(String, String)>,
    pub charts: Vec<ChartView>,
    pub marks: Vec<String>,
    pub mixture: Vec<MixtureView>,
    pub probes: Vec<ProbeView>,
    pub probes_left_out: usize,
    pub checks: Vec<WorryView>,
    pub scores: Vec<ScoreGroupView>,
    pub samples: Vec<SampleView>,
    pub samples_left_out: usize,
    pub certificate: Vec<(String, String)>,
    pub settings: Vec<(String, String, String, bool)>,
}

#[derive(Serialize)]
pub(super) struct ChartView {
    pub title: String,
    pub note: String,
    pub svg: String,
}

#[derive(Serialize)]
pub(super) struct MixtureView {
    pub dataset: String,
    pub declared: String,
    pub realized: String,
    pub tokens: String,
    pub epochs: String,
    pub share: f64,
}

#[derive(Serialize)]
pub(super) struct ScoreGroupView {
    pub measure: String,
    pub rows: Vec<ScoreView>,
}

#[derive(Serialize)]
pub(super) struct ScoreView {
    pub checkpoint: String,
    pub value: String,
    pub svg: String,
    pub interval: String,
    pub of: String,
    pub groups: String,
}

/// The series of a training; `None` for other stages, and for one without metrics.
#[must_use]
pub(super) fn parse_series(stage: &ReportStage) -> Option<MetricSeries> {
    stage
        .metrics
        .as_ref()
        .filter(|_| stage.kind == "train")
        .map(|metrics| MetricSeries::parse(&metrics.lines))
}

/// The last number of a series.
#[must_use]
pub(super) fn find_last(stage: &ReportStage, name: &str) -> Option<f64> {
    parse_series(stage)?.get(name).last().map(|(_, value)| *value)
}

/// A stage, at its place in the list.
#[must_use]
pub(super) fn view_stage(at: usize, stage: &ReportStage, data: &ReportData<'_>) -> StageView {
    let series = parse_series(stage);
    let config = stage.training.as_ref();
    let scores = stage.files.get("report.json").map(read_scores);
    let mut lines: Vec<String> =
        stage.summary.iter().flat_map(|summary| &summary.lines).map(|line| show_line(line)).collect();
    if let Some(Err(what)) = &scores {
        lines.push(format!("report.json is not as this version writes it: {}", show_line(what)));
    }
    let scores = scores.and_then(Result::ok).unwrap_or_default();
    let checks = series.as_ref().map(|series| check_training(series, config)).unwrap_or_default();
    let id = format!("stage-{at}");
    let checks: Vec<HealthCheck> =
        checks.into_iter().chain(check_scores(&scores)).chain(check_summary(stage)).collect();
    let samples = stage.files.get("samples.jsonl").and_then(Value::as_array);
    let probes = series.as_ref().map(|series| series.probes.as_slice()).unwrap_or_default();
    let view = StageView {
        detailed: false,
        name: show_line(&stage.name),
        kind: show_line(&stage.kind),
        state: stage.state.word(),
        detail: describe_state(stage, series.as_ref()),
        time: data
            .subject
            .seconds
            .get(&stage.fingerprint.0)
            .copied()
            .map(format_duration)
            .unwrap_or_default(),
        headline: stage.summary.as_ref().map(|summary| show_line(&summary.headline)).unwrap_or_default(),
        lines,
        made: list_made(stage),
        charts: series.as_ref().map(|series| view_charts(series, config)).unwrap_or_default(),
        marks: series.iter().flat_map(|series| &series.guard).map(describe_mark).collect(),
        mixture: series.as_ref().map(|series| view_mixture(series, config)).unwrap_or_default(),
        probes: probes.iter().rev().take(MOST_SAMPLES).map(view_probe).collect(),
        probes_left_out: probes.len().saturating_sub(MOST_SAMPLES),
        checks: checks.iter().map(|check| view_check(check, &stage.name, &id)).collect(),
        scores: group_scores(&scores),
        samples: samples.into_iter().flatten().take(MOST_SAMPLES).map(view_sample).collect(),
        samples_left_out: samples.map_or(0, Vec::len).saturating_sub(MOST_SAMPLES),
        certificate: stage.files.get("certificate.json").map(list_certificate).unwrap_or_default(),
        settings: stage.settings.iter().map(view_setting).collect(),
        id,
    };
    let empty = view.charts.is_empty()
        && view.scores.is_empty()
        && view.samples.is_empty()
        && view.certificate.is_empty();
    StageView { detailed: !empty, ..view }
}

fn view_setting(setting: &ReportedSetting) -> (String, String, String, bool) {
    (show_line(&setting.path), show_line(&setting.value), show_line(&setting.from), setting.counts)
}

fn describe_state(stage: &ReportStage, series: Option<&MetricSeries>) -> String {
    let progress = || {
        let done = series.map_or(0, MetricSeries::updates);
        stage
            .training
            .as_ref()
            .filter(|_| done > 0)
            .map(|config| format!("update {done} of {}", config.steps))
    };
    match &stage.state {
        ReportedState::Finished | ReportedState::Missing => String::new(),
        ReportedState::Running => progress().unwrap_or_default(),
        ReportedState::Failed(why) | ReportedState::Corrupt(why) => {
            show_line(why.lines().next().unwrap_or_default())
        }
        ReportedState::Unfinished(Some(step)) => format!("continues after update {step}"),
        ReportedState::Unfinished(None) => "no checkpoint yet".to_owned(),
    }
}

/// Where, when and with what the result was made.
fn list_made(stage: &ReportStage) -> Vec<(String, String)> {
    let mut made = vec![("fingerprint".to_owned(), stage.fingerprint.short().to_owned())];
    if let Some(manifest) = &stage.manifest {
        let bytes: u64 = manifest.files.iter().map(|file| file.size).sum();
        made.push(("published".into(), show_time(&manifest.created)));
        made.push((
            "by".into(),
            format!("{}, {}", show_line(&manifest.tool), count_noun(manifest.threads, "thread")),
        ));
        made.push((
            "size".into(),
            format!("{} in {}", format_bytes(bytes), count_noun(manifest.files.len(), "file")),
        ));
        let facts = manifest.facts.iter();
        made.extend(facts.map(|(name, value)| (show_line(name), show_line(&value.to_string()))));
    }
    made
}

fn view_charts(series: &MetricSeries, config: Option<&TrainConfig>) -> Vec<ChartView> {
    let charts = build_charts(series, config);
    let view = |chart: &LineChart| {
        Some(ChartView { title: chart.title.clone(), note: chart.note.clone(), svg: chart.render()? })
    };
    charts.iter().filter_map(view).collect()
}

fn describe_mark((step, word, why): &(u64, String, String)) -> String {
    format!("update {step}: {} ({})", show_line(word), show_line(why))
}

fn view_mixture(series: &MetricSeries, config: Option<&TrainConfig>) -> Vec<MixtureView> {
    let view = |share: &MixtureShare| MixtureView {
        dataset: show_line(&share.dataset),
        declared: share.show_declared(),
        realized: format_percent(share.realized),
        tokens: format_count(share.tokens),
        epochs: share.epochs.map_or_else(|| "not known".to_owned(), |epochs| format!("{epochs:.2}")),
        share: (100.0 * share.realized).clamp(0.0, 100.0),
    };
    list_mixture(series, config).iter().map(view).collect()
}

fn group_scores(scores: &[MeasuredScore]) -> Vec<ScoreGroupView> {
    let parts = scores.chunk_by(|a, b| a.measure == b.measure);
    let row = |score: &MeasuredScore| ScoreView {
        checkpoint: show_line(&score.checkpoint),
        value: show_score(score),
        svg: show_interval(score).1,
        interval: show_interval(score).0,
        of: show_line(&score.of),
        groups: {
            let each =
                score.groups.iter().map(|(name, share)| format!("{} {:.0}", show_line(name), 100.0 * share));
            each.collect::<Vec<_>>().join(" · ")
        },
    };
    let group = |part: &[MeasuredScore]| ScoreGroupView {
        measure: show_line(&part[0].measure),
        rows: part.iter().map(row).collect(),
    };
    parts.map(group).collect()
}

fn view_check(check: &HealthCheck, stage: &str, id: &str) -> WorryView {
    WorryView {
        stage: show_line(stage),
        id: id.to_owned(),
        verdict: check.verdict.word(),
        what: check.what.to_owned(),
        found: show_line(&check.found),
        healthy: check.healthy.to_owned(),
        source: check.source.to_owned(),
    }
}
