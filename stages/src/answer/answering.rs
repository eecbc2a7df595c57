//! From a prompt to its answers.

use std::time::Instant;

use fmflow_engine::error::Failure;
use fmflow_engine::pipeline::config::{Prompt, PromptKind, Sampler};
use fmflow_engine::run::text::{TextAnswer, TextAnswers, TextListener};

use super::choose::choose_length;
use super::listening::Listening;
use super::request::{build_request, shorten_prompt};
use super::twin::measure_twins;
use crate::completion::{Completion, CompletionRequest, complete_from, complete_watched};
use crate::failure::stage_failure;
use crate::model::Model;

/// Samples of one request are this far apart in the numbers of canvases, so that each has room for all lengths of a range.
pub(crate) const SAMPLE_STRIDE: u64 = 1 << 32;

/// Who asks, and how: what the answers do not depend on, besides the seed.
pub(crate) struct Asker<'a> {
    /// Seed of the draws.
    pub seed: u64,
    /// How many answers.
    pub samples: usize,
    /// Batches at once.
    pub threads: usize,
    /// Hears a single answer of known length while it is written.
    pub listener: Option<&'a mut dyn TextListener>,
}

/// Answers a prompt.
///
/// # Errors
/// If the prompt does not fit the checkpoint, or the device fails; the message names the prompt.
pub(crate) fn answer_prompt(
    model: &Model,
    prompt: &Prompt,
    asker: Asker<'_>,
) -> Result<TextAnswers, Failure> {
    let request = build_request(model, prompt)?;
    let start = Instant::now();
    let answers = answer_request(model, prompt, &request, asker).map_err(|failure| {
        let message = format!("prompt `{}`: {}", shorten_prompt(&prompt.kind), failure.message);
        Failure { message, ..failure }
    })?;
    Ok(TextAnswers { answers, seconds: start.elapsed().as_secs_f64() })
}

/// Answers a shortened prompt, so that what is measured next finds memory and threads ready.
///
/// # Errors
/// As [`answer_prompt`].
pub(crate) fn warm_up(model: &Model, prompt: &Prompt, seed: u64) -> Result<(), Failure> {
    const TOKENS: usize = 32;
    let request = build_request(model, prompt)?;
    let (kept, length) = (request.prefix.len().saturating_sub(TOKENS), request.length.min(TOKENS));
    let prefix = request.prefix[kept..].to_vec();
    let request = CompletionRequest { prefix, length, ..CompletionRequest::default() };
    // So short a text may not match.
    let sampler = Sampler { constraint: None, ..prompt.sampler.clone() };
    complete_from(model, (0, &[request]), &sampler, (seed, 1)).map(drop)
}

/// Tokens per second of the autoregressive baseline of a prompt that was answered.
///
/// # Errors
/// As [`answer_prompt`].
pub(crate) fn measure_prompt_twin(
    model: &Model,
    prompt: &Prompt,
    answers: &TextAnswers,
    seed: u64,
) -> Result<f64, Failure> {
    let lengths: Vec<usize> = answers.answers.iter().map(|answer| answer.tokens).collect();
    let requests = vec![build_request(model, prompt)?; lengths.len()];
    measure_twins(model, (&requests, &lengths), &prompt.sampler, seed)
}

fn answer_request(
    model: &Model,
    prompt: &Prompt,
    request: &CompletionRequest,
    asker: Asker<'_>,
) -> Result<Vec<TextAnswer>, Failure> {
    let (sampler, work) = (&prompt.sampler, (asker.seed, asker.threads));
    if let Some(shortest) = prompt.shortest {
        let choose = |sample: usize| {
            let first = sample as u64 * SAMPLE_STRIDE;
            let chosen = choose_length(model, (first, request), shortest..=request.length, sampler, work)?;
            let answer = read_answer(model, prompt, &chosen.completion)?;
            Ok(TextAnswer { log_likelihood: Some(chosen.log_likelihood), ..answer })
        };
        return (0..asker.samples).map(choose).collect();
    }
    if let (1, Some(listener)) = (asker.samples, asker.listener) {
        return answer_aloud(model, prompt, request, asker.seed, listener).map(|answer| vec![answer]);
    }
    let requests = vec![request.clone(); asker.samples];
    let found = complete_from(model, (0, &requests), sampler, work)?;
    found.iter().map(|completion| read_answer(model, prompt, completion)).collect()
}

