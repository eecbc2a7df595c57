//! The `evaluate` stage: held-out likelihood and exact match of every checkpoint that it names.

mod answers;
mod benchmark;
mod choice;
mod chosen;
mod code;
mod estimators;
mod exact;
mod fenced;
mod gaps;
mod likelihood;
mod prompts;
mod questions;
mod shots;

pub(crate) use benchmark::BenchmarkReport;
pub(crate) use code::probe_benchmark;
pub(crate) use exact::{ExactScores, MeasuredSpeed, measure_exact_match, note_cache, score_exact_match};

use fmflow_engine::error::Failure;
use fmflow_engine::pipeline::config::EvaluateConfig;
use fmflow_engine::pipeline::config::sample::HeldOut;
use fmflow_engine::run::execute::{Job, Progress};
use fmflow_engine::store::Summary;
use fmflow_engine::store::summary::{
    format_benchmark_metric, format_exact_match_metric, format_held_out_metric, format_task_metric,
};
use indexmap::{IndexMap, IndexSet};
use likelihood::Likelihood;
use serde::Serialize;

use crate::data::packing::Row;
use crate::data::rows::{Rows, Split};
use crate::failure::{BEYOND_F32, input_failure, stage_failure};
use crate::job::find_input_folder;
use crate::model::Model;
use fmflow_engine::pipeline::role::InputRole;

/// Scores of one checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct CheckpointScores {
    /// Held-out loss by dataset, in nats per token: an upper bound of the negative log-likelihood for a flow checkpoint, the
    /// negative log-likelihood itself for an autoregressive one.
    pub held_out: IndexMap<String, f64>,
    /// The same with all that were asked for, each named exact or a bound, by dataset; the first is that of `held_out`.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub likelihoods: IndexMap<String, Vec<Likelihood>>,
    /// Likelihoods that were asked for and that the checkpoint does not have, with the reason, by dataset.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub absent: IndexMap<String, IndexMap<String, &'static str>>,
    /// Exact matches by dataset.
    pub exact_match: IndexMap<String, ExactScores>,
    /// Benchmarks by name.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub benchmarks: IndexMap<String, BenchmarkReport>,
}

/// Runs an `evaluate` stage.
///
/// # Errors
/// If inputs contradict each other or the device fails. A score below a required one is not an error here; the engine
/// checks that.
pub(crate) fn run_evaluate(job: &Job<'_>, config: &EvaluateConfig) -> Result<Summary, Failure> {
    let benchmarks = benchmark::open_benchmarks(job, &config.benchmarks, config.unsafe_no_sandbox)?;
    let mut written = answers::WrittenAnswers::open(job, !benchmarks.is_empty())?;
    let mut report = IndexMap::new();
    let mut answers = Vec::new();
    for (done, name) in config.checkpoints.iter().enumerate() {
        crate::job::check_interrupt(job)?;
        let progress = Progress {
            done: done as u64,
            total: config.checkpoints.len() as u64,
            unit: "checkpoint",
            text: name,
        };
        job.report.progress(&progress);
        let device = crate::device::open_device(job.device).map_err(stage_failure)?;
        let model = Model::open(find_input_folder(job, &InputRole::Checkpoint(name.clone()))?, &device)?;
        let texts = !config.exact_match.is_empty() || !benchmarks.is_empty();
        let model = if texts { model.for_text() } else { model };
        let mut scores = score_checkpoint(job, config, name, &model, &mut answers)?;
        for benchmark in &benchmarks {
            let found = code::measure_benchmark(job, benchmark, name, &model, &mut written)?;
            scores.benchmarks.insert(benchmark.name().to_owned(), found);
        }
        report.insert(name.clone(), scores);
    }
    let summary = summarize_scores(&report);
    let mut writer = job.slot.artifact()?;
    writer.write("report.json", &serde_json::to_vec_pretty(&report).map_err(stage_failure)?)?;
    if !config.exact_match.is_empty() {
        writer.write("answers.jsonl", answers.join("\n").as_bytes())?;
    }
    if !benchmarks.is_empty() {
        writer.write("samples.jsonl", written.text().as_bytes())?;
    }
    writer.publish(&summary, &IndexMap::new())?;
    Ok(summary)
}

fn score_checkpoint(
    job: &Job<'_>,
    config: &EvaluateConfig,
    name: &str,
    model: &Model,
    answers: &mut Vec<String>,
) -> Result<CheckpointScores, Failure> {
    let mut scores = CheckpointScores::default();
    for item in &config.held_out {
        measure_likelihoods(job, item, name, model, &mut scores)?;
    }
    for item in &config.exact_match {
        let found = exact::score_exact_match(job, item, name, model, answers)?;
        scores.exact_match.insert(item.dataset.clone(), found);
    }
    Ok(scores)
}

