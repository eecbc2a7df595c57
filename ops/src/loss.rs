//! What a loss is made of.
//!
//! Every loss has the form a CE + b p(x) + c at a position, where CE = -log p(target) and x is the present token. c has no
//! gradient and is not looked at here.

use burn_tensor::{Int, Tensor};

#[cfg(feature = "kernels")]
use burn_dispatch::DispatchTensor;

/// Tokens and factors of the loss at n positions, `[n]` each.
#[derive(Clone, Debug)]
pub struct LossTerms {
    /// The token to predict, below V.
    pub targets: Tensor<1, Int>,
    /// The present token x, below V.
    pub present: Tensor<1, Int>,
    /// a, the factor of the cross-entropy.
    pub cross_entropy: Tensor<1>,
    /// b, the factor of p(x).
    pub probability: Tensor<1>,
}

/// What the loss is made of at n positions, `[n]` each.
#[derive(Clone, Debug)]
pub struct PositionLosses {
    /// -log p(target), in nats.
    pub cross_entropy: Tensor<1>,
    /// p(x).
    pub probability: Tensor<1>,
}

/// Losses, and the gradients of the sum of a CE + b p(x) over all positions.
#[derive(Clone, Debug)]
pub struct LossGradients {
    /// At every position.
    pub losses: PositionLosses,
    /// Of the hidden states, [n, D].
    pub hidden: Tensor<2>,
    /// Of the head, [V, D].
    pub head: Tensor<2>,
}

#[cfg(feature = "kernels")]
impl PositionLosses {
    pub(crate) fn from_dispatch((cross_entropy, probability): (DispatchTensor, DispatchTensor)) -> Self {
        let [cross_entropy, probability] = [cross_entropy, probability].map(Tensor::from_dispatch);
        Self { cross_entropy, probability }
    }
}
