//! The conversion itself: sets the row of the mask token and adds the tensors of time conditioning, which start as the
//! identity.

use fmflow_engine::pipeline::config::TimeConditioning;
use fmflow_engine::pipeline::contract::{Contract, ModelKind};
use indexmap::IndexMap;

use crate::backbone::{Backbone, BackboneError, Qwen3Config, build_layout};
use crate::convert::conversion::Conversion;
use crate::convert::error::ConvertError;
use crate::convert::mask_row;
use crate::device::Device;
use crate::weights::Checkpoint;

/// Converts the autoregressive weights `source`. Returns the backbone and the contract to store beside it.
///
/// # Errors
/// If the mask token has no row, an option is out of range, or the source is already a flow model.
pub(crate) fn convert_weights(
    source: Checkpoint,
    conversion: &Conversion,
    device: &Device,
) -> Result<(Backbone, Contract), ConvertError> {
    let time = conversion.config.time_conditioning;
    if source.contract.as_ref().is_some_and(|contract| contract.kind == ModelKind::Flow) {
        return Err(ConvertError::Option(
            "the source is already a flow matching model; convert an autoregressive checkpoint",
        ));
    }
    if matches!(time, TimeConditioning::AdaLn { rank } if rank == 0 || rank > source.config.hidden_size) {
        return Err(ConvertError::Option(
            "the rank of time conditioning must be between 1 and the model's hidden size",
        ));
    }
    let mask = mask_row::find_mask_token_row(&source.config, conversion)?;
    let mut tensors: IndexMap<String, Vec<f32>> =
        source.tensors.into_iter().map(|(name, tensor)| (name, tensor.values)).collect();
    mask_row::change_mask_row(&mut tensors, &source.config, mask, conversion)?;
    // New tensors are taken from a fresh backbone. Copied tensors never pass through it, so their bits cannot change.
    let fresh = NewTensors::new(&source.config, conversion, device)?;
    let backbone =
        Backbone::build(&source.config, time, device, |name, _| match tensors.swap_remove(name) {
            Some(values) => Ok(values),
            None => fresh.values(name),
        })?;
    let contract = Contract {
        tokenizer: conversion.tokenizer.clone(),
        ..Contract::after_conversion(&conversion.config, Some(mask))
    };
    Ok((backbone, contract))
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
