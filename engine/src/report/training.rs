//! The charts and tables of one training.

use crate::pipeline::config::TrainConfig;

use super::chart::{ChartLine, LineChart, LineForm};
use super::markup::format_percent;
use super::series::{MetricSeries, SeriesPoint, thin_out};

/// Points of a line: more cannot be told apart in a chart.
const MOST_POINTS: usize = 200;

/// The charts of a training, in the order in which one looks at them.
#[must_use]
pub(super) fn build_charts(series: &MetricSeries, config: Option<&TrainConfig>) -> Vec<LineChart> {
    let end = config.map_or(series.updates(), |config| config.steps.max(series.updates()));
    let charts = [
        chart_loss(series),
        chart_held_out(series),
        chart_retention(series),
        chart_bands(series),
        chart_rate(series, config),
        chart_gradient(series),
        chart_speed(series),
        chart_utilization(series),
        chart_data_wait(series),
        chart_memory(series),
        chart_probes(series),
    ];
    let mark = |(step, word, _): &(u64, String, String)| (*step, word.clone());
    let marks: Vec<_> = series.guard.iter().map(mark).collect();
    charts.into_iter().map(|chart| LineChart { end, marks: marks.clone(), ..chart }).collect()
}

fn line(label: &str, points: &[SeriesPoint], form: LineForm) -> ChartLine {
    ChartLine { label: label.to_owned(), points: thin_out(points, MOST_POINTS), form }
}

/// A measurement that follows an update is drawn at the number of updates that were done.
fn dots(label: &str, points: &[SeriesPoint]) -> ChartLine {
    let points = points.iter().map(|(step, value)| (step.saturating_add(1) as f64, *value)).collect();
    ChartLine { label: label.to_owned(), points, form: LineForm::Dots }
}

fn chart_loss(series: &MetricSeries) -> LineChart {
    let (weighted, plain) = (series.get("loss"), series.get("loss_unweighted"));
    let mut lines = vec![line("unweighted", plain, LineForm::Solid)];
    // An objective without weights has one loss.
    if weighted != plain {
        lines.push(line("weighted", weighted, LineForm::Thin));
    }
    LineChart {
        title: "Training loss".into(),
        note: "nats per token; means of equal parts of the updates".into(),
        lines,
        ..LineChart::default()
    }
}

fn chart_held_out(series: &MetricSeries) -> LineChart {
    let lines = series.under("held_out_loss/").map(|(dataset, points)| dots(dataset, points)).collect();
    let note = "fixed rows and times, so that measurements compare; by dataset".into();
    LineChart { title: "Held-out loss".into(), note, lines, ..LineChart::default() }
}

/// What was forgotten of the teacher.
fn chart_retention(series: &MetricSeries) -> LineChart {
    let mut lines = vec![line("updates", series.get("teacher_kl"), LineForm::Solid)];
    lines.extend(series.under("retention_kl/").map(|(dataset, points)| dots(dataset, points)));
    LineChart {
        title: "KL from the teacher".into(),
        note: "nats per token of the next token, without noise: what was forgotten; held-out rows by dataset"
            .into(),
        lines,
        from_zero: true,
        ..LineChart::default()
    }
}

fn chart_bands(series: &MetricSeries) -> LineChart {
    let names = ["t < ¼", "¼ to ½", "½ to ¾", "t ≥ ¾"];
    let band =
        |(at, name): (usize, &&str)| line(name, series.get(&format!("loss_by_time/{at}")), LineForm::Solid);
    let lines: Vec<ChartLine> = names.iter().enumerate().map(band).collect();
    // An autoregressive loss has no times: all of it is in the last band.
    let used = lines.iter().filter(|line| !line.points.is_empty()).count();
    LineChart {
        title: "Loss by time".into(),
        note: "unweighted; t = 0 is noise, t = 1 is data".into(),
        lines: if used > 1 { lines } else { Vec::new() },
        ..LineChart::default()
    }
}

fn chart_rate(series: &MetricSeries, config: Option<&TrainConfig>) -> LineChart {
    let planned = config.map(|config| {
        let steps = config.steps.max(1);
        let parts = steps.min(MOST_POINTS as u64);
        let at = |part: u64| {
            let update = part * (steps - 1) / parts.max(2).saturating_sub(1);
            (update as f64, config.learning_rate.at(update, config.steps))
        };
        ChartLine { label: "planned".into(), points: (0..parts).map(at).collect(), form: LineForm::Planned }
    });
    let real = line("real", series.get("learning_rate"), LineForm::Solid);
    LineChart {
        title: "Learning rate".into(),
        lines: std::iter::once(real).chain(planned).collect(),
        from_zero: true,
        ..LineChart::default()
    }
}

