//! The contract of a checkpoint, `provenance.json` in its folder: the facts that its users must respect.
//!
//! A conversion or training sets some facts and takes the others from its parent. Equal fingerprints give an equal file;
//! therefore the stage and line that set each fact are in another file ([`crate::pipeline::origins`]).

use serde::{Deserialize, Serialize};

use crate::pipeline::config::attention::AttentionSchedule;
use crate::pipeline::config::train::{Objective, ProbabilityPath, Scheduler, TrainConfig};
use crate::pipeline::config::{ConvertConfig, TimeConditioning};

/// File name in a checkpoint's folder.
pub const PROVENANCE: &str = "provenance.json";

/// The schema of [`PROVENANCE`].
const PROVENANCE_SCHEMA: &str = "fmflow.provenance/1";

/// The direction of time, written out because papers differ.
pub(crate) const TIME_DIRECTION: &str = "t=0 source, t=1 data";

/// Largest `provenance.json` or `origins.json` that is read, in bytes. A checkpoint folder may come from a stranger.
pub(crate) const MAX_CONTRACT_BYTES: u64 = 1 << 20;

/// What the logits of a model mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ModelKind {
    /// The next token.
    Autoregressive,
    /// The posterior p(x_1 | x_t, t) of discrete flow matching.
    Flow,
}

/// Which positions a model was trained to see, within a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Attention {
    /// Query i attends to keys j <= i.
    Causal,
    /// Every query attends to every key.
    Bidirectional,
    /// Queries attend to keys of their own block of `block` tokens and of earlier ones. Blocks are counted from the start of
    /// each document.
    BlockCausal {
        /// Tokens per block.
        block: usize,
    },
}

/// The facts about a model that its users must respect.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contract {
    /// Always `fmflow.provenance/1`.
    pub schema: String,
    /// Always [`TIME_DIRECTION`].
    pub time_direction: String,
    /// What the logits mean.
    pub kind: ModelKind,
    /// Whether position i predicts token i + 1, as an autoregressive model does.
    pub shift: bool,
    /// Id of the mask token; `None` before conversion.
    pub mask_token: Option<u32>,
    /// Probability path it was trained on: source and scheduler. `None` before the first flow training.
    pub path: Option<ProbabilityPath>,
    /// Name of the loss it was trained with.
    pub loss: Option<String>,
    /// Attention it was trained with.
    pub attention: Attention,
    /// Tokens per block of block-wise generation; `None` if it was not trained with blocks.
    pub block: Option<usize>,
    /// How the model is given the time t, if it is.
    pub time_conditioning: TimeConditioning,
    /// Length in tokens of a padded answer, if it was trained on such answers.
    pub canvas: Option<usize>,
    /// BLAKE3 of `tokenizer.json`; `None` if the model has no tokenizer.
    pub tokenizer: Option<String>,
    /// Number of optimizer updates since the conversion.
    pub trained_updates: u64,
}

/// Why a `provenance.json` is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContractError {
    /// Not the JSON of [`Contract`].
    #[error("{PROVENANCE}: {0}")]
    Json(String),
    /// Written by another version, or with the opposite direction of time.
    #[error("{PROVENANCE}: `{key}` is `{found}`, expected `{expected}`")]
    Value {
        /// Key in the JSON object.
        key: &'static str,
        /// Value in the file.
        found: String,
        /// Value that this program writes.
        expected: &'static str,
    },
}

