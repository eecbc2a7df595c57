//! Attention under any mask, for annealed attention: scores exist for a block of query rows at a time.
//!
//! Query heads that share a key and value head are folded into the query rows of that head, so keys and values are never
//! repeated.

use burn_tensor::Tensor;

use crate::backbone::mask::AttentionMask;

/// softmax(q k^T / sqrt(h) + mask) v.
///
/// # Shapes
/// `q`: [B, L, H, h]; `k`, `v`: [B, L, K, h]; returns [B, L, H, h].
pub(super) fn attention(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, mask: &AttentionMask) -> Tensor<4> {
    let ([b, l, heads, h], shared) = (q.dims(), k.dims()[2]);
    let q = q.swap_dims(1, 2).reshape([b, shared, heads / shared, l, h]) * (h as f64).powf(-0.5);
    let (k, v) = (k.permute([0, 2, 3, 1]), v.swap_dims(1, 2));
    let blocks = mask.blocks().iter().map(|rows| {
        let q = q.clone().narrow(3, rows.start, rows.len());
        attend_block(q, k.clone(), v.clone(), mask.bias(rows))
    });
    Tensor::cat(blocks.collect(), 3).reshape([b, heads, l, h]).swap_dims(1, 2)
}

/// As [`attention`], for one block of query rows.
///
/// # Shapes
/// `q`: [B, K, g, rows, h], `k`: [B, K, h, L], `v`: [B, K, L, h], `bias`: [B or 1, 1, 1, rows, L]; returns
/// [B, K, g, rows, h].
fn attend_block(q: Tensor<5>, k: Tensor<4>, v: Tensor<4>, bias: Tensor<5>) -> Tensor<5> {
    let [b, shared, group, rows, h] = q.dims();
    let keys = k.dims()[3];
    let scores = q.reshape([b, shared, group * rows, h]).matmul(k);
    let scores: Tensor<5> = scores.reshape([b, shared, group, rows, keys]) + bias;
    softmax(scores).reshape([b, shared, group * rows, keys]).matmul(v).reshape([b, shared, group, rows, h])
}

/// Softmax over the last dimension, step by step: Burn's own rounds differently with and without autodiff, and a recomputed
/// block must give the same bits.
fn softmax(x: Tensor<5>) -> Tensor<5> {
    let weights = (x.clone() - x.detach().max_dim(4)).exp();
    weights.clone() / weights.sum_dim(4)
}
