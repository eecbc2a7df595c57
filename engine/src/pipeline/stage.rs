//! A stage: its id, its settings and where each is written, and what it reads.

use std::ops::{Deref, Index};
use std::path::PathBuf;

use crate::pipeline::config::StageConfig;
use crate::pipeline::field_path::FieldPath;
use crate::pipeline::repository::RepositoryFiles;
use crate::pipeline::role::InputRole;
use crate::text::place::{Origin, Span};

/// Id of a stage: its index in [`Stages`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StageId(pub u32);

impl StageId {
    /// Index into a list that has one entry per stage.
    #[must_use]
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// How a sentence begins about a feature that is not supported yet.
pub(crate) const NOT_YET: &str = "not supported yet";

/// One node of the stage graph.
#[derive(Clone, Debug)]
pub struct Stage {
    /// Index in the pipeline's [`Stages`].
    pub id: StageId,
    /// Unique name. A `rows` stage is called `<rows>/<dataset>`.
    pub name: String,
    /// Kind and typed settings.
    pub config: StageConfig,
    /// Artifacts it reads, in a fixed order.
    pub inputs: Vec<StageInput>,
    /// Source files it reads, by dataset, in a fixed order.
    pub sources: Vec<SourceFiles>,
    /// Files that it reads while it works and on which its result does not depend: those of a probe.
    pub observed: Vec<SourceFiles>,
    /// Every setting as a leaf, with references inlined, in a fixed order. Fingerprints and explanations are made of these.
    pub fields: Vec<FieldValue>,
    /// Where the stage is declared.
    pub span: Span,
    /// Why `run` refuses the stage, each as a sentence: features that are not supported yet, and repositories that are not pinned.
    pub unsupported: Vec<String>,
}

/// An artifact that a stage reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StageInput {
    /// What the artifact is used for.
    pub role: InputRole,
    /// The stage that makes the artifact.
    pub stage: StageId,
}

/// Files outside the store that a stage reads, on this machine or on a hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFiles {
    /// Name of the dataset, or `folder` for a checkpoint folder.
    pub name: String,
    /// Absolute paths, sorted. The fingerprint depends on their contents, not on their names.
    pub files: Vec<PathBuf>,
    /// The files of a repository that are read in place of `files`. The fingerprint depends on their hashes in the same way.
    pub remote: Option<RepositoryFiles>,
    /// The files of a command that are read in place of `files`. Their contents are those that the command's fingerprint stands for.
    pub made: Option<MadeFiles>,
}

/// Files that a command makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MadeFiles {
    /// The role of the command's artifact.
    pub role: InputRole,
    /// The pattern of their names; without one, all outputs.
    pub pattern: Option<String>,
}

impl SourceFiles {
    /// Files on this machine.
    #[must_use]
    pub(crate) fn local(name: &str, files: Vec<PathBuf>) -> Self {
        Self { name: name.to_owned(), files, remote: None, made: None }
    }
}

/// One setting of a stage.
#[derive(Clone, Debug)]
pub struct FieldValue {
    /// Dotted path, such as `learning-rate.peak`.
    pub path: String,
    /// Canonical value. Floats compare by value: `1e-3` and `0.001` are equal.
    pub value: serde_json::Value,
    /// Where the value is written; for a default, the place of its node.
    pub span: Span,
    /// Where the value comes from, such as the stage itself, a recipe or a default.
    pub origin: Origin,
    /// Whether the fingerprint depends on it.
    pub semantic: bool,
}

impl FieldValue {
    /// Where the value comes from, in words.
    #[must_use]
    pub(crate) fn describe_origin(&self) -> String {
        match &self.origin {
            Origin::Written | Origin::Set => self.span.to_string(),
            Origin::Recipe(name) => format!("{}, recipe `{name}`", self.span),
            Origin::Lock => format!("{}, lock file", self.span),
            Origin::Default => "default".into(),
        }
    }
}

impl Stage {
    /// The stage that makes the input in this role.
    #[must_use]
    pub(crate) fn input(&self, role: &InputRole) -> Option<StageId> {
        self.inputs.iter().find(|input| input.role == *role).map(|input| input.stage)
    }

