//! Held-out conversations of a dataset, and how they are asked.

use fmflow_engine::error::Failure;
use fmflow_engine::pipeline::config::SpecialNames;
use fmflow_engine::pipeline::config::sample::ExactMatch;
use fmflow_engine::run::execute::Job;
use fmflow_engine::text::escape::show_path;

use crate::completion::CompletionRequest;
use crate::data::chat;
use crate::data::corpus::Chat;
use crate::data::rows::Rows;
use crate::data::tokenizer::{Tokenizer, TokenizerError};
use crate::failure::{input_failure, stage_failure};
use crate::job::find_input_folder;
use crate::model::Model;

/// The held-out conversations of a dataset.
pub(super) struct HeldOutQuestions {
    pub(super) chats: Vec<Chat>,
    /// Tokens that an answer may have.
    pub(super) canvas: usize,
    /// What becomes of names of special tokens in them.
    pub(super) names: SpecialNames,
}

pub(super) fn read_held_out_questions(job: &Job<'_>, item: &ExactMatch) -> Result<HeldOutQuestions, Failure> {
    let folder = find_input_folder(job, &item.role)?;
    let (rows, mut chats) = (Rows::open(folder).map_err(stage_failure)?, read_held_out_chats(folder)?);
    chats.truncate(item.limit.unwrap_or(usize::MAX));
    if chats.is_empty() {
        let what = format!("dataset `{}` has no held-out conversations", item.dataset);
        return Err(input_failure(what, "raise the dataset's `held-out=`"));
    }
    let canvas = rows.summary().canvas.ok_or_else(|| {
        let what = format!("rows of `{}` have no `canvas=`", item.dataset);
        input_failure(what, "add `canvas=` to the rows: the number of tokens that an answer may have")
    })?;
    Ok(HeldOutQuestions { chats, canvas, names: rows.summary().specials.unwrap_or_default() })
}

/// Whether a held-out conversation can be asked.
pub(super) enum HeldOutQuestion {
    /// It can.
    Asked(CompletionRequest),
    /// The model's context has no room for an answer.
    TooLong,
    /// The canvas has no room for the reference answer.
    BeyondCanvas,
}

impl HeldOutQuestion {
    pub(super) fn asked(&self) -> Option<&CompletionRequest> {
        match self {
            Self::Asked(request) => Some(request),
            Self::TooLong | Self::BeyondCanvas => None,
        }
    }
}

pub(super) fn build_question(
    chat: &Chat,
    model: &Model,
    tokenizer: &Tokenizer,
    length: usize,
) -> Result<HeldOutQuestion, Failure> {
    // As in training: a template may render earlier turns differently once the answer follows them.
    let (prefix, answer) = chat::encode_chat(tokenizer, chat)?;
    if prefix.is_empty() {
        return Err(input_failure(
            "the chat template renders nothing before an answer",
            "use a template that renders the question",
        ));
    }
    if prefix.len() + length > model.backbone.config().max_position_embeddings {
        return Ok(HeldOutQuestion::TooLong);
    }
    if count_least_answer_tokens(chat, &answer, tokenizer).map_err(stage_failure)? > length {
        return Ok(HeldOutQuestion::BeyondCanvas);
    }
    Ok(HeldOutQuestion::Asked(CompletionRequest { prefix, length, ..CompletionRequest::default() }))
}

/// The fewest tokens with which the reference answer can be given. An answer that fills its canvas needs neither an end of
/// turn nor what a template adds.
fn count_least_answer_tokens(
    chat: &Chat,
    with_end: &[u32],
    tokenizer: &Tokenizer,
) -> Result<usize, TokenizerError> {
    let answer = tokenizer.encode_marked(&tokenizer.mark_names(&chat.answer))?;
    Ok(answer.len().min(with_end.len().saturating_sub(1)))
}

/// Reads the held-out conversations stored beside the rows.
fn read_held_out_chats(folder: &std::path::Path) -> Result<Vec<Chat>, Failure> {
    let file = folder.join(crate::data::rows::HELD_OUT);
    let text = std::fs::read_to_string(&file).map_err(|e| {
        input_failure(
            format!("cannot read {}: {e}", show_path(file)),
            "exact match needs rows of a dataset with `chat`",
        )
    })?;
    text.lines().map(|line| serde_json::from_str(line).map_err(stage_failure)).collect()
}
