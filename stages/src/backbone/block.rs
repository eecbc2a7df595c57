//! One transformer block: attention and a gated feed-forward layer, each behind a norm and added to the residual stream.

use std::ops::Range;

use burn_tensor::Tensor;
use fmflow_ops::{self as ops, Precision};

use super::Qwen3Config;
use super::attention::{LayerMemory, SelfAttention};
use super::layers::{Projection, rms_norm};
use super::prepared::PreparedContext;
use super::time::Modulation;

/// Weights of one block.
#[derive(Clone, Debug)]
pub(super) struct TransformerBlock {
    pub(super) input_norm: Tensor<1>,
    pub(super) attention: SelfAttention,
    pub(super) post_norm: Tensor<1>,
    pub(super) gate_proj: Projection,
    pub(super) up_proj: Projection,
    pub(super) down_proj: Projection,
    /// Projects the time embedding to six modulations (scale, shift and gate of both halves), [6 D, W].
    pub(super) time: Option<Tensor<2>>,
}

impl TransformerBlock {
    /// The residual stream after this block.
    ///
    /// # Shapes
    /// `x`: [B L, D]; returns [B L, D].
    pub(super) fn forward(&self, x: Tensor<2>, config: &Qwen3Config, at: &PreparedContext) -> Tensor<2> {
        self.forward_with(x, config, at, |h| self.attention.forward(h, config, at))
    }

    /// As [`TransformerBlock::forward`], with the keys and values of a cache: see [`SelfAttention::extend`].
    pub(super) fn extend(
        &self,
        x: Tensor<2>,
        config: &Qwen3Config,
        at: &PreparedContext,
        layer: LayerMemory,
        places: &[Range<usize>],
    ) -> (Tensor<2>, LayerMemory) {
        let mut kept = None;
        let x = self.forward_with(x, config, at, |h| {
            let (mixed, layer) = self.attention.extend(h, config, at, layer, places);
            kept = Some(layer);
            mixed
        });
        (x, kept.expect("a block attends once"))
    }

    fn forward_with(
        &self,
        x: Tensor<2>,
        config: &Qwen3Config,
        at: &PreparedContext,
        attend: impl FnOnce(Tensor<2>) -> Tensor<2>,
    ) -> Tensor<2> {
        let eps = config.rms_norm_eps;
        let (first, second) = Modulation::pair(self.time.as_ref(), at);
        let h = first.enter(rms_norm(x.clone(), &self.input_norm, eps), at);
        let x = x + first.leave(attend(h), at);
        let h = second.enter(rms_norm(x.clone(), &self.post_norm, eps), at);
        x + second.leave(self.feed_forward(h, at.precision), at)
    }

    fn feed_forward(&self, x: Tensor<2>, precision: Precision) -> Tensor<2> {
        let gate = self.gate_proj.apply(x.clone(), precision);
        self.down_proj.apply(ops::gate(gate, self.up_proj.apply(x, precision)), precision)
    }

    /// Copies the weights of all products for rows that are few.
    pub(super) fn freeze(&mut self, precision: Precision) {
        let SelfAttention { q_proj, k_proj, v_proj, o_proj, .. } = &mut self.attention;
        let all =
            [q_proj, k_proj, v_proj, o_proj, &mut self.gate_proj, &mut self.up_proj, &mut self.down_proj];
        all.into_iter().for_each(|projection| projection.freeze(precision));
    }
}
