//! Text that grows while a gap is filled: what training does to masks, and the tokens that stand for it.

use serde::{Deserialize, Serialize};

use crate::pipeline::config::sample::{Sampler, SamplerKind};
use crate::pipeline::config::train::Objective;

/// How masks are merged and appended in training, so that a gap need not have the length of its text (Wu et al., "DreamOn: Diffusion
/// Language Models For Code Infilling Beyond Fixed-size Canvas", 2026).
#[derive(Clone, Debug, PartialEq)]
pub struct GrowthSettings {
    /// Probability with which a mask behind another one is merged into it. What is left of them predicts the expand token.
    pub merge: f64,
    /// Most masks that are appended to a run of them. They predict the delete token.
    pub delete: usize,
    /// Name of the token that stands for two masks.
    pub expand_token: String,
    /// Name of the token that stands for nothing.
    pub delete_token: String,
}

impl Objective {
    /// How text grows where it is filled in, if it does.
    #[must_use]
    pub fn growth(&self) -> Option<&GrowthSettings> {
        match self {
            Self::Autoregressive => None,
            Self::Flow { growth, .. } => growth.as_ref(),
        }
    }
}

impl Sampler {
    /// Whether places may come and go while it writes: it plans neither passes nor blocks before, and goes on until no mask is left.
    #[must_use]
    pub fn lets_grow(&self) -> bool {
        let until_done =
            matches!(self.kind, SamplerKind::Threshold { .. } | SamplerKind::EntropyBound { .. });
        until_done && self.block.is_none()
    }
}

/// The tokens that a checkpoint was trained to write where a gap has too few masks or too many. No text holds them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrowthTokens {
    /// Becomes two masks.
    pub expand: u32,
    /// Is removed.
    pub delete: u32,
}

impl GrowthTokens {
    /// Stands for tokens that only a tokenizer knows: `check` knows that a training sets some, not which.
    pub(crate) const UNREAD: Self = Self { expand: u32::MAX, delete: u32::MAX - 1 };
}
