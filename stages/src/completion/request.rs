//! Completion requests and their results.

use crate::backbone::BackboneError;

/// A request to fill in tokens between a prefix and a suffix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CompletionRequest {
    /// Tokens before the completion.
    pub prefix: Vec<u32>,
    /// Number of new tokens requested.
    pub length: usize,
    /// Tokens after the completion. Only flow samplers use them.
    pub suffix: Vec<u32>,
}

/// The answer to a [`CompletionRequest`].
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Completion {
    /// The new tokens: as many as requested, or fewer if the answer ended before its last blocks.
    pub tokens: Vec<u32>,
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

    /// Number of new tokens up to and including the end of turn. This is what counts for tokens per second.
    #[must_use]
    pub(crate) fn generated(&self, ends: &[u32]) -> usize {
        (self.until_end(ends).len() + 1).min(self.tokens.len())
    }
}

pub(super) type BatchResult = Result<Vec<Completion>, BackboneError>;
