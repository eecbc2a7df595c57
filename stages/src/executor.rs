//! Maps a stage's settings to the function that runs it.

use std::path::Path;

use fmflow_engine::error::Failure;
use fmflow_engine::pipeline::config::{PromptKind, StageConfig};
use fmflow_engine::run::execute::{Execute, Job, Operations};
use fmflow_engine::run::rows_view::{RowsRequest, RowsStatistics, RowsView};
use fmflow_engine::run::text::TextModel;
use fmflow_engine::store::Summary;
use fmflow_ops::Precision;
use indexmap::IndexMap;
use serde_json::Value;

use crate::{
    answer, average, convert, evaluate, export, failure, fetch, frontier, generate, inspect, probe,
    random_init, rows, tokenizer, train, verify,
};

/// Runs stages in this process.
struct LocalExecutor;

/// The executor of this build, which runs every kind of stage in this process.
#[must_use]
pub fn build_executor() -> impl Execute {
    LocalExecutor
}

impl Execute for LocalExecutor {
    fn check_device(&self, name: &str) -> Result<(), String> {
        crate::device::open_device(name).map(drop).map_err(|error| error.to_string())
    }

    fn describe_arithmetic(&self, device: &str, config: &StageConfig) -> IndexMap<String, Value> {
        let mut facts: IndexMap<String, Value> =
            [("device".into(), device.into()), ("operations".into(), fmflow_ops::REVISION.into())].into();
        if device == "cpu" {
            let compute = match config {
                StageConfig::Train(config) => train::setup::find_precision(config),
                _ => Precision::F32,
            };
            facts.insert("processor".into(), fmflow_ops::name_processor_class(compute).into());
        }
        facts
    }

    fn can_download(&self) -> bool {
        cfg!(feature = "hub")
    }

    fn run(&self, job: &Job<'_>) -> Result<Summary, Failure> {
        match &job.stage.config {
            StageConfig::Fetch(config) => fetch::run_fetch(job, config),
            StageConfig::Tokenizer(config) => tokenizer::run_tokenizer(job, config),
            StageConfig::Rows(config) => rows::run_rows(job, config),
            StageConfig::RandomInit(config) => random_init::run_random_init(job, config),
            StageConfig::Convert(config) => convert::run_convert(job, config),
            StageConfig::Train(config) => train::run_train(job, config, probe::answer_probe),
            StageConfig::Average(config) => average::run_average(job, config),
            StageConfig::Evaluate(config) => evaluate::run_evaluate(job, config),
            StageConfig::Frontier(config) => frontier::run_frontier(job, config),
            StageConfig::Generate(config) => generate::run_generate(job, config),
            StageConfig::Export(config) => export::run_export(job, config),
            StageConfig::Command(_) | StageConfig::Report => {
                unreachable!("the engine runs programs of users and writes pages itself")
            }
        }
    }

    fn verify_deep(&self, folder: &Path, operations: Operations) -> Result<String, Failure> {
        let device = crate::device::open_device("cpu").map_err(failure::stage_failure)?;
        match operations {
            Operations::Fused => verify::verify_weights(folder, &device),
            Operations::Reference => {
                let line = fmflow_ops::by_reference(|| verify::verify_weights(folder, &device))?;
                Ok(format!("{line}, by the reference of every operation"))
            }
        }
    }

    fn view_rows(&self, folder: &Path, request: &RowsRequest) -> Result<RowsView, Failure> {
        inspect::view_rows(folder, request)
    }

    fn measure_rows(&self, folder: &Path, most: u64) -> Result<RowsStatistics, Failure> {
        inspect::measure_rows(folder, most)
    }

    fn verify_batches(&self, folder: &Path, device: &str) -> Result<String, Failure> {
        let device = crate::device::open_device(device).map_err(failure::stage_failure)?;
        verify::verify_batches(folder, &device)
    }

    fn count_prompt_tokens(
        &self,
        folder: &Path,
        prompts: &[&PromptKind],
    ) -> Result<Vec<Option<usize>>, Failure> {
        answer::count_prompt_tokens(folder, prompts)
    }

    fn open_text_model(&self, folder: &Path, device: &str) -> Result<Box<dyn TextModel>, Failure> {
        answer::open_text_model(folder, device)
    }
}