fn chart_gradient(series: &MetricSeries) -> LineChart {
    let all = line("all", series.get("grad_norm"), LineForm::Solid);
    let groups = series.under("grad_norm_by_group/").map(|(name, points)| line(name, points, LineForm::Thin));
    LineChart {
        title: "Gradient norm".into(),
        note: "before clipping, by group of parameters; logarithmic".into(),
        lines: std::iter::once(all).chain(groups).collect(),
        logarithmic: true,
        ..LineChart::default()
    }
}

/// A chart of one line, from zero: of a metric times `scale`, in `unit`.
fn chart_metric(
    series: &MetricSeries,
    (metric, scale, unit): (&str, f64, &str),
    title: &str,
    note: &str,
) -> LineChart {
    let points: Vec<SeriesPoint> =
        series.get(metric).iter().map(|(step, value)| (*step, scale * value)).collect();
    LineChart {
        title: title.into(),
        note: note.into(),
        lines: vec![line(unit, &points, LineForm::Solid)],
        from_zero: true,
        ..LineChart::default()
    }
}

fn chart_speed(series: &MetricSeries) -> LineChart {
    let note = "without padding, validation and checkpoints";
    chart_metric(series, ("tokens_per_second", 1.0, "tok/s"), "Tokens per second", note)
}

/// No chart where nobody knows the peak of the device.
fn chart_utilization(series: &MetricSeries) -> LineChart {
    let note = "percent of the peak arithmetic of one device of `machine gpu=`, without recomputed blocks";
    chart_metric(series, ("mfu", 100.0, "%"), "Utilization (MFU)", note)
}

fn chart_data_wait(series: &MetricSeries) -> LineChart {
    let note = "milliseconds of an update spent on rows and noise";
    chart_metric(series, ("data_wait", 1e3, "ms"), "Data wait", note)
}

fn chart_memory(series: &MetricSeries) -> LineChart {
    let note = "GiB that the process has held at most since it started, with everything else that it did";
    chart_metric(series, ("peak_memory_gib", 1.0, "GiB"), "Peak memory", note)
}

fn chart_probes(series: &MetricSeries) -> LineChart {
    let lines = series.under("probe/exact_match/").map(|(dataset, points)| {
        let points: Vec<SeriesPoint> = points.iter().map(|(step, share)| (*step, 100.0 * share)).collect();
        dots(dataset, &points)
    });
    LineChart {
        title: "Exact match of probes".into(),
        note: "percent, by dataset".into(),
        lines: lines.collect(),
        from_zero: true,
        ..LineChart::default()
    }
}

/// Declared token share of each part over the first `done` updates.
#[must_use]
pub(super) fn find_declared_shares(config: &TrainConfig, done: u64) -> Vec<f64> {
    if done == 0 || done >= config.steps {
        return config.mean_shares();
    }
    TrainConfig { steps: done, phases: clip_phases(&config.phases, done), ..config.clone() }.mean_shares()
}

/// The phases that began before `done` updates.
fn clip_phases(phases: &[u64], done: u64) -> Vec<u64> {
    phases.iter().copied().filter(|start| *start < done).collect()
}

/// A dataset of the mixture: its name, its declared and its realized share, its tokens, and how often its rows were seen, if known.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct MixtureShare {
    pub dataset: String,
    pub declared: Option<f64>,
    pub realized: f64,
    pub tokens: f64,
    pub epochs: Option<f64>,
}

/// The mixture of a training so far.
#[must_use]
pub(super) fn list_mixture(series: &MetricSeries, config: Option<&TrainConfig>) -> Vec<MixtureShare> {
    let tokens: Vec<(&str, f64)> = series
        .under("tokens_by_dataset/")
        .filter_map(|(name, points)| Some((name, points.last()?.1)))
        .collect();
    let total: f64 = tokens.iter().map(|(_, tokens)| tokens).sum();
    let declared = config.map(|config| (config, find_declared_shares(config, series.updates())));
    let share = |(name, tokens): &(&str, f64)| MixtureShare {
        dataset: (*name).to_owned(),
        declared: declared.as_ref().and_then(|(config, shares)| {
            config.parts.iter().position(|part| part.dataset == *name).map(|at| shares[at])
        }),
        realized: tokens / total.max(1.0),
        tokens: *tokens,
        epochs: series.get(&format!("epochs_by_dataset/{name}")).last().map(|point| point.1),
    };
    tokens.iter().map(share).collect()
}

impl MixtureShare {
    /// The declared share in words.
    #[must_use]
    pub(super) fn show_declared(&self) -> String {
        self.declared.map_or_else(|| "not known".to_owned(), format_percent)
    }
}
