//! A forward pass through a model of which only one block at a time is in memory, for the stages that look at a model once.
//!
//! It runs the operations of [`Backbone`](super::Backbone) in the same order, so it gives the same bits.

use burn_tensor::{Device, Tensor, module::embedding};
use indexmap::IndexMap;

use super::forward::{check_same_rows, copy_tokens, prepare_context};
use super::layers::{linear, rms_norm};
use super::layout::ParameterView;
use super::{
    AttentionContext, BackboneError, EMBEDDING, HEAD, Parameter, PreparedContext, Qwen3Config,
    TimeConditioning, build_layout,
};

/// Rows of tokens, row-major, and what they attend to.
#[derive(Clone, Debug)]
pub(crate) struct TokenBatch {
    /// The ids, row-major [B, L].
    pub tokens: Vec<u32>,
    /// B, L, and which positions see which.
    pub context: AttentionContext,
}

/// A model by its sizes, whose tensors are asked for when they are needed.
pub(crate) struct LayeredBackbone<'a, F> {
    /// Shape and constants.
    pub config: &'a Qwen3Config,
    /// Whether and how the model is conditioned on time.
    pub conditioning: TimeConditioning,
    /// Where the tensors go.
    pub device: &'a Device,
    /// The values of a tensor, row-major. It is called once for each tensor of the layout, block by block.
    pub values: F,
}

impl<E, F> LayeredBackbone<'_, F>
where
    E: From<BackboneError>,
    F: FnMut(&str) -> Result<Vec<f32>, E>,
{
    /// Hands the logits of all positions of each batch to `take`, [B L, V] row-major, in the order of `batches`. In memory are the
    /// embedding, or the head, one block, and the hidden states of all batches.
    ///
    /// # Errors
    /// Any error of `values` and `take`, a tensor of the wrong size, or a batch that does not fit the model.
    pub(crate) fn run(
        mut self,
        batches: &[TokenBatch],
        mut take: impl FnMut(usize, Vec<f32>) -> Result<(), E>,
    ) -> Result<(), E> {
        let (config, device) = (self.config, self.device);
        let contexts = self.prepare(batches)?;
        let rows = self.load(|name| name == EMBEDDING)?;
        let rows = ParameterView::plain(&rows).matrix(EMBEDDING)?;
        let mut states = Vec::with_capacity(batches.len());
        for TokenBatch { tokens, context } in batches {
            let tokens = copy_tokens(tokens, context.batch, config.vocab_size, device)?;
            check_same_rows(&tokens, context)?;
            let [b, l] = tokens.dims();
            states.push(embedding(rows.clone(), tokens).reshape([b * l, config.hidden_size]));
        }
        let tied = config.tie_word_embeddings.then_some(rows);
        for index in 0..config.num_hidden_layers {
            self.run_block(index, &mut states, &contexts)?;
        }
        let last = self.load(|name| name == "model.norm.weight" || name == HEAD)?;
        let (norm, head) = (
            ParameterView::plain(&last).vector("model.norm.weight")?,
            tied.map_or_else(|| ParameterView::plain(&last).matrix(HEAD), Ok)?,
        );
        for (index, x) in states.into_iter().enumerate() {
            let logits: Tensor<2> = linear(rms_norm(x, &norm, config.rms_norm_eps), &head);
            let logits = logits.try_into_vec_as().map_err(|e| BackboneError::Device(e.to_string()))?;
            take(index, logits)?;
        }
        Ok(())
    }

    /// The contexts on the device. The shared tensors of time conditioning are read for it, and freed.
    fn prepare(&mut self, batches: &[TokenBatch]) -> Result<Vec<PreparedContext>, E> {
        let shared = self.load(|name| name.starts_with("time.") && !name.starts_with("time.layers."))?;
        let clock = ParameterView::plain(&shared).clock(self.conditioning)?;
        let prepared = batches
            .iter()
            .map(|batch| prepare_context(&batch.context, self.config, clock.as_ref(), self.device));
        Ok(prepared.collect::<Result<_, _>>()?)
    }

    /// Replaces each state by the one after block `index`.
    fn run_block(
        &mut self,
        index: usize,
        states: &mut [Tensor<2>],
        contexts: &[PreparedContext],
    ) -> Result<(), E> {
        let (own, time) = (format!("model.layers.{index}."), format!("time.layers.{index}."));
        let tensors = self.load(|name| name.starts_with(&own) || name.starts_with(&time))?;
        let block = ParameterView::plain(&tensors).block(index, self.conditioning)?;
        for (state, context) in states.iter_mut().zip(contexts) {
            *state = block.forward(state.clone(), self.config, context);
        }
        Ok(())
    }

    /// The tensors whose names are wanted, on the device.
    fn load(&mut self, wanted: impl Fn(&str) -> bool) -> Result<IndexMap<String, Parameter>, E> {
        let layout = build_layout(self.config, self.conditioning).into_iter();
        let load = |(name, shape): (String, Vec<usize>)| {
            let values = (self.values)(&name)?;
            let parameter = Parameter::new(&shape, values, self.device)?;
            Ok((name, parameter))
        };
        layout.filter(|(name, _)| wanted(name)).map(load).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Attention, Backbone};
    use super::*;
    use crate::convert::tests::config;

    #[test]
    fn block_by_block_gives_the_logits_of_the_whole_model_bit_by_bit() {
        let device = crate::device::open_device("cpu").unwrap();
        for (tied, time) in [(true, TimeConditioning::None), (false, TimeConditioning::AdaLn { rank: 4 })] {
            let config = &config(tied);
            let whole = Backbone::new(config, time, 1, &device).unwrap();
            // Time projections that start at 0 would hide whether they are used.
            let whole =
                whole.map(|name, p| if name.starts_with("time.") { p.map(|x| x + 0.1) } else { p }).unwrap();
            let batch = |attention, rows: usize, tokens: &[u32]| {
                let context = AttentionContext::new(attention, rows, tokens.len() / rows);
                let timed = time != TimeConditioning::None;
                let context = if timed { context.with_time(vec![0.3; rows]) } else { context };
                TokenBatch { tokens: tokens.to_vec(), context }
            };
            let batches = [
                batch(Attention::Causal, 2, &[1, 2, 3, 4, 5, 6]),
                batch(Attention::Bidirectional, 1, &[7, 8]),
            ];
            let values =
                |name: &str| whole.parameter(name).ok_or(BackboneError::Missing(name.into()))?.values();
            let mut found = Vec::new();
            let model = LayeredBackbone { config, conditioning: time, device: &device, values };
            let take = |index, logits| {
                found.push((index, logits));
                Ok(())
            };
            model.run(&batches, take).unwrap();
            for (index, TokenBatch { tokens, context }) in batches.iter().enumerate() {
                let hidden = whole.hidden(whole.tokens(tokens, context.batch).unwrap(), context).unwrap();
                let expected = whole.logits(hidden.reshape([tokens.len(), config.hidden_size]));
                assert_eq!(found[index], (index, expected.try_into_vec_as::<f32>().unwrap()));
            }
        }
    }
}
