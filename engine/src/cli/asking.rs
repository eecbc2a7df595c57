//! What the commands that ask a checkpoint for text have in common: which checkpoint, what is asked, how it is sampled.

mod checkpoint;
mod printer;
mod render;
mod sampler_words;
mod task;
mod texts;

pub(super) use checkpoint::{CheckpointArguments, CheckpointPlace, OpenCheckpoint};
pub(super) use printer::Printer;
pub(super) use render::{MeasuredBeside, describe_answers, render_answers_json};
pub(super) use sampler_words::{SamplerWords, list_sampler_fields, refuse_repeated};
pub(super) use task::{PromptFault, Task, build_prompt, find_prompt, read_constraint};
pub(super) use texts::{read_text, read_turns};

use crate::run::text::TextModelFacts;

/// Largest number of new tokens for a checkpoint that was trained without a canvas, if the context has room for it twice.
const ANSWER_TOKENS: usize = 256;

/// Largest number of new tokens of an answer in a conversation, if nobody says it.
pub(super) fn find_answer_length(facts: &TextModelFacts) -> usize {
    facts.canvas.unwrap_or_else(|| ANSWER_TOKENS.min(facts.context / 2).max(1))
}
