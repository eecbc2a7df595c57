//! Why a `config.json` is refused.

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

impl ConfigError {
    /// What to do about it.
    #[must_use]
    pub fn cure(&self) -> &'static str {
        match self {
            Self::Json(_) => "copy config.json again from where the checkpoint comes from",
            Self::Missing(_) => {
                "use the config.json that was saved with these weights, as transformers writes it"
            }
            Self::Invalid { .. } => "use the config.json that was saved with these weights",
            Self::Unsupported { key: "architectures", value, .. } if value.contains("Qwen3Model") => {
                "this Qwen3 was saved without its head: if its head is the embedding, write `\"architectures\": [\"Qwen3ForCausalLM\"]` in config.json"
            }
            Self::Unsupported { key: "model_type" | "architectures" | "text_config", .. } => {
                "only a Qwen3 with its language model head can be read: start from one, such as Qwen/Qwen3-0.6B-Base"
            }
            Self::Unsupported { key: "quantization_config" | "compression_config", .. } => {
                "use the checkpoint from before it was quantized"
            }
            Self::Unsupported { key: "is_causal", .. } => {
                "start from the causal model that it was made from: `convert` makes a causal model bidirectional"
            }
            Self::Unsupported { .. } => {
                "use a checkpoint that was trained without this: with the key removed, it would be another model"
            }
        }
    }
}
