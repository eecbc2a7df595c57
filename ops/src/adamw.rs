//! What an update of AdamW is made of.

use burn_tensor::Tensor;

/// The numbers of one update, the same for all values of a tensor:
/// m = beta1 m + (1 - beta1) s g, v = beta2 v + (1 - beta2) (s g)^2, w = keep w - rate m / (root sqrt(v) + epsilon).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamWRates {
    /// s, the scale of the gradient; 1 if it is not clipped.
    pub scale: f32,
    /// beta1 and 1 - beta1, each rounded once.
    pub first: [f32; 2],
    /// beta2 and 1 - beta2, each rounded once.
    pub second: [f32; 2],
    /// 1 / sqrt(1 - beta2^k), which corrects v for its start at 0.
    pub root: f32,
    /// Added to the root.
    pub epsilon: f32,
    /// The learning rate over 1 - beta1^k, which corrects m for its start at 0.
    pub rate: f32,
    /// 1 - learning rate times weight decay; 1 without decay.
    pub keep: f32,
}

/// The result of one update.
#[derive(Clone, Debug)]
pub struct UpdatedValues {
    /// New values, `[n]`.
    pub values: Tensor<1>,
    /// New moments, `[n]` each.
    pub moments: [Tensor<1>; 2],
    /// Partial sums of the squares of the change and of the old values in turn, to be added in f64.
    pub squares: Tensor<1>,
}
