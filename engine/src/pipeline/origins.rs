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
const SCHEMA: &str = "fmflow.origins/1";

/// Longest line that is kept, in characters.
const LONGEST: usize = 160;

/// A fact of a contract that a stage can set. In the order of the alphabet, which is that of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fact {
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

impl fmt::Display for Fact {
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
    pub facts: BTreeMap<Fact, FactOrigin>,
}

impl Default for Origins {
    fn default() -> Self {
        Self { schema: SCHEMA.into(), facts: BTreeMap::new() }
    }
}

impl Origins {
    /// The facts that a stage sets, with the places in its configuration.
    #[must_use]
    pub fn of(stage: &Stage) -> Self {
        let known = facts_set_by(&stage.config).iter().filter_map(|(fact, places)| {
            let origin = match *places {
                [] => Some(origin_at(stage, &stage.span)),
                paths => origin_of_setting(stage, paths),
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
        match this.schema == SCHEMA {
            true => Ok(this),
            false => Err(format!("{ORIGINS}: `schema` is `{}`, expected `{SCHEMA}`", this.schema)),
        }
    }

    /// The text of the file.
    #[must_use]
    pub fn to_json(&self) -> String {
        format!("{:#}\n", serde_json::json!(self))
    }
}

/// Facts that a kind of stage sets, and the settings they may come from; without any, the stage as a whole.
fn facts_set_by(config: &StageConfig) -> &'static [(Fact, &'static [FieldPath])] {
    const NTH_SOURCE: FieldPath = train::PATH_NTH_SOURCE.nth(0);
    const NTH_SIZE: FieldPath = train::ATTENTION_NTH_SIZE.nth(0);
    match config {
        StageConfig::RandomInit(_) => &[
            (Fact::Kind, &[]),
            (Fact::Shift, &[]),
            (Fact::Attention, &[]),
            (Fact::TimeConditioning, &[]),
            (Fact::Tokenizer, &[random_init::TOKENIZER]),
        ],
        StageConfig::Convert(_) => &[
            (Fact::Kind, &[]),
            (Fact::Attention, &[]),
            (Fact::Shift, &[convert::SHIFT]),
            (Fact::MaskToken, &[convert::MASK_TOKEN]),
            (Fact::TimeConditioning, &[convert::TIME_CONDITIONING]),
            (Fact::Tokenizer, &[convert::TOKENIZER]),
        ],
        StageConfig::Train(config) if config.objective == Objective::Autoregressive => {
            &[(Fact::Loss, &[train::OBJECTIVE]), (Fact::Attention, &[train::ATTENTION])]
        }
        StageConfig::Train(_) => &[
            (Fact::Source, &[train::PATH_SOURCE, NTH_SOURCE]),
            (Fact::Scheduler, &[train::PATH_SCHEDULER_KIND]),
            (Fact::Loss, &[train::OBJECTIVE_LOSS]),
            (Fact::Attention, &[train::ATTENTION]),
            (Fact::Block, &[train::ATTENTION_SIZE, NTH_SIZE]),
        ],
        _ => &[],
    }
}

/// The origin of the first of these settings that the stage has.
fn origin_of_setting(stage: &Stage, paths: &[FieldPath]) -> Option<FactOrigin> {
    let field = paths.iter().find_map(|path| stage.field(*path))?;
    Some(FactOrigin { default: field.origin == Origin::Default, ..origin_at(stage, &field.span) })
}

fn origin_at(stage: &Stage, span: &Span) -> FactOrigin {
    let (line, _) = span.position();
    let text = span.file.text.lines().nth(line - 1).unwrap_or_default().trim();
    let name = Path::new(&span.file.name).file_name();
    FactOrigin {
        stage: stage.name.clone(),
        file: name.map_or_else(String::new, |name| name.to_string_lossy().into_owned()),
        line,
        text: text.chars().take(LONGEST).collect(),
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
    pub fn describe_fact(&self, fact: Fact) -> String {
        let origin = self.origins.facts.get(&fact).map(|origin| format!(", {origin}"));
        format!("has `{fact} = {}`{}", describe_value(&self.contract, fact), origin.unwrap_or_default())
    }
}

/// The value of a fact in the words of a configuration.
fn describe_value(contract: &Contract, fact: Fact) -> String {
    let or_none = |value: Option<String>| value.unwrap_or_else(|| "none".to_owned());
    let path = contract.path.as_ref();
    match fact {
        Fact::Kind => match contract.kind {
            ModelKind::Flow => "flow".to_owned(),
            ModelKind::Autoregressive => "autoregressive".to_owned(),
        },
        Fact::Shift => format!("#{}", contract.shift),
        Fact::MaskToken => or_none(contract.mask_token.map(|id| id.to_string())),
        Fact::Block => or_none(contract.block.map(|size| size.to_string())),
        Fact::Source => or_none(path.map(describe_source)),
        Fact::Scheduler => or_none(path.map(|path| describe_scheduler(path.scheduler))),
        Fact::Loss => or_none(contract.loss.clone()),
        Fact::Attention => match contract.attention {
            Attention::Causal => "causal".to_owned(),
            Attention::Bidirectional => "bidirectional".to_owned(),
            Attention::BlockCausal { block } => format!("block {block}"),
        },
        Fact::TimeConditioning => match contract.time_conditioning {
            TimeConditioning::None => "none".to_owned(),
            TimeConditioning::AdaLn { .. } => "adaln".to_owned(),
        },
        Fact::Tokenizer => {
            or_none(contract.tokenizer.as_deref().map(|digest| digest.get(..12).unwrap_or(digest).to_owned()))
        }
    }
}
