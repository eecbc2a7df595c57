//! Answers and their speed, for people and for programs.

use serde_json::{Value, json};

use crate::run::text::{TextAnswers, TextModelFacts};
use crate::text::display::count_noun;

/// What was written and how fast; with the speed of the autoregressive baseline, if that was measured.
pub(in crate::cli) fn describe_answers(
    found: &TextAnswers,
    facts: &TextModelFacts,
    (sampler, seed): (&str, u64),
    twin: Option<f64>,
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
    if let Some(twin) = twin {
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
    twin: Option<f64>,
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
        "autoregressive_tokens_per_second": twin,
    })
}
