//! Lets somebody hear a text while it is written.

use fmflow_engine::run::text::{TextListener, TextStep, WrittenToken};

use super::laws::Laws;
use crate::completion::CompletionRequest;
use crate::data::tokenizer::{Tokenizer, TokenizerError};
use crate::flow::sampler::{Canvas, Onlooker, RankedLaw};

/// Decodes the tokens of one canvas as they settle.
pub(super) struct Listening<'a, L> {
    tokenizer: &'a Tokenizer,
    /// Tokens before the answer, and behind it.
    start: usize,
    suffix: usize,
    /// Whether nothing is heard before the end: between gaps stands what people wrote, as they wrote it.
    late: bool,
    /// Tokens that end it; nothing behind the first is heard.
    ends: Vec<u32>,
    listener: L,
    /// The text that was heard.
    heard: String,
    /// Tokens of the answer that are settled.
    settled: usize,
    stopped: bool,
    failed: Option<TokenizerError>,
    /// The tokens of the answer that the listener saw, with their probabilities, and the passes so far.
    seen: Vec<Option<(u32, f64)>>,
    passes: usize,
    laws: Laws,
}

impl<'a, L: TextListener> Listening<'a, L> {
    pub(super) fn new(
        tokenizer: &'a Tokenizer,
        request: &CompletionRequest,
        ends: Vec<u32>,
        listener: L,
    ) -> Self {
        let (start, suffix, late) = (request.prefix.len(), request.suffix.len(), !request.given.is_empty());
        let (heard, settled, stopped, failed) = (String::new(), 0, false, None);
        let (seen, passes, laws) = (Vec::new(), 0, Laws::default());
        Self {
            tokenizer,
            start,
            suffix,
            late,
            ends,
            listener,
            heard,
            settled,
            stopped,
            failed,
            seen,
            passes,
            laws,
        }
    }

    /// Tells the rest of the finished `text` of these tokens; returns how many tokens were settled if the listener stopped before the end.
    ///
    /// # Errors
    /// If tokens could not be decoded.
    pub(super) fn finish(&mut self, tokens: &[u32], text: &str) -> Result<Option<usize>, TokenizerError> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        if self.stopped {
            return Ok(Some(self.settled));
        }
        self.weigh(tokens)?;
        self.hear(text);
        Ok(None)
    }

    /// Tells how probable the first tokens of the answer were, as far as that was not told.
    fn weigh(&mut self, tokens: &[u32]) -> Result<(), TokenizerError> {
        let laws = self.laws.take(tokens, self.tokenizer)?;
        if !laws.is_empty() {
            self.listener.weigh(laws);
        }
        Ok(())
    }

    /// Tells what `text` has more than was heard. A decoder that rewrites what it gave before tells nothing until it agrees.
    fn hear(&mut self, text: &str) {
        if let Some(rest) = text.strip_prefix(self.heard.as_str()).filter(|rest| !rest.is_empty()) {
            self.listener.hear(rest);
            self.heard.push_str(rest);
        }
    }
}

impl<L: TextListener> Listening<'_, L> {
    /// What was heard so far, and who heard it.
    pub(super) fn into_parts(self) -> (String, L) {
        (self.heard, self.listener)
    }

    /// Who hears it.
    pub(super) fn listener(&mut self) -> &mut L {
        &mut self.listener
    }

    fn see(&mut self, step: Result<TextStep, TokenizerError>) {
        match step {
            Ok(step) => self.listener.see(&step),
            Err(error) => self.failed = self.failed.take().or(Some(error)),
        }
    }

    /// What a pass changed at `places` of the canvas.
    fn find_step(
        &mut self,
        canvas: &Canvas,
        places: &[usize],
        probabilities: &[f64],
    ) -> Result<TextStep, TokenizerError> {
        self.passes += 1;
        self.seen.resize(canvas.tokens.len() - self.start, None);
        let mut written = Vec::new();
        for (place, probability) in places.iter().zip(probabilities) {
            // What may not be written is noise.
            let id = Some(canvas.tokens[*place]).filter(|_| *probability > 0.0);
            let seen = &mut self.seen[*place - self.start];
            if seen.map(|(id, _)| id) != id {
                *seen = id.map(|id| (id, *probability));
                written.push(self.tell(*place - self.start, id, *probability)?);
            }
        }
        Ok(TextStep { pass: self.passes, written, places: None })
    }

    /// A token at a place of the answer, or noise.
    fn tell(&self, place: usize, id: Option<u32>, probability: f64) -> Result<WrittenToken, TokenizerError> {
        let text = id.map(|id| self.tokenizer.decode(&[id], true)).transpose()?.unwrap_or_default();
        Ok(WrittenToken { place, id, text, probability })
    }

    /// What stands at other places, or at new ones, since places came and went.
    fn find_moves(&mut self, canvas: &Canvas, moves: &[Option<usize>]) -> Result<TextStep, TokenizerError> {
        let old = std::mem::take(&mut self.seen);
        let behind = canvas.tokens.len() - self.start - self.suffix;
        let from =
            |place: &Option<usize>| place.and_then(|place| old.get(place - self.start).copied().flatten());
        self.seen = moves[self.start..self.start + behind].iter().map(from).collect();
        let mut written = Vec::new();
        for (place, seen) in self.seen.iter().enumerate() {
            if old.get(place) != Some(seen) {
                let (id, probability) = seen.map_or((None, 0.0), |(id, probability)| (Some(id), probability));
                written.push(self.tell(place, id, probability)?);
            }
        }
        Ok(TextStep { pass: self.passes, written, places: Some(behind) })
    }
}

impl<L: TextListener> Onlooker for Listening<'_, L> {
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
        if self.late {
            return;
        }
        let text = &answer[..answer.iter().position(|t| self.ends.contains(t)).unwrap_or(answer.len())];
        let found = self.tokenizer.decode(text, false).and_then(|heard| self.weigh(text).map(|()| heard));
        match found {
            // The bytes of a letter may be in tokens that are still to come.
            Ok(text) => self.hear(text.trim_end_matches('\u{fffd}')),
            Err(error) => self.failed = self.failed.take().or(Some(error)),
        }
    }

    fn wants_laws(&self) -> Option<usize> {
        self.listener.wants_laws()
    }

    fn ranked(&mut self, _: &Canvas, place: usize, law: RankedLaw) {
        self.laws.note(place - self.start, law);
    }

    fn wants_probabilities(&self) -> bool {
        self.listener.wants_steps()
    }

    fn judged(&mut self, canvas: &Canvas, places: &[usize], probabilities: &[f64]) {
        let step = self.find_step(canvas, places, probabilities);
        self.see(step);
    }

    fn moved(&mut self, canvas: &Canvas, moves: &[Option<usize>]) {
        if self.listener.wants_steps() {
            let step = self.find_moves(canvas, moves);
            self.see(step);
        }
    }
}
