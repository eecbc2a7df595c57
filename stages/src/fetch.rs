//! The `fetch` stage: copies a checkpoint into the store.

use fmflow_engine::error::Failure;
use fmflow_engine::pipeline::checkpoint_folder::{CheckpointFolder, FaultKind};
use fmflow_engine::pipeline::config::FetchConfig;
use fmflow_engine::pipeline::contract::{PROVENANCE, SIDECAR};
use fmflow_engine::pipeline::origins::ORIGINS;
use fmflow_engine::pipeline::role::InputRole;
use fmflow_engine::run::execute::Job;
use fmflow_engine::store::{ArtifactWriter, Summary};
use fmflow_engine::text::display::count_noun;
use fmflow_engine::text::escape::{escape_line, show_path};
use indexmap::IndexMap;
use std::path::Path;

use crate::failure::input_failure;
use crate::job::{find_input_folder, find_source_files};
use crate::model::{
    CERTIFICATE, GENERATION, ModelTokenizer, TOKENIZER_FILES, describe_parameters, refuse_text_mask,
    weights_failure,
};
use crate::weights::{CheckpointReader, INDEX, SINGLE, WeightsError, write_f32_tensors};

/// Most unread settings that are told one by one.
const MOST_TOLD: usize = 20;

/// Copies a checkpoint folder into the store byte for byte and checks every weight on the way, so that a broken checkpoint is found
/// here and not by a later stage, and what is stored is what was checked.
///
/// # Errors
/// If the folder is not a complete Qwen3 checkpoint, or a file of a repository cannot be downloaded.
pub(crate) fn run_fetch(job: &Job<'_>, config: &FetchConfig) -> Result<Summary, Failure> {
    match config {
        FetchConfig::Folder(source) => copy_checkpoint(job, source, Vec::new()),
        FetchConfig::Made => copy_checkpoint(job, find_input_folder(job, &InputRole::Made)?, Vec::new()),
        FetchConfig::Hub { .. } => {
            find_source_files(job, SOURCE)?;
            let left = describe_left(job);
            left.iter().for_each(|line| job.report.note(line));
            copy_checkpoint(job, job.slot.downloads(SOURCE)?.folder(), left)
        }
    }
}

/// The name of the source of a fetch.
const SOURCE: &str = "folder";

/// What a repository has besides the checkpoint, and is not downloaded.
fn describe_left(job: &Job<'_>) -> Vec<String> {
    let remote = job.stage.sources.iter().find_map(|source| source.remote.as_ref());
    let left = remote.filter(|remote| remote.left.1 > 0).map(|remote| {
        let (names, count) = &remote.left;
        let names: Vec<String> = names.iter().map(|name| format!("`{}`", escape_line(name))).collect();
        let more = if *count > names.len() as u64 { ", ..." } else { "" };
        let count = count_noun(*count, "file");
        format!(
            "not downloaded: {count} of `hf:{}` besides the checkpoint: {}{more}",
            remote.name,
            names.join(", ")
        )
    });
    left.into_iter().collect()
}

/// Writes the weights, an adapter merged into them. Returns the number of files.
fn copy_weights(
    checkpoint: &CheckpointReader,
    source: &Path,
    writer: &mut ArtifactWriter,
) -> Result<usize, Failure> {
    if checkpoint.is_adapted() {
        checkpoint.check_base().map_err(|e| weights_failure(source, &e))?;
        write_merged(checkpoint, source, writer)?;
        return Ok(1);
    }
    for (i, name) in checkpoint.file_names().enumerate() {
        let mut to = writer.file(name)?;
        checkpoint.copy_checked(i, &mut to).map_err(|error| match error {
            FileCopyError::Read(refused) => weights_failure(source, &refused),
            FileCopyError::Write(error) => Failure::from(error),
        })?;
        to.finish()?;
    }
    Ok(checkpoint.file_names().count())
}

fn copy_checkpoint(job: &Job<'_>, source: &Path, left: Vec<String>) -> Result<Summary, Failure> {
    let checkpoint = CheckpointReader::open(source).map_err(|e| weights_failure(source, &e))?;
    let text = ModelTokenizer::open(source, checkpoint.config.vocab_size)?;
    if let Some(template) = text.as_ref().and_then(|text| text.tokenizer.template()) {
        template
            .prepare()
            .map_err(|e| input_failure(e, "use the chat template that the model was made for"))?;
    }
    if let Some(contract) = &checkpoint.contract {
        refuse_text_mask(source, contract, text.as_ref())?;
    }
    let told = describe_unread(source);
    let mut writer = job.slot.artifact()?;
    copy_file(source, "config.json", &mut writer)?;
    let weights = copy_weights(&checkpoint, source, &mut writer)?;
    let beside = [GENERATION, INDEX, PROVENANCE, ORIGINS, SIDECAR, CERTIFICATE];
    let present: Vec<&&str> =
        beside.iter().chain(&TOKENIZER_FILES).filter(|name| source.join(name).exists()).collect();
    present.iter().try_for_each(|name| copy_file(source, name, &mut writer))?;
    let files = 1 + weights + present.len();
    told.iter().for_each(|line| job.report.note(line));
    let parameters = checkpoint.parameters();
    let summary = describe_parameters(
        format!("{parameters} parameters"),
        parameters,
        [vec![count_noun(files, "file")], left, told].concat(),
    );
    writer.publish(&summary, &IndexMap::new())?;
    Ok(summary)
}

/// Writes the weights of a checkpoint with its adapter merged into them: a copy of the files alone would be without it.
fn write_merged(
    checkpoint: &CheckpointReader,
    source: &Path,
    writer: &mut ArtifactWriter,
) -> Result<(), Failure> {
    let mut file = writer.file(SINGLE)?;
    write_f32_tensors(&mut file, &checkpoint.layout(), |name| {
        checkpoint.read(name).map(|tensor| tensor.values).map_err(|e| weights_failure(source, &e))
    })?;
    Ok(file.finish()?)
}

/// Why a weight file was not copied.
enum FileCopyError {
    /// It is refused.
    Read(WeightsError),
    /// The copy cannot be written.
    Write(std::io::Error),
}

impl From<WeightsError> for FileCopyError {
    fn from(error: WeightsError) -> Self {
        Self::Read(error)
    }
}

impl From<std::io::Error> for FileCopyError {
    fn from(error: std::io::Error) -> Self {
        Self::Write(error)
    }
}

fn copy_file(source: &Path, name: &str, writer: &mut ArtifactWriter) -> Result<(), Failure> {
    let mut from = std::fs::File::open(source.join(name))?;
    let mut to = writer.file(name)?;
    std::io::copy(&mut from, &mut to)?;
    Ok(to.finish()?)
}

/// Settings and files of the source that no stage reads, at most [`MOST_TOLD`] of them.
fn describe_unread(source: &Path) -> Vec<String> {
    let faults = CheckpointFolder::open(source, show_path(source)).find_faults();
    let unread: Vec<_> = faults.iter().filter(|fault| fault.kind == FaultKind::Unread).collect();
    let mut lines: Vec<String> = unread.iter().take(MOST_TOLD).map(ToString::to_string).collect();
    if unread.len() > MOST_TOLD {
        lines.push(format!("{} more settings are not read", unread.len() - MOST_TOLD));
    }
    lines
}
