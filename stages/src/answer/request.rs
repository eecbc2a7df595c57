//! From a prompt to the tokens of a request, and which prompts a checkpoint cannot take.

use fmflow_engine::error::Failure;
use fmflow_engine::pipeline::config::{Prompt, PromptKind, SamplerKind};
use fmflow_engine::pipeline::contract::ModelKind;

use crate::completion::CompletionRequest;
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
    let (prefix, suffix) = match &prompt.kind {
        PromptKind::Chat(turns) => {
            (chat::encode_prompt(tokenizer, turns).map_err(stage_failure)?, Vec::new())
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

/// A prompt as shown to people; of a conversation, its last turn.
pub(crate) fn display_prompt(kind: &PromptKind) -> String {
    match kind {
        PromptKind::Chat(turns) => turns.last().map_or_else(String::new, |turn| turn.content.clone()),
        PromptKind::Text(text) => text.clone(),
        PromptKind::Infill { prefix, suffix } => format!("{prefix}[…]{suffix}"),
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
