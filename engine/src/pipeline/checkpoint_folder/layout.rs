//! The tensors of a backbone: their names and shapes, which config.json and the contract determine.

use crate::pipeline::checkpoint_config::Qwen3Config;
use crate::pipeline::config::TimeConditioning;

/// Name of the embedding, which is also the output head if they are tied.
pub const EMBEDDING: &str = "model.embed_tokens.weight";

/// Name of the output head, present only if it is not tied to the embedding.
pub const HEAD: &str = "lm_head.weight";

/// Number of sinusoid features of the time t: half cosines, half sines.
pub const TIME_FEATURES: usize = 128;

/// Names and shapes of all tensors, in the order in which they are stored and iterated.
///
/// The order is part of the results: new weights are drawn by tensor number, and files are written in this order.
#[must_use]
pub fn build_layout(config: &Qwen3Config, time: TimeConditioning) -> Vec<(String, Vec<usize>)> {
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

/// Names and shapes of the tensors that time conditioning adds: shared ones first, then one per block.
fn build_time_layout(time: TimeConditioning, config: &Qwen3Config) -> Vec<(String, Vec<usize>)> {
    let TimeConditioning::AdaLn { rank } = time else { return Vec::new() };
    let shared = [
        ("time.in.weight".to_owned(), vec![rank, TIME_FEATURES]),
        ("time.in.bias".to_owned(), vec![rank]),
        ("time.out.weight".to_owned(), vec![rank, rank]),
        ("time.out.bias".to_owned(), vec![rank]),
    ];
    let blocks = (0..config.num_hidden_layers)
        .map(|i| (format!("time.layers.{i}.weight"), vec![6 * config.hidden_size, rank]));
    shared.into_iter().chain(blocks).collect()
}
