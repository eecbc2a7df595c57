//! The backbone: Qwen3. Under causal attention it computes exactly what Hugging Face computes; the same weights also run
//! under any other attention.
//!
//! ```text
//! tokens [B, L] --embed--> x [B L, D] --block 0 .. n-1--> x --norm--> hidden [B, L, D] --head--> logits [N, V]
//! ```
//! `hidden` and `logits` are separate, so that logits are computed only for the positions that need them.
//!
//! # Parameters
//! Every tensor is a named [`Parameter`], under its Hugging Face name, in the fixed order of [`build_layout`]. A training
//! loop
//! ```text
//! let model = backbone.trainable();                       // leaves of autodiff
//! let prepared = model.prepare(&context)?;                // or model.hidden(tokens, &context)?
//! let mut gradients = loss.backward();
//! for (name, parameter) in model.parameters() {           // always the same order
//!     let gradient = parameter.take_gradient(&mut gradients);   // flat [count], no autodiff
//! }
//! let model = model.map(|name, parameter| parameter.map(|flat| change(flat))); // stays trainable
//! ```
//! keys its state by name and never handles ranks. `hidden` is `embed`, then `block` for each layer, then `finish`. These
//! parts are public for a backward pass that recomputes block by block.
//!
//! Clones share tensors, and threads may share a frozen backbone. **Threads that differentiate must each own their
//! leaves**: call `model.clone().trainable()` on every thread (no values are copied). Leaves shared by two threads join
//! their graphs, and Burn 0.22.1 then deadlocks: `backward` locks the graph and waits for the table of graphs; a forward
//! pass locks them in the opposite order.
//!
//! Text is written with a [`KeyValueCache`] of tokens that cannot change any more: [`Backbone::extend`].
//!
//! Deliberately absent: dropout, files, and any knowledge of noise or losses.

mod adapter;
mod attention;
mod block;
mod cache;
mod context;
mod error;
mod forward;
mod layered;
mod layers;
mod layout;
mod mask;
mod parameter;
mod prepared;
mod time;

use burn_tensor::{Device, Tensor};
use fmflow_engine::pipeline::config::AdapterSettings;
use fmflow_ops::FrozenWeight;
use indexmap::IndexMap;
use rayon::prelude::*;

use block::TransformerBlock;
use layout::{ParameterView, draw_initial_values};
use time::TimeEmbedding;

pub(crate) use adapter::{LowRankChange, name_factors};
pub(crate) use cache::{KeptTokens, KeyValueCache, NewTokens, RewrittenTokens};
pub use context::{AttentionContext, PADDING};
pub use error::BackboneError;
pub use fmflow_engine::pipeline::checkpoint_config::{ConfigError, Qwen3Config};
pub(crate) use fmflow_engine::pipeline::checkpoint_folder::{EMBEDDING, HEAD, build_layout};
pub use fmflow_engine::pipeline::config::TimeConditioning;
pub use fmflow_engine::pipeline::contract::Attention;
pub use fmflow_ops::Precision;
pub(crate) use layered::{LayeredBackbone, TokenBatch};
pub(crate) use mask::WORD;
pub use mask::find_visible_keys;
pub(crate) use parameter::Parameter;
pub(crate) use prepared::PreparedContext;

/// A Qwen3 model on a device.
#[derive(Clone, Debug)]
pub struct Backbone {
    config: Qwen3Config,
    conditioning: TimeConditioning,
    /// The format of the factors of products. Weights are f32, and the time embedding is computed in f32.
    precision: Precision,
    /// The authoritative tensors; the fields below are views of them by role.
    parameters: IndexMap<String, Parameter>,
    embedding: Tensor<2>,
    blocks: Vec<TransformerBlock>,
    norm: Tensor<1>,
    head: Tensor<2>,
    /// The head, copied for products with few rows.
    frozen_head: Option<FrozenWeight>,
    clock: Option<TimeEmbedding>,
    /// Low-rank changes of its projections, if it has some: then they alone are trained.
    adapter: Option<AdapterSettings>,
}

impl Backbone {
    /// Fresh weights, a function of (`config`, `time`, `seed`) alone: matrices are drawn from
    /// normal(0, `initializer_range`), norms are 1, biases and the time projections are 0.
    ///
    /// # Errors
    /// If the config is inconsistent.
    pub fn new(
        config: &Qwen3Config,
        time: TimeConditioning,
        seed: u64,
        device: &Device,
    ) -> Result<Self, BackboneError> {
        config.check()?;
        let layout = build_layout(config, time);
        let values: Vec<Vec<f32>> = layout
            .par_iter()
            .enumerate()
            .map(|(i, (name, shape))| draw_initial_values(config, seed, i, name, shape))
            .collect();
        let mut values = values.into_iter();
        Self::build(config, time, device, |_, _| {
            Ok(values.next().expect("values were drawn for the whole layout"))
        })
    }

    /// Builds a backbone by calling `values(name, shape)` for every tensor of the layout, in that order.
    ///
    /// # Errors
    /// Any error of `values`, an inconsistent config, or a wrong number of values.
    pub(crate) fn build<E: From<BackboneError>>(
        config: &Qwen3Config,
        time: TimeConditioning,
        device: &Device,
        mut values: impl FnMut(&str, &[usize]) -> Result<Vec<f32>, E>,
    ) -> Result<Self, E> {
        config.check().map_err(BackboneError::from)?;
        let mut parameters = IndexMap::new();
        for (name, shape) in build_layout(config, time) {
            let parameter = Parameter::new(&shape, values(&name, &shape)?, device)?;
            parameters.insert(name, parameter);
        }
        Ok(Self::assemble(config.clone(), time, None, parameters)?)
    }

