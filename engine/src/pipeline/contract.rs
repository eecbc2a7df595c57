//! The contract of a checkpoint, `provenance.json` in its folder: the facts that its users must respect.
//!
//! A conversion or training sets some facts and takes the others from its parent. Equal fingerprints give an equal file;
//! therefore the stage and line that set each fact are in another file ([`crate::pipeline::origins`]).

use serde::{Deserialize, Serialize};

use crate::pipeline::config::attention::AttentionSchedule;
use crate::pipeline::config::train::{
    AUTOREGRESSIVE_LOSS, LOSS_NAMES, Objective, ProbabilityPath, Scheduler, TrainConfig,
};
use crate::pipeline::config::{ConvertConfig, GrowthTokens, TimeConditioning};
pub use crate::pipeline::contract_error::{ContractError, PROVENANCE, SIDECAR};

/// File name of the certificate of a converted model and of all models trained from it.
pub const CERTIFICATE: &str = "certificate.json";

/// The schema of [`PROVENANCE`].
const PROVENANCE_SCHEMA: &str = "fmflow.provenance/1";

/// The direction of time, written out because papers differ.
pub(crate) const TIME_DIRECTION: &str = "t=0 source, t=1 data";

/// Largest `provenance.json` or `origins.json` that is read, in bytes. A checkpoint folder may come from a stranger.
pub(crate) const MAX_CONTRACT_BYTES: u64 = 1 << 20;

/// Largest block and canvas, in tokens: those of the field table.
const MAX_POSITIONS: usize = 1 << 20;

/// Largest rank of the time conditioning and largest exponent of a scheduler: those of the field table.
const MAX_RANK: usize = 1 << 16;
const MAX_EXPONENT: f64 = 64.0;

