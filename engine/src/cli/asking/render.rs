//! Answers and their speed, for people and for programs.

use serde_json::{Value, json};

use crate::pipeline::config::SamplerCache;
use crate::run::text::{CacheDisagreement, TextAnswers, TextModelFacts};
use crate::text::display::count_noun;

/// What was measured beside answers.
pub(in crate::cli) struct MeasuredBeside {
    /// What the sampler keeps from pass to pass.
    pub(in crate::cli) cache: SamplerCache,
    /// The speed of the autoregressive baseline, if that was measured.
    pub(in crate::cli) twin: Option<f64>,
    /// How often an approximate cache changed them, if that was measured.
    pub(in crate::cli) disagreement: Option<CacheDisagreement>,
}

impl MeasuredBeside {
    /// What an approximate cache changed of `answers` texts, as a line; empty without such a cache.
    fn describe_cache(&self, answers: usize) -> String {
        if !self.cache.is_approximate() {
            return String::new();
        }
        let Some(found) = &self.disagreement else {
            return format!(
                "the cache `{}` is approximate; what it changed was not measured\n",
                self.cache.word()
            );
        };
        let first = match found.texts < answers {
            true => format!(", the first of {answers}"),
            false => String::new(),
        };
        format!("{}{first}\n", found.describe())
    }
}

/// What was written and how fast, with what was measured beside it.
pub(in crate::cli) fn describe_answers(
    found: &TextAnswers,
    facts: &TextModelFacts,
    (sampler, seed): (&str, u64),
    beside: &MeasuredBeside,
) -> String {
    let (tokens, passes) = (found.tokens(), found.passes());
    let mut text = format!(
        "{} in {}, {:.2} a pass; {:.0} tok/s (batch {}, {}, {})\n",
        count_noun(tokens, "token"),
        count_noun(passes, "pass"),
        tokens as f64 / passes.max(1) as f64,
        found.tokens_per_second(),
        found.answers.len(),
        facts.device,
        facts.dtype,
    );
    text += &beside.describe_cache(found.answers.len());
    if let Some(twin) = beside.twin {
        let ratio = found.tokens_per_second() / twin;
        text +=
            &format!("the same weights autoregressively, with a cache: {twin:.0} tok/s; ratio {ratio:.2}\n");
    }
    let chosen = found.answers.iter().filter_map(|answer| Some((answer.tokens, answer.log_likelihood?)));
    for (tokens, likelihood) in chosen {
        text += &format!("length chosen: {tokens}, mean log-likelihood {likelihood:.3}\n");
    }
    text + &format!("sampler: {sampler}; seed {seed}\n")
}

/// The same as JSON.
pub(in crate::cli) fn render_answers_json(
    found: &TextAnswers,
    facts: &TextModelFacts,
    (sampler, seed): (&str, u64),
    beside: &MeasuredBeside,
) -> Value {
    let (tokens, passes) = (found.tokens(), found.passes());
    json!({
        "schema": "fmflow.generate/1",
        "answers": found.answers,
        "sampler": sampler,
        "seed": seed,
        "checkpoint": facts,
        "batch": found.answers.len(),
        "tokens": tokens,
        "passes": passes,
        "tokens_per_pass": tokens as f64 / passes.max(1) as f64,
        "seconds": found.seconds,
        "tokens_per_second": found.tokens_per_second(),
        "autoregressive_tokens_per_second": beside.twin,
        "cache": beside.cache.word(),
        "cache_disagreement": beside.disagreement,
    })
}
