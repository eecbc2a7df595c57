//! The `generate` stage: completions and infills, with their speed.

use fmflow_engine::error::Failure;
use fmflow_engine::pipeline::config::{
    GenerateConfig, Prompt, PromptKind, Sampler, SamplerCache, SamplerKind,
};
use fmflow_engine::run::execute::{Job, Progress};
use fmflow_engine::store::Summary;
use fmflow_engine::text::display::count_noun;
use indexmap::IndexMap;
use serde::Serialize;

use crate::completion::{Completion, CompletionRequest, TimedCompletions, complete_requests};
use crate::data::chat;
use crate::data::corpus::Message;
use crate::failure::{input_failure, stage_failure};
use crate::model::Model;
use fmflow_engine::pipeline::contract::ModelKind;
use fmflow_engine::pipeline::role::InputRole;

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
    /// Forward passes (NFE).
    pub passes: usize,
    /// `tokens` per forward pass.
    pub tokens_per_pass: f64,
    /// `tokens` per wall-clock second at batch size 1, measured after one warm-up run.
    pub tokens_per_second: f64,
    /// Baseline: tokens per second of the same weights generating as many tokens autoregressively, with a key-value cache.
    pub autoregressive_tokens_per_second: f64,
}

/// Runs a `generate` stage.
///
/// # Errors
/// If a prompt does not fit the checkpoint, or the device fails.
pub(crate) fn run_generate(job: &Job<'_>, config: &GenerateConfig) -> Result<Summary, Failure> {
    let device = crate::device::open_device(job.device).map_err(stage_failure)?;
    let model = Model::open(crate::job::find_input_folder(job, &InputRole::From)?, &device)?.for_text();
    let mut samples = Vec::new();
    for (done, prompt) in config.prompts.iter().enumerate() {
        crate::job::check_interrupt(job)?;
        samples.push(answer_prompt(job, &model, prompt)?);
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

fn answer_prompt(job: &Job<'_>, model: &Model, prompt: &Prompt) -> Result<GeneratedSample, Failure> {
    let (tokenizer, ends) = (model.tokenizer()?, model.ends());
    let request = build_request(model, prompt)?;
    let found = time_completion(job, model, &request, &prompt.sampler).map_err(|failure| {
        let message = format!("prompt `{}`: {}", shorten_prompt(&prompt.kind), failure.message);
        Failure { message, ..failure }
    })?;
    let completion = &found.completions[0];
    let tokens = match prompt.kind {
        PromptKind::Infill { .. } => completion.tokens.len(),
        _ => completion.generated(&ends),
    };
    let start = find_baseline_start(&request, &ends);
    let baseline = CompletionRequest { prefix: start, length: tokens, suffix: Vec::new() };
    let autoregressive = time_completion(job, model, &baseline, &build_twin(&prompt.sampler))?;
    let made = autoregressive.completions[0].tokens.len();
    let text = decode_answer(model, prompt, completion)?;
    Ok(GeneratedSample {
        prompt: display_prompt(&prompt.kind),
        text,
        raw: tokenizer.decode(&completion.tokens, true).map_err(stage_failure)?,
        sampler: prompt.sampler.name.clone(),
        tokens,
        passes: completion.passes,
        tokens_per_pass: tokens as f64 / completion.passes.max(1) as f64,
        tokens_per_second: tokens as f64 / found.seconds,
        autoregressive_tokens_per_second: made as f64 / autoregressive.seconds,
    })
}

/// Answers a prompt once, without measuring speed: the prompt as shown to people, and the text.
///
/// # Errors
/// If the prompt does not fit the checkpoint, or the device fails.
pub(crate) fn answer_once(model: &Model, prompt: &Prompt, seed: u64) -> Result<(String, String), Failure> {
    let request = build_request(model, prompt)?;
    let found = complete_requests(model, &[request], &prompt.sampler, seed, 1)?;
    Ok((display_prompt(&prompt.kind), decode_answer(model, prompt, &found.completions[0])?))
}

/// The text up to the end of turn; for an infill, with prefix and suffix around it.
fn decode_answer(model: &Model, prompt: &Prompt, completion: &Completion) -> Result<String, Failure> {
    let tokenizer = model.tokenizer()?;
    match &prompt.kind {
        PromptKind::Infill { prefix, suffix } => {
            tokenizer.decode(&completion.tokens, false).map(|text| format!("{prefix}{text}{suffix}"))
        }
        _ => tokenizer.decode(completion.until_end(&model.ends()), false),
    }
    .map_err(stage_failure)
}

/// The sampler of the autoregressive baseline: greedy, and with the cache that every autoregressive server has. An exact cache
/// changes no token, and without one the comparison would flatter the flow model.
fn build_twin(sampler: &Sampler) -> Sampler {
    let (kind, cache) = (SamplerKind::Autoregressive, SamplerCache::Exact);
    Sampler { kind, cache, temperature: 0.0, repetition_penalty: 1.0, ..sampler.clone() }
}

/// Completes twice and keeps the second run. The first warms up caches and allocators. Both give the same tokens.
fn time_completion(
    job: &Job<'_>,
    model: &Model,
    request: &CompletionRequest,
    sampler: &Sampler,
) -> Result<TimedCompletions, Failure> {
    let requests = std::slice::from_ref(request);
    complete_requests(model, requests, sampler, job.seed, 1)?;
    complete_requests(model, requests, sampler, job.seed, 1)
}

/// What the autoregressive baseline continues. It needs a token to start from, and a gap may have none before it.
fn find_baseline_start(request: &CompletionRequest, ends: &[u32]) -> Vec<u32> {
    match request.prefix.as_slice() {
        [] => vec![ends.last().copied().unwrap_or(0)],
        prefix => prefix.to_vec(),
    }
}

/// Whether a request may begin with its gap: only a flow model without a shift predicts the first token of a text.
fn may_begin_empty(model: &Model, prompt: &Prompt) -> bool {
    let flow = model.contract.kind == ModelKind::Flow && prompt.sampler.kind != SamplerKind::Autoregressive;
    matches!(prompt.kind, PromptKind::Infill { .. }) && flow && !model.contract.shift
}

fn build_request(model: &Model, prompt: &Prompt) -> Result<CompletionRequest, Failure> {
    let tokenizer = model.tokenizer()?;
    let (prefix, suffix) = match &prompt.kind {
        PromptKind::Chat(text) => {
            (chat::encode_prompt(tokenizer, &[Message::user(text)]).map_err(stage_failure)?, Vec::new())
        }
        PromptKind::Text(text) => (tokenizer.encode_plain(text).map_err(stage_failure)?, Vec::new()),
        PromptKind::Infill { prefix, suffix } => (
            tokenizer.encode_plain(prefix).map_err(stage_failure)?,
            tokenizer.encode_plain(suffix).map_err(stage_failure)?,
        ),
    };
    let canvas = model.contract.canvas.filter(|_| matches!(prompt.kind, PromptKind::Chat(_)));
    let length = prompt.new_tokens.or(canvas).ok_or_else(|| {
        input_failure(
            format!("the answer to `{}` has no length: the prompt has no `new-tokens=` and the checkpoint no canvas", shorten_prompt(&prompt.kind)),
            "add `new-tokens=`",
        )
    })?;
    let (all, context) =
        (prefix.len() + length + suffix.len(), model.backbone.config().max_position_embeddings);
    if prefix.is_empty() && !may_begin_empty(model, prompt) {
        let what = format!("nothing stands before the answer to `{}`", shorten_prompt(&prompt.kind));
        return Err(input_failure(
            what,
            "write a prompt of at least one token; only a flow model without a shift fills in the beginning of a text",
        ));
    }
    if all > context {
        let what = format!(
            "prompt `{}` takes {all} tokens with its answer, but the context has {context}",
            shorten_prompt(&prompt.kind)
        );
        return Err(input_failure(what, "write a shorter prompt, or ask for fewer new tokens"));
    }
    Ok(CompletionRequest { prefix, length, suffix })
}

/// A prompt as shown to people.
fn display_prompt(kind: &PromptKind) -> String {
    match kind {
        PromptKind::Chat(text) | PromptKind::Text(text) => text.clone(),
        PromptKind::Infill { prefix, suffix } => format!("{prefix}[…]{suffix}"),
    }
}

/// The beginning of a prompt, for messages.
fn shorten_prompt(kind: &PromptKind) -> String {
    const LETTERS: usize = 60;
    let text = display_prompt(kind);
    match text.char_indices().nth(LETTERS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

fn summarize_samples(samples: &[GeneratedSample]) -> Summary {
    let line = |s: &GeneratedSample| {
        format!(
            "{:?} -> {:?} [{}: {}, {}, {:.0} tok/s; AR with cache: {:.0} tok/s]",
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
    Summary {
        headline: format!(
            "{}, {speed:.0} tok/s (AR with cache: {baseline:.0})",
            count_noun(samples.len(), "sample")
        ),
        lines: samples.iter().map(line).collect(),
        metrics: metrics.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
    }
}
