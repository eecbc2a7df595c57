//! The two layers from which every part of a block is built.

use burn_tensor::Tensor;
use fmflow_ops::{self as ops, FrozenWeight, Precision};

/// x W^T in f32, with W as Hugging Face stores it.
///
/// # Shapes
/// `x`: [N, in], `weight`: [out, in]; returns [N, out].
pub(super) fn linear(x: Tensor<2>, weight: &Tensor<2>) -> Tensor<2> {
    ops::linear(x, weight.clone(), Precision::F32)
}

/// The weight of a linear layer, [out, in].
#[derive(Clone, Debug)]
pub(super) enum Projection {
    /// It may be trained.
    Plain(Tensor<2>),
    /// Its weight does not change, but a low-rank product is added.
    Adapted(Box<AdaptedWeight>),
    /// It does not change, and products with few rows are worth a copy.
    Frozen(FrozenWeight),
}

/// The factors of W x + s B (A x).
#[derive(Clone, Debug)]
pub(super) struct AdaptedWeight {
    /// W, [out, in].
    pub(super) weight: Tensor<2>,
    /// A, [rank, in].
    pub(super) down: Tensor<2>,
    /// B, [out, rank].
    pub(super) up: Tensor<2>,
    /// s.
    pub(super) scale: f64,
}

impl Projection {
    /// x W^T. A frozen weight has a precision of its own, that of the backbone that froze it.
    ///
    /// # Shapes
    /// `x`: [N, in]; returns [N, out].
    pub(super) fn apply(&self, x: Tensor<2>, precision: Precision) -> Tensor<2> {
        match self {
            Self::Plain(weight) => ops::linear(x, weight.clone(), precision),
            Self::Adapted(adapted) => {
                let AdaptedWeight { weight, down, up, scale } = &**adapted;
                let change = ops::linear(x.clone(), down.clone(), precision);
                let change = ops::linear(change, up.clone(), precision) * *scale;
                ops::linear(x, weight.clone(), precision) + change
            }
            Self::Frozen(weight) => ops::linear_frozen(x, weight),
        }
    }

    /// Copies a weight for products with few rows. Text is written with merged weights: see [`Backbone::merged`](super::Backbone).
    pub(super) fn freeze(&mut self, precision: Precision) {
        if let Self::Plain(weight) = self {
            *self = Self::Frozen(FrozenWeight::new(weight.clone(), precision));
        }
    }
}

/// x / sqrt(mean(x^2) + eps) * weight, over the last dimension.
///
/// # Shapes
/// `x`: [N, n], `weight`: `[n]`; returns [N, n].
pub(super) fn rms_norm(x: Tensor<2>, weight: &Tensor<1>, eps: f64) -> Tensor<2> {
    ops::rms_norm(x, weight.clone(), eps)
}
