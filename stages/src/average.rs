//! The `average` stage: the mean of the weights of permanent checkpoints of one training (Izmailov et al., "Averaging Weights Leads to Wider
//! Optima and Better Generalization", 2018).
//!
//! Each value is the sum of the f32 values as f64, in the order of the updates, divided by their number and rounded once to f32. Tensors are
//! averaged one at a time, so memory does not grow with the number of checkpoints.

use fmflow_engine::error::Failure;
use fmflow_engine::pipeline::config::AverageConfig;
use fmflow_engine::pipeline::contract::Contract;
use fmflow_engine::pipeline::origins::Origins;
use fmflow_engine::pipeline::role::InputRole;
use fmflow_engine::run::execute::Job;
use fmflow_engine::store::Summary;
use fmflow_engine::text::display::list_kept_updates;
use indexmap::IndexMap;

use crate::failure::{BEYOND_F32, input_failure, stage_failure};
use crate::job::{check_interrupt, find_input_folder, with_finisher};
use crate::model::{
    CERTIFICATE, Companions, GENERATION, ModelTokenizer, describe_parameters, read_if_present, read_origins,
    weights_failure,
};
use crate::weights::{CheckpointReader, SINGLE, write_f32_tensors};

/// Runs an `average` stage.
///
/// # Errors
/// If a checkpoint is refused, a mean is beyond f32, a write fails, or a signal requests a stop.
pub(crate) fn run_average(job: &Job<'_>, config: &AverageConfig) -> Result<Summary, Failure> {
    let source = find_input_folder(job, &InputRole::From)?;
    let trained = CheckpointReader::open(source).map_err(|e| weights_failure(source, &e))?;
    let open = |update: &u64| {
        let folder = find_input_folder(job, &InputRole::Permanent(*update))?;
        CheckpointReader::open(folder).map_err(|e| weights_failure(folder, &e))
    };
    let checkpoints: Vec<CheckpointReader> = config.updates.iter().map(open).collect::<Result<_, _>>()?;
    let layout = trained.layout();
    if checkpoints.iter().any(|checkpoint| checkpoint.layout() != layout) {
        return Err(stage_failure("the checkpoints of one training have different tensors"));
    }
    let mut writer = job.slot.artifact()?;
    with_finisher(|finisher| {
        let mut file = writer.file(SINGLE)?;
        write_f32_tensors(&mut file, &layout, |name| {
            check_interrupt(job)?;
            average_tensor(&checkpoints, name)
        })?;
        finisher.finish(file)
    })?;
    write_companions(job, source, &trained, &mut writer)?;
    let summary = summarize(config, &trained);
    writer.publish(&summary, &IndexMap::new())?;
    Ok(summary)
}

/// The mean of a tensor over all checkpoints.
fn average_tensor(checkpoints: &[CheckpointReader], name: &str) -> Result<Vec<f32>, Failure> {
    let read = |checkpoint: &CheckpointReader| {
        checkpoint.read(name).map(|tensor| tensor.values).map_err(stage_failure)
    };
    let mut sums: Vec<f64> = read(&checkpoints[0])?.into_iter().map(f64::from).collect();
    for checkpoint in &checkpoints[1..] {
        sums.iter_mut().zip(read(checkpoint)?).for_each(|(sum, value)| *sum += f64::from(value));
    }
    let count = checkpoints.len() as f64;
    let means: Vec<f32> = sums.into_iter().map(|sum| (sum / count) as f32).collect();
    match means.iter().all(|mean| mean.is_finite()) {
        true => Ok(means),
        false => Err(input_failure(format!("the mean of `{name}` is not finite"), BEYOND_F32)),
    }
}

/// What a checkpoint has beside its weights, as the training left it.
fn write_companions(
    job: &Job<'_>,
    source: &std::path::Path,
    trained: &CheckpointReader,
    writer: &mut fmflow_engine::store::ArtifactWriter,
) -> Result<(), Failure> {
    let text = ModelTokenizer::open(source, trained.config.vocab_size)?;
    let contract = trained.contract.clone().unwrap_or_else(Contract::autoregressive);
    let origins = Origins::for_stage(job.stage).after(&read_origins(source)?);
    Companions {
        contract: &contract,
        text: text.as_ref().map_or(&[][..], |text| &text.files),
        generation: read_if_present(source, GENERATION)?.as_deref(),
        certificate: read_if_present(source, CERTIFICATE)?.as_deref(),
        origins: &origins,
    }
    .write(writer, &trained.config)
}

fn summarize(config: &AverageConfig, trained: &CheckpointReader) -> Summary {
    let updates = list_kept_updates(&config.updates).expect("an average has checkpoints");
    let headline = format!("mean of {} checkpoints, after update {updates}", config.updates.len());
    let line = "each weight: the sum as f64, divided and rounded once to f32".to_owned();
    describe_parameters(headline, trained.parameters(), vec![line])
}
