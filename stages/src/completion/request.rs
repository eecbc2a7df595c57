//! Completion requests and their results.

use std::ops::Range;

/// A request to fill in tokens between a prefix and a suffix.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CompletionRequest {
    /// Tokens before the completion.
    pub prefix: Vec<u32>,
    /// Number of tokens from the first new one to the last.
    pub length: usize,
    /// Tokens among them that are given, in order. Only flow samplers take some.
    pub given: Vec<GivenTokens>,
    /// By how many tokens its only gap may grow while it is filled; it may shrink, too. `None`: it keeps its length.
    pub grow: Option<usize>,
    /// Tokens after the completion. Only flow samplers use them.
    pub suffix: Vec<u32>,
}

/// Tokens between two gaps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GivenTokens {
    /// Their place, counted from the first new token.
    pub start: usize,
    /// The tokens.
    pub tokens: Vec<u32>,
}

impl CompletionRequest {
    /// Most tokens of the text.
    pub(super) fn most_tokens(&self) -> usize {
        self.prefix.len() + self.length + self.grow.unwrap_or(0) + self.suffix.len()
    }

    /// The gaps, counted from the first new token.
    pub(crate) fn gaps(&self) -> Vec<Range<usize>> {
        let starts =
            std::iter::once(0).chain(self.given.iter().map(|given| given.start + given.tokens.len()));
        let ends = self.given.iter().map(|given| given.start).chain([self.length]);
        starts.zip(ends).map(|(start, end)| start..end).collect()
    }

    /// Whether nothing that is given stands behind a place of the text.
    pub(super) fn is_open_behind(&self, place: usize) -> bool {
        let last = self.given.last().map_or(0, |given| given.start + given.tokens.len());
        self.suffix.is_empty() && self.prefix.len() + last <= place
    }
}

/// The answer to a [`CompletionRequest`].
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Completion {
    /// The new tokens: as many as requested, or fewer if the answer ended before its last blocks; of a gap that grows, as many as it has.
    pub tokens: Vec<u32>,
    /// The gaps among them, if there are several.
    pub gaps: Vec<Range<usize>>,
    /// Forward passes that it took (NFE).
    pub passes: usize,
}

/// Completions and what they cost.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TimedCompletions {
    /// In the order of the requests.
    pub completions: Vec<Completion>,
    /// Wall-clock seconds for all requests.
    pub seconds: f64,
}

impl Completion {
    /// The tokens before the first one in `ends`, which holds the ids that end a turn or a document.
    #[must_use]
    pub(crate) fn until_end(&self, ends: &[u32]) -> &[u32] {
        let end = self.tokens.iter().position(|token| ends.contains(token));
        &self.tokens[..end.unwrap_or(self.tokens.len())]
    }

    /// The tokens of a gap, as far as they were written.
    pub(crate) fn gap(&self, gap: &Range<usize>) -> &[u32] {
        let end = self.tokens.len();
        &self.tokens[gap.start.min(end)..gap.end.min(end)]
    }

    /// Number of new tokens up to and including the end of turn. This is what counts for tokens per second.
    #[must_use]
    pub(crate) fn generated(&self, ends: &[u32]) -> usize {
        if !self.gaps.is_empty() {
            return self.gaps.iter().map(|gap| self.gap(gap).len()).sum();
        }
        (self.until_end(ends).len() + 1).min(self.tokens.len())
    }
}
