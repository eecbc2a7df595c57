//! What a model is, beside its weights: `provenance.json` of every checkpoint and artifact.
//!
//! Who set a fact, in which line, lies beside it in `origins.json`. A later stage reads these properties from its parent and takes nothing for granted.

use fmflow_engine::config::train::Path;
pub use fmflow_engine::contract::{Kind, ORIGINS, Origins};

use crate::backbone::{Attention, TimeConditioning};

/// The schema of the file.
pub const SCHEMA: &str = "fmflow.provenance/1";

/// The direction of time, written out because papers differ.
pub const TIME_DIRECTION: &str = "t=0 source, t=1 data";

/// Why a `provenance.json` is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProvenanceError {
    /// Not the JSON of this struct.
    #[error("provenance.json: {0}")]
    Json(String),
    /// Written by another version or with another direction of time.
    #[error("provenance.json: `{key}` is `{found}`, expected `{expected}`")]
    Value {
        /// The key.
        key: &'static str,
        /// Its value.
        found: String,
        /// What this program writes.
        expected: &'static str,
    },
}

/// The contract of a model.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// Always [`TIME_DIRECTION`].
    pub time_direction: String,
    /// What the logits mean.
    pub kind: Kind,
    /// Whether position i predicts token i + 1, as an autoregressive model does.
    pub shift: bool,
    /// The id of the mask token.
    pub mask_token: Option<u32>,
    /// Probability path that it was trained on: source and scheduler. None before the first flow training.
    pub path: Option<Path>,
    /// Loss that trained it.
    pub loss: Option<String>,
    /// Attention that it was trained with.
    pub attention: Attention,
    /// Tokens per block of block-wise generation.
    pub block: Option<usize>,
    /// Whether and how it knows the time.
    pub time_conditioning: TimeConditioning,
    /// Tokens of an answer with its filler, where it was trained to fill such a canvas.
    pub canvas: Option<usize>,
    /// BLAKE3 of tokenizer.json; none where the model has no text.
    pub tokenizer: Option<String>,
    /// Optimizer updates since conversion.
    pub trained_updates: u64,
}

impl Provenance {
    /// The contract of an autoregressive model that nobody has converted.
    #[must_use]
    pub fn autoregressive() -> Self {
        Self {
            schema: SCHEMA.into(),
            time_direction: TIME_DIRECTION.into(),
            kind: Kind::Autoregressive,
            shift: true,
            mask_token: None,
            path: None,
            loss: None,
            attention: Attention::Causal,
            block: None,
            time_conditioning: TimeConditioning::None,
            canvas: None,
            tokenizer: None,
            trained_updates: 0,
        }
    }

    /// Reads the text of a `provenance.json`.
    ///
    /// # Errors
    /// When a key is absent or unknown, or the schema or direction of time is another.
    pub fn parse(text: &str) -> Result<Self, ProvenanceError> {
        let this: Self = serde_json::from_str(text).map_err(|e| ProvenanceError::Json(e.to_string()))?;
        for (key, found, expected) in
            [("schema", &this.schema, SCHEMA), ("time_direction", &this.time_direction, TIME_DIRECTION)]
        {
            if found != expected {
                return Err(ProvenanceError::Value { key, found: found.clone(), expected });
            }
        }
        Ok(this)
    }

    /// The text of the file.
    #[must_use]
    pub fn to_json(&self) -> String {
        format!("{:#}\n", serde_json::json!(self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back_and_a_foreign_direction_refused() {
        let mut provenance = Provenance::autoregressive();
        provenance.attention = Attention::BlockCausal { block: 32 };
        provenance.time_conditioning = TimeConditioning::AdaLn { rank: 8 };
        assert_eq!(Provenance::parse(&provenance.to_json()), Ok(provenance.clone()));
        provenance.time_direction = "t=1 noise".into();
        let error = Provenance::parse(&provenance.to_json()).unwrap_err();
        assert!(matches!(error, ProvenanceError::Value { key: "time_direction", .. }));
        assert!(Provenance::parse("{}").is_err());
    }
}
