//! The checked pipeline, which plan, run and stages work from: names are resolved, defaults are filled in, and stages are in
//! topological order.

pub(crate) mod benchmark_repository;
pub mod checkpoint_config;
pub mod checkpoint_folder;
pub(crate) mod checkpoint_headers;
pub mod checkpoint_texts;
pub mod code_revision;
pub mod config;
pub mod contract;
mod contract_error;
pub(crate) mod cost;
pub(crate) mod disk;
pub mod export_sidecar;
pub(crate) mod field_path;
pub mod fingerprint;
pub(crate) mod machine;
pub mod mask_entry;
pub(crate) mod memory;
pub mod message;
pub mod origins;
pub(crate) mod path_words;
pub mod repository;
pub mod role;
pub mod shape;
pub mod shards;
pub(crate) mod source_facts;
pub mod stage;
pub mod watchers;
pub(crate) mod window;

use std::path::PathBuf;

use indexmap::IndexMap;

use crate::error::{Error, Result};
use crate::pipeline::repository::PinnedRepository;
use crate::pipeline::stage::{Stage, StageId, Stages};
use crate::pipeline::watchers::Watchers;
use crate::text::suggest;

/// A pipeline without errors.
#[derive(Clone, Debug)]
pub struct Pipeline {
    /// Name given in the file.
    pub name: String,
    /// Seed from which every random number is derived.
    pub seed: u64,
    /// What the author is willing to spend, and the machine that estimates assume.
    pub budget: Budget,
    /// Absolute path of the configuration file.
    pub file: PathBuf,
    /// Settings given on the command line, as `path=value`.
    pub settings: Vec<String>,
    /// Repositories that the lock file pins, in the order of the text.
    pub pins: Vec<PinnedRepository>,
    /// Names of the environment variables that are declared as secrets.
    pub secrets: Vec<String>,
    /// Those of them that were not set when the file was checked.
    pub absent_secrets: Vec<String>,
    /// Commands that watch its runs.
    pub watchers: Watchers,
    /// Stages in topological order: inputs come before their users.
    pub stages: Stages,
}

/// What the author is willing to spend, and the assumed machine. `None` means not declared.
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

impl Pipeline {
    /// Where each semantic setting is written, as `file:line:column`, by stage and field.
    #[must_use]
    pub(crate) fn setting_places(&self) -> IndexMap<String, IndexMap<String, String>> {
        let of = |stage: &Stage| {
            let fields = stage.fields.iter().filter(|field| field.semantic);
            let places = fields.map(|field| (field.path.clone(), field.span.to_string()));
            (stage.name.clone(), places.collect())
        };
        self.stages.iter().map(of).collect()
    }

    /// The stage with this id, which must come from this pipeline.
    #[must_use]
    pub(crate) fn stage(&self, id: StageId) -> &Stage {
        &self.stages[id]
    }

    /// The stage called `name`.
    ///
    /// # Errors
    /// [`Error::Usage`], with the closest name or, if none is close, a list of all stages.
    pub(crate) fn find_stage(&self, name: &str) -> Result<&Stage> {
        self.stage_named(name).ok_or_else(|| {
            let names = || self.stages.iter().map(|stage| stage.name.as_str());
            let help = suggest::suggest_names(name, names())
                .unwrap_or_else(|| format!("stages are: {}", names().collect::<Vec<_>>().join(", ")));
            Error::usage(format!("there is no stage `{name}` in pipeline `{}`", self.name), help)
        })
    }

    /// The stage called `name`, if there is one.
    #[must_use]
    pub fn stage_named(&self, name: &str) -> Option<&Stage> {
        self.stages.iter().find(|stage| stage.name == name)
    }
}
