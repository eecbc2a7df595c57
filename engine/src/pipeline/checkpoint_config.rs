//! `config.json` of a Hugging Face Qwen3, as transformers 4 and 5 write it.
//!
//! No setting passes unread. One that changes the computation and is not implemented is an error that names the key, because
//! ignoring it would run another model than the one that was trained. Every other key is known to be harmless, or is told
//! ([`Qwen3Config::list_unread_settings`]).

mod error;
mod keys;
mod settings;
mod unique;

pub use error::ConfigError;
pub use settings::UnreadSetting;
pub(super) use settings::{cut, show_value};
pub(super) use unique::parse_unique_object;

use serde_json::{Map, Value, json};

use crate::pipeline::contract::Contract;
use crate::pipeline::shape::{ModelShape, UnfitSize};
use keys::ConfigKeys;

/// Shape and constants of a Qwen3.
#[derive(Clone, Debug, PartialEq)]
pub struct Qwen3Config {
    /// Rows of the embedding, V.
    pub vocab_size: usize,
    /// Width of the residual stream, D.
    pub hidden_size: usize,
    /// Width of the feed-forward layer, F.
    pub intermediate_size: usize,
    /// Number of blocks.
    pub num_hidden_layers: usize,
    /// Query heads, H.
    pub num_attention_heads: usize,
    /// Key and value heads, K; divides H.
    pub num_key_value_heads: usize,
    /// Width of a head, h; even.
    pub head_dim: usize,
    /// Added to the mean square in every RMS norm.
    pub rms_norm_eps: f64,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// Whether the output head shares its weights with the embedding.
    pub tie_word_embeddings: bool,
    /// Longest row, in tokens, that the model was designed for.
    pub max_position_embeddings: usize,
    /// Standard deviation of new weights.
    pub initializer_range: f64,
    /// Begin-of-sequence id, passed through.
    pub bos_token_id: Option<u32>,
    /// End-of-sequence ids, passed through. transformers accepts several.
    pub eos_token_ids: Vec<u32>,
    /// Padding id, passed through.
    pub pad_token_id: Option<u32>,
}

