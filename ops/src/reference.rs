//! The same operations as formulas of plain Burn operations, which differentiates them itself: what devices without kernels
//! run, and what tests compare with.

mod training;

use burn_tensor::activation::{sigmoid, softmax};
use burn_tensor::{DType, Int, Tensor};

use crate::{Angles, Intervals, Precision};
pub use training::{
    differentiate_hidden, differentiate_logits, differentiate_losses, measure_losses, sum_squares,
    update_values,
};

/// Added to the scores of hidden keys; e^-1e9 is 0.
const HIDDEN: f32 = -1e9;

/// As [`crate::attention`], with all scores in memory.
#[must_use]
pub fn attention(
    queries: Tensor<4>,
    keys: Tensor<4>,
    values: Tensor<4>,
    visible: Intervals,
    precision: Precision,
) -> Tensor<4> {
    let ([b, l, heads, h], [_, all, shared, _]) = (queries.dims(), keys.dims());
    let (group, device) = (heads / shared, queries.device());
    let queries = queries.swap_dims(1, 2).reshape([b, shared, group * l, h]) * (h as f64).powf(-0.5);
    let scores = multiply(queries, keys.permute([0, 2, 3, 1]), precision);
    let scores = scores.reshape([b, shared, group, l, all]);
    let seen = see(visible.to_tensor(&device), all);
    let rows = seen.dims()[0];
    let bias = (seen.clone() - 1.0) * -HIDDEN;
    let any = seen.sum_dim(2).clamp_max(1.0);
    let weights = softmax(scores + bias.reshape([rows, 1, 1, l, all]), 4);
    let weights = weights.reshape([b, shared, group * l, all]);
    let mixed = multiply(weights, values.swap_dims(1, 2), precision);
    let mixed = mixed.reshape([b, heads, l, h]).swap_dims(1, 2);
    mixed * any.reshape([rows, l, 1, 1])
}

/// 1 where one of `all` keys is seen, [B, L, all].
fn see(visible: Tensor<3, Int>, all: usize) -> Tensor<3> {
    let [rows, l, _] = visible.dims();
    let keys = Tensor::<1, Int>::arange(0..all as i64, &visible.device());
    let keys = keys.reshape([1, 1, all]).expand([rows, l, all]);
    let side = |i: usize| visible.clone().narrow(2, i, 1).expand([rows, l, all]);
    let within =
        |from: usize| keys.clone().greater_equal(side(from)).bool_and(keys.clone().lower(side(from + 1)));
    within(0).bool_or(within(2)).float()
}

/// As [`crate::rms_norm`].
#[must_use]
pub fn rms_norm(x: Tensor<2>, weight: Tensor<1>, eps: f64) -> Tensor<2> {
    let scale = (x.clone() * x.clone()).mean_dim(1).add_scalar(eps).sqrt().recip();
    x * scale * weight.unsqueeze::<2>()
}

/// As [`crate::turn`].
#[must_use]
pub fn turn(x: Tensor<4>, weight: Tensor<1>, eps: f64, angles: &Angles) -> Tensor<4> {
    let [b, l, heads, h] = x.dims();
    let x = rms_norm(x.reshape([b * l * heads, h]), weight, eps).reshape([b, l, heads, h]);
    let (first, second) = (x.clone().narrow(3, 0, h / 2), x.narrow(3, h / 2, h / 2));
    let table = |x: &Tensor<3>| x.clone().unsqueeze_dim::<4>(2);
    let (cos, sin) = (table(&angles.cos), table(&angles.sin));
    let turned = first.clone() * cos.clone() - second.clone() * sin.clone();
    Tensor::cat(vec![turned, second * cos + first * sin], 3)
}

/// As [`crate::gate`].
#[must_use]
pub fn gate(gate: Tensor<2>, up: Tensor<2>) -> Tensor<2> {
    gate.clone() * sigmoid(gate) * up
}

/// As [`crate::linear`].
#[must_use]
pub fn linear(x: Tensor<2>, weight: Tensor<2>, precision: Precision) -> Tensor<2> {
    multiply(x, weight.transpose(), precision)
}

/// a b of rounded factors. Devices with bf16 products round the result, too.
fn multiply<const D: usize>(a: Tensor<D>, b: Tensor<D>, precision: Precision) -> Tensor<D> {
    match precision {
        Precision::F32 => a.matmul(b),
        Precision::Bf16 => a.cast(DType::BF16).matmul(b.cast(DType::BF16)).cast(DType::F32),
    }
}
