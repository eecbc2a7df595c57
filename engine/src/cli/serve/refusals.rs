//! Requests that a server does not take, and how clients are told.

use crate::cli::asking::PromptFault;
use crate::error::Failure;
use crate::pipeline::config::{Prompt, SamplerKind};
use crate::service::Refusal;

/// Most forward passes of an answer: those who ask for more would hold up the others.
const MOST_PASSES: usize = 16_384;

/// Most lengths of gaps that are written for one request.
const MOST_LENGTHS: usize = 64;

/// Most tokens whose probability is told for one request: those of all answers, each with the most probable ones in its place.
const MOST_CHANCES: usize = 1 << 17;

/// Refuses an answer of more passes than [`MOST_PASSES`], in a context of so many tokens.
pub(super) fn refuse_many_passes(prompt: &Prompt, context: usize) -> Result<(), Refusal> {
    let (SamplerKind::Reveal { passes, .. } | SamplerKind::Euler { passes, .. }) = prompt.sampler.kind else {
        // The other samplers write at least one token in a pass.
        return Ok(());
    };
    let tokens = prompt.new_tokens.unwrap_or(context);
    let blocks = prompt.sampler.block.map_or(1, |block| tokens.div_ceil(block.max(1)).max(1));
    let all = passes.saturating_mul(blocks);
    if all <= MOST_PASSES {
        return Ok(());
    }
    let each = if blocks == 1 { String::new() } else { format!(" in each of {blocks} blocks") };
    let message =
        format!("`passes` {passes}{each}: {all} for an answer, and a server makes at most {MOST_PASSES}");
    Err(Refusal::invalid(message))
}

/// Refuses more lengths of a gap than [`MOST_LENGTHS`], those of all answers together.
pub(super) fn refuse_many_lengths(prompt: &Prompt, samples: usize) -> Result<(), Refusal> {
    let (Some(shortest), Some(longest)) = (prompt.shortest, prompt.new_tokens) else { return Ok(()) };
    let lengths = (longest - shortest + 1).saturating_mul(samples);
    if lengths <= MOST_LENGTHS {
        return Ok(());
    }
    let message = format!(
        "{lengths} lengths of the gap for all answers; a server tries at most {MOST_LENGTHS} for a request"
    );
    Err(Refusal::of_field("gap_tokens", message))
}

/// Refuses to tell more probabilities than [`MOST_CHANCES`]: they are kept until all answers are there.
pub(super) fn refuse_many_chances(
    prompt: &Prompt,
    context: usize,
    (samples, top): (usize, usize),
) -> Result<(), Refusal> {
    let tokens = prompt.most_tokens().unwrap_or(context).min(context);
    let all = tokens.saturating_mul(samples).saturating_mul(top + 1);
    if all <= MOST_CHANCES {
        return Ok(());
    }
    let message = format!(
        "`logprobs` of {samples} times {tokens} tokens, each with {top} others, are {all}, and a server tells at most {MOST_CHANCES} for a \
         request: ask for fewer answers, tokens or others"
    );
    Err(Refusal::of_field("logprobs", message))
}

/// Refuses to tell log-probabilities of a sampler that has no law of each token. The checkpoint was trained in blocks of `own` tokens.
pub(super) fn refuse_without_law(prompt: &Prompt, own: Option<usize>) -> Result<(), Refusal> {
    if prompt.shortest.is_some() {
        let message = "`logprobs` of a gap whose length the model chooses are not told: ask for one length";
        return Err(Refusal::of_field("logprobs", message.to_owned()));
    }
    if prompt.sampler.has_token_law(own) {
        return Ok(());
    }
    let message = "`logprobs` are those of a law by which each token is drawn after those before it, and this sampler has none: it writes \
                   several tokens at once, or rewrites them. Ask for the sampler `autoregressive` or `speculative`, or for `block` 1 with \
                   one that reveals masks; `/watch` tells how probable each token was in the pass that wrote it";
    Err(Refusal::of_field("logprobs", message.to_owned()))
}

fn with_help(message: String, help: Option<String>) -> String {
    match help {
        Some(help) => format!("{message} ({})", help.replace('\n', " ")),
        None => message,
    }
}

pub(super) fn say_failure(failure: Failure) -> String {
    with_help(failure.message, failure.help)
}

/// A fault in one line for a client.
pub(super) fn say(fault: PromptFault) -> String {
    match fault {
        PromptFault::Error(error) => with_help(error.to_string(), error.help()),
        PromptFault::Findings(findings) => {
            let say = |finding: crate::text::diagnostic::Diagnostic| with_help(finding.message, finding.help);
            findings.into_iter().map(say).collect::<Vec<_>>().join("; ")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::config::{PromptKind, Sampler};

    #[test]
    fn no_request_is_told_more_probabilities_than_fit() {
        let sampler = Sampler { temperature: 0.0, ..Sampler::new("next", SamplerKind::Autoregressive) };
        let kind = PromptKind::Text("x".into());
        let prompt = |new_tokens| Prompt {
            kind: kind.clone(),
            sampler: sampler.clone(),
            new_tokens,
            shortest: None,
            grow: None,
        };
        let refused = |new_tokens, samples, top| {
            refuse_many_chances(&prompt(new_tokens), 40_960, (samples, top)).is_err()
        };
        assert!(!refused(Some(MOST_CHANCES / 64), 16, 3) && refused(Some(MOST_CHANCES / 64 + 1), 16, 3));
        assert!(!refused(None, 1, 0) && refused(None, 1, 20), "without a length it is the context");
        assert!(refused(Some(usize::MAX), 16, 20), "no product overflows");
        assert!(!refused(Some(usize::MAX), 1, 0), "an answer has at most the context");
    }
}
