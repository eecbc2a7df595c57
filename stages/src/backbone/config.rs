//! `config.json` of a Hugging Face Qwen3, as transformers 4 and 5 write it.
//!
//! An option that changes the computation and is not implemented here is an error that names the key. Ignoring it would run
//! a different model than the one that was trained.

use fmflow_engine::pipeline::shape::{ModelShape, UnfitSize};
use serde_json::{Map, Value, json};

/// Why a `config.json` is refused. Every variant about a key names it.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ConfigError {
    /// The text is not a JSON object.
    #[error("config.json is not a JSON object: {0}")]
    Json(String),
    /// A required key is absent.
    #[error("config.json has no `{0}`")]
    Missing(&'static str),
    /// The value has the wrong type or range.
    #[error("config.json: `{key}` is {value}, expected {expected}")]
    Invalid {
        /// The key.
        key: &'static str,
        /// Its value as JSON.
        value: String,
        /// The accepted values.
        expected: &'static str,
    },
    /// The value is legal but asks for a computation that is not implemented.
    #[error("config.json: `{key}` = {value} is not supported ({supported})")]
    Unsupported {
        /// The key.
        key: &'static str,
        /// Its value as JSON.
        value: String,
        /// The supported values.
        supported: &'static str,
    },
}

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
    /// End-of-sequence id, passed through.
    pub eos_token_id: Option<u32>,
    /// Padding id, passed through.
    pub pad_token_id: Option<u32>,
}

