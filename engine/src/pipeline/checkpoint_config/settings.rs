//! The list of settings of a `config.json`: read, harmless, refused, or told.

use std::fmt;

use serde_json::{Map, Value};

use crate::pipeline::contract::{Contract, ModelKind};

/// Longest key or value that is shown, in characters.
const LONGEST_SHOWN: usize = 80;

/// Settings that are read: their value counts, or is refused if it asks for something else.
const READ: &[&str] = &[
    "architectures",
    "attention_bias",
    "block_size",
    "bos_token_id",
    "delete_token_id",
    "eos_token_id",
    "expand_token_id",
    "head_dim",
    "hidden_act",
    "hidden_size",
    "initializer_range",
    "intermediate_size",
    "is_causal",
    "layer_types",
    "mask_token_id",
    "max_position_embeddings",
    "model_type",
    "num_attention_heads",
    "num_hidden_layers",
    "num_key_value_heads",
    "pad_token_id",
    "quantization_config",
    "rms_norm_eps",
    "rope_parameters",
    "rope_scaling",
    "rope_theta",
    "tie_word_embeddings",
    "use_sliding_window",
    "vocab_size",
];

/// Settings that no logit depends on: names and versions, how other programs store, split or report, and the window of a
/// sliding attention that is off. The type of the weights is that of the tensors, whatever `dtype` says.
const HARMLESS: &[&str] = &[
    "_attn_implementation",
    "_attn_implementation_autoset",
    "_attn_implementation_internal",
    "_commit_hash",
    "_experts_implementation",
    "_name_or_path",
    "attn_implementation",
    "base_model_ep_plan",
    "base_model_fsdp_plan",
    "base_model_pp_plan",
    "base_model_tp_plan",
    "chunk_size_feed_forward",
    "dtype",
    "finetuning_task",
    "fuse_cross_entropy",
    "gradient_checkpointing",
    "id2label",
    "keys_to_ignore_at_inference",
    "label2id",
    "max_window_layers",
    "name_or_path",
    "num_labels",
    "output_attentions",
    "output_hidden_states",
    "output_router_logits",
    "output_scores",
    "problem_type",
    "return_dict",
    "return_dict_in_generate",
    "sliding_window",
    "task_specific_params",
    "tie_encoder_decoder",
    "tokenizer_class",
    "torch_dtype",
    "torchscript",
    "transformers.js_config",
    "transformers_version",
    "unsloth_fixed",
    "unsloth_version",
    "use_bfloat16",
    "use_cache",
];

/// Settings of generation. transformers drops them from a `config.json` too.
const GENERATION: &[&str] = &[
    "bad_words_ids",
    "begin_suppress_tokens",
    "diversity_penalty",
    "do_sample",
    "early_stopping",
    "encoder_no_repeat_ngram_size",
    "exponential_decay_length_penalty",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "length_penalty",
    "max_length",
    "max_new_tokens",
    "min_length",
    "min_p",
    "no_repeat_ngram_size",
    "num_beam_groups",
    "num_beams",
    "num_return_sequences",
    "remove_invalid_values",
    "repetition_penalty",
    "suppress_tokens",
    "temperature",
    "top_k",
    "top_p",
    "typical_p",
];

/// The values of a setting that leave the computation as it is; every other value is refused.
#[derive(Clone, Copy)]
enum Neutral {
    /// Absent: null, false, 0, or empty.
    Off,
    /// A factor of 1.
    One,
    /// Present, because every Qwen3 has it.
    On,
}

/// Settings that ask for another computation in models of this family or near it.
const OTHER_COMPUTATION: &[(&str, Neutral)] = &[
    ("add_cross_attention", Neutral::Off),
    ("alibi", Neutral::Off),
    ("attention_chunk_size", Neutral::Off),
    ("attn_logit_softcapping", Neutral::Off),
    ("audio_config", Neutral::Off),
    ("clip_qkv", Neutral::Off),
    ("compression_config", Neutral::Off),
    ("dual_chunk_attention_config", Neutral::Off),
    ("embedding_multiplier", Neutral::One),
    ("final_logit_softcapping", Neutral::Off),
    ("is_encoder_decoder", Neutral::Off),
    ("lm_head_multiplier", Neutral::One),
    ("logit_scale", Neutral::One),
    ("logits_scaling", Neutral::One),
    ("mlp_bias", Neutral::Off),
    ("n_routed_experts", Neutral::Off),
    ("no_rope_layers", Neutral::Off),
    ("num_experts", Neutral::Off),
    ("num_local_experts", Neutral::Off),
    ("parallel_attn", Neutral::Off),
    ("partial_rotary_factor", Neutral::One),
    ("per_layer_config", Neutral::Off),
    ("pruned_heads", Neutral::Off),
    ("query_pre_attn_scalar", Neutral::Off),
    ("residual_multiplier", Neutral::One),
    ("rope_interleaved", Neutral::Off),
    ("scale_depth", Neutral::One),
    ("scale_emb", Neutral::One),
    ("sliding_window_pattern", Neutral::Off),
    ("text_config", Neutral::Off),
    ("use_bidirectional_attention", Neutral::Off),
    ("use_mrope", Neutral::Off),
    ("use_parallel_residual", Neutral::Off),
    ("use_qk_norm", Neutral::On),
    ("vision_config", Neutral::Off),
];

