//! Which stage and line set each fact of a checkpoint's contract: `origins.json`, beside [`crate::pipeline::contract`].
//!
//! It records the stage, the file, and the number and text of the line when the artifact was made. These are for messages
//! only: no fingerprint, digest or decision depends on them, so that moving a line makes nothing stale.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::pipeline::config::train::Objective;
use crate::pipeline::config::{StageConfig, TimeConditioning};
use crate::pipeline::contract::{Attention, Contract, ContractError, ModelKind, PROVENANCE, SIDECAR};
use crate::pipeline::export_sidecar::ExportSidecar;
use crate::pipeline::field_path::{FieldPath, convert, random_init, train};
use crate::pipeline::path_words::{describe_scheduler, describe_source};
use crate::pipeline::stage::Stage;
use crate::text::place::{Origin, Span};

/// File name in a checkpoint's folder.
pub const ORIGINS: &str = "origins.json";

/// The schema of [`ORIGINS`].
const ORIGINS_SCHEMA: &str = "fmflow.origins/1";

/// Longest line that is kept, in characters.
const MAX_ORIGIN_CHARS: usize = 160;

/// A fact of a contract that a stage can set. The variants are in alphabetical order, which is the order in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ContractFact {
    /// [`Contract::attention`].
    Attention,
    /// [`Contract::block`].
    Block,
    /// [`Contract::growth`].
    Growth,
    /// [`Contract::kind`].
    Kind,
    /// [`Contract::loss`].
    Loss,
    /// [`Contract::mask_token`].
    MaskToken,
    /// The scheduler of [`Contract::path`].
    Scheduler,
    /// [`Contract::shift`].
    Shift,
    /// The source of [`Contract::path`].
    Source,
    /// [`Contract::time_conditioning`].
    TimeConditioning,
    /// [`Contract::tokenizer`].
    Tokenizer,
}

impl fmt::Display for ContractFact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Attention => "attention",
            Self::Block => "block",
            Self::Growth => "growth",
            Self::Kind => "kind",
            Self::Loss => "loss",
            Self::MaskToken => "mask-token",
            Self::Scheduler => "scheduler",
            Self::Shift => "shift",
            Self::Source => "source",
            Self::TimeConditioning => "time-conditioning",
            Self::Tokenizer => "tokenizer",
        })
    }
}

/// The stage and line that set a fact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FactOrigin {
    /// Name of the stage.
    pub stage: String,
    /// Name of the configuration file, without folders.
    pub file: String,
    /// Line number, from 1; for a default, that of its node.
    pub line: usize,
    /// Text of the line, trimmed and cut to a maximum length.
    pub text: String,
    /// Whether the fact comes from a default that is not written in the file.
    pub default: bool,
}

impl fmt::Display for FactOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = if self.default { "the default of" } else { "set by" };
        write!(f, "{how} stage `{}` in {} line {}", self.stage, self.file, self.line)
    }
}

/// The origin of each fact of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origins {
    /// Always `fmflow.origins/1`.
    pub schema: String,
    /// Origins by fact; facts of unknown origin are left out.
    pub facts: BTreeMap<ContractFact, FactOrigin>,
}

impl Default for Origins {
    fn default() -> Self {
        Self { schema: ORIGINS_SCHEMA.into(), facts: BTreeMap::new() }
    }
}

impl Origins {
    /// The facts that `stage` itself sets, with their places in its configuration.
    #[must_use]
    pub fn for_stage(stage: &Stage) -> Self {
        let known = list_facts_set_by(&stage.config).iter().filter_map(|(fact, places)| {
            let origin = match *places {
                [] => Some(build_fact_origin(stage, &stage.span)),
                paths => find_setting_origin(stage, paths),
            };
            let mut origin = origin?;
            // Without `grow`, the objective has no such setting at all.
            origin.default |= *fact == ContractFact::Growth && stage.field(train::GROW_MERGE).is_none();
            Some((*fact, origin))
        });
        Self { facts: known.collect(), ..Self::default() }
    }

