//! The checked pipeline: what every later room takes. Names are resolved, defaults filled, stages in topological order.

use std::path::PathBuf;
use std::sync::Arc;

use indexmap::IndexMap;

use crate::config::StageConfig;
use crate::error::{Error, Result};
use crate::repository::Pinned;
use crate::suggest;

/// A file of the configuration: where it came from and its text.
#[derive(Debug)]
pub struct File {
    /// Name shown to people, relative to the current directory where possible.
    pub name: String,
    /// The whole text, valid UTF-8.
    pub text: String,
    /// The folder that paths in it are relative to, absolute.
    pub folder: PathBuf,
    /// Its number among the files of the configuration; the one that was named is 0.
    pub number: usize,
    /// How it takes part.
    pub role: Role,
}

/// How a file takes part in a configuration.
#[derive(Debug)]
pub enum Role {
    /// It was named.
    Root,
    /// The `include` at this place names it.
    Included(Span),
    /// No file: a setting given beside the file, with `--set`.
    Setting,
    /// The lock file beside the file that was named.
    Lock,
}

/// A place in the text of a configuration.
#[derive(Clone, Debug)]
pub struct Span {
    /// The file that the place lies in.
    pub file: Arc<File>,
    /// First byte.
    pub offset: usize,
    /// Length in bytes.
    pub length: usize,
}

/// `file:line:column`, as compilers and editors write it.
impl std::fmt::Display for Span {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (line, column) = crate::render::position(self);
        write!(f, "{}:{line}:{column}", self.file.name)
    }
}

impl Span {
    /// The text at the place.
    #[must_use]
    pub fn text(&self) -> &str {
        self.file.text.get(self.offset..self.offset + self.length).unwrap_or_default()
    }

    /// What orders places: the number of the file, then the byte.
    #[must_use]
    pub fn key(&self) -> (usize, usize) {
        (self.file.number, self.offset)
    }

    /// How a value came to be that is written here.
    #[must_use]
    pub fn origin(&self) -> Origin {
        match self.file.role {
            Role::Setting => Origin::Set,
            Role::Root | Role::Included(_) | Role::Lock => Origin::Written,
        }
    }
}

/// Number of a stage: its place in [`Pipeline::stages`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StageId(pub u32);

/// A pipeline without errors.
#[derive(Clone, Debug)]
pub struct Pipeline {
    /// Name given in the file.
    pub name: String,
    /// Seed of every random number.
    pub seed: u64,
    /// What the author is ready to spend.
    pub budget: Budget,
    /// The configuration file, absolute.
    pub file: PathBuf,
    /// Settings given beside the file, as `path=value`.
    pub settings: Vec<String>,
    /// Repositories that the lock file pins, in the order of the text.
    pub pins: Vec<Pinned>,
    /// Environment variables that it declares as secrets.
    pub secrets: Vec<String>,
    /// Stages in topological order (ties in the order of the text): inputs come before their users.
    pub stages: Vec<Stage>,
}

/// What the author is ready to spend; every part may be left open.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Budget {
    /// Wall-clock seconds.
    pub seconds: Option<f64>,
    /// Bytes on disk.
    pub disk: Option<u64>,
    /// The machine assumed for estimates, such as `4xH100-80GB`.
    pub gpu: Option<String>,
    /// Assumed share of the machine's peak arithmetic that training reaches, in (0, 1].
    pub mfu: Option<f64>,
}

/// A node of the graph.
#[derive(Clone, Debug)]
pub struct Stage {
    /// Its number.
    pub id: StageId,
    /// Its name; unique. A rows stage is called `<rows>/<dataset>`.
    pub name: String,
    /// What it does.
    pub config: StageConfig,
    /// Artifacts it reads, by role, in a fixed order.
    pub inputs: Vec<Input>,
    /// Source files it reads, by dataset, in a fixed order.
    pub sources: Vec<Source>,
    /// Every setting as a leaf, references inlined, in a fixed order. Fingerprints and explanations are made of these.
    pub fields: Vec<FieldValue>,
    /// Where the stage is declared.
    pub span: Span,
    /// Features it asks for that do not exist yet: reasons, each a sentence. `run` refuses such a stage.
    pub unsupported: Vec<String>,
}

/// An artifact that a stage reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// What it is for: `from`, `tokenizer`, `rows/<dataset>` or `checkpoint/<stage>`.
    pub role: String,
    /// The stage that makes it.
    pub stage: StageId,
}

/// Files outside the store that a stage reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Name of the dataset, or `folder` for a checkpoint folder.
    pub name: String,
    /// Absolute paths, sorted. Their contents count for the fingerprint, their names do not.
    pub files: Vec<PathBuf>,
}

/// One setting of a stage.
#[derive(Clone, Debug)]
pub struct FieldValue {
    /// Dotted path, such as `learning-rate.peak`.
    pub path: String,
    /// Canonical value. Floats compare by value: `1e-3` and `0.001` are equal.
    pub value: serde_json::Value,
    /// Where the value is written; of a default, where its node is.
    pub span: Span,
    /// How the value came to be.
    pub origin: Origin,
    /// Whether it counts for the fingerprint.
    pub semantic: bool,
}

/// How a value came to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Written in the stage.
    Written,
    /// Copied from the named recipe.
    Recipe(String),
    /// The field table's default.
    Default,
    /// The lock file, for a branch or tag that is written, or for none.
    Lock,
    /// Given beside the file, with `--set`.
    Set,
}

impl Pipeline {
    /// Where the settings of the stages are written, `file:line:column`, by stage and field.
    #[must_use]
    pub fn places(&self) -> IndexMap<String, IndexMap<String, String>> {
        let of = |stage: &Stage| {
            let fields = stage.fields.iter().filter(|field| field.semantic);
            let places = fields.map(|field| (field.path.clone(), field.span.to_string()));
            (stage.name.clone(), places.collect())
        };
        self.stages.iter().map(of).collect()
    }

    /// The stage called `name`, or an error that lists those there are.
    ///
    /// # Errors
    /// [`Error::Usage`] with the closest name.
    pub fn find(&self, name: &str) -> Result<&Stage> {
        self.stage(name).ok_or_else(|| {
            let names = || self.stages.iter().map(|stage| stage.name.as_str());
            let help = suggest::help(name, names())
                .unwrap_or_else(|| format!("stages are: {}", names().collect::<Vec<_>>().join(", ")));
            Error::usage(format!("there is no stage `{name}` in pipeline `{}`", self.name), help)
        })
    }

    /// The stage called `name`.
    #[must_use]
    pub fn stage(&self, name: &str) -> Option<&Stage> {
        self.stages.iter().find(|stage| stage.name == name)
    }
}
