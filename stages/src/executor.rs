//! From a stage's settings to the function that does its work.

use std::path::Path;

use fmflow_engine::error::Failure;
use fmflow_engine::pipeline::config::StageConfig;
use fmflow_engine::run::execute::{Execute, Job};
use fmflow_engine::store::Summary;

use crate::{
    convert, evaluate, export, failure, fetch, generate, random_init, rows, tokenizer, train, verify,
};

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
            StageConfig::Fetch(config) => fetch::run(job, config),
            StageConfig::Tokenizer(config) => tokenizer::run(job, config),
            StageConfig::Rows(config) => rows::run(job, config),
            StageConfig::RandomInit(config) => random_init::run(job, config),
            StageConfig::Convert(config) => convert::run(job, config),
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
