//! The conversion itself: sets the row of the mask token and adds the tensors of time conditioning, which start as the
//! identity.

use std::borrow::Cow;

use fmflow_engine::pipeline::config::TimeConditioning;
use fmflow_engine::pipeline::contract::{Contract, ModelKind};

use crate::backbone::{Backbone, BackboneError, EMBEDDING, Qwen3Config, build_layout};
use crate::convert::conversion::Conversion;
use crate::convert::error::ConvertError;
use crate::convert::mask_row::{self, MaskRowChange};
use crate::device::Device;
use crate::weights::{CheckpointReader, TensorLayout};

/// A conversion that was checked. Its tensors are made one at a time, from those of the source.
pub(crate) struct ConvertedWeights<'a> {
    source: &'a CheckpointReader,
    /// Shape and constants of the result.
    pub config: Cow<'a, Qwen3Config>,
    /// The contract to store beside the weights.
    pub contract: Contract,
    change: Option<MaskRowChange>,
    fresh: NewTensors,
    time: TimeConditioning,
}

impl<'a> ConvertedWeights<'a> {
    /// Prepares the conversion of the autoregressive checkpoint `source`, whose constants are `config` from now on.
    ///
    /// # Errors
    /// If the mask token has no row, an option is out of range, or the source is already a flow model.
    pub(crate) fn new(
        source: &'a CheckpointReader,
        config: Cow<'a, Qwen3Config>,
        conversion: &Conversion,
        device: &Device,
    ) -> Result<Self, ConvertError> {
        let time = conversion.config.time_conditioning;
        if source.contract.as_ref().is_some_and(|contract| contract.kind == ModelKind::Flow) {
            return Err(ConvertError::Option(
                "the source is already a flow matching model; convert an autoregressive checkpoint",
            ));
        }
        if matches!(time, TimeConditioning::AdaLn { rank } if rank == 0 || rank > config.hidden_size) {
            return Err(ConvertError::Option(
                "the rank of time conditioning must be between 1 and the model's hidden size",
            ));
        }
        config.check().map_err(BackboneError::from)?;
        let mask = mask_row::find_mask_token_row(&config, conversion)?;
        let change = mask_row::prepare_change(&config, mask, conversion)?;
        // New tensors are taken from a fresh backbone. Copied tensors never pass through it, so their bits cannot change.
        let fresh = NewTensors::new(&config, conversion, device)?;
        let contract = Contract {
            tokenizer: conversion.tokenizer.clone(),
            ..Contract::after_conversion(&conversion.config, Some(mask))
        };
        Ok(Self { source, config, contract, change, fresh, time })
    }

    /// Names and shapes of the result's tensors, in the order of the file.
    #[must_use]
    pub(crate) fn layout(&self) -> TensorLayout {
        build_layout(&self.config, self.time)
    }

    /// The values of one tensor of the layout.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(crate) fn values(&self, name: &str) -> Result<Vec<f32>, ConvertError> {
        if !self.source.has(name) {
            return self.fresh.values(name);
        }
        let mut values = self.source.read(name)?.values;
        if let (Some(change), EMBEDDING) = (&self.change, name) {
            change.apply(&mut values);
        }
        Ok(values)
    }
}

/// Initial values of the time conditioning tensors, taken from the smallest backbone that has them.
///
/// Initial values depend on a tensor's number in the layout, so the small backbone must have as many tensors as the real one.
struct NewTensors(Option<Backbone>);

impl NewTensors {
    fn new(config: &Qwen3Config, conversion: &Conversion, device: &Device) -> Result<Self, ConvertError> {
        let time = conversion.config.time_conditioning;
        if time == TimeConditioning::None {
            return Ok(Self(None));
        }
        let small = Qwen3Config {
            vocab_size: 1,
            intermediate_size: 1,
            num_attention_heads: 1,
            num_key_value_heads: 1,
            head_dim: 2,
            ..config.clone()
        };
        debug_assert_eq!(build_layout(&small, time).len(), build_layout(config, time).len());
        Ok(Self(Some(Backbone::new(&small, time, conversion.seed, device)?)))
    }

    fn values(&self, name: &str) -> Result<Vec<f32>, ConvertError> {
        let parameter = self.0.as_ref().and_then(|fresh| fresh.parameter(name));
        let missing = || BackboneError::Missing(name.into());
        Ok(parameter.ok_or_else(missing)?.values()?)
    }
}
