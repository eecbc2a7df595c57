//! The `generate` stage: completions and infills, with their speed.

use fmflow_engine::error::Failure;
use fmflow_engine::pipeline::config::{GenerateConfig, Prompt, SamplerCache};
use fmflow_engine::pipeline::role::InputRole;
use fmflow_engine::run::execute::{Job, Progress};
use fmflow_engine::run::text::{CacheDisagreement, DISAGREEMENT_TEXTS};
use fmflow_engine::store::Summary;
use fmflow_engine::text::display::count_noun;
use indexmap::IndexMap;
use serde::Serialize;

use crate::answer::{
    Asker, answer_prompt, display_prompt, measure_disagreement, measure_prompt_twin, warm_up,
};
use crate::failure::stage_failure;
use crate::model::Model;

/// One sample, a line of `samples.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct GeneratedSample {
    /// The prompt as given.
    pub prompt: String,
    /// The generated text up to the end of turn; for an infill, with prefix and suffix around it.
    pub text: String,
    /// All new tokens as text, with special tokens by name.
    pub raw: String,
    /// Name of the sampler.
    pub sampler: String,
    /// New tokens up to and including the end of turn.
    pub tokens: usize,
    /// Their mean log-likelihood in nats, if the model chose how many they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_likelihood: Option<f64>,
    /// Forward passes (NFE).
    pub passes: usize,
    /// `tokens` per forward pass.
    pub tokens_per_pass: f64,
    /// `tokens` per wall-clock second at batch size 1, measured after one warm-up run.
    pub tokens_per_second: f64,
    /// Baseline: tokens per second of the same weights generating as many tokens autoregressively, with a key-value cache.
    pub autoregressive_tokens_per_second: f64,
    /// What an approximate cache changed, of the first samples that have one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_disagreement: Option<CacheDisagreement>,
}

/// Runs a `generate` stage.
///
/// # Errors
/// If a prompt does not fit the checkpoint, or the device fails.
pub(crate) fn run_generate(job: &Job<'_>, config: &GenerateConfig) -> Result<Summary, Failure> {
    let device = crate::device::open_device(job.device).map_err(stage_failure)?;
    let model = Model::open(crate::job::find_input_folder(job, &InputRole::From)?, &device)?.for_text();
    let (mut samples, mut compared) = (Vec::new(), 0);
    for (done, prompt) in config.prompts.iter().enumerate() {
        crate::job::check_interrupt(job)?;
        let sample = write_sample(job, &model, prompt, compared < DISAGREEMENT_TEXTS)?;
        compared += usize::from(sample.cache_disagreement.is_some());
        samples.push(sample);
        let (done, total) = (done as u64 + 1, config.prompts.len() as u64);
        job.report.progress(&Progress { done, total, unit: "prompt", text: "" });
    }
    let summary = summarize_samples(&samples);
    let lines: Vec<String> =
        samples.iter().map(serde_json::to_string).collect::<Result<_, _>>().map_err(stage_failure)?;
    let mut writer = job.slot.artifact()?;
    writer.write("samples.jsonl", (lines.join("\n") + "\n").as_bytes())?;
    writer.publish(&summary, &IndexMap::new())?;
    Ok(summary)
}

fn write_sample(
    job: &Job<'_>,
    model: &Model,
    prompt: &Prompt,
    compares: bool,
) -> Result<GeneratedSample, Failure> {
    let ask = || Asker { seed: job.seed, samples: 1, threads: 1, listener: None };
    // The first run warms up caches and allocators. Both give the same tokens.
    match prompt.shortest {
        None => drop(answer_prompt(model, prompt, ask())?),
        Some(_) => warm_up(model, prompt, job.seed)?,
    }
    let answers = answer_prompt(model, prompt, ask())?;
    let autoregressive_tokens_per_second = measure_prompt_twin(model, prompt, &answers, job.seed)?;
    let cache_disagreement = match compares {
        true => measure_disagreement(model, prompt, &answers, job.seed)?,
        false => None,
    };
    let (tokens_per_second, answer) = (answers.tokens_per_second(), &answers.answers[0]);
    Ok(GeneratedSample {
        prompt: display_prompt(&prompt.kind),
        text: answer.text.clone(),
        raw: answer.raw.clone(),
        sampler: prompt.sampler.name.clone(),
        tokens: answer.tokens,
        log_likelihood: answer.log_likelihood,
        passes: answer.passes,
        tokens_per_pass: answer.tokens as f64 / answer.passes.max(1) as f64,
        tokens_per_second,
        autoregressive_tokens_per_second,
        cache_disagreement,
    })
}

/// What each approximate cache changed, by its word. Figures of different caches are never added.
fn sum_disagreements(samples: &[GeneratedSample]) -> IndexMap<&'static str, CacheDisagreement> {
    let mut all: IndexMap<&'static str, CacheDisagreement> = IndexMap::new();
    for found in samples.iter().filter_map(|sample| sample.cache_disagreement.as_ref()) {
        all.entry(found.cache).and_modify(|sum| sum.add(found)).or_insert_with(|| found.clone());
    }
    all
}

fn summarize_samples(samples: &[GeneratedSample]) -> Summary {
    let line = |s: &GeneratedSample| {
        let changed = s.cache_disagreement.as_ref().map_or_else(String::new, |found| {
            let (changed, tokens) = (found.differing_tokens as u64, found.tokens as u64);
            format!("; {}", SamplerCache::describe_changes(found.cache, changed, tokens))
        });
        format!(
            "{:?} -> {:?} [{}: {}, {}, {:.0} tok/s; AR with cache: {:.0} tok/s{changed}]",
            s.prompt,
            s.text,
            s.sampler,
            count_noun(s.tokens, "token"),
            count_noun(s.passes, "pass"),
            s.tokens_per_second,
            s.autoregressive_tokens_per_second
        )
    };
    let mean =
        |f: fn(&GeneratedSample) -> f64| samples.iter().map(f).sum::<f64>() / samples.len().max(1) as f64;
    let speed = mean(|s| s.tokens_per_second);
    let baseline = mean(|s| s.autoregressive_tokens_per_second);
    let metrics = [("tokens_per_second", speed), ("autoregressive_tokens_per_second", baseline)];
    let metrics = metrics.into_iter().map(|(name, value)| (name.to_owned(), value));
    let changed = sum_disagreements(samples);
    let shares = changed.iter().flat_map(|(cache, found)| {
        let shares = [("tokens", found.token_share()), ("texts", found.text_share())];
        shares.map(|(what, share)| (format!("changed_by_cache/{cache}/{what}"), share))
    });
    let told = changed.values().map(CacheDisagreement::describe);
    Summary {
        headline: format!(
            "{}, {speed:.0} tok/s (AR with cache: {baseline:.0})",
            count_noun(samples.len(), "sample")
        ),
        lines: samples.iter().map(line).chain(told).collect(),
        metrics: metrics.chain(shares).collect(),
    }
}
