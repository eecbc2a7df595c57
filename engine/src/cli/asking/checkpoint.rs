//! Which checkpoint is asked: a folder, or a finished stage of a file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;

use crate::cli::pipeline_arguments::{PipelineArguments, SettingArguments};
use crate::cli::{CommandContext, run, show, usage_error};
use crate::error::{Error, Failure, FailureKind, Result};
use crate::run::text::TextModel;
use crate::text::escape::show_path;
use crate::text::read;

/// Seed of draws for a folder, which has no pipeline that names one.
const FOLDER_SEED: u64 = 1;

#[derive(Clone, Debug, Args)]
pub(in crate::cli) struct CheckpointArguments {
    /// A checkpoint folder, or a pipeline file and one of its stages
    #[arg(value_name = "CHECKPOINT")]
    checkpoint: PathBuf,
    /// The stage, if CHECKPOINT is a pipeline file
    stage: Option<String>,
    #[command(flatten)]
    settings: SettingArguments,
    /// The device to compute on: `cpu` or `cuda:<n>`
    #[arg(long, default_value = "cpu", value_parser = run::parse_device)]
    device: String,
}

impl CheckpointArguments {
    /// The pipeline file, unless a folder is named.
    pub(in crate::cli) fn file(&self) -> Option<&Path> {
        self.stage.as_ref().map(|_| self.checkpoint.as_path())
    }
}

/// A checkpoint that is open for text.
pub(in crate::cli) struct OpenCheckpoint {
    /// Where it was found.
    pub(in crate::cli) place: CheckpointPlace,
    /// The folder, absolute.
    pub(in crate::cli) folder: PathBuf,
    /// Seed of draws if the command line names none.
    pub(in crate::cli) seed: u64,
    pub(in crate::cli) model: Arc<dyn TextModel>,
}

/// Where a checkpoint was found.
#[derive(Clone, Debug)]
pub(in crate::cli) enum CheckpointPlace {
    /// A folder.
    Folder,
    /// A stage of a file.
    Stage { source: PipelineArguments, stage: String },
}

impl CheckpointArguments {
    /// The checkpoints in a list of words: folders, and pipeline files each with one of its stages behind it.
    pub(in crate::cli) fn list(
        words: &[PathBuf],
        settings: &SettingArguments,
        device: &str,
    ) -> Result<Vec<Self>> {
        let (mut found, mut rest) = (Vec::new(), words.iter());
        while let Some(word) = rest.next() {
            // A missing folder is told when it is opened.
            let stage = if word.is_file() {
                let stage = rest.next().ok_or_else(|| missing_stage(word))?;
                Some(stage.to_str().ok_or_else(|| missing_stage(word))?.to_owned())
            } else {
                None
            };
            let (checkpoint, settings, device) = (word.clone(), settings.clone(), device.to_owned());
            found.push(Self { checkpoint, stage, settings, device });
        }
        Ok(found)
    }

    /// A short name: that of the stage or the folder.
    pub(in crate::cli) fn name(&self) -> String {
        let folder = || self.checkpoint.file_name().map(|name| name.to_string_lossy().into_owned());
        self.stage.clone().or_else(folder).unwrap_or_else(|| "checkpoint".to_owned())
    }

    /// Opens the checkpoint. A finished stage is found by its fingerprint, and its bytes are verified.
    pub(in crate::cli) fn open(&self, context: &CommandContext<'_>) -> Result<OpenCheckpoint> {
        let execute = context.executor()?;
        execute.check_device(&self.device).map_err(usage_error)?;
        let (place, folder, seed) = self.find(context)?;
        let name = match &place {
            CheckpointPlace::Folder => show_path(&self.checkpoint),
            CheckpointPlace::Stage { stage, .. } => stage.clone(),
        };
        let model =
            execute.open_text_model(&folder, &self.device).map_err(|failure| explain(&name, failure))?;
        Ok(OpenCheckpoint { place, folder, seed, model: model.into() })
    }

    fn find(&self, context: &CommandContext<'_>) -> Result<(CheckpointPlace, PathBuf, u64)> {
        let path = &self.checkpoint;
        match (&self.stage, path.is_dir()) {
            (None, true) => Ok((CheckpointPlace::Folder, read::to_absolute_path(path), FOLDER_SEED)),
            (Some(stage), true) => Err(Error::usage(
                format!("{} is a folder, which has no stage `{stage}`", show_path(path)),
                "name the folder alone, or a pipeline file and its stage",
            )),
            (None, false) => Err(missing_stage(path)),
            (Some(stage), false) => self.find_stage(stage, context),
        }
    }

    fn find_stage(
        &self,
        stage: &str,
        context: &CommandContext<'_>,
    ) -> Result<(CheckpointPlace, PathBuf, u64)> {
        let source = PipelineArguments { file: self.checkpoint.clone(), settings: self.settings.clone() };
        let (seed, folder) = show::find_verified_artifact(&source, stage, context)?;
        Ok((CheckpointPlace::Stage { source, stage: stage.to_owned() }, folder, seed))
    }
}

fn missing_stage(path: &Path) -> Error {
    if path.is_file() {
        return Error::usage(
            format!("{} is a file: which of its stages?", show_path(path)),
            "name a stage that makes a checkpoint after it; `fmflow status FILE` lists them",
        );
    }
    Error::usage(
        format!("there is no folder or file {}", show_path(path)),
        "name a checkpoint folder, or a pipeline file and one of its stages",
    )
}

/// The error for a failure of the checkpoint called `name`. What does not fit it is an error of the input.
pub(in crate::cli) fn explain(name: &str, failure: Failure) -> Error {
    match failure.kind {
        FailureKind::Input => Error::Input { message: failure.message, help: failure.help },
        _ => Error::Stage { stage: name.to_owned(), failure },
    }
}

impl OpenCheckpoint {
    /// The error for a failure of this checkpoint.
    pub(in crate::cli) fn explain(&self, failure: Failure) -> Error {
        match &self.place {
            CheckpointPlace::Folder => explain(&show_path(&self.folder), failure),
            CheckpointPlace::Stage { stage, .. } => explain(stage, failure),
        }
    }
}