    /// The stage that makes the checkpoint that this stage starts from.
    #[must_use]
    pub(crate) fn parent(&self) -> Option<StageId> {
        self.input(&InputRole::From)
    }

    /// The stages that make the rows it reads, without those in an `answers/` role.
    pub(crate) fn rows(&self) -> impl Iterator<Item = StageId> {
        let rows = self.inputs.iter().filter(|input| matches!(input.role, InputRole::Rows { .. }));
        rows.map(|input| input.stage)
    }

    /// The sources that its result is made of: of rows those of their own dataset, and not what that is compared with.
    pub(crate) fn main_sources(&self) -> impl Iterator<Item = &SourceFiles> {
        let own = match &self.config {
            StageConfig::Rows(config) => Some(config.dataset.name.as_str()),
            _ => None,
        };
        self.sources.iter().filter(move |source| own.is_none_or(|own| source.name == own))
    }

    /// All files outside the store that it reads, whether its result depends on them or not.
    pub fn all_sources(&self) -> impl Iterator<Item = &SourceFiles> {
        self.sources.iter().chain(&self.observed)
    }

    /// The place of its `from`; if it has none, the place of the stage.
    #[must_use]
    pub(crate) fn parent_place(&self) -> &Span {
        self.field_at("from").map_or(&self.span, |field| &field.span)
    }

    /// The setting at `path`; `None` if the stage has none.
    #[must_use]
    pub(crate) fn field(&self, path: FieldPath) -> Option<&FieldValue> {
        let path = path.text_for(self.config.kind());
        self.field_at(&path)
    }

    /// The setting whose path is `path`, in the form that manifests and ledger changes use.
    #[must_use]
    pub(crate) fn field_at(&self, path: &str) -> Option<&FieldValue> {
        self.fields.iter().find(|field| field.path == path)
    }

    /// The place of the setting at `path`; if the stage has none, the place of the stage.
    #[must_use]
    pub(crate) fn place(&self, path: FieldPath) -> &Span {
        self.field(path).map_or(&self.span, |field| &field.span)
    }
}

/// Stages in topological order: inputs come before their users, and ties keep the order of the text. A [`StageId`] is an
/// index into this list.
#[derive(Clone, Debug, Default)]
pub struct Stages(Vec<Stage>);

impl Stages {
    /// Adds a stage whose id is [`Self::next_id`].
    pub(crate) fn push(&mut self, stage: Stage) {
        assert_eq!(stage.id, self.next_id(), "a stage is numbered by its place");
        self.0.push(stage);
    }

    /// The id of the stage that is added next.
    pub(crate) fn next_id(&self) -> StageId {
        StageId(u32::try_from(self.0.len()).expect("a configuration of 1 MiB has fewer than 2^32 stages"))
    }

    /// For every stage, the stage that its weights start from: the first of its chain of parents, or itself.
    #[must_use]
    pub(crate) fn roots(&self) -> Vec<StageId> {
        let mut roots: Vec<StageId> = Vec::with_capacity(self.0.len());
        for stage in &self.0 {
            roots.push(stage.parent().map_or(stage.id, |parent| roots[parent.index()]));
        }
        roots
    }

    /// The stage that makes the checkpoint that `stage` starts from.
    #[must_use]
    pub(crate) fn parent(&self, stage: &Stage) -> Option<&Stage> {
        stage.parent().map(|id| &self[id])
    }
}

impl Deref for Stages {
    type Target = [Stage];

    fn deref(&self) -> &[Stage] {
        &self.0
    }
}

/// The id must come from the same pipeline; one of another pipeline gives the wrong stage or panics.
impl Index<StageId> for Stages {
    type Output = Stage;

    fn index(&self, id: StageId) -> &Stage {
        &self.0[id.index()]
    }
}

impl<'a> IntoIterator for &'a Stages {
    type Item = &'a Stage;
    type IntoIter = std::slice::Iter<'a, Stage>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}
