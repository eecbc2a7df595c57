//! The `frontier` stage: samplers side by side, how good and how fast they are.

use fmflow_engine::error::Failure;
use fmflow_engine::pipeline::config::FrontierConfig;
use fmflow_engine::pipeline::config::sample::ExactMatch;
use fmflow_engine::pipeline::role::InputRole;
use fmflow_engine::report::frontier::{FrontierPoint, draw_frontier};
use fmflow_engine::run::execute::{Job, Progress};
use fmflow_engine::run::text::CacheDisagreement;
use fmflow_engine::store::Summary;
use fmflow_engine::text::display::count_noun;
use indexmap::IndexMap;
use serde::Serialize;

use crate::evaluate::{ExactScores, MeasuredSpeed, measure_exact_match, note_cache};
use crate::failure::stage_failure;
use crate::job::{check_interrupt, find_input_folder};
use crate::model::Model;

/// A sampler in `frontier.json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct MeasuredSampler {
    /// Its name, with the threshold and the block that replace its own.
    sampler: String,
    /// The dataset of the questions.
    dataset: String,
    /// The sampler's cache, if it is approximate: answers without it may be others.
    #[serde(skip_serializing_if = "Option::is_none")]
    cache: Option<&'static str>,
    /// What it changed, of the first answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_disagreement: Option<CacheDisagreement>,
    /// Held-out questions.
    questions: usize,
    /// Answers equal to the reference.
    exact: usize,
    /// Tokens of the answers, up to and including the end of turn.
    tokens: usize,
    /// Forward passes that they took (NFE).
    passes: usize,
    tokens_per_pass: f64,
    /// Wall-clock seconds, after a short run.
    seconds: f64,
    tokens_per_second: f64,
    /// Of the same weights, as many tokens in the same batches, with a key-value cache.
    autoregressive_tokens_per_second: f64,
}

/// `frontier.json`.
#[derive(Serialize)]
struct FrontierFile<'a> {
    schema: &'static str,
    checkpoint: &'a str,
    seed: u64,
    device: &'a str,
    samplers: &'a [MeasuredSampler],
}

/// Runs a `frontier` stage.
///
/// # Errors
/// If a sampler does not fit the checkpoint, no question can be asked, or the device fails.
pub(crate) fn run_frontier(job: &Job<'_>, config: &FrontierConfig) -> Result<Summary, Failure> {
    let device = crate::device::open_device(job.device).map_err(stage_failure)?;
    let name = config.declared.checkpoints.first().expect("a frontier is that of a checkpoint");
    let folder = find_input_folder(job, &InputRole::Checkpoint(name.clone()))?;
    let model = Model::open(folder, &device)?.for_text();
    let (mut samplers, mut answers) = (Vec::new(), Vec::new());
    for (done, point) in config.points.iter().enumerate() {
        check_interrupt(job)?;
        let (scores, speed) = measure_exact_match(job, point, name, &model, &mut answers)?;
        samplers.push(MeasuredSampler::new(point, &scores, speed));
        let (done, total) = (done as u64 + 1, config.points.len() as u64);
        job.report.progress(&Progress { done, total, unit: "sampler", text: &point.sampler.name });
    }
    let several = samplers.iter().any(|one| one.dataset != samplers[0].dataset);
    let points: Vec<FrontierPoint> = samplers.iter().map(|one| one.point(several)).collect();
    let summary = summarize(&samplers);
    let schema = "fmflow.frontier/1";
    let file =
        FrontierFile { schema, checkpoint: name, seed: job.seed, device: job.device, samplers: &samplers };
    let mut writer = job.slot.artifact()?;
    writer.write("frontier.json", &serde_json::to_vec_pretty(&file).map_err(stage_failure)?)?;
    writer.write("frontier.svg", draw_frontier(name, &points).as_bytes())?;
    writer.write("answers.jsonl", (answers.join("\n") + "\n").as_bytes())?;
    writer.publish(&summary, &IndexMap::new())?;
    Ok(summary)
}

impl MeasuredSampler {
    fn new(point: &ExactMatch, scores: &ExactScores, speed: MeasuredSpeed) -> Self {
        Self {
            sampler: point.sampler.name.clone(),
            dataset: point.dataset.clone(),
            cache: scores.cache,
            cache_disagreement: scores.cache_disagreement.clone(),
            questions: scores.total,
            exact: scores.passed,
            tokens: scores.tokens,
            passes: scores.passes,
            tokens_per_pass: scores.tokens as f64 / scores.passes.max(1) as f64,
            seconds: speed.seconds,
            tokens_per_second: scores.tokens as f64 / speed.seconds,
            autoregressive_tokens_per_second: speed.twin,
        }
    }

