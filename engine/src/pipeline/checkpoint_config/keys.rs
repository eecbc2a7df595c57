//! Typed look-ups in a `config.json`, and the settings that are refused.

use serde_json::{Map, Value};

use super::error::ConfigError;
use super::settings;
use crate::pipeline::contract::{Attention, Contract, ModelKind};

/// Smallest and largest base of the rotary frequencies: those of the field table. Beyond them the frequencies overflow or
/// are all alike.
pub(super) const MIN_ROPE_THETA: f64 = 1.0;
pub(super) const MAX_ROPE_THETA: f64 = 1e12;

/// Typed look-ups in the JSON object. A null counts as absent, as in transformers.
pub(super) struct ConfigKeys<'a>(pub(super) &'a Map<String, Value>);

impl<'a> ConfigKeys<'a> {
    fn get(&self, key: &str) -> Option<&'a Value> {
        self.0.get(key).filter(|value| !value.is_null())
    }

    /// The items of a list; a value that is no list stands for itself, and an absent one for nothing.
    fn items(&self, key: &str) -> &'a [Value] {
        match self.get(key) {
            Some(Value::Array(list)) => list,
            Some(one) => std::slice::from_ref(one),
            None => &[],
        }
    }

    pub(super) fn size(&self, key: &'static str) -> Result<usize, ConfigError> {
        let value = self.get(key).ok_or(ConfigError::Missing(key))?;
        // The upper limit keeps every product of two sizes within 64 bits; `check` is stricter.
        match value.as_u64().and_then(|n| u32::try_from(n).ok()) {
            Some(n) if n > 0 && n < 1 << 30 => Ok(n as usize),
            _ => Err(invalid_key(key, value, "a positive whole number below 2^30")),
        }
    }

    pub(super) fn optional(&self, key: &'static str, default: f64) -> Result<f64, ConfigError> {
        self.get(key).map_or(Ok(default), |value| parse_positive(key, value))
    }

    pub(super) fn flag(&self, key: &'static str) -> Result<bool, ConfigError> {
        let Some(value) = self.get(key) else { return Ok(false) };
        value.as_bool().ok_or_else(|| invalid_key(key, value, "true or false"))
    }

    /// A token id.
    pub(super) fn id(&self, key: &'static str) -> Result<Option<u32>, ConfigError> {
        self.get(key).map(|value| parse_id(key, value)).transpose()
    }

    /// One token id, or a list of them.
    pub(super) fn ids(&self, key: &'static str) -> Result<Vec<u32>, ConfigError> {
        match self.get(key) {
            None => Ok(Vec::new()),
            Some(Value::Array(list)) => list.iter().map(|value| parse_id(key, value)).collect(),
            Some(value) => Ok(vec![parse_id(key, value)?]),
        }
    }

    /// `rms_norm_eps`, above 0 and below 1, as in the field table.
    pub(super) fn norm_epsilon(&self) -> Result<f64, ConfigError> {
        let key = "rms_norm_eps";
        let value = self.get(key).ok_or(ConfigError::Missing(key))?;
        let number = value.as_f64().filter(|x| *x > 0.0 && *x < 1.0);
        number.ok_or_else(|| invalid_key(key, value, "a number above 0 and below 1"))
    }

    /// `rope_parameters.rope_theta` (transformers 5) or `rope_theta` (transformers 4). If both are present, they must agree.
    pub(super) fn rope_theta(&self) -> Result<f64, ConfigError> {
        let nested = self.get("rope_parameters").and_then(|rope| rope.get("rope_theta"));
        match (nested, self.get("rope_theta")) {
            (Some(new), Some(old)) if new.as_f64() != old.as_f64() => {
                Err(invalid_key("rope_theta", old, "the value of `rope_parameters.rope_theta`"))
            }
            (Some(value), _) | (None, Some(value)) => {
                let number = value.as_f64().filter(|x| (MIN_ROPE_THETA..=MAX_ROPE_THETA).contains(x));
                number.ok_or_else(|| invalid_key("rope_theta", value, "a number of 1 to 1e12"))
            }
            (None, None) => Err(ConfigError::Missing("rope_theta")),
        }
    }

    /// Refuses what this backbone does not compute. An SDAR is a Qwen3 with the attention of its contract.
    pub(super) fn refuse_unsupported(&self, contract: Option<&Contract>) -> Result<(), ConfigError> {
        let model_type = self.get("model_type").ok_or(ConfigError::Missing("model_type"))?;
        let blocks = contract.is_some_and(|contract| contract.block.is_some() && !contract.shift);
        let sdar = blocks && model_type == "sdar";
        if !sdar {
            self.only("model_type", Some(model_type), "qwen3", "only `qwen3`")?;
        }
        self.only("hidden_act", self.get("hidden_act"), "silu", "only `silu`")?;
        for key in ["attention_bias", "use_sliding_window"] {
            if self.flag(key)? {
                return Err(unsupported_key(key, &Value::Bool(true), "only false"));
            }
        }
        if let Some(value) = self.get("quantization_config") {
            return Err(unsupported_key("quantization_config", value, "only unquantized weights"));
        }
        for kind in self.items("layer_types") {
            self.only("layer_types", Some(kind), "full_attention", "only `full_attention`")?;
        }
        for kind in self.items("architectures").iter().filter(|kind| !sdar || *kind != "SDARForCausalLM") {
            self.only("architectures", Some(kind), "Qwen3ForCausalLM", "only `Qwen3ForCausalLM`")?;
        }
        if let Some((key, value, supported)) = settings::find_other_computation(self.0) {
            return Err(unsupported_key(key, value, supported));
        }
        self.refuse_rope("rope_scaling")?;
        self.refuse_rope("rope_parameters")
    }

    /// Refuses what contradicts `contract`. Without one, a checkpoint is a causal model.
    pub(super) fn refuse_other_contract(&self, contract: Option<&Contract>) -> Result<(), ConfigError> {
        let causal = contract.is_none_or(|contract| contract.attention == Attention::Causal);
        match (self.get("is_causal"), contract) {
            (Some(value), None) if value != true => {
                return Err(unsupported_key(
                    "is_causal",
                    value,
                    "only true: without a contract, a checkpoint is causal",
                ));
            }
            (Some(value), Some(_)) if value.as_bool() != Some(causal) => {
                return Err(invalid_key(
                    "is_causal",
                    value,
                    "the attention of the contract (provenance.json or fmflow.json)",
                ));
            }
            _ => {}
        }
        let Some(contract) = contract.filter(|contract| contract.kind == ModelKind::Flow) else {
            return Ok(());
        };
        self.refuse_other_number(
            "mask_token_id",
            contract.mask_token.map(u64::from),
            "the mask token of the contract (provenance.json or fmflow.json)",
        )?;
        for (key, known) in [
            ("expand_token_id", contract.growth.map(|growth| u64::from(growth.expand))),
            ("delete_token_id", contract.growth.map(|growth| u64::from(growth.delete))),
        ] {
            let expected = "the token of the contract (provenance.json or fmflow.json)";
            self.refuse_other_number(key, known, expected)?;
        }
        self.refuse_other_number(
            "block_size",
            contract.block.map(|n| n as u64),
            "the block of the contract (provenance.json or fmflow.json)",
        )
    }

    fn refuse_other_number(
        &self,
        key: &'static str,
        known: Option<u64>,
        expected: &'static str,
    ) -> Result<(), ConfigError> {
        match self.get(key) {
            Some(value) if value.as_u64() != known => Err(invalid_key(key, value, expected)),
            _ => Ok(()),
        }
    }

    /// Accepts `{rope_type: default}` under either name, with nothing but the base.
    fn refuse_rope(&self, key: &'static str) -> Result<(), ConfigError> {
        const SUPPORTED: &str = "only rotary positions of type `default`";
        let Some(value) = self.get(key) else { return Ok(()) };
        let rope = value.as_object().ok_or_else(|| invalid_key(key, value, "an object"))?;
        for (name, entry) in rope {
            let plain = match name.as_str() {
                "rope_type" | "type" => entry == "default",
                // `rope_theta` reads it in `rope_parameters`; elsewhere it must say the same.
                "rope_theta" if key == "rope_parameters" => true,
                "rope_theta" => entry.as_f64().is_some_and(|base| self.rope_theta() == Ok(base)),
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

fn parse_id(key: &'static str, value: &Value) -> Result<u32, ConfigError> {
    let id = value.as_u64().and_then(|n| u32::try_from(n).ok());
    id.ok_or_else(|| invalid_key(key, value, "a token id"))
}

fn parse_positive(key: &'static str, value: &Value) -> Result<f64, ConfigError> {
    let number = value.as_f64().filter(|x| x.is_finite() && *x > 0.0);
    number.ok_or_else(|| invalid_key(key, value, "a positive number"))
}

fn invalid_key(key: &'static str, value: &Value, expected: &'static str) -> ConfigError {
    ConfigError::Invalid { key, value: settings::show_value(value), expected }
}

fn unsupported_key(key: &'static str, value: &Value, supported: &'static str) -> ConfigError {
    ConfigError::Unsupported { key, value: settings::show_value(value), supported }
}