/// Answers one request, number 0, while a listener hears it.
fn answer_aloud(
    model: &Model,
    prompt: &Prompt,
    request: &CompletionRequest,
    seed: u64,
    listener: &mut dyn TextListener,
) -> Result<TextAnswer, Failure> {
    let (tokenizer, ends) = (model.tokenizer()?, list_ends(model, prompt));
    let mut around = ("", "");
    if let PromptKind::Infill { prefix, suffix, .. } = &prompt.kind {
        around = (prefix, suffix);
    }
    if !around.0.is_empty() {
        listener.hear(around.0);
    }
    let mut listening = Listening::new(tokenizer, request, ends.clone(), &mut *listener);
    let mut completion = complete_watched(model, (0, request), &prompt.sampler, seed, &mut listening)?;
    let text = write_text(model, prompt, &completion)?;
    let stopped = listening.finish(completion.until_end(&ends), &text).map_err(stage_failure)?;
    drop(listening);
    if let Some(settled) = stopped {
        completion.tokens.truncate(settled);
    } else if !around.1.is_empty() {
        listener.hear(around.1);
    }
    Ok(TextAnswer { stopped: stopped.is_some(), ..read_answer(model, prompt, &completion)? })
}

/// Tokens that end the text of an answer. The text of a gap has no end, unless it has to match a constraint, which knows no ends, and
/// nothing follows it.
pub(super) fn list_ends(model: &Model, prompt: &Prompt) -> Vec<u32> {
    match prompt.kind {
        PromptKind::Infill { .. } if !prompt.ends_in_constrained_gap() => Vec::new(),
        PromptKind::Infill { .. } | PromptKind::Chat(_) | PromptKind::Text(_) => model.ends(),
    }
}

/// What was written, between the prefix and the suffix of gaps.
pub(super) fn write_text(model: &Model, prompt: &Prompt, completion: &Completion) -> Result<String, Failure> {
    let (gaps, further) = (read_gaps(model, completion)?, prompt.kind.further_gaps());
    if !further.is_empty() {
        let between = std::iter::once("").chain(further.iter().map(|gap| gap.before.as_str()));
        return Ok(between.zip(&gaps).map(|(before, gap)| format!("{before}{gap}")).collect());
    }
    let ends = list_ends(model, prompt);
    model.tokenizer()?.decode(completion.until_end(&ends), false).map_err(stage_failure)
}

/// The text of each gap, if there are several.
fn read_gaps(model: &Model, completion: &Completion) -> Result<Vec<String>, Failure> {
    let tokenizer = model.tokenizer()?;
    let read = |gap| tokenizer.decode(completion.gap(gap), false).map_err(stage_failure);
    completion.gaps.iter().map(read).collect()
}

pub(super) fn read_answer(
    model: &Model,
    prompt: &Prompt,
    completion: &Completion,
) -> Result<TextAnswer, Failure> {
    let (tokenizer, gap) = (model.tokenizer()?, matches!(prompt.kind, PromptKind::Infill { .. }));
    let ends = if gap { Vec::new() } else { list_ends(model, prompt) };
    let written = write_text(model, prompt, completion)?;
    let text = match &prompt.kind {
        PromptKind::Infill { prefix, suffix, .. } => format!("{prefix}{written}{suffix}"),
        PromptKind::Chat(_) | PromptKind::Text(_) => written,
    };
    Ok(TextAnswer {
        text,
        raw: tokenizer.decode(&completion.tokens, true).map_err(stage_failure)?,
        ids: completion.tokens.clone(),
        gaps: read_gaps(model, completion)?,
        tokens: completion.generated(&ends),
        passes: completion.passes,
        log_likelihood: None,
        stopped: false,
        ended: ends.is_empty() || completion.tokens.iter().any(|token| ends.contains(token)),
    })
}
