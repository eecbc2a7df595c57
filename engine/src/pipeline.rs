//! The checked pipeline: what every later room takes. Names are resolved, defaults filled, stages in topological order.

pub mod checkpoint_headers;
pub mod config;
pub mod contract;
pub mod cost;
pub mod field_path;
pub mod fingerprint;
pub mod origins;
pub mod repository;
pub mod role;
pub mod shape;
pub mod source_facts;
pub mod stage;

use std::path::PathBuf;

use indexmap::IndexMap;

use crate::error::{Error, Result};
use crate::pipeline::repository::PinnedRepository;
use crate::pipeline::stage::{Stage, StageId, Stages};
use crate::text::suggest;

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
    pub pins: Vec<PinnedRepository>,
    /// Environment variables that it declares as secrets.
    pub secrets: Vec<String>,
    /// Its stages, inputs before their users.
    pub stages: Stages,
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

impl Pipeline {
    /// Where the settings of the stages are written, `file:line:column`, by stage and field.
    #[must_use]
    pub fn setting_places(&self) -> IndexMap<String, IndexMap<String, String>> {
        let of = |stage: &Stage| {
            let fields = stage.fields.iter().filter(|field| field.semantic);
            let places = fields.map(|field| (field.path.clone(), field.span.to_string()));
            (stage.name.clone(), places.collect())
        };
        self.stages.iter().map(of).collect()
    }

    /// The stage with this number.
    #[must_use]
    pub fn stage(&self, id: StageId) -> &Stage {
        &self.stages[id]
    }

    /// The stage called `name`, or an error that lists those there are.
    ///
    /// # Errors
    /// [`Error::Usage`] with the closest name.
    pub fn find_stage(&self, name: &str) -> Result<&Stage> {
        self.stage_named(name).ok_or_else(|| {
            let names = || self.stages.iter().map(|stage| stage.name.as_str());
            let help = suggest::suggest_names(name, names())
                .unwrap_or_else(|| format!("stages are: {}", names().collect::<Vec<_>>().join(", ")));
            Error::usage(format!("there is no stage `{name}` in pipeline `{}`", self.name), help)
        })
    }

    /// The stage called `name`.
    #[must_use]
    pub fn stage_named(&self, name: &str) -> Option<&Stage> {
        self.stages.iter().find(|stage| stage.name == name)
    }
}