impl Neutral {
    fn accepts(self, value: &Value) -> bool {
        let off = match value {
            Value::Null | Value::Bool(false) => true,
            Value::Number(number) => number.as_f64() == Some(0.0),
            Value::Array(list) => list.is_empty(),
            Value::Object(map) => map.is_empty(),
            Value::Bool(true) | Value::String(_) => false,
        };
        match self {
            Self::Off => off,
            Self::One => value.is_null() || value.as_f64() == Some(1.0),
            Self::On => value.is_null() || value == true,
        }
    }

    fn supported(self) -> &'static str {
        match self {
            Self::Off => "only absent or off",
            Self::One => "only 1",
            Self::On => "only true",
        }
    }
}

/// A setting of a checkpoint that nothing reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnreadSetting {
    /// Its file.
    pub file: &'static str,
    /// Its key, cut to a length that can be shown.
    pub key: String,
    /// Its value as JSON, cut as well.
    pub value: String,
    /// What that means.
    pub meaning: &'static str,
}

impl UnreadSetting {
    /// What to do about it.
    #[must_use]
    pub fn cure(&self) -> String {
        let Self { file, key, .. } = self;
        format!(
            "if the model needs `{key}`, use another checkpoint: fmflow computes a plain Qwen3; if not, remove `{key}` from {file}, or write `lint {{ allow \"unread-setting\" }}`"
        )
    }
}

impl fmt::Display for UnreadSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, key, value, meaning } = self;
        write!(f, "{file}: `{key}` = {value} {meaning}")
    }
}

/// The first setting that asks for another computation: its key, its value, and what is supported.
pub(super) fn find_other_computation(
    map: &Map<String, Value>,
) -> Option<(&'static str, &Value, &'static str)> {
    OTHER_COMPUTATION.iter().find_map(|(key, neutral)| {
        let value = map.get(*key).filter(|value| !neutral.accepts(value))?;
        Some((*key, value, neutral.supported()))
    })
}

/// Every setting that is neither read nor known to be harmless, unless it is null or false.
pub(super) fn list_unread_settings(
    map: &Map<String, Value>,
    contract: Option<&Contract>,
) -> Vec<UnreadSetting> {
    let set = map.iter().filter(|(_, value)| !value.is_null() && **value != false);
    let unread = set.filter_map(|(key, value)| {
        let meaning = explain_unread_setting(key, value, contract)?;
        Some(UnreadSetting { file: "config.json", key: cut(key), value: show_value(value), meaning })
    });
    unread.collect()
}

/// What it means that nothing reads a setting; `None` if something does, or it is harmless.
fn explain_unread_setting(key: &str, value: &Value, contract: Option<&Contract>) -> Option<&'static str> {
    let flow = contract.is_some_and(|contract| contract.kind == ModelKind::Flow);
    let listed = |list: &[&str]| list.contains(&key);
    let refused = OTHER_COMPUTATION.iter().any(|(own, _)| *own == key);
    match key {
        "expand_token_id" | "delete_token_id" if !flow => {
            Some("is not read: only the contract of a flow model says by which tokens its text grows")
        }
        "mask_token_id" if !flow => Some(
            "is not read: nothing here says that this is a flow model; name its row in `convert` with `mask-token`",
        ),
        "block_size" if !flow => Some("is not read: blocks are a setting of `attention`"),
        "attention_dropout" if value.as_f64() == Some(0.0) => None,
        "attention_dropout" => Some("is not read: fmflow trains without dropout"),
        "auto_map" => Some("is not read: code of a checkpoint is never run, and a plain Qwen3 is computed"),
        _ if listed(GENERATION) => Some(
            "is not read and will not be exported: write settings of generation into generation_config.json",
        ),
        _ if listed(READ) || listed(HARMLESS) || refused => None,
        _ => Some("is not read: fmflow does not know this setting, and computes a plain Qwen3 without it"),
    }
}

/// A value as JSON, cut to a length that can be shown.
pub(crate) fn show_value(value: &Value) -> String {
    cut(&value.to_string())
}

/// The first characters of a text that is too long to be shown.
pub(crate) fn cut(text: &str) -> String {
    match text.char_indices().nth(LONGEST_SHOWN) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}...", &text[..end]),
    }
}
