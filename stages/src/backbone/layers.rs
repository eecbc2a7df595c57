//! The two layers from which every part of a block is built.

use burn_tensor::Tensor;
use fmflow_ops as ops;

/// x W^T, with W as Hugging Face stores it.
///
/// # Shapes
/// `x`: [N, in], `weight`: [out, in]; returns [N, out].
pub(super) fn linear(x: Tensor<2>, weight: &Tensor<2>) -> Tensor<2> {
    ops::linear(x, weight.clone())
}

/// x / sqrt(mean(x^2) + eps) * weight, over the last dimension.
///
/// # Shapes
/// `x`: [N, n], `weight`: `[n]`; returns [N, n].
pub(super) fn rms_norm(x: Tensor<2>, weight: &Tensor<1>, eps: f64) -> Tensor<2> {
    ops::rms_norm(x, weight.clone(), eps)
}
