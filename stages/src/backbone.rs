//! The backbone: Qwen3 exactly as Hugging Face computes it when attention is causal, and the same weights under any other
//! attention.
//!
//! ```text
//! tokens [B, L] --embed--> x [B L, D] --block 0 .. n-1--> x --norm--> hidden [B, L, D] --head--> logits [N, V]
//! ```
//! `hidden` and `logits` are separate, so that logits are computed only for the positions that need them.
//!
//! # Parameters
//! Every tensor is a named [`Parameter`], under its Hugging Face name, in the fixed order of [`layout`]. A training loop
//! ```text
//! let model = backbone.trainable();                       // leaves of autodiff
//! let prepared = model.prepare(&context)?;                // or model.hidden(tokens, &context)?
//! let mut gradients = loss.backward();
//! for (name, parameter) in model.parameters() {           // always the same order
//!     let gradient = parameter.take_gradient(&mut gradients);   // flat [count], no autodiff
//! }
//! let model = model.map(|name, parameter| parameter.with(new_flat_values)); // stays trainable
//! ```
//! keys its state by name and never meets a rank. `hidden` is `embed`, `block` for each layer, `finish`: the parts are public
//! for a backward pass that recomputes block by block.
//!
//! Clones share tensors. A frozen backbone may be shared by threads. **Threads that differentiate must each own their leaves**:
//! `model.clone().trainable()` on every thread (no values are copied). Leaves shared by two threads join their graphs, and
//! Burn 0.22.1 then deadlocks: `backward` holds the graph and waits for the table of graphs, a forward pass the other way round.
//!
//! Deliberately absent: dropout, caches of keys and values, any knowledge of noise or losses, files.

mod attention;
mod block;
mod config;
mod context;
mod forward;
mod layers;
mod layout;
mod mask;
mod parameter;
mod prepared;
mod time;

use burn_tensor::{Device, Tensor};
use indexmap::IndexMap;
use rayon::prelude::*;

use block::TransformerBlock;
use layout::{ParameterView, draw_initial_values};
use time::TimeEmbedding;

pub use config::{ConfigError, Qwen3Config};
pub use context::{AttentionContext, PADDING};
pub use fmflow_engine::pipeline::config::TimeConditioning;
pub use fmflow_engine::pipeline::contract::Attention;
pub use layout::{EMBEDDING, HEAD, build_layout};
pub use mask::WORD;
pub use parameter::Parameter;
pub use prepared::PreparedContext;

/// Why a backbone cannot be built or used.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum BackboneError {
    /// A tensor that the config asks for was not given.
    #[error("tensor `{0}` is missing")]
    Missing(String),
    /// A tensor has another shape than the config asks for.
    #[error("tensor `{name}` has shape {found:?}, expected {expected:?}")]
    Mismatch {
        /// Name of the tensor.
        name: String,
        /// Its shape.
        found: Vec<usize>,
        /// The shape of the layout.
        expected: Vec<usize>,
    },
    /// Values and shape of a parameter disagree, or its rank is not 1 or 2.
    #[error("{count} values cannot have shape {shape:?}")]
    Shape {
        /// The shape.
        shape: Vec<usize>,
        /// The number of values.
        count: usize,
    },
    /// A token id is outside the vocabulary.
    #[error("token id {id} is outside the vocabulary of {vocab}")]
    Token {
        /// The id.
        id: u32,
        /// Rows of the embedding.
        vocab: usize,
    },
    /// The context contradicts itself, the tokens or the backbone.
    #[error("{0}")]
    Context(String),
    /// The shape is refused.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The device failed to hand over values.
    #[error("the device failed: {0}")]
    Device(String),
}

/// A Qwen3 on a device.
#[derive(Clone, Debug)]
pub struct Backbone {
    config: Qwen3Config,
    conditioning: TimeConditioning,
    /// The truth; the fields below are views of it by role.
    parameters: IndexMap<String, Parameter>,
    embedding: Tensor<2>,
    blocks: Vec<TransformerBlock>,
    norm: Tensor<1>,
    head: Tensor<2>,
    clock: Option<TimeEmbedding>,
}

