//! From a stage's settings to the function that does its work.

use std::path::Path;

use fmflow_engine::config::StageConfig;
use fmflow_engine::execute::{Execute, Failure, Job, Summary};

use crate::{evaluate, export, failure, generate, models, prepare, train, verify};

/// Runs stages in this process.
struct Local;

/// The executor of this build.
#[must_use]
pub fn executor() -> impl Execute {
    Local
}

impl Execute for Local {
    fn device(&self, name: &str) -> Result<(), String> {
        crate::device::open(name).map(drop).map_err(|error| error.to_string())
    }

    fn run(&self, job: &Job<'_>) -> Result<Summary, Failure> {
        match &job.stage.config {
            StageConfig::Fetch(config) => models::fetch(job, config),
            StageConfig::Tokenizer(config) => prepare::tokenizer(job, config),
            StageConfig::Rows(config) => prepare::rows(job, config),
            StageConfig::RandomInit(config) => models::random_init(job, config),
            StageConfig::Convert(config) => models::convert(job, config),
            StageConfig::Train(config) => train::run(job, config),
            StageConfig::Evaluate(config) => evaluate::run(job, config),
            StageConfig::Generate(config) => generate::run(job, config),
            StageConfig::Export(config) => export::run(job, config),
        }
    }

    fn verify_deep(&self, folder: &Path) -> Result<String, Failure> {
        let device = crate::device::open("cpu").map_err(failure::stage)?;
        verify::deep(folder, &device)
    }
}
