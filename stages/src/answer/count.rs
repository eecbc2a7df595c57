//! Tokens of requests, counted by a tokenizer alone: no model has to be there.

use std::path::Path;

use fmflow_engine::error::Failure;
use fmflow_engine::pipeline::config::PromptKind;

use crate::data::chat;
use crate::data::tokenizer::Tokenizer;
use crate::failure::stage_failure;

/// Tokens of the texts of requests by the tokenizer in `folder`, without their answers; `None` for a text that cannot be encoded.
///
/// # Errors
/// If there is no tokenizer, or it cannot be read.
pub(crate) fn count_prompt_tokens(
    folder: &Path,
    prompts: &[&PromptKind],
) -> Result<Vec<Option<usize>>, Failure> {
    let tokenizer = Tokenizer::open(folder).map_err(stage_failure)?;
    Ok(prompts.iter().map(|prompt| count_one(&tokenizer, prompt)).collect())
}

fn count_one(tokenizer: &Tokenizer, prompt: &PromptKind) -> Option<usize> {
    let count = |text: &str| tokenizer.encode_plain(text).ok().map(|tokens| tokens.len());
    match prompt {
        PromptKind::Chat(turns) => Some(chat::encode_prompt(tokenizer, turns).ok()?.len()),
        PromptKind::Text(text) => count(text),
        PromptKind::Infill { prefix, more, suffix } => {
            let between = more.iter().map(|gap| count(&gap.before)).sum::<Option<usize>>()?;
            Some(count(prefix)? + between + count(suffix)?)
        }
    }
}
