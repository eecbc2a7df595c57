//! What the commands that ask a checkpoint for text have in common: which checkpoint, what is asked, how it is sampled.

mod checkpoint;
mod printer;
mod render;
mod sampler_words;
mod task;
mod texts;

pub(super) use checkpoint::{CheckpointArguments, OpenCheckpoint};
pub(super) use printer::Printer;
pub(super) use render::{describe_answers, render_answers_json};
pub(super) use sampler_words::SamplerWords;
pub(super) use task::{Task, build_prompt};
pub(super) use texts::{read_text, read_turns};