/// More updates than any training has, few enough to be added to.
const MAX_UPDATES: u64 = 1 << 53;

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
    /// Masks in a row behind a text whose next tokens it was trained to predict; `None` if it was not trained on causal
    /// [x_t, x_0]. With it, the model without masks is an autoregressive one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stride: Option<usize>,
    /// How the model is given the time t, if it is.
    pub time_conditioning: TimeConditioning,
    /// The tokens with which a gap grows and shrinks, if the last training taught it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub growth: Option<GrowthTokens>,
    /// Length in tokens of a padded answer, if it was trained on such answers.
    pub canvas: Option<usize>,
    /// BLAKE3 of `tokenizer.json`; `None` if the model has no tokenizer.
    pub tokenizer: Option<String>,
    /// Number of optimizer updates since the conversion.
    pub trained_updates: u64,
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
            stride: None,
            time_conditioning: TimeConditioning::None,
            growth: None,
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
    /// canvas of the rows it was trained on, `growth` the tokens by which its text grows.
    #[must_use]
    pub fn after_training(
        &self,
        config: &TrainConfig,
        updates: u64,
        (canvas, growth): (Option<usize>, Option<GrowthTokens>),
    ) -> Self {
        let mut contract = self.clone();
        contract.attention = find_trained_attention(&config.attention, updates);
        let last = updates.saturating_sub(1);
        (contract.block, contract.stride) =
            (config.attention.block_at(last), config.attention.stride_at(last));
        contract.growth = growth;
        contract.trained_updates += updates;
        contract.canvas = canvas.or(contract.canvas);
        match &config.objective {
            Objective::Autoregressive => contract.loss = Some(AUTOREGRESSIVE_LOSS.into()),
            Objective::Flow { path, loss, .. } => {
                contract.path = Some(path.clone());
                contract.loss = Some(loss.name().into());
            }
        }
        contract
    }

    /// Whether it has a law of the next token where nothing is masked: it was never trained on a flow, or with strides only.
    #[must_use]
    pub fn predicts_next_token(&self) -> bool {
        self.path.is_none() || self.stride.is_some() || self.is_last_loss_autoregressive()
    }

    /// Whether it was last trained to predict the next token.
    pub(crate) fn is_last_loss_autoregressive(&self) -> bool {
        self.loss.as_deref() == Some(AUTOREGRESSIVE_LOSS)
    }

    /// Reads the text of a `provenance.json`.
    ///
    /// # Errors
    /// If a key is missing or unknown, the schema version or the direction of time differs, or a value is out of range.
    pub fn parse(text: &str) -> Result<Self, ContractError> {
        let this: Self = serde_json::from_str(text).map_err(|e| ContractError::Json(e.to_string()))?;
        this.check()
    }

    /// The contract itself, if this program could have written it.
    ///
    /// # Errors
    /// If the schema version or the direction of time differs, or a value is out of range.
    pub(super) fn check(self) -> Result<Self, ContractError> {
        for (key, found, expected) in [
            ("schema", &self.schema, PROVENANCE_SCHEMA),
            ("time_direction", &self.time_direction, TIME_DIRECTION),
        ] {
            if found != expected {
                return Err(ContractError::Value { key, found: found.clone(), expected });
            }
        }
        self.refuse_unfit_values().map(|()| self)
    }

    /// Refuses values that no stage writes. A stranger's file must not make a later stage allocate, index or loop without bound.
    fn refuse_unfit_values(&self) -> Result<(), ContractError> {
        let positions = |n: Option<usize>| n.is_none_or(|n| (1..=MAX_POSITIONS).contains(&n));
        let attention = match self.attention {
            Attention::BlockCausal { block } => positions(Some(block)),
            Attention::Causal | Attention::Bidirectional => true,
        };
        let rank = match self.time_conditioning {
            TimeConditioning::AdaLn { rank } => (1..=MAX_RANK).contains(&rank),
            TimeConditioning::None => true,
        };
        let digest = |text: &str| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let flow_has_mask = self.kind == ModelKind::Autoregressive || self.mask_token.is_some();
        let known = |name: &str| LOSS_NAMES.contains(&name);
        for (key, holds, expected) in [
            ("mask_token", flow_has_mask, "the id of a row, because `kind` is `flow`"),
            (
                "path",
                self.path.as_ref().is_none_or(is_possible_path),
                "a share of 0 to 1 and an exponent above 0, up to 64",
            ),
            ("loss", self.loss.as_deref().is_none_or(known), "the name of a loss"),
            ("attention", attention, "blocks of 1 to 1048576 tokens"),
            ("block", positions(self.block), "1 to 1048576"),
            ("stride", positions(self.stride), "1 to 1048576"),
            ("growth", self.can_grow(), "two ids beside `mask_token`, with `attention` in both directions"),
            ("time_conditioning", rank, "a rank of 1 to 65536"),
            ("canvas", positions(self.canvas), "1 to 1048576"),
            ("tokenizer", self.tokenizer.as_deref().is_none_or(digest), "64 hexadecimal digits"),
            ("trained_updates", self.trained_updates <= MAX_UPDATES, "at most 2^53"),
        ] {
            if !holds {
                return Err(self.unfit_value(key, expected));
            }
        }
        Ok(())
    }

    /// Whether text can grow by its tokens, if it has some: where masks see what stands on both sides.
    fn can_grow(&self) -> bool {
        self.growth.is_none_or(|GrowthTokens { expand, delete }| {
            let [expands, deletes] = [expand, delete].map(|id| Some(id) != self.mask_token);
            let apart = expand != delete && expands && deletes;
            apart && self.kind == ModelKind::Flow && self.attention == Attention::Bidirectional
        })
    }

    /// Refuses tokens outside of an embedding with `rows` rows: the mask, and those by which text grows.
    ///
    /// # Errors
    /// If there is no such row.
    pub fn refuse_mask_beyond(&self, rows: usize) -> Result<(), ContractError> {
        let beyond = |id: u32| id as usize >= rows;
        if self.mask_token.is_some_and(beyond) {
            return Err(self.unfit_value("mask_token", "an id of the vocabulary"));
        }
        match self.growth {
            Some(growth) if beyond(growth.expand) || beyond(growth.delete) => {
                Err(self.unfit_value("growth", "two ids of the vocabulary"))
            }
            _ => Ok(()),
        }
    }

    fn unfit_value(&self, key: &'static str, expected: &'static str) -> ContractError {
        ContractError::Value { key, found: serde_json::json!(self)[key].to_string(), expected }
    }

    /// The contents of `provenance.json`.
    #[must_use]
    pub fn to_json(&self) -> String {
        format!("{:#}\n", serde_json::json!(self))
    }
}

