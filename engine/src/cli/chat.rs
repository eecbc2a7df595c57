//! `fmflow chat`: a conversation with a checkpoint, at a terminal or through pipes.

mod editor;
mod input;
mod keys;
mod line;
mod screen;
mod session;
mod slash;
mod trace;

use clap::Args;

use super::asking::{CheckpointArguments, SamplerWords, find_answer_length};
use super::{CommandContext, signals};
use crate::error::Result;
use crate::text::display::count_noun;
use input::ChatInput;
use session::ChatSession;

#[derive(Debug, Args)]
pub(super) struct ChatArguments {
    #[command(flatten)]
    pub(super) checkpoint: CheckpointArguments,
    /// A system turn before the conversation
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// How text is sampled, as in `generate`; `/sampler` changes it
    #[arg(long, value_name = "WORDS", num_args = 1..)]
    sampler: Vec<String>,
    /// Largest number of new tokens of an answer; `/length` changes it [default: the canvas, or else 256]
    #[arg(long, value_name = "N")]
    new_tokens: Option<u32>,
    /// Seed of the draws; `/seed` changes it [default: that of the pipeline, 1 for a folder]
    #[arg(long)]
    seed: Option<u64>,
    /// Show the answer being written, pass by pass, each token colored by how probable it was; plain lines if stderr is no terminal
    #[arg(long)]
    trace: bool,
}

pub(super) fn run_chat(arguments: &ChatArguments, context: &CommandContext<'_>) -> Result<()> {
    let checkpoint = arguments.checkpoint.open(context)?;
    let facts = checkpoint.model.facts();
    let sampler = match arguments.sampler.as_slice() {
        [] => SamplerWords::default_for(facts),
        words => SamplerWords::parse(words)?,
    };
    let length = arguments.new_tokens.map_or_else(|| find_answer_length(facts), |tokens| tokens as usize);
    let seed = arguments.seed.unwrap_or(checkpoint.seed);
    let banner = format!(
        "sampler: {}; seed {seed}; answers of at most {}. /help lists the commands\n",
        sampler.describe(),
        count_noun(length, "token")
    );
    context.output.message(&banner);
    let mut session =
        ChatSession::new(checkpoint, (sampler, length.to_string(), seed), signals::install_answer_flag()?);
    session.trace = arguments.trace;
    session.set_system(arguments.system.as_deref());
    session.check(context)?;
    let mut input = ChatInput::open(context.output);
    while let Some(text) = input.read()? {
        let done = match text.trim() {
            "" => continue,
            "/quit" | "/exit" => break,
            _ => slash::take_text(&mut session, &text, context),
        };
        match done {
            Err(error) if input.is_terminal() => context.output.error(&error),
            done => done?,
        }
    }
    Ok(())
}