    /// Adds the origins of the parent's facts that the stage does not set itself.
    #[must_use]
    pub fn after(self, parent: &Self) -> Self {
        let mut all = parent.facts.clone();
        // That text does not grow is worth telling only where it did.
        let idle = |fact: ContractFact, origin: &FactOrigin| {
            fact == ContractFact::Growth && origin.default && !parent.facts.contains_key(&fact)
        };
        all.extend(self.facts.into_iter().filter(|(fact, origin)| !idle(*fact, origin)));
        Self { facts: all, schema: self.schema }
    }

    /// Reads the text of an `origins.json`.
    ///
    /// # Errors
    /// A sentence that says why the text is not valid.
    pub fn parse(text: &str) -> Result<Self, String> {
        let this: Self = serde_json::from_str(text).map_err(|error| format!("{ORIGINS}: {error}"))?;
        match this.schema == ORIGINS_SCHEMA {
            true => Ok(this),
            false => Err(format!("{ORIGINS}: `schema` is `{}`, expected `{ORIGINS_SCHEMA}`", this.schema)),
        }
    }

    /// The contents of `origins.json`.
    #[must_use]
    pub fn to_json(&self) -> String {
        format!("{:#}\n", serde_json::json!(self))
    }
}

/// Facts that a kind of stage sets, each with the settings it may come from. An empty list means the stage as a whole.
fn list_facts_set_by(config: &StageConfig) -> &'static [(ContractFact, &'static [FieldPath])] {
    const NTH_SOURCE: FieldPath = train::PATH_NTH_SOURCE.nth(0);
    const NTH_SIZE: FieldPath = train::ATTENTION_NTH_SIZE.nth(0);
    match config {
        StageConfig::RandomInit(_) => &[
            (ContractFact::Kind, &[]),
            (ContractFact::Shift, &[]),
            (ContractFact::Attention, &[]),
            (ContractFact::TimeConditioning, &[]),
            (ContractFact::Tokenizer, &[random_init::TOKENIZER]),
        ],
        StageConfig::Convert(_) => &[
            (ContractFact::Kind, &[]),
            (ContractFact::Attention, &[]),
            (ContractFact::Shift, &[convert::SHIFT]),
            (ContractFact::MaskToken, &[convert::MASK_TOKEN]),
            (ContractFact::TimeConditioning, &[convert::TIME_CONDITIONING]),
            (ContractFact::Tokenizer, &[convert::TOKENIZER]),
        ],
        StageConfig::Train(config) if config.objective == Objective::Autoregressive => &[
            (ContractFact::Loss, &[train::OBJECTIVE]),
            (ContractFact::Attention, &[train::ATTENTION]),
            (ContractFact::Growth, &[train::OBJECTIVE]),
        ],
        StageConfig::Train(_) => &[
            (ContractFact::Source, &[train::PATH_SOURCE, NTH_SOURCE]),
            (ContractFact::Scheduler, &[train::PATH_SCHEDULER_KIND]),
            (ContractFact::Loss, &[train::OBJECTIVE_LOSS]),
            (ContractFact::Attention, &[train::ATTENTION]),
            (ContractFact::Block, &[train::ATTENTION_SIZE, NTH_SIZE]),
            (ContractFact::Growth, &[train::GROW_MERGE, train::OBJECTIVE]),
        ],
        StageConfig::Fetch(_)
        | StageConfig::Tokenizer(_)
        | StageConfig::Rows(_)
        | StageConfig::Average(_)
        | StageConfig::Evaluate(_)
        | StageConfig::Frontier(_)
        | StageConfig::Generate(_)
        | StageConfig::Export(_)
        | StageConfig::Command(_)
        | StageConfig::Report => &[],
    }
}

/// The origin of the first of these settings that the stage has.
fn find_setting_origin(stage: &Stage, paths: &[FieldPath]) -> Option<FactOrigin> {
    let field = paths.iter().find_map(|path| stage.field(*path))?;
    Some(FactOrigin { default: field.origin == Origin::Default, ..build_fact_origin(stage, &field.span) })
}