impl Contract {
    /// The contract of an autoregressive model that was never converted.
    #[must_use]
    pub fn autoregressive() -> Self {
        Self {
            schema: PROVENANCE_SCHEMA.into(),
            time_direction: TIME_DIRECTION.into(),
            kind: ModelKind::Autoregressive,
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

    /// The contract of a converted checkpoint. `mask_token` is `None` if its id is not known yet.
    #[must_use]
    pub fn after_conversion(config: &ConvertConfig, mask_token: Option<u32>) -> Self {
        Self {
            kind: ModelKind::Flow,
            shift: config.shift,
            mask_token,
            attention: Attention::Bidirectional,
            time_conditioning: config.time_conditioning,
            ..Self::autoregressive()
        }
    }

    /// The contract after this checkpoint was trained for the first `updates` updates of `config`. `canvas` is the longest
    /// canvas of the rows it was trained on.
    #[must_use]
    pub fn after_training(&self, config: &TrainConfig, updates: u64, canvas: Option<usize>) -> Self {
        let mut contract = self.clone();
        contract.attention = find_trained_attention(&config.attention, updates);
        contract.block = config.attention.block_at(updates.saturating_sub(1));
        contract.trained_updates += updates;
        contract.canvas = canvas.or(contract.canvas);
        match &config.objective {
            Objective::Autoregressive => contract.loss = Some("autoregressive".into()),
            Objective::Flow { path, loss, .. } => {
                contract.path = Some(path.clone());
                contract.loss = Some(loss.name().into());
            }
        }
        contract
    }

    /// Reads the text of a `provenance.json`.
    ///
    /// # Errors
    /// If a key is missing or unknown, or if the schema version or the direction of time differs.
    pub fn parse(text: &str) -> Result<Self, ContractError> {
        let this: Self = serde_json::from_str(text).map_err(|e| ContractError::Json(e.to_string()))?;
        for (key, found, expected) in [
            ("schema", &this.schema, PROVENANCE_SCHEMA),
            ("time_direction", &this.time_direction, TIME_DIRECTION),
        ] {
            if found != expected {
                return Err(ContractError::Value { key, found: found.clone(), expected });
            }
        }
        Ok(this)
    }

    /// The contents of `provenance.json`.
    #[must_use]
    pub fn to_json(&self) -> String {
        format!("{:#}\n", serde_json::json!(self))
    }
}

/// The attention that a model has learned after `updates` updates (at least one): that of the last of them. Annealed
/// attention counts as bidirectional, even before the annealing has ended.
#[must_use]
pub fn find_trained_attention(schedule: &AttentionSchedule, updates: u64) -> Attention {
    match schedule.block_at(updates.saturating_sub(1)) {
        Some(block) => Attention::BlockCausal { block },
        None if *schedule == AttentionSchedule::Causal => Attention::Causal,
        None => Attention::Bidirectional,
    }
}

/// Describes the source of a path in the words of a configuration.
#[must_use]
pub(crate) fn describe_source(path: &ProbabilityPath) -> String {
    match path.mask_share {
        share if share >= 1.0 => "mask".to_owned(),
        share if share <= 0.0 => "uniform".to_owned(),
        share => format!("mask {share:.3}, uniform {:.3}", 1.0 - share),
    }
}

/// Describes a scheduler in the words of a configuration.
#[must_use]
pub(crate) fn describe_scheduler(scheduler: Scheduler) -> String {
    match scheduler {
        Scheduler::Polynomial { exponent: 1.0 } => "linear".to_owned(),
        Scheduler::Polynomial { exponent } => format!("polynomial, exponent {exponent}"),
        Scheduler::Cosine => "cosine".to_owned(),
        Scheduler::SineSquared => "sine-squared".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_contract_reads_back_and_another_time_direction_is_refused() {
        let mut contract = Contract::autoregressive();
        contract.attention = Attention::BlockCausal { block: 32 };
        contract.time_conditioning = TimeConditioning::AdaLn { rank: 8 };
        assert_eq!(Contract::parse(&contract.to_json()), Ok(contract.clone()));
        contract.time_direction = "t=1 noise".into();
        let error = Contract::parse(&contract.to_json()).unwrap_err();
        assert!(matches!(error, ContractError::Value { key: "time_direction", .. }));
        assert!(Contract::parse("{}").is_err());
    }

    #[test]
    fn the_trained_attention_is_that_of_the_last_update() {
        use crate::pipeline::config::BlockPhase;
        let phases = vec![BlockPhase { size: 4, until: Some(2) }, BlockPhase { size: 8, until: None }];
        let blocks = AttentionSchedule::Block { phases };
        assert_eq!(find_trained_attention(&blocks, 2), Attention::BlockCausal { block: 4 });
        assert_eq!(find_trained_attention(&blocks, 3), Attention::BlockCausal { block: 8 });
        assert_eq!(
            find_trained_attention(&AttentionSchedule::Annealed { until: 2 }, 1),
            Attention::Bidirectional
        );
    }
}
