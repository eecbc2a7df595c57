//! What is asked of a checkpoint, and what comes of it.

use crate::backbone::BackboneError;

/// What is asked of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompletionRequest {
    /// Tokens before.
    pub prefix: Vec<u32>,
    /// New tokens wanted.
    pub length: usize,
    /// Tokens after; of use to a flow sampler only.
    pub suffix: Vec<u32>,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Completion {
    /// The new tokens: as many as wanted, fewer where an answer ended before its last blocks.
    pub tokens: Vec<u32>,
}

/// Completions and what they cost.
#[derive(Clone, Debug, PartialEq)]
pub struct TimedCompletions {
    /// In the order of the requests.
    pub completions: Vec<Completion>,
    /// Forward passes of the slowest batch (NFE).
    pub passes: usize,
    /// Wall seconds.
    pub seconds: f64,
}

impl Completion {
    /// The tokens before the first one that ends a turn or a document.
    #[must_use]
    pub fn until_end(&self, ends: &[u32]) -> &[u32] {
        let end = self.tokens.iter().position(|token| ends.contains(token));
        &self.tokens[..end.unwrap_or(self.tokens.len())]
    }

    /// New tokens up to the end of turn, that token included: what counts for tokens per second.
    #[must_use]
    pub fn generated(&self, ends: &[u32]) -> usize {
        (self.until_end(ends).len() + 1).min(self.tokens.len())
    }
}

pub(super) type BatchResult = Result<(Vec<Completion>, usize), BackboneError>;