fn build_fact_origin(stage: &Stage, span: &Span) -> FactOrigin {
    let (line, _) = span.position();
    let text = span.file.text.lines().nth(line - 1).unwrap_or_default().trim();
    let name = Path::new(&span.file.name).file_name();
    FactOrigin {
        stage: stage.name.clone(),
        file: name.map_or_else(String::new, |name| name.to_string_lossy().into_owned()),
        line,
        text: text.chars().take(MAX_ORIGIN_CHARS).collect(),
        default: false,
    }
}

/// The contract and the origins that are stored in a checkpoint's folder.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StoredContract {
    /// From `provenance.json`, or from the `fmflow.json` of an export.
    pub contract: Contract,
    /// From `origins.json`; empty if that is missing, or unfit, which is a fault of the folder.
    pub origins: Origins,
}

impl StoredContract {
    /// Reads a folder's contract through `read`, which returns the text of a file by its name, or why it cannot
    /// be read; `None` if there is no such file. An exported folder has its contract in its sidecar.
    ///
    /// `None` if the folder has no contract.
    ///
    /// # Errors
    /// If the contract cannot be read or is invalid. A caller must not take such a folder for one without a contract: that would pass a
    /// trained flow model for an autoregressive one.
    pub(crate) fn read(
        read: impl Fn(&str) -> Option<Result<String, String>>,
    ) -> Result<Option<Self>, ContractError> {
        let own = read(PROVENANCE).map(|text| Contract::parse(&text.map_err(ContractError::Json)?));
        let exported = read(SIDECAR).map(|text| ExportSidecar::parse(&text.map_err(ContractError::Sidecar)?));
        let exported = exported.transpose()?.map(|sidecar| sidecar.provenance);
        let contract = match (own.transpose()?, exported) {
            (None, None) => return Ok(None),
            (Some(own), Some(exported)) if own != exported => return Err(ContractError::Disagreement),
            (Some(contract), _) | (None, Some(contract)) => contract,
        };
        let origins = read(ORIGINS).and_then(|text| Origins::parse(&text.ok()?).ok());
        Ok(Some(Self { contract, origins: origins.unwrap_or_default() }))
    }

    /// Describes a fact and its origin: ``has `source = mask`, set by stage `sft` in tiny.kdl line 31``.
    #[must_use]
    pub(crate) fn describe_fact(&self, fact: ContractFact) -> String {
        let origin = self.origins.facts.get(&fact).map(|origin| format!(", {origin}"));
        format!("has `{fact} = {}`{}", describe_fact_value(&self.contract, fact), origin.unwrap_or_default())
    }
}

/// Describes the value of a fact in the words of a configuration.
fn describe_fact_value(contract: &Contract, fact: ContractFact) -> String {
    let or_none = |value: Option<String>| value.unwrap_or_else(|| "none".to_owned());
    let path = contract.path.as_ref();
    match fact {
        ContractFact::Kind => match contract.kind {
            ModelKind::Flow => "flow".to_owned(),
            ModelKind::Autoregressive => "autoregressive".to_owned(),
        },
        ContractFact::Shift => format!("#{}", contract.shift),
        ContractFact::MaskToken => or_none(contract.mask_token.map(|id| id.to_string())),
        ContractFact::Block => or_none(contract.block.map(|size| size.to_string())),
        ContractFact::Source => or_none(path.map(describe_source)),
        ContractFact::Scheduler => or_none(path.map(|path| describe_scheduler(path.scheduler))),
        ContractFact::Growth => {
            or_none(contract.growth.map(|tokens| format!("tokens {} and {}", tokens.expand, tokens.delete)))
        }
        ContractFact::Loss => or_none(contract.loss.clone()),
        ContractFact::Attention => match contract.attention {
            Attention::Causal => "causal".to_owned(),
            Attention::Bidirectional => "bidirectional".to_owned(),
            Attention::BlockCausal { block } => format!("block {block}"),
        },
        ContractFact::TimeConditioning => match contract.time_conditioning {
            TimeConditioning::None => "none".to_owned(),
            TimeConditioning::AdaLn { .. } => "adaln".to_owned(),
        },
        ContractFact::Tokenizer => {
            or_none(contract.tokenizer.as_deref().map(|digest| digest.get(..12).unwrap_or(digest).to_owned()))
        }
    }
}
