//! What a sampler keeps from pass to pass.

use crate::text::display::count_noun;

/// What a sampler keeps from one forward pass to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SamplerCache {
    /// Nothing: every pass computes the whole text.
    None,
    /// Keys and values of tokens that cannot change any more. The text is the same.
    Exact,
    /// [`Self::Exact`] if the checkpoint allows it, else [`Self::None`].
    Auto,
    /// In a block's passes behind its first one, keys and values of what stands before the block, as the first computed them. The text
    /// may be another one.
    Prefix,
    /// As [`Self::Prefix`], and those of what stands behind the block.
    Dual,
}

impl SamplerCache {
    /// The word in the language.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Exact => "exact",
            Self::Auto => "auto",
            Self::Prefix => "prefix",
            Self::Dual => "dual",
        }
    }

    /// What the cache with this word changed in one text, in a few words.
    #[must_use]
    pub fn describe_changes(word: &str, changed: u64, tokens: u64) -> String {
        format!("cache {word} changed {changed} of {}", count_noun(tokens, "token"))
    }

    /// Whether the text may differ from that without a cache.
    #[must_use]
    pub fn is_approximate(self) -> bool {
        matches!(self, Self::Prefix | Self::Dual)
    }
}
