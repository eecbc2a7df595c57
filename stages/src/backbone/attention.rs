//! Grouped-query attention with normalized queries and keys.

mod masked;

use std::ops::Range;

use burn_tensor::Tensor;
use fmflow_ops::{self as ops, Precision};

use super::Qwen3Config;
use super::layers::Projection;
use super::prepared::{PreparedContext, Visibility};

/// Keys and values that a layer remembers, [B, S, K, h] each.
pub(super) type LayerMemory = [Tensor<4>; 2];

/// Weights of one attention layer, each [out, in] or `[h]`.
#[derive(Clone, Debug)]
pub(super) struct SelfAttention {
    pub(super) q_proj: Projection,
    pub(super) k_proj: Projection,
    pub(super) v_proj: Projection,
    pub(super) o_proj: Projection,
    pub(super) q_norm: Tensor<1>,
    pub(super) k_norm: Tensor<1>,
}

impl SelfAttention {
    /// softmax(q k^T / sqrt(h)) v over the visible keys, projected back.
    ///
    /// # Shapes
    /// `x`: [B L, D], normalized; returns [B L, D].
    pub(super) fn forward(&self, x: Tensor<2>, config: &Qwen3Config, at: &PreparedContext) -> Tensor<2> {
        let [q, k, v] = self.project(x, config, at);
        let mixed = match &at.visibility {
            Visibility::Intervals(visible) => ops::attention(q, k, v, visible.clone(), at.precision),
            Visibility::Mask(mask) => {
                let [q, k, v] = [q, k, v].map(|x| at.precision.round(x));
                masked::attention(q, k, v, mask)
            }
        };
        self.leave(mixed, at.precision)
    }

    /// As [`SelfAttention::forward`], over the keys and values in `layer` as well: those of `x` are written there first, for row
    /// b into `places[b]`. Queries behind the end of their row's place are padding.
    ///
    /// # Shapes
    /// `x`: [B L, D]; `layer`: keys and values, [B, S, K, h] each.
    pub(super) fn extend(
        &self,
        x: Tensor<2>,
        config: &Qwen3Config,
        at: &PreparedContext,
        layer: LayerMemory,
        places: &[Range<usize>],
    ) -> (Tensor<2>, LayerMemory) {
        let [q, k, v] = self.project(x, config, at);
        let Visibility::Intervals(visible) = &at.visibility else {
            unreachable!("what is visible in a cache is given as intervals")
        };
        let [keys, values] = layer;
        let (keys, values) = (write_rows(keys, k, places), write_rows(values, v, places));
        let mixed = ops::attention(q, keys.clone(), values.clone(), visible.clone(), at.precision);
        (self.leave(mixed, at.precision), [keys, values])
    }

    /// Back to the residual stream.
    fn leave(&self, mixed: Tensor<4>, precision: Precision) -> Tensor<2> {
        let [b, l, heads, h] = mixed.dims();
        self.o_proj.apply(mixed.reshape([b * l, heads * h]), precision)
    }

    /// Queries [B, L, H, h], keys and values [B, L, K, h].
    fn project(&self, x: Tensor<2>, config: &Qwen3Config, at: &PreparedContext) -> [Tensor<4>; 3] {
        let (b, l, h) = (at.batch, at.length, config.head_dim);
        let (heads, shared) = (config.num_attention_heads, config.num_key_value_heads);
        let turn =
            |x: Tensor<4>, norm: &Tensor<1>| ops::turn(x, norm.clone(), config.rms_norm_eps, &at.angles);
        let q = turn(self.q_proj.apply(x.clone(), at.precision).reshape([b, l, heads, h]), &self.q_norm);
        let k = turn(self.k_proj.apply(x.clone(), at.precision).reshape([b, l, shared, h]), &self.k_norm);
        let v = self.v_proj.apply(x, at.precision).reshape([b, l, shared, h]);
        [q, k, v]
    }
}

/// Writes the first tokens of each row of `new` into its place in `memory`. That is done in place if nobody else holds the
/// tensor.
///
/// # Shapes
/// `memory`: [B, S, K, h], `new`: [B, L, K, h]; returns [B, S, K, h].
fn write_rows(mut memory: Tensor<4>, new: Tensor<4>, places: &[Range<usize>]) -> Tensor<4> {
    let [batch, length, shared, h] = new.dims();
    if places.iter().all(|place| *place == places[0] && place.len() == length) {
        return memory.slice_assign([0..batch, places[0].clone(), 0..shared, 0..h], new);
    }
    for (row, place) in places.iter().enumerate().filter(|(_, place)| !place.is_empty()) {
        let own = new.clone().slice([row..row + 1, 0..place.len(), 0..shared, 0..h]);
        memory = memory.slice_assign([row..row + 1, place.clone(), 0..shared, 0..h], own);
    }
    memory
}