    fn ratio(&self) -> f64 {
        self.tokens_per_second / self.autoregressive_tokens_per_second
    }

    fn right(&self) -> f64 {
        self.exact as f64 / self.questions.max(1) as f64
    }

    /// The point, named after its dataset if there are several.
    fn point(&self, several: bool) -> FrontierPoint {
        FrontierPoint {
            group: if several { self.dataset.clone() } else { String::new() },
            sampler: self.sampler.clone(),
            tokens_per_pass: self.tokens_per_pass,
            ratio: self.ratio(),
            right: self.right(),
        }
    }

    fn line(&self) -> String {
        format!(
            "{}: exact match on {} {:.1} % of {}, {:.2} tokens a pass, {:.0} tok/s (AR with cache: {:.0}, ratio {:.2}){}",
            self.sampler,
            self.dataset,
            100.0 * self.right(),
            self.questions,
            self.tokens_per_pass,
            self.tokens_per_second,
            self.autoregressive_tokens_per_second,
            self.ratio(),
            note_cache(self.cache, self.cache_disagreement.as_ref())
        )
    }
}

fn summarize(samplers: &[MeasuredSampler]) -> Summary {
    let mut datasets: IndexMap<&str, Vec<&MeasuredSampler>> = IndexMap::new();
    for one in samplers {
        datasets.entry(&one.dataset).or_default().push(one);
    }
    let best = |(dataset, samplers): (&&str, &Vec<&MeasuredSampler>)| {
        let named = if datasets.len() > 1 { format!("{dataset}: ") } else { String::new() };
        named + &find_best(samplers)
    };
    let metric = |one: &MeasuredSampler| {
        let (dataset, sampler) = (&one.dataset, &one.sampler);
        let all = [("exact", one.right()), ("tokens_per_pass", one.tokens_per_pass), ("ratio", one.ratio())];
        let changed = one.cache_disagreement.as_ref().map(|found| {
            [("changed_by_cache/tokens", found.token_share()), ("changed_by_cache/texts", found.text_share())]
        });
        let all = all.into_iter().chain(changed.into_iter().flatten());
        all.map(|(what, value)| (format!("frontier/{dataset}/{sampler}/{what}"), value)).collect::<Vec<_>>()
    };
    Summary {
        headline: datasets.iter().map(best).collect::<Vec<_>>().join("; "),
        lines: samplers.iter().map(MeasuredSampler::line).collect(),
        metrics: samplers.iter().flat_map(metric).collect(),
    }
}

/// The best share of right answers of samplers on one dataset, and in how few passes it was reached.
fn find_best(samplers: &[&MeasuredSampler]) -> String {
    let best = samplers.iter().map(|one| one.right()).fold(0.0, f64::max);
    let quick =
        samplers.iter().filter(|one| one.right() >= best).map(|one| one.tokens_per_pass).fold(0.0, f64::max);
    let count = count_noun(samplers.len(), "sampler");
    format!("{count}, best {:.1} % at {quick:.2} tokens a pass", 100.0 * best)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_score_replaces_that_of_another_dataset() {
        let measured = |dataset: &str, exact: usize| MeasuredSampler {
            sampler: "parallel".into(),
            dataset: dataset.into(),
            cache: None,
            cache_disagreement: None,
            questions: 4,
            exact,
            tokens: 8,
            passes: 4,
            tokens_per_pass: 2.0,
            seconds: 1.0,
            tokens_per_second: 8.0,
            autoregressive_tokens_per_second: 4.0,
        };
        let summary = summarize(&[measured("easy", 4), measured("hard", 1)]);
        assert_eq!(summary.metrics.len(), 6);
        assert_eq!(summary.metrics["frontier/hard/parallel/exact"], 0.25);
        let headline = "easy: 1 sampler, best 100.0 % at 2.00 tokens a pass; hard: 1 sampler, best 25.0 % at 2.00 tokens a pass";
        assert_eq!(summary.headline, headline);
        assert_eq!(
            summarize(&[measured("easy", 4)]).headline,
            "1 sampler, best 100.0 % at 2.00 tokens a pass"
        );
    }
}