/// The usual likelihood of a dataset, and those that are asked for beside it.
fn measure_likelihoods(
    job: &Job<'_>,
    item: &HeldOut,
    name: &str,
    model: &Model,
    scores: &mut CheckpointScores,
) -> Result<(), Failure> {
    let held = read_held_out_rows(job, item)?;
    let usual = likelihood::find_usual_estimator(model);
    let (mut found, mut absent) = (Vec::new(), IndexMap::new());
    for estimator in [usual].iter().chain(item.beside.iter().filter(|beside| **beside != usual)) {
        match likelihood::find_obstacle(*estimator, model) {
            Some(why) => drop(absent.insert(estimator.word().to_owned(), why)),
            None => {
                let measured = likelihood::measure(job, item, *estimator, model, &held)?;
                found.push(require_meaning(measured, name, &item.dataset)?);
            }
        }
    }
    scores.held_out.insert(item.dataset.clone(), found[0].nats_per_token);
    scores.likelihoods.insert(item.dataset.clone(), found);
    if !absent.is_empty() {
        scores.absent.insert(item.dataset.clone(), absent);
    }
    Ok(())
}

fn read_held_out_rows(job: &Job<'_>, item: &HeldOut) -> Result<Vec<Row>, Failure> {
    let rows = Rows::open(find_input_folder(job, &item.role)?).map_err(stage_failure)?;
    let count = rows.len(Split::HeldOut).min(item.rows as u64);
    let held: Vec<_> =
        (0..count).map(|i| rows.row(Split::HeldOut, i)).collect::<Result<_, _>>().map_err(stage_failure)?;
    if held.is_empty() {
        let what = format!("dataset `{}` has no held-out rows", item.dataset);
        return Err(input_failure(what, "raise the dataset's `held-out=`"));
    }
    Ok(held)
}

/// The likelihood, if it says something: a number that is not finite would pass every comparison, and a loss of no positions
/// would be 0, the best that there is.
fn require_meaning(found: Likelihood, name: &str, dataset: &str) -> Result<Likelihood, Failure> {
    if found.tokens == 0 {
        let what = format!("no position of the held-out rows of `{dataset}` counts, so they have no loss");
        return Err(input_failure(what, "raise `first=`, or the dataset's `held-out=`"));
    }
    if !found.nats_per_token.is_finite() {
        let what =
            format!("the held-out loss of checkpoint `{name}` on `{dataset}` is {}", found.nats_per_token);
        return Err(input_failure(what, BEYOND_F32));
    }
    Ok(found)
}

/// What the held-out losses are: numbers of different kinds beside each other say which they are.
fn list_kinds(report: &IndexMap<String, CheckpointScores>) -> IndexSet<&'static str> {
    let measured = report.values().flat_map(|scores| {
        scores.held_out.keys().filter_map(move |dataset| scores.likelihoods[dataset].first())
    });
    measured.map(|found| found.kind).collect()
}

/// The summary of all scores: lines for people, metrics for programs.
fn summarize_scores(report: &IndexMap<String, CheckpointScores>) -> Summary {
    let (mut lines, mut metrics, mut heads) = (Vec::new(), IndexMap::new(), Vec::new());
    let mixed = list_kinds(report).len() > 1;
    for (name, scores) in report {
        for (dataset, loss) in &scores.held_out {
            lines.extend(scores.likelihoods[dataset].iter().map(|found| found.line(name, dataset)));
            let absent = scores.absent.get(dataset).into_iter().flatten();
            lines.extend(
                absent.map(|(word, why)| format!("{name}: no {word} likelihood on {dataset}: {why}")),
            );
            metrics.insert(format_held_out_metric(name, dataset), *loss);
            let kind = scores.likelihoods[dataset].first().filter(|_| mixed);
            let kind = kind.map_or_else(String::new, |found| format!(" ({})", found.kind));
            // Two losses of one checkpoint say of which dataset they are.
            let of = if scores.held_out.len() > 1 { format!(" {dataset}") } else { String::new() };
            heads.push(format!("{name}{of} {loss:.2}{kind}"));
        }
        for (dataset, found) in &scores.exact_match {
            lines.push(found.line(name, dataset));
            metrics.insert(format_exact_match_metric(name, dataset), found.share());
            for (group, (passed, total)) in &found.by_group {
                metrics.insert(
                    format_task_metric(name, dataset, group),
                    exact::to_percent(*passed, *total) / 100.0,
                );
            }
            let of = if scores.exact_match.len() > 1 { format!(" {dataset}") } else { String::new() };
            heads.push(format!("{name}{of} {:.1} %", exact::to_percent(found.passed, found.total)));
        }
        for (benchmark, found) in &scores.benchmarks {
            let own = found.lines();
            lines.extend(own.iter().map(|line| format!("{name}: {benchmark} {line}")));
            let share = found.scores.pass_at_one();
            metrics.insert(format_benchmark_metric(name, benchmark), share);
            heads.push(format!("{name} {benchmark} {:.1} %", 100.0 * share));
        }
    }
    Summary { headline: heads.join(" · "), lines, metrics }
}
