//! Small helps around a [`Job`].

use std::path::Path;
use std::sync::atomic::Ordering;

use fmflow_engine::error::{Failure, FailureKind};
use fmflow_engine::pipeline::config::DatasetConfig;
use fmflow_engine::pipeline::role::InputRole;
use fmflow_engine::run::execute::Job;
use fmflow_engine::store::{ArtifactWriter, HashingFile};

use crate::data::build::BuildError;
use crate::data::corpus::{Documents, read_documents};
use crate::data::rows::FileSink;
use crate::failure::input_failure;

/// The folder of the artifact in `role`.
///
/// # Errors
/// The engine gave no such input, which is a defect.
pub fn find_input_folder<'a>(job: &'a Job<'_>, role: &InputRole) -> Result<&'a Path, Failure> {
    job.inputs.get(role).map(std::path::PathBuf::as_path).ok_or_else(|| Failure {
        kind: FailureKind::Defect,
        message: format!("stage `{}` was given no input `{role}`", job.stage.name),
        help: None,
    })
}

/// The files of the source called `name`.
///
/// # Errors
/// The engine gave no such source, which is a defect.
pub fn find_source_files(job: &Job<'_>, name: &str) -> Result<Vec<std::path::PathBuf>, Failure> {
    let source = job.stage.sources.iter().find(|source| source.name == name).ok_or_else(|| Failure {
        kind: FailureKind::Defect,
        message: format!("stage `{}` was given no source `{name}`", job.stage.name),
        help: None,
    })?;
    Ok(source.files.clone())
}

/// The documents of a dataset, from the source of its name.
///
/// # Errors
/// As [`files`].
pub fn open_documents(job: &Job<'_>, dataset: &DatasetConfig) -> Result<Documents, Failure> {
    Ok(read_documents(find_source_files(job, &dataset.name)?, dataset.format.clone()))
}

/// A dataset that cannot be used. A fault of its text brings its own help; for another, `help` says what to do.
#[must_use]
pub fn explain_build_error(error: BuildError, help: &str) -> Failure {
    match error {
        BuildError::Corpus(_) => input_failure(error, "fix the file, or leave it out of the dataset"),
        _ => input_failure(error, help),
    }
}

/// Threads that independent work may use: one per core on the CPU, one where an accelerator does the work.
#[must_use]
pub fn count_threads(job: &Job<'_>) -> usize {
    if job.device == "cpu" { job.cores } else { 1 }
}

/// Stops where a signal asked for it; for stages that are done again from their start.
///
/// # Errors
/// When a signal came.
pub fn check_interrupt(job: &Job<'_>) -> Result<(), Failure> {
    if !job.interrupt.load(Ordering::SeqCst) {
        return Ok(());
    }
    let message = format!("stage `{}` was stopped; it starts anew", job.stage.name);
    Err(Failure { kind: FailureKind::Interrupted, message, help: None })
}

/// An artifact as the sink of rows.
pub struct ArtifactSink<'a> {
    writer: &'a mut ArtifactWriter,
    open: Option<HashingFile>,
}

impl<'a> ArtifactSink<'a> {
    /// A sink that writes into `writer`.
    pub fn new(writer: &'a mut ArtifactWriter) -> Self {
        Self { writer, open: None }
    }

    /// Closes the last file.
    ///
    /// # Errors
    /// What the store says.
    pub fn finish(mut self) -> Result<(), Failure> {
        self.close().map_err(Failure::from)
    }

    fn close(&mut self) -> std::io::Result<()> {
        self.open.take().map_or(Ok(()), |file| file.finish().map_err(std::io::Error::other))
    }
}

impl FileSink for ArtifactSink<'_> {
    fn file(&mut self, name: &str) -> std::io::Result<Box<dyn std::io::Write + '_>> {
        self.close()?;
        let file = self.writer.file(name).map_err(std::io::Error::other)?;
        Ok(Box::new(self.open.insert(file)))
    }
}
