//! The two layers from which every part of a block is built.

use burn_tensor::Tensor;

/// x W^T, with W as Hugging Face stores it.
///
/// # Shapes
/// `x`: [N, in], `weight`: [out, in]; returns [N, out].
pub(super) fn linear(x: Tensor<2>, weight: &Tensor<2>) -> Tensor<2> {
    x.matmul(weight.clone().transpose())
}

/// x / sqrt(mean(x^2) + eps) * weight, over the last dimension.
///
/// # Shapes
/// `x`: [N, n], `weight`: `[n]`; returns [N, n].
pub(super) fn rms_norm(x: Tensor<2>, weight: &Tensor<1>, eps: f64) -> Tensor<2> {
    let scale = (x.clone() * x.clone()).mean_dim(1).add_scalar(eps).sqrt().recip();
    x * scale * weight.clone().unsqueeze::<2>()
}
