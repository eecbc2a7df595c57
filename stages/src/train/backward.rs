//! Forward and backward passes through the backbone, whole or block by block.
//!
//! `Whole` keeps every intermediate of every block until the backward pass. `Recomputed` keeps only the input of each block
//! and runs the block again when its turn comes (gradient checkpointing; Chen et al., "Training Deep Nets with Sublinear
//! Memory Cost", 2016): the memory of one block instead of all, for one more forward pass.
//!
//! Both give the same gradient, bit for bit. To this end both prepare the context of a conditioned block separately: it is
//! part of the block's graph, and the gradients of the shared time parameters must be added in the same order.

use burn_tensor::{Int, Tensor};

use super::gradient_sums::{GradientSums, collect_gradients};
use crate::backbone::{
    AttentionContext, Backbone, BackboneError, EMBEDDING, PreparedContext, TimeConditioning,
};

/// A finished forward pass, ready for its backward pass.
pub(super) enum ForwardPass {
    /// Hidden states [B · L, D] with their autodiff graph.
    Whole(Tensor<2>),
    /// The residual stream before each block and after the last one, [B · L, D] each, without graphs.
    Recomputed { streams: Vec<Tensor<2>>, tokens: Tensor<2, Int>, context: AttentionContext },
}

impl ForwardPass {
    /// Runs `model`, whose parameters are autodiff leaves, over tokens [B, L].
    pub(super) fn forward(
        model: &Backbone,
        tokens: Tensor<2, Int>,
        context: AttentionContext,
        recompute: bool,
    ) -> Result<Self, BackboneError> {
        if !recompute {
            let (mut x, shared) = (model.embed(tokens), model.prepare(&context)?);
            for i in 0..model.blocks() {
                x = model.block(i, x, &prepare_block_context(model, &context, &shared)?);
            }
            return Ok(Self::Whole(model.finish(x)));
        }
        // Without autodiff nothing but the streams is kept: autodiff frees the graph of a dropped block only in a backward
        // pass. Every operation of a block rounds the same with and without it.
        let frozen = model.clone().frozen()?;
        let (mut streams, shared) = (vec![frozen.embed(tokens.clone())], frozen.prepare(&context)?);
        for i in 0..frozen.blocks() {
            streams.push(frozen.block(i, streams[i].clone(), &shared));
        }
        Ok(Self::Recomputed { streams, tokens, context })
    }

    /// Hidden states at `places`, without a graph.
    ///
    /// # Shapes
    /// `places`: `[n]`; returns [n, D].
    pub(super) fn at(&self, model: &Backbone, places: Tensor<1, Int>) -> Tensor<2> {
        match self {
            Self::Whole(hidden) => hidden.clone().inner().select(0, places),
            Self::Recomputed { streams, .. } => {
                let last = streams[streams.len() - 1].clone().autodiff().require_grad();
                model.finish(last).inner().select(0, places)
            }
        }
    }

    /// Propagates `upstream`, the gradient of the hidden states at `places`, back to all parameters and adds the result to
    /// `sums`.
    ///
    /// # Shapes
    /// `places`: `[n]`; `upstream`: [n, D], without a graph.
    pub(super) fn backward(
        self,
        model: &Backbone,
        places: Tensor<1, Int>,
        upstream: Tensor<2>,
        sums: &mut GradientSums,
    ) -> Result<(), BackboneError> {
        match self {
            Self::Whole(hidden) => {
                // A backward pass starts at a scalar; the gradient of sum(x · upstream) with respect to x is `upstream`.
                let selected = hidden.select(0, places);
                collect_gradients(model, (selected * upstream.autodiff()).sum().backward(), sums);
                Ok(())
            }
            Self::Recomputed { mut streams, tokens, context } => {
                let last = |x| model.finish(x).select(0, places);
                let mut gradient = run_part_backward(model, streams.pop(), upstream, sums, last)?;
                let shared = model.prepare(&context)?;
                for i in (0..model.blocks()).rev() {
                    let at = prepare_block_context(model, &context, &shared)?;
                    gradient =
                        run_part_backward(model, streams.pop(), gradient, sums, |x| model.block(i, x, &at))?;
                }
                if model.trains(EMBEDDING) {
                    let embedded = model.embed(tokens);
                    collect_gradients(model, (embedded * gradient.autodiff()).sum().backward(), sums);
                }
                Ok(())
            }
        }
    }
}

/// The context for one block: the shared one, unless time conditioning makes it part of the block's graph.
fn prepare_block_context(
    model: &Backbone,
    context: &AttentionContext,
    shared: &PreparedContext,
) -> Result<PreparedContext, BackboneError> {
    match model.time_conditioning() {
        TimeConditioning::None => Ok(shared.clone()),
        TimeConditioning::AdaLn { .. } => model.prepare(context),
    }
}

/// Runs one part again and propagates `upstream` through it. Returns the gradient of the part's input.
fn run_part_backward(
    model: &Backbone,
    input: Option<Tensor<2>>,
    upstream: Tensor<2>,
    sums: &mut GradientSums,
    part: impl FnOnce(Tensor<2>) -> Tensor<2>,
) -> Result<Tensor<2>, BackboneError> {
    let input = input.expect("the input of every block was kept").autodiff().require_grad();
    let mut found = (part(input.clone()) * upstream.autodiff()).sum().backward();
    let gradient = input.grad_remove(&mut found);
    collect_gradients(model, found, sums);
    gradient.ok_or_else(|| BackboneError::Device("a block does not depend on its input".into()))
}
