//! A conversation and its settings.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::trace::CanvasTrace;
use crate::cli::CommandContext;
use crate::cli::asking::{OpenCheckpoint, Printer, SamplerWords, Task, build_prompt};
use crate::error::{Error, Result};
use crate::pipeline::config::{Constraint, FurtherGap, PromptKind};
use crate::pipeline::message::{Message, Speaker};
use crate::run::text::{TextListener, TextRequest, TextStep};
use crate::text::display::count_noun;

/// Prints an answer, and shows how it is written.
struct TracedPrinter {
    printer: Printer,
    trace: Option<CanvasTrace>,
    /// Set when the program has to end.
    end: Arc<AtomicBool>,
}

impl TracedPrinter {
    /// The drawing gives way to the answer.
    fn into_printer(mut self) -> Printer {
        self.trace.iter_mut().for_each(CanvasTrace::erase);
        self.printer
    }
}

impl TextListener for TracedPrinter {
    fn hear(&mut self, piece: &str) {
        // What is drawn has the pieces, and the whole answer follows it.
        if !self.trace.as_ref().is_some_and(CanvasTrace::is_drawn) {
            self.printer.hear(piece);
        }
    }

    fn goes_on(&mut self) -> bool {
        self.printer.goes_on() && !self.end.load(Ordering::SeqCst)
    }

    fn wants_steps(&self) -> bool {
        self.trace.is_some()
    }

    fn see(&mut self, step: &TextStep) {
        self.trace.iter_mut().for_each(|trace| trace.see(step));
    }
}

/// A conversation with an open checkpoint.
pub(super) struct ChatSession {
    checkpoint: OpenCheckpoint,
    /// The turns so far; a system turn comes first.
    pub(super) turns: Vec<Message>,
    pub(super) sampler: SamplerWords,
    /// Largest number of new tokens, or the length of a gap.
    pub(super) length: String,
    pub(super) seed: u64,
    /// By how many tokens a gap may grow.
    pub(super) grow: Option<u32>,
    /// What answers have to match.
    pub(super) constraint: Option<Constraint>,
    /// Whether answers are shown while they are written.
    pub(super) trace: bool,
    /// Set by Ctrl-C.
    interrupt: Arc<AtomicBool>,
    /// Set when the program has to end.
    end: Arc<AtomicBool>,
    /// Whether something was written before, so that nothing has to warm up.
    warm: bool,
}

impl ChatSession {
    pub(super) fn new(
        checkpoint: OpenCheckpoint,
        (sampler, length, seed): (SamplerWords, String, u64),
        (interrupt, end): (Arc<AtomicBool>, Arc<AtomicBool>),
    ) -> Self {
        let (turns, grow, constraint, trace, warm) = (Vec::new(), None, None, false, false);
        Self { checkpoint, turns, sampler, length, seed, grow, constraint, trace, interrupt, end, warm }
    }

    /// Puts a system turn before the conversation, or removes it.
    pub(super) fn set_system(&mut self, text: Option<&str>) {
        self.turns.retain(|turn| turn.role != Speaker::System);
        if let Some(text) = text {
            self.turns.insert(0, Message::new(Speaker::System, text));
        }
    }

    /// Answers a turn of the user. The turn and what was written stay in the conversation, unless there was an error.
    pub(super) fn answer(&mut self, text: &str, context: &CommandContext<'_>) -> Result<()> {
        let mut turns = self.turns.clone();
        turns.push(Message::user(text));
        let answer = self.ask(PromptKind::Chat(turns.clone()), self.length.clone(), context)?;
        turns.push(Message::new(Speaker::Assistant, &answer));
        self.turns = turns;
        Ok(())
    }

    /// Fills the gaps between texts. The conversation stays as it is.
    pub(super) fn infill(&mut self, texts: &[&str], context: &CommandContext<'_>) -> Result<()> {
        let [prefix, between @ .., suffix] = texts else { unreachable!("a gap has two sides") };
        let gap = |before: &&str| {
            let tokens = self.length.parse().map_err(|_| {
                Error::usage("several gaps need one length, not a range", "write `/length 8`")
            })?;
            Ok(FurtherGap { before: (*before).to_owned(), tokens })
        };
        let more = between.iter().map(gap).collect::<Result<_>>()?;
        let kind = PromptKind::Infill { prefix: (*prefix).to_owned(), more, suffix: (*suffix).to_owned() };
        self.ask(kind, self.length.clone(), context).map(drop)
    }

    /// Whether sampler and length are those of a request.
    pub(super) fn check(&self, context: &CommandContext<'_>) -> Result<()> {
        let chat = PromptKind::Chat(vec![Message::user("x")]);
        let gap = || PromptKind::Infill { prefix: "x".to_owned(), more: Vec::new(), suffix: String::new() };
        let kind = if self.length.contains("..") { gap() } else { chat };
        let task = Task { constraint: self.constraint.clone(), ..Task::new(kind, Some(self.length.clone())) };
        build_prompt(&task, &self.sampler, &self.checkpoint, context).map(drop)
    }

    /// Prints an answer while it is written, and returns its text.
    fn ask(&mut self, kind: PromptKind, length: String, context: &CommandContext<'_>) -> Result<String> {
        let grow = self.grow.filter(|_| matches!(kind, PromptKind::Infill { .. }));
        let task = Task { grow, constraint: self.constraint.clone(), ..Task::new(kind, Some(length)) };
        let prompt = build_prompt(&task, &self.sampler, &self.checkpoint, context)?;
        let request = TextRequest { prompt: &prompt, samples: 1, seed: self.seed, warm_up: !self.warm };
        self.interrupt.store(false, Ordering::SeqCst);
        let printer = Printer::new(context.output, false, self.interrupt.clone());
        let trace = self.trace.then(|| CanvasTrace::new(context.output));
        let mut listener = TracedPrinter { printer, trace, end: self.end.clone() };
        let found = self.checkpoint.model.answer(&request, &mut listener);
        self.interrupt.store(false, Ordering::SeqCst);
        let printer = listener.into_printer();
        let found = found.map_err(|failure| self.checkpoint.explain(failure))?;
        let answer = &found.answers[0];
        printer.finish(&[&answer.text])?;
        self.warm = true;
        let stopped = if answer.stopped { "; stopped, /undo removes it" } else { "" };
        context.output.message(&format!(
            "[{} in {}, {:.0} tok/s{stopped}]\n",
            count_noun(answer.tokens, "token"),
            count_noun(answer.passes, "pass"),
            found.tokens_per_second()
        ));
        Ok(answer.text.clone())
    }
}