impl Qwen3Config {
    /// Reads the text of a `config.json` of a causal model: one without a contract.
    ///
    /// # Errors
    /// If a required key is absent or out of range, or a key requests something that this backbone does not compute.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        Self::parse_with_contract(text, None)
    }

    /// Reads the text of a `config.json` beside `contract`. What both say must agree, such as the attention.
    ///
    /// # Errors
    /// As [`Self::parse`], or if the contract says otherwise.
    pub fn parse_with_contract(text: &str, contract: Option<&Contract>) -> Result<Self, ConfigError> {
        let map = unique::parse_unique_object(text).map_err(ConfigError::Json)?;
        let keys = ConfigKeys(&map);
        keys.refuse_unsupported(contract)?;
        keys.refuse_other_contract(contract)?;
        let config = Self {
            vocab_size: keys.size("vocab_size")?,
            hidden_size: keys.size("hidden_size")?,
            intermediate_size: keys.size("intermediate_size")?,
            num_hidden_layers: keys.size("num_hidden_layers")?,
            num_attention_heads: keys.size("num_attention_heads")?,
            num_key_value_heads: keys.size("num_key_value_heads")?,
            head_dim: keys.size("head_dim")?,
            rms_norm_eps: keys.norm_epsilon()?,
            rope_theta: keys.rope_theta()?,
            tie_word_embeddings: keys.flag("tie_word_embeddings")?,
            max_position_embeddings: keys.size("max_position_embeddings")?,
            initializer_range: keys.optional("initializer_range", 0.02)?,
            bos_token_id: keys.id("bos_token_id")?,
            eos_token_ids: keys.ids("eos_token_id")?,
            pad_token_id: keys.id("pad_token_id")?,
        };
        config.check()?;
        config.refuse_ids_beyond()?;
        Ok(config)
    }

    /// The settings of a `config.json` that nothing reads, in their order; see [`UnreadSetting`].
    ///
    /// # Errors
    /// If the text is not a JSON object.
    pub fn list_unread_settings(
        text: &str,
        contract: Option<&Contract>,
    ) -> Result<Vec<UnreadSetting>, ConfigError> {
        let map = unique::parse_unique_object(text).map_err(ConfigError::Json)?;
        Ok(settings::list_unread_settings(&map, contract))
    }

    /// Refuses special tokens without a row. No program could look them up.
    fn refuse_ids_beyond(&self) -> Result<(), ConfigError> {
        let rows = self.vocab_size;
        let ends = self.eos_token_ids.iter().map(|id| ("eos_token_id", *id));
        let others = [("bos_token_id", self.bos_token_id), ("pad_token_id", self.pad_token_id)];
        let all = others.into_iter().filter_map(|(key, id)| Some((key, id?))).chain(ends);
        match all.into_iter().find(|(_, id)| *id as usize >= rows) {
            None => Ok(()),
            Some((key, id)) => {
                Err(ConfigError::Invalid { key, value: id.to_string(), expected: "an id below `vocab_size`" })
            }
        }
    }

    /// Refuses shapes that contradict each other, or that would let a stranger's `config.json` allocate without bound.
    ///
    /// # Errors
    /// If the key heads do not divide the query heads, the head width is odd, or a size exceeds its cap.
    pub fn check(&self) -> Result<(), ConfigError> {
        match self.shape().find_unfit_size() {
            None => Ok(()),
            Some(UnfitSize { key, value, expected }) => {
                Err(ConfigError::Invalid { key, value: value.to_string(), expected })
            }
        }
    }

    /// The sizes.
    fn shape(&self) -> ModelShape {
        ModelShape {
            vocabulary: self.vocab_size as u64,
            hidden: self.hidden_size as u64,
            layers: self.num_hidden_layers as u64,
            heads: self.num_attention_heads as u64,
            kv_heads: self.num_key_value_heads as u64,
            head_dim: self.head_dim as u64,
            feed_forward: self.intermediate_size as u64,
            tied: self.tie_word_embeddings,
        }
    }

    /// The text of a `config.json` that both transformers 4 and 5 can read.
    #[must_use]
    pub fn to_json(&self) -> String {
        format!("{:#}\n", Value::Object(self.entries()))
    }

    /// The content of [`Qwen3Config::to_json`]. Some keys appear twice, under the names of transformers 4 and 5.
    #[must_use]
    pub fn entries(&self) -> Map<String, Value> {
        let entries = [
            ("architectures", json!(["Qwen3ForCausalLM"])),
            ("attention_bias", json!(false)),
            ("attention_dropout", json!(0.0)),
            ("bos_token_id", json!(self.bos_token_id)),
            ("dtype", json!("float32")),
            ("eos_token_id", ids_to_json(&self.eos_token_ids)),
            ("head_dim", json!(self.head_dim)),
            ("hidden_act", json!("silu")),
            ("hidden_size", json!(self.hidden_size)),
            ("initializer_range", json!(self.initializer_range)),
            ("intermediate_size", json!(self.intermediate_size)),
            ("max_position_embeddings", json!(self.max_position_embeddings)),
            ("max_window_layers", json!(self.num_hidden_layers)),
            ("model_type", json!("qwen3")),
            ("num_attention_heads", json!(self.num_attention_heads)),
            ("num_hidden_layers", json!(self.num_hidden_layers)),
            ("num_key_value_heads", json!(self.num_key_value_heads)),
            ("pad_token_id", json!(self.pad_token_id)),
            ("rms_norm_eps", json!(self.rms_norm_eps)),
            ("rope_parameters", json!({"rope_theta": self.rope_theta, "rope_type": "default"})),
            ("rope_scaling", Value::Null),
            ("rope_theta", json!(self.rope_theta)),
            ("sliding_window", Value::Null),
            ("tie_word_embeddings", json!(self.tie_word_embeddings)),
            ("torch_dtype", json!("float32")),
            ("use_cache", json!(false)),
            ("use_sliding_window", json!(false)),
            ("vocab_size", json!(self.vocab_size)),
        ];
        entries.map(|(key, value)| (key.to_owned(), value)).into_iter().collect()
    }
}

