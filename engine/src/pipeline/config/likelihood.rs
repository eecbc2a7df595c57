//! Settings of held-out likelihoods.

use serde::{Deserialize, Serialize};

use crate::pipeline::role::InputRole;

/// Held-out likelihood of a dataset: the ELBO per token (generalized KL for a uniform or mixed source), unclamped.
#[derive(Clone, Debug, PartialEq)]
pub struct HeldOut {
    /// Name of the dataset.
    pub dataset: String,
    /// Role of its rows.
    pub role: InputRole,
    /// Stratified times t per row.
    pub times: usize,
    /// Number of held-out rows; the first ones are used.
    pub rows: usize,
    /// Independent draws of times and noise.
    pub draws: usize,
    /// What is measured beside the usual likelihood of a checkpoint.
    pub beside: Vec<LikelihoodEstimator>,
}

/// How a likelihood is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LikelihoodEstimator {
    /// The ELBO in continuous time at stratified times, or the generalized KL: a bound.
    Elbo,
    /// The ELBO of a sampler with as many passes as there are times: a bound.
    DiscreteElbo,
    /// The law of a sampler that writes the tokens of a block one by one, from left to right: exact.
    LeftToRight,
    /// The law of the next token: exact.
    Autoregressive,
}

impl LikelihoodEstimator {
    /// Its word in files and reports.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Elbo => "elbo",
            Self::DiscreteElbo => "discrete-elbo",
            Self::LeftToRight => "left-to-right",
            Self::Autoregressive => "autoregressive",
        }
    }

    /// Whether it is the likelihood itself and no bound.
    #[must_use]
    pub const fn is_exact(self) -> bool {
        matches!(self, Self::LeftToRight | Self::Autoregressive)
    }
}
