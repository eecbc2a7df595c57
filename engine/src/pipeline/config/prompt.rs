//! Requests for text: settings of `generate`, and what commands and servers ask.

use crate::pipeline::config::sample::Sampler;
use crate::pipeline::message::Message;

/// Samples from a checkpoint. Role `from`.
#[derive(Clone, Debug, PartialEq)]
pub struct GenerateConfig {
    /// The requests, in the order of the text.
    pub prompts: Vec<Prompt>,
}

/// One request.
#[derive(Clone, Debug, PartialEq)]
pub struct Prompt {
    /// The task and its text.
    pub kind: PromptKind,
    /// How the answer is sampled.
    pub sampler: Sampler,
    /// Largest number of new tokens, of gaps all together; `None`: the canvas that the checkpoint was trained with.
    pub new_tokens: Option<usize>,
    /// The shortest gap of an infill whose length the model chooses; `new_tokens` is the longest.
    pub shortest: Option<usize>,
    /// By how many tokens a gap may grow beyond `new_tokens` while it is filled; it may shrink, too. `None`: it keeps its length.
    pub grow: Option<usize>,
}

impl Prompt {
    /// Most tokens of the answer, if its length is known.
    #[must_use]
    pub fn most_tokens(&self) -> Option<usize> {
        self.new_tokens.map(|tokens| tokens.saturating_add(self.grow.unwrap_or(0)))
    }

    /// Whether it is a gap at the end of a text that has to match a constraint.
    #[must_use]
    pub fn ends_in_constrained_gap(&self) -> bool {
        let at_end = matches!(&self.kind, PromptKind::Infill { suffix, .. } if suffix.is_empty());
        at_end && self.sampler.constraint.is_some()
    }
}

/// The task of a request.
#[derive(Clone, Debug, PartialEq)]
pub enum PromptKind {
    /// Answer the last of these turns, which is the user's. The chat template renders them.
    Chat(Vec<Message>),
    /// Continue this text.
    Text(String),
    /// Fill the gap between a prefix and a suffix with `new_tokens` tokens, or with as many as the model chooses; or several gaps at once.
    Infill {
        /// Text before the first gap.
        prefix: String,
        /// Further gaps, each with the text before it. The first has what they leave of the `new_tokens`.
        more: Vec<FurtherGap>,
        /// Text after the last gap.
        suffix: String,
    },
}

/// A gap behind another one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FurtherGap {
    /// The text between the two; at least one letter.
    pub before: String,
    /// Tokens of this gap.
    pub tokens: usize,
}

impl PromptKind {
    /// Whether text stands behind a gap.
    #[must_use]
    pub fn has_text_behind(&self) -> bool {
        matches!(self, Self::Infill { more, suffix, .. } if !suffix.is_empty() || !more.is_empty())
    }

    /// Gaps behind the first.
    #[must_use]
    pub fn further_gaps(&self) -> &[FurtherGap] {
        match self {
            Self::Infill { more, .. } => more,
            Self::Chat(_) | Self::Text(_) => &[],
        }
    }
}
