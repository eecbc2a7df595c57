//! Grouped-query attention with normalized queries and keys.

mod masked;

use burn_tensor::Tensor;
use fmflow_ops as ops;

use super::Qwen3Config;
use super::layers::linear;
use super::prepared::{PreparedContext, Visibility};

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
    /// softmax(q k^T / sqrt(h)) v over the visible keys, projected back.
    ///
    /// # Shapes
    /// `x`: [B L, D], normalized; returns [B L, D].
    pub(super) fn forward(&self, x: Tensor<2>, config: &Qwen3Config, at: &PreparedContext) -> Tensor<2> {
        let (b, l, h) = (at.batch, at.length, config.head_dim);
        let (heads, shared) = (config.num_attention_heads, config.num_key_value_heads);
        let turn =
            |x: Tensor<4>, norm: &Tensor<1>| ops::turn(x, norm.clone(), config.rms_norm_eps, &at.angles);
        let q = turn(linear(x.clone(), &self.q_proj).reshape([b, l, heads, h]), &self.q_norm);
        let k = turn(linear(x.clone(), &self.k_proj).reshape([b, l, shared, h]), &self.k_norm);
        let v = linear(x, &self.v_proj).reshape([b, l, shared, h]);
        let mixed = match &at.visibility {
            Visibility::Intervals(visible) => ops::attention(q, k, v, (**visible).clone()),
            Visibility::Mask(mask) => masked::attention(q, k, v, mask),
        };
        linear(mixed.reshape([b * l, heads * h]), &self.o_proj)
    }
}