impl Qwen3Config {
    /// Reads the text of a `config.json`.
    ///
    /// # Errors
    /// If a required key is absent or out of range, or a key requests something that this backbone does not compute.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let map: Map<String, Value> =
            serde_json::from_str(text).map_err(|e| ConfigError::Json(e.to_string()))?;
        let keys = ConfigKeys(&map);
        keys.refuse_unsupported()?;
        let config = Self {
            vocab_size: keys.size("vocab_size")?,
            hidden_size: keys.size("hidden_size")?,
            intermediate_size: keys.size("intermediate_size")?,
            num_hidden_layers: keys.size("num_hidden_layers")?,
            num_attention_heads: keys.size("num_attention_heads")?,
            num_key_value_heads: keys.size("num_key_value_heads")?,
            head_dim: keys.size("head_dim")?,
            rms_norm_eps: keys.positive("rms_norm_eps")?,
            rope_theta: keys.rope_theta()?,
            tie_word_embeddings: keys.flag("tie_word_embeddings")?,
            max_position_embeddings: keys.size("max_position_embeddings")?,
            initializer_range: keys.optional("initializer_range", 0.02)?,
            bos_token_id: keys.id("bos_token_id")?,
            eos_token_id: keys.id("eos_token_id")?,
            pad_token_id: keys.id("pad_token_id")?,
        };
        config.check()?;
        Ok(config)
    }

    /// Refuses shapes that contradict each other, or that would let a stranger's `config.json` allocate without bound.
    ///
    /// # Errors
    /// If the key heads do not divide the query heads, the head width is odd, or a size exceeds its cap.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
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
    pub(crate) fn entries(&self) -> Map<String, Value> {
        let entries = [
            ("architectures", json!(["Qwen3ForCausalLM"])),
            ("attention_bias", json!(false)),
            ("attention_dropout", json!(0.0)),
            ("bos_token_id", json!(self.bos_token_id)),
            ("dtype", json!("float32")),
            ("eos_token_id", json!(self.eos_token_id)),
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

/// Typed look-ups in the JSON object. A null counts as absent, as in transformers.
struct ConfigKeys<'a>(&'a Map<String, Value>);

impl<'a> ConfigKeys<'a> {
    fn get(&self, key: &str) -> Option<&'a Value> {
        self.0.get(key).filter(|value| !value.is_null())
    }

    fn size(&self, key: &'static str) -> Result<usize, ConfigError> {
        let value = self.get(key).ok_or(ConfigError::Missing(key))?;
        // The upper limit keeps every product of three sizes within 64 bits; `check` is stricter.
        match value.as_u64().and_then(|n| u32::try_from(n).ok()) {
            Some(n) if n > 0 && n < 1 << 30 => Ok(n as usize),
            _ => Err(invalid_key(key, value, "a positive whole number below 2^30")),
        }
    }

    fn positive(&self, key: &'static str) -> Result<f64, ConfigError> {
        parse_positive(key, self.get(key).ok_or(ConfigError::Missing(key))?)
    }

    fn optional(&self, key: &'static str, default: f64) -> Result<f64, ConfigError> {
        self.get(key).map_or(Ok(default), |value| parse_positive(key, value))
    }

    fn flag(&self, key: &'static str) -> Result<bool, ConfigError> {
        let Some(value) = self.get(key) else { return Ok(false) };
        value.as_bool().ok_or_else(|| invalid_key(key, value, "true or false"))
    }

    /// The first id if a list is given (transformers accepts several end tokens for generation).
    fn id(&self, key: &'static str) -> Result<Option<u32>, ConfigError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let first = value.as_array().and_then(|list| list.first()).unwrap_or(value);
        let id = first.as_u64().and_then(|n| u32::try_from(n).ok());
        id.map(Some).ok_or_else(|| invalid_key(key, value, "a token id"))
    }

    /// `rope_parameters.rope_theta` (transformers 5) or `rope_theta` (transformers 4). If both are present, they must agree.
    fn rope_theta(&self) -> Result<f64, ConfigError> {
        let nested = self.get("rope_parameters").and_then(|rope| rope.get("rope_theta"));
        match (nested, self.get("rope_theta")) {
            (Some(new), Some(old)) if new.as_f64() != old.as_f64() => {
                Err(invalid_key("rope_theta", old, "the value of `rope_parameters.rope_theta`"))
            }
            (Some(value), _) | (None, Some(value)) => parse_positive("rope_theta", value),
            (None, None) => Err(ConfigError::Missing("rope_theta")),
        }
    }

    fn refuse_unsupported(&self) -> Result<(), ConfigError> {
        let model_type = self.get("model_type").ok_or(ConfigError::Missing("model_type"))?;
        self.only("model_type", Some(model_type), "qwen3", "only `qwen3`")?;
        self.only("hidden_act", self.get("hidden_act"), "silu", "only `silu`")?;
        for key in ["attention_bias", "use_sliding_window"] {
            if self.flag(key)? {
                return Err(unsupported_key(key, &Value::Bool(true), "only false"));
            }
        }
        if let Some(value) = self.get("quantization_config") {
            return Err(unsupported_key("quantization_config", value, "only unquantized weights"));
        }
        for kind in self.get("layer_types").and_then(Value::as_array).into_iter().flatten() {
            self.only("layer_types", Some(kind), "full_attention", "only `full_attention`")?;
        }
        for kind in self.get("architectures").and_then(Value::as_array).into_iter().flatten() {
            self.only("architectures", Some(kind), "Qwen3ForCausalLM", "only `Qwen3ForCausalLM`")?;
        }
        self.refuse_rope("rope_scaling")?;
        self.refuse_rope("rope_parameters")
    }

    /// Accepts `{rope_type: default}` under either name, with nothing but the base.
    fn refuse_rope(&self, key: &'static str) -> Result<(), ConfigError> {
        const SUPPORTED: &str = "only rotary positions of type `default`";
        let Some(value) = self.get(key) else { return Ok(()) };
        let rope = value.as_object().ok_or_else(|| invalid_key(key, value, "an object"))?;
        for (name, entry) in rope {
            let plain = match name.as_str() {
                "rope_type" | "type" => entry == "default",
                "rope_theta" => true,
                "partial_rotary_factor" => entry.as_f64() == Some(1.0),
                _ => entry.is_null(),
            };
            if !plain {
                return Err(unsupported_key(key, value, SUPPORTED));
            }
        }
        Ok(())
    }

    fn only(
        &self,
        key: &'static str,
        value: Option<&Value>,
        want: &str,
        supported: &'static str,
    ) -> Result<(), ConfigError> {
        match value {
            Some(value) if value != want => Err(unsupported_key(key, value, supported)),
            _ => Ok(()),
        }
    }
}

fn parse_positive(key: &'static str, value: &Value) -> Result<f64, ConfigError> {
    let number = value.as_f64().filter(|x| x.is_finite() && *x > 0.0);
    number.ok_or_else(|| invalid_key(key, value, "a positive number"))
}

fn invalid_key(key: &'static str, value: &Value, expected: &'static str) -> ConfigError {
    ConfigError::Invalid { key, value: value.to_string(), expected }
}

fn unsupported_key(key: &'static str, value: &Value, supported: &'static str) -> ConfigError {
    ConfigError::Unsupported { key, value: value.to_string(), supported }
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
            eos_token_id: Some(3),
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
            ("rope_parameters", json!({"rope_type": "linear", "rope_theta": 1e6, "factor": 2.0})),
            ("quantization_config", json!({"bits": 4})),
            ("architectures", json!(["Qwen3ForSequenceClassification"])),
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
        ] {
            let error = with(key, value).unwrap_err();
            assert!(matches!(&error, ConfigError::Invalid { key: k, .. } if *k == key), "{error}");
        }
    }
}
