//! The cap on a dataset's training tokens: which documents it lets in.

use fmflow_engine::pipeline::config::TokenCap;

use super::RowsOptions;
use super::error::{BuildError, options_error};
use crate::data::packing::{Example, Packing};

/// What a cap has left. It depends on the documents and their order alone.
#[derive(Debug)]
pub(super) struct TokenBudget {
    cap: Option<TokenCap>,
    /// Tokens that were let in.
    used: u64,
    /// Whether the next document would go beyond it, or nothing is left.
    spent: bool,
    packing: Packing,
    length: usize,
}

impl TokenBudget {
    /// The budget of documents before which `used` tokens were let in.
    pub(super) fn after(used: u64, options: &RowsOptions) -> Self {
        let RowsOptions { cap, packing, length, .. } = *options;
        let spent = cap.is_some_and(|cap| cap.tokens <= used);
        Self { cap, used, spent, packing, length }
    }

    /// Tokens that were let in.
    pub(super) fn used(&self) -> u64 {
        self.used
    }

    /// Whether reading stops.
    pub(super) fn is_spent(&self) -> bool {
        self.spent
    }

    /// Tokens that may still come; `None` without a cap.
    pub(super) fn left(&self) -> Option<u64> {
        self.cap.map(|cap| if self.spent { 0 } else { cap.tokens - self.used })
    }

    /// Lets in the examples of a document as far as the cap allows. Where documents are cut anyway, the last one is cut at the cap;
    /// where they are whole, one that would go beyond it is left out with all its examples.
    pub(super) fn take(&mut self, examples: &mut Vec<Option<Example>>) {
        let Some(TokenCap { tokens, .. }) = self.cap else { return };
        let left = tokens - self.used;
        let whole = self.packing == Packing::FirstFit;
        // An example that is longer than a row, or over its canvas, is not in the rows.
        let fits = |example: &&Example| !whole || example.tokens.len() <= self.length;
        let count: u64 =
            examples.iter().flatten().filter(fits).map(|example| example.tokens.len() as u64).sum();
        if count > left {
            match whole {
                true => examples.clear(),
                false => cut_examples(examples, left),
            }
        }
        self.used += if count <= left {
            count
        } else if whole {
            0
        } else {
            left
        };
        self.spent = count >= left;
    }

    /// Refuses a dataset that ended before its cap.
    pub(super) fn check(&self) -> Result<(), BuildError> {
        match self.cap {
            Some(TokenCap { tokens, may_end_before: false }) if !self.spent => Err(options_error(
                format!("the documents have {} tokens, fewer than `tokens={tokens}`", self.used),
                "lower it, add documents, or write `tokens-at-most=` in its place",
            )),
            _ => Ok(()),
        }
    }
}

/// Keeps the first `left` tokens of the only example of a document.
fn cut_examples(examples: &mut Vec<Option<Example>>, left: u64) {
    let left = usize::try_from(left).expect("fewer than the example has");
    for example in examples.iter_mut().flatten() {
        example.tokens.truncate(left);
        example.roles.truncate(left);
    }
    examples.retain(|example| example.as_ref().is_none_or(|example| !example.tokens.is_empty()));
}
