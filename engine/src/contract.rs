//! What a checkpoint says of itself and who set it: `provenance.json` and `origins.json` in its folder.
//!
//! A fact lies in `provenance.json`, which equal fingerprints make equal. Where it was set lies beside it: stage, file, line and
//! text of the line, as they were when the artifact was made. Two files whose lines differ give the same artifact, so that
//! these are a commentary: no fingerprint, digest or decision depends on them.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path as FilePath;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::config::StageConfig;
use crate::config::train::{Objective, Path, Scheduler};
use crate::pipeline::{Origin as How, Stage};
use crate::render::position;

/// The file of facts.
pub const PROVENANCE: &str = "provenance.json";

/// The file that says who set them.
pub const ORIGINS: &str = "origins.json";

/// The schema of [`ORIGINS`].
pub const SCHEMA: &str = "fmflow.origins/1";

/// Longest file that is looked at, in bytes.
pub const LARGEST: u64 = 1 << 20;

/// Longest line that is kept, in characters.
const LONGEST: usize = 160;

/// What the logits of a model mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The next token.
    Autoregressive,
    /// The posterior p(x_1 | x_t, t) of discrete flow matching.
    Flow,
}

/// Who set a fact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origin {
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

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = if self.default { "the default of" } else { "set by" };
        write!(f, "{how} stage `{}` in {} line {}", self.stage, self.file, self.line)
    }
}

/// Who set the facts of a checkpoint, by the names of the facts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origins {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// By fact: `kind`, `shift`, `mask-token`, `source`, `scheduler`, `loss`, `attention`, `block`, `time-conditioning`, `tokenizer`.
    pub facts: BTreeMap<String, Origin>,
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
        let known = set_by(&stage.config).iter().filter_map(|(fact, path)| {
            let origin = if path.is_empty() { Some(of_node(stage)) } else { of_field(stage, path) };
            Some(((*fact).to_owned(), origin?))
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

/// Facts that a kind of stage sets, and the settings they come from; nothing: the stage as a whole.
fn set_by(config: &StageConfig) -> &'static [(&'static str, &'static str)] {
    match config {
        StageConfig::RandomInit(_) => &[
            ("kind", ""),
            ("shift", ""),
            ("attention", ""),
            ("time-conditioning", ""),
            ("tokenizer", "tokenizer"),
        ],
        StageConfig::Convert(_) => &[
            ("kind", ""),
            ("attention", ""),
            ("shift", "shift"),
            ("mask-token", "mask-token"),
            ("time-conditioning", "time-conditioning"),
            ("tokenizer", "tokenizer"),
        ],
        StageConfig::Train(config) if config.objective == Objective::Autoregressive => {
            &[("loss", "objective"), ("attention", "attention")]
        }
        StageConfig::Train(_) => &[
            ("source", "objective.path.source"),
            ("scheduler", "objective.path.scheduler.kind"),
            ("loss", "objective.loss"),
            ("attention", "attention"),
            ("block", "attention.size"),
        ],
        _ => &[],
    }
}

/// The origin of the setting at `path`, or of the first part of a list there.
fn of_field(stage: &Stage, path: &str) -> Option<Origin> {
    let first = format!("{path}.0");
    let found = |path: &str| stage.fields.iter().find(|field| field.path == path);
    let field = found(path).or_else(|| found(&first))?;
    Some(Origin { default: field.origin == How::Default, ..at(stage, &field.span) })
}

fn of_node(stage: &Stage) -> Origin {
    at(stage, &stage.span)
}

fn at(stage: &Stage, span: &crate::pipeline::Span) -> Origin {
    let (line, _) = position(span);
    let text = span.file.text.lines().nth(line - 1).unwrap_or_default().trim();
    let name = FilePath::new(&span.file.name).file_name();
    Origin {
        stage: stage.name.clone(),
        file: name.map_or_else(String::new, |name| name.to_string_lossy().into_owned()),
        line,
        text: text.chars().take(LONGEST).collect(),
        default: false,
    }
}

/// The facts of a checkpoint folder that settings can contradict.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Stored {
    /// What the logits mean.
    pub kind: Kind,
    /// Whether position i predicts token i + 1.
    pub shift: bool,
    /// Tokens of the blocks that it was last trained with.
    pub block: Option<usize>,
    /// The path that it was trained on.
    pub path: Option<Path>,
    /// Whether and how it knows the time.
    pub time_conditioning: Value,
    /// BLAKE3 of its tokenizer.json.
    pub tokenizer: Option<String>,
    /// Who set them.
    #[serde(skip)]
    pub origins: Origins,
}

impl Stored {
    /// Reads a folder's facts through `read`, which gives the text of a file. `None` where the folder has none, or none that can
    /// be understood: who opens it then tells why.
    pub fn read(read: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let stored: Self = serde_json::from_str(&read(PROVENANCE)?).ok()?;
        let origins = read(ORIGINS).and_then(|text| Origins::parse(&text).ok());
        Some(Self { origins: origins.unwrap_or_default(), ..stored })
    }

    /// Whether it is told the time.
    #[must_use]
    pub fn timed(&self) -> bool {
        self.time_conditioning != "none"
    }

    /// A fact with who set it: ``has `source = mask`, set by stage `sft` in tiny.kdl line 31``.
    #[must_use]
    pub fn say(&self, fact: &str) -> String {
        let origin = self.origins.facts.get(fact).map(|origin| format!(", {origin}"));
        format!("has `{fact} = {}`{}", self.value(fact), origin.unwrap_or_default())
    }

    fn value(&self, fact: &str) -> String {
        let path = |word: fn(&Path) -> String| self.path.as_ref().map_or_else(|| "none".to_owned(), word);
        match fact {
            "kind" if self.kind == Kind::Flow => "flow".to_owned(),
            "kind" => "autoregressive".to_owned(),
            "shift" => format!("#{}", self.shift),
            "block" => self.block.map_or_else(|| "none".to_owned(), |size| size.to_string()),
            "source" => path(source),
            "scheduler" => path(|path| scheduler(path.scheduler)),
            "time-conditioning" if self.timed() => "adaln".to_owned(),
            "tokenizer" => self
                .tokenizer
                .as_deref()
                .map_or("none", |digest| digest.get(..12).unwrap_or(digest))
                .to_owned(),
            _ => "none".to_owned(),
        }
    }
}

/// The source of a path in the words of a configuration.
#[must_use]
pub fn source(path: &Path) -> String {
    match path.mask_share {
        share if share >= 1.0 => "mask".to_owned(),
        share if share <= 0.0 => "uniform".to_owned(),
        share => format!("mask {share:.3}, uniform {:.3}", 1.0 - share),
    }
}

/// A scheduler in the words of a configuration.
#[must_use]
pub fn scheduler(scheduler: Scheduler) -> String {
    match scheduler {
        Scheduler::Polynomial { exponent: 1.0 } => "linear".to_owned(),
        Scheduler::Polynomial { exponent } => format!("polynomial, exponent {exponent}"),
        Scheduler::Cosine => "cosine".to_owned(),
        Scheduler::SineSquared => "sine-squared".to_owned(),
    }
}
