//! The tensors of a backbone: initial values and roles. Their names and shapes are the engine's, which checks folders.

use burn_tensor::Tensor;
use indexmap::IndexMap;

use super::adapter::name_factors;
use super::attention::SelfAttention;
use super::block::TransformerBlock;
use super::layers::{AdaptedWeight, Projection};
use super::time::TimeEmbedding;
use super::{BackboneError, Parameter, Qwen3Config, TimeConditioning};
use crate::rng::{self, RandomPurpose};

/// Initial values of tensor number `index` of the layout.
pub(super) fn draw_initial_values(
    config: &Qwen3Config,
    seed: u64,
    index: usize,
    name: &str,
    shape: &[usize],
) -> Vec<f32> {
    let count = shape.iter().product();
    if name.starts_with("time.layers.") || name.ends_with(".bias") {
        return vec![0.0; count];
    }
    if shape.len() == 1 {
        return vec![1.0; count];
    }
    let mut stream = rng::derive_stream(seed, RandomPurpose::Init, [index as u64, 0, 0]);
    (0..count).map(|_| (config.initializer_range * stream.normal()) as f32).collect()
}

/// Parameters by name and rank.
pub(super) struct ParameterView<'a> {
    /// All of them.
    pub(super) all: &'a IndexMap<String, Parameter>,
    /// s, the scale of an adapter's changes, if there is one.
    pub(super) scale: Option<f64>,
}

impl<'a> ParameterView<'a> {
    /// Of a model without an adapter.
    pub(super) fn plain(all: &'a IndexMap<String, Parameter>) -> Self {
        Self { all, scale: None }
    }

    pub(super) fn matrix(&self, name: &str) -> Result<Tensor<2>, BackboneError> {
        match self.all.get(name) {
            Some(Parameter::Matrix(x)) => Ok(x.clone()),
            _ => Err(BackboneError::Missing(name.into())),
        }
    }

    pub(super) fn vector(&self, name: &str) -> Result<Tensor<1>, BackboneError> {
        match self.all.get(name) {
            Some(Parameter::Vector(x)) => Ok(x.clone()),
            _ => Err(BackboneError::Missing(name.into())),
        }
    }

    /// The projection with this weight, changed by the adapter if it is one of its targets.
    fn projection(&self, name: &str) -> Result<Projection, BackboneError> {
        let (weight, factors) = (self.matrix(name)?, name_factors(name));
        match self.scale.filter(|_| self.all.contains_key(&factors[0])) {
            None => Ok(Projection::Plain(weight)),
            Some(scale) => {
                let [down, up] = [self.matrix(&factors[0])?, self.matrix(&factors[1])?];
                Ok(Projection::Adapted(Box::new(AdaptedWeight { weight, down, up, scale })))
            }
        }
    }

    pub(super) fn block(
        &self,
        index: usize,
        time: TimeConditioning,
    ) -> Result<TransformerBlock, BackboneError> {
        let vector = |field: &str| self.vector(&format!("model.layers.{index}.{field}.weight"));
        let projection = |field: &str| self.projection(&format!("model.layers.{index}.{field}.weight"));
        let attention = SelfAttention {
            q_proj: projection("self_attn.q_proj")?,
            k_proj: projection("self_attn.k_proj")?,
            v_proj: projection("self_attn.v_proj")?,
            o_proj: projection("self_attn.o_proj")?,
            q_norm: vector("self_attn.q_norm")?,
            k_norm: vector("self_attn.k_norm")?,
        };
        let conditioned = time != TimeConditioning::None;
        let time = conditioned.then(|| self.matrix(&format!("time.layers.{index}.weight"))).transpose()?;
        Ok(TransformerBlock {
            input_norm: vector("input_layernorm")?,
            attention,
            post_norm: vector("post_attention_layernorm")?,
            gate_proj: projection("mlp.gate_proj")?,
            up_proj: projection("mlp.up_proj")?,
            down_proj: projection("mlp.down_proj")?,
            time,
        })
    }

    pub(super) fn clock(&self, time: TimeConditioning) -> Result<Option<TimeEmbedding>, BackboneError> {
        if time == TimeConditioning::None {
            return Ok(None);
        }
        Ok(Some(TimeEmbedding {
            in_weight: self.matrix("time.in.weight")?,
            in_bias: self.vector("time.in.bias")?,
            out_weight: self.matrix("time.out.weight")?,
            out_bias: self.vector("time.out.bias")?,
        }))
    }
}
