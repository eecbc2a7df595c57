//! From a prompt to the tokens of a request, and which prompts a checkpoint cannot take.

use fmflow_engine::error::Failure;
use fmflow_engine::pipeline::config::{Prompt, PromptKind, SamplerKind};
use fmflow_engine::pipeline::contract::ModelKind;

use super::choose::refuse_constrained_range;
use crate::completion::{CompletionRequest, GivenTokens, refuse_unmatched};
use crate::data::chat;
use crate::failure::{input_failure, stage_failure};
use crate::model::Model;

/// Whether a request may begin with its gap: only a flow model without a shift predicts the first token of a text.
fn may_begin_empty(model: &Model, prompt: &Prompt) -> bool {
    let flow = model.contract.kind == ModelKind::Flow && prompt.sampler.kind != SamplerKind::Autoregressive;
    matches!(prompt.kind, PromptKind::Infill { .. }) && flow && !model.contract.shift
}

/// The request of a prompt; of a range of lengths, with the longest.
///
/// # Errors
/// If it does not fit the checkpoint.
pub(super) fn build_request(model: &Model, prompt: &Prompt) -> Result<CompletionRequest, Failure> {
    let tokenizer = model.tokenizer()?;
    let encode = |text: &str| tokenizer.encode_plain(text).map_err(stage_failure);
    let (prefix, suffix) = match &prompt.kind {
        PromptKind::Chat(turns) => (chat::encode_prompt(tokenizer, turns)?, Vec::new()),
        PromptKind::Text(text) => (encode(text)?, Vec::new()),
        PromptKind::Infill { prefix, suffix, .. } => (encode(prefix)?, encode(suffix)?),
    };
    fit_request(model, prompt, (prefix, suffix))
}

/// The request of a prompt whose text before and behind the answer has these tokens.
///
/// # Errors
/// As [`build_request`].
pub(super) fn fit_request(
    model: &Model,
    prompt: &Prompt,
    (prefix, suffix): (Vec<u32>, Vec<u32>),
) -> Result<CompletionRequest, Failure> {
    let canvas = model.contract.canvas.filter(|_| matches!(prompt.kind, PromptKind::Chat(_)));
    let length = prompt.new_tokens.or(canvas).ok_or_else(|| {
        input_failure(
            format!("the answer to `{}` has no length: the prompt has no `new-tokens=` and the checkpoint no canvas", shorten_prompt(&prompt.kind)),
            "add `new-tokens=`",
        )
    })?;
    if prompt.shortest.is_some() {
        refuse_constrained_range(&prompt.sampler)?;
    }
    let (length, given) = place_given(model, prompt, length)?;
    let (all, context) = (
        prefix.len() + length + prompt.grow.unwrap_or(0) + suffix.len(),
        model.backbone.config().max_position_embeddings,
    );
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
    Ok(CompletionRequest { prefix, length, given, grow: prompt.grow, suffix })
}

/// Whether the constraint of a prompt can be kept, if it has one. What else is wrong with the prompt is not told.
///
/// # Errors
/// Why the constraint cannot be kept.
pub(super) fn check_constraint(model: &Model, prompt: &Prompt) -> Result<(), Failure> {
    if prompt.shortest.is_some() {
        return refuse_constrained_range(&prompt.sampler);
    }
    match prompt.sampler.constraint.is_some().then(|| build_request(model, prompt)) {
        Some(Ok(request)) => refuse_unmatched(model, &request, &prompt.sampler),
        None | Some(Err(_)) => Ok(()),
    }
}

/// The tokens between gaps of `new` tokens in all, and how many tokens they are with the gaps.
fn place_given(model: &Model, prompt: &Prompt, new: usize) -> Result<(usize, Vec<GivenTokens>), Failure> {
    let further = prompt.kind.further_gaps();
    if prompt.sampler.reads_next_tokens() && !further.is_empty() {
        let what =
            format!("sampler `{}` writes from left to right, and fills one gap alone", prompt.sampler.name);
        return Err(input_failure(what, "use a sampler for flow models"));
    }
    let (tokenizer, mut given) = (model.tokenizer()?, Vec::new());
    let mut end = new - further.iter().map(|gap| gap.tokens).sum::<usize>();
    for gap in further {
        let tokens = tokenizer.encode_plain(&gap.before).map_err(stage_failure)?;
        let start = end;
        end += tokens.len() + gap.tokens;
        given.push(GivenTokens { start, tokens });
    }
    Ok((end, given))
}

/// A prompt as shown to people; of a conversation, its last turn.
pub(crate) fn display_prompt(kind: &PromptKind) -> String {
    match kind {
        PromptKind::Chat(turns) => turns.last().map_or_else(String::new, |turn| turn.content.clone()),
        PromptKind::Text(text) => text.clone(),
        PromptKind::Infill { prefix, more, suffix } => {
            let more: String = more.iter().map(|gap| format!("{}[…]", gap.before)).collect();
            format!("{prefix}[…]{more}{suffix}")
        }
    }
}

/// The beginning of a prompt, for messages.
pub(super) fn shorten_prompt(kind: &PromptKind) -> String {
    const LETTERS: usize = 60;
    let text = display_prompt(kind);
    match text.char_indices().nth(LETTERS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
