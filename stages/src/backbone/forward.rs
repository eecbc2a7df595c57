//! The forward pass, whole and in parts.

use burn_tensor::{Device, Int, Tensor, TensorData, module::embedding};

use super::layers::rms_norm;
use super::time::TimeEmbedding;
use super::{AttentionContext, Backbone, BackboneError, PreparedContext, Qwen3Config};

impl Backbone {
    /// Copies token ids to the device after checking that each has a row in the embedding.
    ///
    /// # Shapes
    /// `ids`: row-major [B, L]; returns [B, L].
    ///
    /// # Errors
    /// If an id is outside the vocabulary or the ids do not divide into `batch` rows.
    pub fn tokens(&self, ids: &[u32], batch: usize) -> Result<Tensor<2, Int>, BackboneError> {
        copy_tokens(ids, batch, self.config.vocab_size, &self.device())
    }

    /// Copies `context` to the device, for any number of forward passes.
    ///
    /// # Errors
    /// If the parts of the context disagree, or its time does not match the backbone's conditioning.
    pub(crate) fn prepare(&self, context: &AttentionContext) -> Result<PreparedContext, BackboneError> {
        let prepared = prepare_context(context, &self.config, self.clock.as_ref(), &self.device())?;
        Ok(PreparedContext { precision: self.precision, ..prepared })
    }

    /// The residual stream before the first block.
    ///
    /// # Shapes
    /// `tokens`: [B, L]; returns [B L, D].
    #[must_use]
    pub(crate) fn embed(&self, tokens: Tensor<2, Int>) -> Tensor<2> {
        let [b, l] = tokens.dims();
        embedding(self.embedding.clone(), tokens).reshape([b * l, self.config.hidden_size])
    }

    /// Number of blocks.
    #[must_use]
    pub(crate) fn blocks(&self) -> usize {
        self.blocks.len()
    }

    /// The residual stream after block `index`, which must be below [`Backbone::blocks`].
    ///
    /// # Shapes
    /// `x`: [B L, D]; returns [B L, D].
    #[must_use]
    pub(crate) fn block(&self, index: usize, x: Tensor<2>, at: &PreparedContext) -> Tensor<2> {
        self.blocks[index].forward(x, &self.config, at)
    }

    /// The final norm.
    ///
    /// # Shapes
    /// `x`: [B L, D]; returns [B L, D].
    #[must_use]
    pub(crate) fn finish(&self, x: Tensor<2>) -> Tensor<2> {
        rms_norm(x, &self.norm, self.config.rms_norm_eps)
    }

    /// Hidden states after the final norm.
    ///
    /// # Shapes
    /// `tokens`: [B, L]; returns [B, L, D].
    ///
    /// # Errors
    /// If `context` contradicts the tokens, itself, or the backbone.
    pub fn hidden(
        &self,
        tokens: Tensor<2, Int>,
        context: &AttentionContext,
    ) -> Result<Tensor<3>, BackboneError> {
        let (b, l, d) = (context.batch, context.length, self.config.hidden_size);
        check_same_rows(&tokens, context)?;
        let at = self.prepare(context)?;
        let x = (0..self.blocks()).fold(self.embed(tokens), |x, i| self.block(i, x, &at));
        Ok(self.finish(x).reshape([b, l, d]))
    }

    /// The embedding, the residual stream after each block but the last, and the hidden states after the final norm: the
    /// list that Hugging Face calls `hidden_states`.
    ///
    /// # Shapes
    /// `tokens`: [B, L]; returns blocks + 1 tensors [B, L, D].
    ///
    /// # Errors
    /// As [`Backbone::hidden`].
    pub fn hidden_states(
        &self,
        tokens: Tensor<2, Int>,
        context: &AttentionContext,
    ) -> Result<Vec<Tensor<3>>, BackboneError> {
        let shape = [context.batch, context.length, self.config.hidden_size];
        check_same_rows(&tokens, context)?;
        let at = self.prepare(context)?;
        let mut x = self.embed(tokens);
        let mut states = Vec::with_capacity(self.blocks() + 1);
        for i in 0..self.blocks() {
            states.push(x.clone().reshape(shape));
            x = self.block(i, x, &at);
        }
        states.push(self.finish(x).reshape(shape));
        Ok(states)
    }

    /// Logits of the given positions. Select positions before calling: [B, L, V] would be far larger than anything else here.
    ///
    /// # Shapes
    /// `hidden`: [N, D]; returns [N, V].
    #[must_use]
    pub fn logits(&self, hidden: Tensor<2>) -> Tensor<2> {
        match &self.frozen_head {
            Some(head) => fmflow_ops::linear_frozen(hidden, head),
            None => fmflow_ops::linear(hidden, self.head.clone(), self.precision),
        }
    }
}

/// Copies token ids to `device`, as [`Backbone::tokens`] does for a vocabulary of `vocab`.
pub(super) fn copy_tokens(
    ids: &[u32],
    batch: usize,
    vocab: usize,
    device: &Device,
) -> Result<Tensor<2, Int>, BackboneError> {
    if let Some(&id) = ids.iter().find(|id| **id as usize >= vocab) {
        return Err(BackboneError::Token { id, vocab });
    }
    if batch == 0 || ids.is_empty() || !ids.len().is_multiple_of(batch) {
        return Err(BackboneError::Context(format!("{} tokens do not divide into {batch} rows", ids.len())));
    }
    let ids: Vec<i32> = ids.iter().map(|&id| id as i32).collect();
    let shape = [batch, ids.len() / batch];
    Ok(Tensor::from_data(TensorData::new(ids, shape), device))
}

/// Copies `context` to `device` for a backbone with these constants that computes in f32; `clock` embeds its time.
pub(super) fn prepare_context(
    context: &AttentionContext,
    config: &Qwen3Config,
    clock: Option<&TimeEmbedding>,
    device: &Device,
) -> Result<PreparedContext, BackboneError> {
    context.check(clock.is_some())?;
    let mut prepared = PreparedContext::new(context, config, device)?;
    prepared.time = clock.zip(context.time.as_ref()).map(|(clock, t)| clock.forward(t, device));
    Ok(prepared)
}

pub(super) fn check_same_rows(
    tokens: &Tensor<2, Int>,
    context: &AttentionContext,
) -> Result<(), BackboneError> {
    let dims = tokens.dims();
    if dims == [context.batch, context.length] {
        return Ok(());
    }
    Err(BackboneError::Context(format!(
        "tokens are {dims:?}, but the context is [{}, {}]",
        context.batch, context.length
    )))
}
