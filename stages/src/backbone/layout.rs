//! The tensors of a backbone: names, shapes, initial values and roles.

use burn_tensor::Tensor;
use indexmap::IndexMap;

use super::attention::SelfAttention;
use super::block::TransformerBlock;
use super::time::{TimeEmbedding, build_time_layout};
use super::{BackboneError, Parameter, Qwen3Config, TimeConditioning};
use crate::rng::{self, RandomPurpose};

/// Name of the embedding, which is also the output head if they are tied.
pub(crate) const EMBEDDING: &str = "model.embed_tokens.weight";

/// Name of the output head, present only if it is not tied to the embedding.
pub(crate) const HEAD: &str = "lm_head.weight";

/// Names and shapes of all tensors, in the order in which they are stored and iterated.
///
/// The order is part of the results: new weights are drawn by tensor number, and files are written in this order.
#[must_use]
pub(crate) fn build_layout(config: &Qwen3Config, time: TimeConditioning) -> Vec<(String, Vec<usize>)> {
    let (d, f, h) = (config.hidden_size, config.intermediate_size, config.head_dim);
    let (q, kv) = (config.num_attention_heads * h, config.num_key_value_heads * h);
    let mut names = vec![(EMBEDDING.to_owned(), vec![config.vocab_size, d])];
    for i in 0..config.num_hidden_layers {
        let fields: [(&str, Vec<usize>); 11] = [
            ("input_layernorm", vec![d]),
            ("self_attn.q_proj", vec![q, d]),
            ("self_attn.k_proj", vec![kv, d]),
            ("self_attn.v_proj", vec![kv, d]),
            ("self_attn.o_proj", vec![d, q]),
            ("self_attn.q_norm", vec![h]),
            ("self_attn.k_norm", vec![h]),
            ("post_attention_layernorm", vec![d]),
            ("mlp.gate_proj", vec![f, d]),
            ("mlp.up_proj", vec![f, d]),
            ("mlp.down_proj", vec![d, f]),
        ];
        names.extend(fields.map(|(field, shape)| (format!("model.layers.{i}.{field}.weight"), shape)));
    }
    names.push(("model.norm.weight".into(), vec![d]));
    if !config.tie_word_embeddings {
        names.push((HEAD.into(), vec![config.vocab_size, d]));
    }
    names.extend(build_time_layout(time, config));
    names
}

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
pub(super) struct ParameterView<'a>(pub(super) &'a IndexMap<String, Parameter>);

impl ParameterView<'_> {
    pub(super) fn matrix(&self, name: &str) -> Result<Tensor<2>, BackboneError> {
        match self.0.get(name) {
            Some(Parameter::Matrix(x)) => Ok(x.clone()),
            _ => Err(BackboneError::Missing(name.into())),
        }
    }

    pub(super) fn vector(&self, name: &str) -> Result<Tensor<1>, BackboneError> {
        match self.0.get(name) {
            Some(Parameter::Vector(x)) => Ok(x.clone()),
            _ => Err(BackboneError::Missing(name.into())),
        }
    }

    pub(super) fn block(
        &self,
        index: usize,
        time: TimeConditioning,
    ) -> Result<TransformerBlock, BackboneError> {
        let matrix = |field: &str| self.matrix(&format!("model.layers.{index}.{field}.weight"));
        let vector = |field: &str| self.vector(&format!("model.layers.{index}.{field}.weight"));
        let attention = SelfAttention {
            q_proj: matrix("self_attn.q_proj")?,
            k_proj: matrix("self_attn.k_proj")?,
            v_proj: matrix("self_attn.v_proj")?,
            o_proj: matrix("self_attn.o_proj")?,
            q_norm: vector("self_attn.q_norm")?,
            k_norm: vector("self_attn.k_norm")?,
        };
        let conditioned = time != TimeConditioning::None;
        let time = conditioned.then(|| self.matrix(&format!("time.layers.{index}.weight"))).transpose()?;
        Ok(TransformerBlock {
            input_norm: vector("input_layernorm")?,
            attention,
            post_norm: vector("post_attention_layernorm")?,
            gate_proj: matrix("mlp.gate_proj")?,
            up_proj: matrix("mlp.up_proj")?,
            down_proj: matrix("mlp.down_proj")?,
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
