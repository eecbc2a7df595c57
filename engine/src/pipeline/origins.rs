//! Who set the facts of a checkpoint: `origins.json` in its folder, beside [`crate::pipeline::contract`].
//!
//! Stage, file, line and text of the line, as they were when the artifact was made. Two files whose lines differ give the same
//! artifact, so that these are a commentary: no fingerprint, digest or decision depends on them.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::pipeline::config::train::Objective;
use crate::pipeline::config::{StageConfig, TimeConditioning};
use crate::pipeline::contract::{
    Attention, Contract, ModelKind, PROVENANCE, describe_scheduler, describe_source,
};
use crate::pipeline::field_path::{FieldPath, convert, random_init, train};
use crate::pipeline::stage::Stage;
use crate::text::place::{Origin, Span};

/// Its file in a checkpoint's folder.
pub const ORIGINS: &str = "origins.json";

/// The schema of [`ORIGINS`].
const ORIGINS_SCHEMA: &str = "fmflow.origins/1";

/// Longest line that is kept, in characters.
const MAX_ORIGIN_CHARS: usize = 160;

/// A fact of a contract that a stage can set. In the order of the alphabet, which is that of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ContractFact {
    /// Which positions it was trained to see.
    Attention,
    /// Tokens of the blocks that it was last trained with.
    Block,
    /// What the logits mean.
    Kind,
    /// The loss that trained it.
    Loss,
    /// The id of the mask token.
    MaskToken,
    /// The scheduler of its path.
    Scheduler,
    /// Whether position i predicts token i + 1.
    Shift,
    /// The source of its path.
    Source,
    /// Whether and how it knows the time.
    TimeConditioning,
    /// Its tokenizer.
    Tokenizer,
}

impl fmt::Display for ContractFact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Attention => "attention",
            Self::Block => "block",
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

/// Who set a fact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FactOrigin {
    /// The stage.
    pub stage: String,
    /// Name of the configuration, without folders.
    pub file: String,
    /// Line, from 1; of a default, that of its node.
    pub line: usize,
    /// The line.
    pub text: String,
    /// Whether nobody wrote it.
    pub default: bool,
}

impl fmt::Display for FactOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = if self.default { "the default of" } else { "set by" };
        write!(f, "{how} stage `{}` in {} line {}", self.stage, self.file, self.line)
    }
}

/// Who set the facts of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origins {
    /// Always `fmflow.origins/1`.
    pub schema: String,
    /// By fact.
    pub facts: BTreeMap<ContractFact, FactOrigin>,
}

impl Default for Origins {
    fn default() -> Self {
        Self { schema: ORIGINS_SCHEMA.into(), facts: BTreeMap::new() }
    }
}

impl Origins {
    /// The facts that a stage sets, with the places in its configuration.
    #[must_use]
    pub fn for_stage(stage: &Stage) -> Self {
        let known = list_facts_set_by(&stage.config).iter().filter_map(|(fact, places)| {
            let origin = match *places {
                [] => Some(build_fact_origin(stage, &stage.span)),
                paths => find_setting_origin(stage, paths),
            };
            Some((*fact, origin?))
        });
        Self { facts: known.collect(), ..Self::default() }
    }

    /// These, and those of the parent that are not set anew.
    #[must_use]
    pub fn after(self, parent: &Self) -> Self {
        let mut all = parent.facts.clone();
        all.extend(self.facts);
        Self { facts: all, ..self }
    }

    /// Reads the text of an `origins.json`.
    ///
    /// # Errors
    /// When it is not one, as a sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        let this: Self = serde_json::from_str(text).map_err(|error| format!("{ORIGINS}: {error}"))?;
        match this.schema == ORIGINS_SCHEMA {
            true => Ok(this),
            false => Err(format!("{ORIGINS}: `schema` is `{}`, expected `{ORIGINS_SCHEMA}`", this.schema)),
        }
    }

    /// The text of the file.
    #[must_use]
    pub fn to_json(&self) -> String {
        format!("{:#}\n", serde_json::json!(self))
    }
}

/// Facts that a kind of stage sets, and the settings they may come from; without any, the stage as a whole.
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
        StageConfig::Train(config) if config.objective == Objective::Autoregressive => {
            &[(ContractFact::Loss, &[train::OBJECTIVE]), (ContractFact::Attention, &[train::ATTENTION])]
        }
        StageConfig::Train(_) => &[
            (ContractFact::Source, &[train::PATH_SOURCE, NTH_SOURCE]),
            (ContractFact::Scheduler, &[train::PATH_SCHEDULER_KIND]),
            (ContractFact::Loss, &[train::OBJECTIVE_LOSS]),
            (ContractFact::Attention, &[train::ATTENTION]),
            (ContractFact::Block, &[train::ATTENTION_SIZE, NTH_SIZE]),
        ],
        StageConfig::Fetch(_)
        | StageConfig::Tokenizer(_)
        | StageConfig::Rows(_)
        | StageConfig::Evaluate(_)
        | StageConfig::Generate(_)
        | StageConfig::Export(_) => &[],
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

/// What a checkpoint's folder says of itself, and who set it.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredContract {
    /// What it is.
    pub contract: Contract,
    /// Who set it.
    pub origins: Origins,
}

impl StoredContract {
    /// Reads a folder's contract through `read`, which gives the text of a file. `None` where the folder has none, or none that
    /// can be understood: the stage that opens it then says why.
    pub fn read(read: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let contract = Contract::parse(&read(PROVENANCE)?).ok()?;
        let origins = read(ORIGINS).and_then(|text| Origins::parse(&text).ok());
        Some(Self { contract, origins: origins.unwrap_or_default() })
    }

    /// A fact with who set it: ``has `source = mask`, set by stage `sft` in tiny.kdl line 31``.
    #[must_use]
    pub fn describe_fact(&self, fact: ContractFact) -> String {
        let origin = self.origins.facts.get(&fact).map(|origin| format!(", {origin}"));
        format!("has `{fact} = {}`{}", describe_fact_value(&self.contract, fact), origin.unwrap_or_default())
    }
}

/// The value of a fact in the words of a configuration.
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