/// End tokens as transformers writes them: nothing, one id, or a list.
#[must_use]
pub fn ids_to_json(ids: &[u32]) -> Value {
    match ids {
        [] => Value::Null,
        [id] => json!(id),
        ids => json!(ids),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base() -> Qwen3Config {
        Qwen3Config {
            vocab_size: 32,
            hidden_size: 8,
            intermediate_size: 16,
            num_hidden_layers: 2,
            num_attention_heads: 4,
            num_key_value_heads: 2,
            head_dim: 4,
            rms_norm_eps: 1e-6,
            rope_theta: 1e6,
            tie_word_embeddings: true,
            max_position_embeddings: 64,
            initializer_range: 0.02,
            bos_token_id: None,
            eos_token_ids: vec![3],
            pad_token_id: None,
        }
    }

    fn with(key: &str, value: Value) -> Result<Qwen3Config, ConfigError> {
        let mut map: Map<String, Value> = serde_json::from_str(&base().to_json()).unwrap();
        map.insert(key.into(), value);
        Qwen3Config::parse(&Value::Object(map).to_string())
    }

    #[test]
    fn what_is_written_is_read_back() {
        assert_eq!(Qwen3Config::parse(&base().to_json()), Ok(base()));
    }

    #[test]
    fn the_base_of_either_version_is_enough() {
        assert_eq!(with("rope_theta", Value::Null), Ok(base()));
        assert_eq!(with("rope_parameters", Value::Null), Ok(base()));
        assert!(with("rope_theta", json!(1e4)).unwrap_err().to_string().contains("rope_parameters"));
    }

    #[test]
    fn every_needed_key_is_named_when_absent() {
        for key in [
            "vocab_size",
            "hidden_size",
            "intermediate_size",
            "num_hidden_layers",
            "head_dim",
            "rms_norm_eps",
        ]
        .into_iter()
        .chain([
            "num_attention_heads",
            "num_key_value_heads",
            "model_type",
            "max_position_embeddings",
        ]) {
            assert_eq!(
                with(key, Value::Null).err().map(|e| e.to_string()),
                Some(format!("config.json has no `{key}`"))
            );
        }
    }

    #[test]
    fn an_option_that_is_not_computed_is_refused_by_name() {
        for (key, value) in [
            ("attention_bias", json!(true)),
            ("use_sliding_window", json!(true)),
            ("hidden_act", json!("gelu")),
            ("model_type", json!("qwen2")),
            ("layer_types", json!(["full_attention", "sliding_attention"])),
            ("rope_scaling", json!({"rope_type": "yarn", "factor": 4.0})),
            ("rope_scaling", json!({"rope_type": "default", "rope_theta": 1234.5})),
            ("rope_parameters", json!({"rope_type": "linear", "rope_theta": 1e6, "factor": 2.0})),
            ("quantization_config", json!({"bits": 4})),
            ("architectures", json!(["Qwen3ForSequenceClassification"])),
            ("architectures", json!("Qwen3ForSequenceClassification")),
            ("layer_types", json!("sliding_attention")),
            ("is_causal", json!(false)),
            ("use_bidirectional_attention", json!(true)),
            ("final_logit_softcapping", json!(30.0)),
            ("partial_rotary_factor", json!(0.5)),
            ("logit_scale", json!(2)),
            ("mlp_bias", json!(true)),
            ("use_qk_norm", json!(false)),
            ("per_layer_config", json!({"0": {"head_dim": 2}})),
        ] {
            let error = with(key, value).unwrap_err();
            assert!(matches!(&error, ConfigError::Unsupported { key: k, .. } if *k == key), "{error}");
        }
    }

    #[test]
    fn shapes_that_contradict_each_other_are_refused() {
        for (key, value) in [
            ("num_key_value_heads", json!(3)),
            ("head_dim", json!(5)),
            ("hidden_size", json!(0)),
            ("vocab_size", json!(-1)),
            ("vocab_size", json!(1u64 << 40)),
            ("rms_norm_eps", json!(0)),
            ("tie_word_embeddings", json!("yes")),
            ("rms_norm_eps", json!(1)),
            ("rope_theta", json!(1e-300)),
            ("rope_theta", json!(1e13)),
            ("eos_token_id", json!(32)),
            ("eos_token_id", json!([3, 32])),
            ("eos_token_id", json!("<|im_end|>")),
            ("bos_token_id", json!(32)),
            ("pad_token_id", json!(-1)),
            ("pad_token_id", json!([1])),
        ] {
            let error = with(key, value).unwrap_err();
            assert!(matches!(&error, ConfigError::Invalid { key: k, .. } if *k == key), "{error}");
        }
    }
    #[test]
    fn a_setting_that_changes_nothing_is_accepted() {
        for (key, value) in [
            ("partial_rotary_factor", json!(1.0)),
            ("logit_scale", json!(1)),
            ("mlp_bias", json!(false)),
            ("use_qk_norm", json!(true)),
            ("num_experts", json!(0)),
            ("pruned_heads", json!({})),
            ("is_causal", json!(true)),
            ("attention_dropout", json!(0.1)),
            ("of_somebody", json!("x")),
        ] {
            assert_eq!(with(key, value), Ok(base()), "{key}");
        }
    }

    #[test]
    fn every_other_setting_is_told() {
        let mut map = base().entries();
        let told = |map: &Map<String, Value>| {
            let found = Qwen3Config::list_unread_settings(&Value::Object(map.clone()).to_string(), None);
            found.unwrap().iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(told(&map), Vec::<String>::new());
        for (key, value) in [
            ("off", json!(false)),
            ("nothing", Value::Null),
            ("transformers_version", json!("5.24.0")),
            ("attention_dropout", json!(0.1)),
            ("auto_map", json!({"AutoModelForCausalLM": "modeling_mine.Mine"})),
            ("temperature", json!(0.6)),
            ("mask_token_id", json!(7)),
            ("of_somebody", json!(["x".repeat(1000)])),
        ] {
            map.insert(key.into(), value);
        }
        let found = told(&map);
        let keys = ["attention_dropout", "auto_map", "temperature", "mask_token_id", "of_somebody"];
        assert_eq!(found.len(), keys.len(), "{found:#?}");
        for (line, key) in found.iter().zip(keys) {
            assert!(line.starts_with(&format!("config.json: `{key}` = ")) && line.len() < 300, "{line}");
        }
        assert!(found[0].contains("0.1") && found[0].contains("without dropout"), "{}", found[0]);
        assert!(found[2].contains("generation_config.json"), "{}", found[2]);
    }

    #[test]
    fn a_key_that_is_written_twice_is_refused() {
        let twice = base().to_json().replacen('{', "{\"rms_norm_eps\": 1e-5,", 1);
        let error = Qwen3Config::parse(&twice).unwrap_err().to_string();
        assert!(error.contains("`rms_norm_eps` is written twice"), "{error}");
        let nested = base().to_json().replace("\"rope_type\"", "\"rope_theta\": 1e4, \"rope_type\"");
        assert!(
            Qwen3Config::parse(&nested).unwrap_err().to_string().contains("`rope_theta` is written twice")
        );
    }

    #[test]
    fn several_end_tokens_are_kept() {
        let many = Qwen3Config { eos_token_ids: vec![3, 5], ..base() };
        assert_eq!(with("eos_token_id", json!([3, 5])), Ok(many.clone()));
        assert_eq!(Qwen3Config::parse(&many.to_json()), Ok(many));
        assert_eq!(with("eos_token_id", json!([3])), Ok(base()));
    }

    #[test]
    fn what_the_contract_says_too_must_agree() {
        use crate::pipeline::contract::{Attention, ModelKind};
        let flow = Contract {
            kind: ModelKind::Flow,
            attention: Attention::Bidirectional,
            mask_token: Some(9),
            ..Contract::autoregressive()
        };
        let blocks =
            Contract { attention: Attention::BlockCausal { block: 4 }, block: Some(4), ..flow.clone() };
        let parse = |key: &str, value: Value, contract: &Contract| {
            let mut map = base().entries();
            map.insert(key.into(), value);
            Qwen3Config::parse_with_contract(&Value::Object(map).to_string(), Some(contract))
        };
        for (key, good, bad, contract) in [
            ("is_causal", json!(false), json!(true), &flow),
            ("is_causal", json!(true), json!(false), &Contract::autoregressive()),
            ("mask_token_id", json!(9), json!(8), &flow),
            ("block_size", json!(4), json!(8), &blocks),
        ] {
            assert_eq!(parse(key, good, contract), Ok(base()), "{key}");
            let error = parse(key, bad, contract).unwrap_err().to_string();
            assert!(error.contains(key) && error.contains("provenance.json"), "{error}");
        }
    }

    #[test]
    fn limits_are_those_of_the_field_table() {
        let node = crate::language::schema::load_schema().node("random-init").unwrap();
        let shape = node.child("shape").unwrap_or(node);
        let range = |field: &str| {
            let range = shape.fields().find(|own| own.name == field).unwrap().range;
            (range.min, range.above, range.max, range.below)
        };
        let (most, least) = (Some(keys::MAX_ROPE_THETA), Some(keys::MIN_ROPE_THETA));
        assert_eq!(range("rope-theta"), (least, None, most, None));
        assert_eq!(range("norm-epsilon"), (None, Some(0.0), None, Some(1.0)));
    }
}
