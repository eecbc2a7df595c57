//! `fmflow chat`: a conversation with a checkpoint, at a terminal or through pipes.

mod editor;
mod input;
mod keys;
mod line;
mod screen;
mod session;
mod slash;
mod trace;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Args;

use super::asking::{CheckpointArguments, SamplerWords, find_answer_length};
use super::{CommandContext, signals};
use crate::error::{Error, Failure, FailureKind, Result};
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
    let end = Arc::new(AtomicBool::new(false));
    let flags = (signals::install_answer_flag()?, end.clone());
    let mut session = ChatSession::new(checkpoint, (sampler, length.to_string(), seed), flags);
    session.trace = arguments.trace;
    session.set_system(arguments.system.as_deref());
    session.check(context)?;
    let mut input = ChatInput::open(context.output, &end);
    signals::end_when_asked(&end, input.is_edited())?;
    converse(&mut session, &mut input, &end, context)
}

/// Answers what is typed, until there is no more of it.
fn converse(
    session: &mut ChatSession,
    input: &mut ChatInput,
    end: &AtomicBool,
    context: &CommandContext<'_>,
) -> Result<()> {
    loop {
        let read = input.read();
        refuse_to_go_on(end)?;
        let Some(text) = read? else { return Ok(()) };
        let done = match text.trim() {
            "" => continue,
            "/quit" | "/exit" => return Ok(()),
            _ => slash::take_text(session, &text, context),
        };
        match done {
            Err(error) if input.is_terminal() => context.output.error(&error),
            done => done?,
        }
        refuse_to_go_on(end)?;
    }
}

/// The error of a program that was asked to end, if it was.
fn refuse_to_go_on(end: &AtomicBool) -> Result<()> {
    if !end.load(Ordering::SeqCst) {
        return Ok(());
    }
    let message = "the conversation was ended from outside".to_owned();
    let failure = Failure { kind: FailureKind::Interrupted, message, help: None };
    Err(Error::Stage { stage: "chat".to_owned(), failure })
}