    /// Assembles a backbone from `given`, which must hold exactly the parameters of the layout, and after them those of the adapter.
    ///
    /// # Errors
    /// If a parameter is missing, has the wrong shape, or is not in the layout.
    pub(crate) fn assemble(
        config: Qwen3Config,
        conditioning: TimeConditioning,
        adapter: Option<AdapterSettings>,
        mut given: IndexMap<String, Parameter>,
    ) -> Result<Self, BackboneError> {
        config.check()?;
        let mut parameters = IndexMap::new();
        for (name, expected) in build_layout(&config, conditioning) {
            let parameter = given.shift_remove(&name).ok_or_else(|| BackboneError::Missing(name.clone()))?;
            let found = parameter.shape();
            if found != expected {
                return Err(BackboneError::Mismatch { name, found, expected });
            }
            parameters.insert(name, parameter);
        }
        if let (None, Some((name, extra))) = (&adapter, given.first()) {
            let (name, found) = (name.clone(), extra.shape());
            return Err(BackboneError::Mismatch { name, found, expected: Vec::new() });
        }
        parameters.extend(given);
        let view = ParameterView { all: &parameters, scale: adapter.as_ref().map(AdapterSettings::scale) };
        let embedding = view.matrix(EMBEDDING)?;
        let blocks = (0..config.num_hidden_layers).map(|i| view.block(i, conditioning));
        Ok(Self {
            blocks: blocks.collect::<Result<_, _>>()?,
            norm: view.vector("model.norm.weight")?,
            head: if config.tie_word_embeddings { embedding.clone() } else { view.matrix(HEAD)? },
            frozen_head: None,
            clock: view.clock(conditioning)?,
            adapter,
            embedding,
            config,
            conditioning,
            precision: Precision::F32,
            parameters,
        })
    }

    /// The shape and constants of the model.
    #[must_use]
    pub fn config(&self) -> &Qwen3Config {
        &self.config
    }

    /// Whether and how the model is conditioned on time.
    #[must_use]
    pub(crate) fn time_conditioning(&self) -> TimeConditioning {
        self.conditioning
    }

    /// The format of the factors of products.
    #[must_use]
    pub(crate) fn precision(&self) -> Precision {
        self.precision
    }

    /// The same backbone with products of such factors. Call it before [`Backbone::packed`].
    #[must_use]
    pub fn computing_in(self, precision: Precision) -> Self {
        Self { precision, ..self }
    }

    /// The device that holds the tensors, without the autodiff wrapper.
    #[must_use]
    pub(crate) fn device(&self) -> Device {
        self.embedding.clone().inner().device()
    }

    /// All parameters with their names, in the order of [`build_layout`].
    pub fn parameters(&self) -> impl ExactSizeIterator<Item = (&str, &Parameter)> {
        self.parameters.iter().map(|(name, parameter)| (name.as_str(), parameter))
    }

    /// The head [V, D], without autodiff.
    #[must_use]
    pub(crate) fn head(&self) -> Tensor<2> {
        self.head.clone().inner()
    }

    /// The place of the head among the parameters that are trained; of the embedding, if it is the head too. `None` if it is not
    /// trained.
    #[must_use]
    pub(crate) fn find_trained_head(&self) -> Option<usize> {
        let name = if self.config.tie_word_embeddings { EMBEDDING } else { HEAD };
        self.trained().position(|(trained, _)| trained == name)
    }

    /// The parameter called `name`, if the layout has it.
    #[must_use]
    pub(crate) fn parameter(&self, name: &str) -> Option<&Parameter> {
        self.parameters.get(name)
    }

    /// Replaces each parameter by the result of `f`, in the order of [`build_layout`].
    ///
    /// # Errors
    /// If a replacement has a different shape.
    pub(crate) fn map(self, mut f: impl FnMut(&str, Parameter) -> Parameter) -> Result<Self, BackboneError> {
        let precision = self.precision;
        let Self {
            config,
            conditioning,
            parameters,
            embedding,
            blocks,
            norm,
            head,
            frozen_head,
            clock,
            adapter,
            ..
        } = self;
        // Drop the views first, so that each old tensor is freed as soon as `f` has used it. Otherwise old and new weights
        // would be in memory together.
        drop((embedding, blocks, norm, head, frozen_head, clock));
        let mapped = parameters.into_iter().map(|(name, parameter)| {
            let parameter = f(&name, parameter);
            (name, parameter)
        });
        Ok(Self::assemble(config, conditioning, adapter, mapped.collect())?.computing_in(precision))
    }

    /// The same backbone, with a second copy of every matrix that is multiplied, in the order in which products read it. Products
    /// with few rows, as of text that is written token by token, then take a fraction of the time; no bit changes.
    #[must_use]
    pub(crate) fn packed(mut self) -> Self {
        self.blocks.iter_mut().for_each(|block| block.freeze(self.precision));
        self.frozen_head = Some(FrozenWeight::new(self.head.clone(), self.precision));
        self
    }

    /// The same backbone without autodiff.
    ///
    /// # Errors
    /// Never in practice, because shapes do not change.
    pub(crate) fn frozen(self) -> Result<Self, BackboneError> {
        self.map(|_, parameter| parameter.frozen())
    }
}

#[cfg(test)]
pub(crate) mod tests;
