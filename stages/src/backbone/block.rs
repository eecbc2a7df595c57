//! One transformer block: attention and a gated feed-forward layer, each behind a norm and added to the residual stream.

use burn_tensor::Tensor;
use fmflow_ops as ops;

use super::Qwen3Config;
use super::attention::SelfAttention;
use super::layers::{linear, rms_norm};
use super::prepared::PreparedContext;
use super::time::Modulation;

/// Weights of one block.
#[derive(Clone, Debug)]
pub(super) struct TransformerBlock {
    pub(super) input_norm: Tensor<1>,
    pub(super) attention: SelfAttention,
    pub(super) post_norm: Tensor<1>,
    pub(super) gate_proj: Tensor<2>,
    pub(super) up_proj: Tensor<2>,
    pub(super) down_proj: Tensor<2>,
    /// Projects the time embedding to six modulations (scale, shift and gate of both halves), [6 D, W].
    pub(super) time: Option<Tensor<2>>,
}

impl TransformerBlock {
    /// The residual stream after this block.
    ///
    /// # Shapes
    /// `x`: [B L, D]; returns [B L, D].
    pub(super) fn forward(&self, x: Tensor<2>, config: &Qwen3Config, at: &PreparedContext) -> Tensor<2> {
        let eps = config.rms_norm_eps;
        let (first, second) = Modulation::pair(self.time.as_ref(), at);
        let h = first.enter(rms_norm(x.clone(), &self.input_norm, eps), at);
        let x = x + first.leave(self.attention.forward(h, config, at), at);
        let h = second.enter(rms_norm(x.clone(), &self.post_norm, eps), at);
        x + second.leave(self.feed_forward(h), at)
    }

    fn feed_forward(&self, x: Tensor<2>) -> Tensor<2> {
        let gate = linear(x.clone(), &self.gate_proj);
        linear(ops::gate(gate, linear(x, &self.up_proj)), &self.down_proj)
    }
}