impl Backbone {
    /// New weights, a function of (`config`, `seed`) alone: matrices normal(0, `initializer_range`), norms 1, biases and the
    /// projections of time 0.
    ///
    /// # Errors
    /// When the config is inconsistent.
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

    /// A backbone of the values that `values` gives for each name and shape of the layout, asked in that order.
    ///
    /// # Errors
    /// What `values` says, an inconsistent config, or a wrong number of values.
    pub fn build<E: From<BackboneError>>(
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
        Ok(Self::assemble(config.clone(), time, parameters)?)
    }

    /// A backbone of given parameters: exactly those of the layout.
    ///
    /// # Errors
    /// When one is missing, mis-shaped, or not of the layout.
    pub fn assemble(
        config: Qwen3Config,
        conditioning: TimeConditioning,
        mut given: IndexMap<String, Parameter>,
    ) -> Result<Self, BackboneError> {
        config.check()?;
        let mut parameters = IndexMap::new();
        for (name, expected) in build_layout(&config, conditioning) {
            let parameter = given.swap_remove(&name).ok_or_else(|| BackboneError::Missing(name.clone()))?;
            let found = parameter.shape();
            if found != expected {
                return Err(BackboneError::Mismatch { name, found, expected });
            }
            parameters.insert(name, parameter);
        }
        if let Some((name, extra)) = given.pop() {
            return Err(BackboneError::Mismatch { name, found: extra.shape(), expected: Vec::new() });
        }
        let view = ParameterView(&parameters);
        let embedding = view.matrix(EMBEDDING)?;
        let blocks = (0..config.num_hidden_layers).map(|i| view.block(i, conditioning));
        Ok(Self {
            blocks: blocks.collect::<Result<_, _>>()?,
            norm: view.vector("model.norm.weight")?,
            head: if config.tie_word_embeddings { embedding.clone() } else { view.matrix(HEAD)? },
            clock: view.clock(conditioning)?,
            embedding,
            config,
            conditioning,
            parameters,
        })
    }

    /// Its shape and constants.
    #[must_use]
    pub fn config(&self) -> &Qwen3Config {
        &self.config
    }

    /// Whether and how it knows the time.
    #[must_use]
    pub fn time_conditioning(&self) -> TimeConditioning {
        self.conditioning
    }

    /// The device of its tensors, without autodiff.
    #[must_use]
    pub fn device(&self) -> Device {
        self.embedding.clone().inner().device()
    }

    /// All parameters with their names, in the order of [`layout`].
    pub fn parameters(&self) -> impl ExactSizeIterator<Item = (&str, &Parameter)> {
        self.parameters.iter().map(|(name, parameter)| (name.as_str(), parameter))
    }

    /// One parameter.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&Parameter> {
        self.parameters.get(name)
    }

    /// The same backbone with each parameter replaced by what `f` makes of it, in the order of [`layout`].
    ///
    /// # Errors
    /// When a replacement has another shape.
    pub fn map(self, mut f: impl FnMut(&str, Parameter) -> Parameter) -> Result<Self, BackboneError> {
        let Self { config, conditioning, parameters, embedding, blocks, norm, head, clock } = self;
        // Without the views, each old tensor is freed as soon as `f` has used it.
        drop((embedding, blocks, norm, head, clock));
        let mapped = parameters.into_iter().map(|(name, parameter)| {
            let parameter = f(&name, parameter);
            (name, parameter)
        });
        Self::assemble(config, conditioning, mapped.collect())
    }

    /// The same backbone with every parameter a leaf of autodiff.
    ///
    /// # Errors
    /// Never: shapes stay.
    pub fn trainable(self) -> Result<Self, BackboneError> {
        self.map(|_, parameter| parameter.trainable())
    }

    /// The same backbone without autodiff, for inference and saving.
    ///
    /// # Errors
    /// Never: shapes stay.
    pub fn frozen(self) -> Result<Self, BackboneError> {
        self.map(|_, parameter| parameter.frozen())
    }
}

#[cfg(test)]
pub(crate) mod tests;