fn is_possible_path(path: &ProbabilityPath) -> bool {
    let scheduler = match path.scheduler {
        Scheduler::Polynomial { exponent } => exponent > 0.0 && exponent <= MAX_EXPONENT,
        Scheduler::Cosine | Scheduler::SineSquared => true,
    };
    scheduler && (0.0..=1.0).contains(&path.mask_share)
}

/// The attention that a model has learned after `updates` updates (at least one): that of the last of them. Annealed
/// attention counts as bidirectional, even before the annealing has ended.
#[must_use]
pub fn find_trained_attention(schedule: &AttentionSchedule, updates: u64) -> Attention {
    match schedule.block_at(updates.saturating_sub(1)) {
        Some(block) => Attention::BlockCausal { block },
        None => match schedule {
            AttentionSchedule::Causal | AttentionSchedule::Strided { .. } => Attention::Causal,
            _ => Attention::Bidirectional,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::language::schema::load_schema;
    use serde_json::json;

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
    fn values_that_no_stage_writes_are_refused() {
        let mut flow = Contract::autoregressive();
        (flow.kind, flow.mask_token) = (ModelKind::Flow, Some(7));
        assert_eq!(Contract::parse(&flow.to_json()).unwrap().refuse_mask_beyond(8), Ok(()));
        let beyond = flow.refuse_mask_beyond(7).unwrap_err().to_string();
        assert_eq!(beyond, "provenance.json: `mask_token` is `7`, expected `an id of the vocabulary`");
        for (key, value) in [
            ("mask_token", json!(null)),
            ("mask_token", json!(-1)),
            ("path", json!({"mask_share": 1.5, "scheduler": "cosine"})),
            ("path", json!({"mask_share": 1, "scheduler": {"polynomial": {"exponent": 1e300}}})),
            ("loss", json!("\u{1b}[2J")),
            ("attention", json!({"block-causal": {"block": 0}})),
            ("block", json!(0)),
            ("block", json!(1_u64 << 40)),
            ("time_conditioning", json!({"ada-ln": {"rank": 1_u64 << 40}})),
            ("canvas", json!(1_u64 << 40)),
            ("growth", json!({"expand": 3, "delete": 4})),
            ("tokenizer", json!("0")),
            ("trained_updates", json!(u64::MAX)),
        ] {
            let mut text = json!(flow);
            assert!(Contract::parse(&text.to_string()).is_ok());
            text[key] = value;
            let error = Contract::parse(&text.to_string()).unwrap_err().to_string();
            let named = error.starts_with(&format!("provenance.json: `{key}` is")) || text[key] == -1;
            assert!(named, "{key}: {error}");
        }
    }

    #[test]
    fn limits_are_those_of_the_field_table() {
        let range = |node: &str, child: Option<&str>, field: &str| {
            let node = load_schema().node(node).unwrap();
            let node = child.map_or(node, |child| node.child(child).unwrap());
            let range = node.fields().find(|own| own.name == field).unwrap().range;
            (range.min, range.above, range.max, range.below)
        };
        let up_to = |limit: usize| (Some(1.0), None, Some(limit as f64), None);
        assert_eq!(range("train", Some("attention"), "size"), up_to(MAX_POSITIONS));
        assert_eq!(range("rows", None, "canvas"), up_to(MAX_POSITIONS));
        assert_eq!(range("convert", Some("time-conditioning"), "rank"), up_to(MAX_RANK));
        assert_eq!(range("scheduler", None, "exponent"), (None, Some(0.0), Some(MAX_EXPONENT), None));
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
