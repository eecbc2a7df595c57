//! Lets somebody hear a text while it is written.

use fmflow_engine::run::text::TextListener;

use crate::data::tokenizer::{Tokenizer, TokenizerError};
use crate::flow::sampler::{Canvas, Onlooker};

/// Decodes the tokens of one canvas as they settle.
pub(super) struct Listening<'a> {
    tokenizer: &'a Tokenizer,
    /// Tokens before the answer.
    start: usize,
    /// Tokens that end it; nothing behind the first is heard.
    ends: &'a [u32],
    listener: &'a mut dyn TextListener,
    /// The text that was heard.
    heard: String,
    /// Tokens of the answer that are settled.
    settled: usize,
    stopped: bool,
    failed: Option<TokenizerError>,
}

impl<'a> Listening<'a> {
    pub(super) fn new(
        tokenizer: &'a Tokenizer,
        start: usize,
        ends: &'a [u32],
        listener: &'a mut dyn TextListener,
    ) -> Self {
        let (heard, settled, stopped, failed) = (String::new(), 0, false, None);
        Self { tokenizer, start, ends, listener, heard, settled, stopped, failed }
    }

    /// Tells the rest of the finished `text`; returns how many tokens were settled if the listener stopped before the end.
    ///
    /// # Errors
    /// If tokens could not be decoded.
    pub(super) fn finish(mut self, text: &str) -> Result<Option<usize>, TokenizerError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        if self.stopped {
            return Ok(Some(self.settled));
        }
        self.hear(text);
        Ok(None)
    }

    /// Tells what `text` has more than was heard. A decoder that rewrites what it gave before tells nothing until it agrees.
    fn hear(&mut self, text: &str) {
        if let Some(rest) = text.strip_prefix(self.heard.as_str()).filter(|rest| !rest.is_empty()) {
            self.listener.hear(rest);
            self.heard.push_str(rest);
        }
    }
}

impl Onlooker for Listening<'_> {
    fn goes_on(&mut self) -> bool {
        self.stopped = self.stopped || !self.listener.goes_on();
        !self.stopped
    }

    fn settled(&mut self, canvas: &Canvas, end: usize) {
        // A finished canvas may hold what was never written; its text comes with `finish`.
        if end >= canvas.tokens.len() {
            return;
        }
        let answer = canvas.tokens.get(self.start..end).unwrap_or_default();
        self.settled = answer.len();
        let text = &answer[..answer.iter().position(|t| self.ends.contains(t)).unwrap_or(answer.len())];
        match self.tokenizer.decode(text, false) {
            // The bytes of a letter may be in tokens that are still to come.
            Ok(text) => self.hear(text.trim_end_matches('\u{fffd}')),
            Err(error) => self.failed = self.failed.take().or(Some(error)),
        }
    }
}
