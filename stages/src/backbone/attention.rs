//! Grouped-query attention with normalized queries and keys.
//!
//! Query heads that share a key and value head are folded into the query rows of that head, so keys and values are never
//! repeated (repeating them was measured at 20 % of a training step on CPU).

use burn_tensor::{Tensor, activation::softmax};

use super::Qwen3Config;
use super::layers::{linear, rms_norm};
use super::mask::{MaskPart, select_ranges};
use super::prepared::PreparedContext;

/// Weights of one attention layer, each [out, in] or `[h]`.
#[derive(Clone, Debug)]
pub(super) struct SelfAttention {
    pub(super) q_proj: Tensor<2>,
    pub(super) k_proj: Tensor<2>,
    pub(super) v_proj: Tensor<2>,
    pub(super) o_proj: Tensor<2>,
    pub(super) q_norm: Tensor<1>,
    pub(super) k_norm: Tensor<1>,
}

impl SelfAttention {
    /// softmax(q k^T / sqrt(h) + mask) v, projected back.
    ///
    /// # Shapes
    /// `x`: [B L, D], normalized; returns [B L, D].
    pub(super) fn forward(&self, x: Tensor<2>, config: &Qwen3Config, at: &PreparedContext) -> Tensor<2> {
        let (b, l, h) = (at.batch, at.length, config.head_dim);
        let (heads, shared) = (config.num_attention_heads, config.num_key_value_heads);
        let q = linear(x.clone(), &self.q_proj).reshape([b * l * heads, h]);
        let k = linear(x.clone(), &self.k_proj).reshape([b * l * shared, h]);
        let v = linear(x, &self.v_proj).reshape([b, l, shared, h]).swap_dims(1, 2);
        let q = rms_norm(q, &self.q_norm, config.rms_norm_eps).reshape([b, l, heads, h]);
        let k = rms_norm(k, &self.k_norm, config.rms_norm_eps).reshape([b, l, shared, h]);
        let q = at.rotary.apply(q).swap_dims(1, 2) * (h as f64).powf(-0.5);
        let k = at.rotary.apply(k).swap_dims(1, 2);
        let mixed = compute_attention(q.reshape([b, shared, config.group(), l, h]), k.swap_dims(2, 3), v, at);
        let mixed = mixed.reshape([b, heads, l, h]).swap_dims(1, 2);
        linear(mixed.reshape([b * l, heads * h]), &self.o_proj)
    }
}

/// Attention for all query rows. Long rows are computed part by part, so that the full [L, L] scores never exist.
///
/// # Shapes
/// `q`: [B, K, g, L, h], `k`: [B, K, h, L], `v`: [B, K, L, h]; returns [B, K, g, L, h].
fn compute_attention(q: Tensor<5>, k: Tensor<4>, v: Tensor<4>, at: &PreparedContext) -> Tensor<5> {
    if let [all] = at.mask.parts() {
        return compute_attention_part(q, k, v, all, at);
    }
    let blocks = at.mask.parts().iter().map(|part| {
        let q = q.clone().narrow(3, part.rows.start, part.rows.len());
        compute_attention_part(
            q,
            select_ranges(k.clone(), 3, &part.keys),
            select_ranges(v.clone(), 2, &part.keys),
            part,
            at,
        )
    });
    Tensor::cat(blocks.collect(), 3)
}

/// As [`compute_attention`], for the query rows and the keys of one part.
fn compute_attention_part(
    q: Tensor<5>,
    k: Tensor<4>,
    v: Tensor<4>,
    part: &MaskPart,
    at: &PreparedContext,
) -> Tensor<5> {
    let [b, shared, group, rows, h] = q.dims();
    let keys = k.dims()[3];
    let scores = q.reshape([b, shared, group * rows, h]).matmul(k);
    let scores = match at.mask.bias(part) {
        None => scores,
        Some(bias) => {
            let scores: Tensor<5> = scores.reshape([b, shared, group, rows, keys]);
            (scores + bias).reshape([b, shared, group * rows, keys])
        }
    };
    softmax(scores, 3).matmul(v).reshape([b, shared, group, rows, h])
}
