//! Helpers for a [`Job`]: its inputs, sources, threads, interruption, and an artifact as a sink of rows.

use std::ops::Range;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use fmflow_engine::error::{Failure, FailureKind};
use fmflow_engine::pipeline::config::StageConfig;
use fmflow_engine::pipeline::repository::RepositoryFiles;
use fmflow_engine::pipeline::role::InputRole;
use fmflow_engine::pipeline::stage::{SourceFiles, Stage};
use fmflow_engine::run::execute::Job;
use fmflow_engine::store::{ArtifactWriter, HashingFile};

use crate::data::build::BuildError;
use crate::data::corpus::{CorpusError, ScratchFiles};
use crate::data::rows::{FileSink, RowsFile};
use crate::data::tokenizer::TokenizerError;
use crate::failure::{input_failure, stage_failure};

/// The folder of the input artifact in `role`.
///
/// # Errors
/// If the engine passed no such input, which is a bug.
pub(crate) fn find_input_folder<'a>(job: &'a Job<'_>, role: &InputRole) -> Result<&'a Path, Failure> {
    job.inputs.get(role).map(std::path::PathBuf::as_path).ok_or_else(|| Failure {
        kind: FailureKind::Defect,
        message: format!("stage `{}` has no input `{role}`", job.stage.name),
        help: None,
    })
}

/// The files of the source called `name`. Those of a repository are downloaded first.
///
/// # Errors
/// If a file cannot be downloaded, or the engine passed no such source, which is a bug.
pub(crate) fn find_source_files(job: &Job<'_>, name: &str) -> Result<Vec<PathBuf>, Failure> {
    let source = find_source(job.stage, name)?;
    match &source.remote {
        Some(remote) => download(job, name, remote),
        None => Ok(source.files.clone()),
    }
}

/// The source of a stage that is called `name`.
///
/// # Errors
/// If the engine passed no such source, which is a bug.
pub(crate) fn find_source<'a>(stage: &'a Stage, name: &str) -> Result<&'a SourceFiles, Failure> {
    stage.all_sources().find(|source| source.name == name).ok_or_else(|| Failure {
        kind: FailureKind::Defect,
        message: format!("stage `{}` has no source `{name}`", stage.name),
        help: None,
    })
}

/// Some files of a source, by their numbers. Those of a repository are downloaded first, and others of it are removed.
///
/// # Errors
/// If a file cannot be downloaded.
pub(crate) fn find_some_files(
    job: &Job<'_>,
    source: &SourceFiles,
    numbers: Range<usize>,
) -> Result<Vec<PathBuf>, Failure> {
    match &source.remote {
        Some(remote) => {
            let files = remote.files[numbers].to_vec();
            download(job, &source.name, &RepositoryFiles { files, ..remote.clone() })
        }
        None => Ok(source.files[numbers].to_vec()),
    }
}

#[cfg(feature = "hub")]
fn download(job: &Job<'_>, name: &str, remote: &RepositoryFiles) -> Result<Vec<PathBuf>, Failure> {
    crate::hub::download_files(job, name, remote)
}

/// The engine refuses such a stage before any work.
#[cfg(not(feature = "hub"))]
fn download(_: &Job<'_>, _: &str, remote: &RepositoryFiles) -> Result<Vec<PathBuf>, Failure> {
    let message = format!("this program was built without access to a hub, which `hf:{}` needs", remote.name);
    Err(Failure { kind: FailureKind::Stage, message, help: Some("rebuild with `--features hub`".into()) })
}

/// Removes files that [`find_some_files`] downloaded; files of the user stay.
///
/// # Errors
/// If one cannot be removed.
pub(crate) fn remove_downloads(
    job: &Job<'_>,
    source: &SourceFiles,
    files: &[PathBuf],
) -> Result<(), Failure> {
    if source.remote.is_none() {
        return Ok(());
    }
    let downloads = job.slot.downloads(&source.name)?;
    files.iter().try_for_each(|file| Ok(downloads.remove(file)?))
}

/// Converts an error about a dataset. Errors in its text already name the line and a fix; for others, `help` says what to do.
#[must_use]
pub(crate) fn explain_build_error(job: &Job<'_>, error: BuildError, help: &str) -> Failure {
    match error {
        BuildError::Tokenizer(TokenizerError::Interrupted) => stopped_failure(job),
        // It says itself what to do.
        BuildError::Corpus(CorpusError::Contents(failure)) => failure,
        BuildError::Corpus(CorpusError::TooManyMissing { .. }) => {
            input_failure(error, "correct `contents from=`, or leave out the records that name them")
        }
        BuildError::Corpus(CorpusError::Several { .. }) => {
            input_failure(error, "fix or remove these lines; one run shows the first 20 faults of all files")
        }
        BuildError::Corpus(CorpusError::Digests { .. }) => stage_failure(error),
        BuildError::Corpus(_) => input_failure(error, "fix the file, or remove it from the dataset"),
        _ => match error.explain_template() {
            Some(template) => input_failure(error, template),
            None => input_failure(error, help),
        },
    }
}

/// Threads that independent work may use: one per core on the CPU, and a single one if an accelerator does the work.
#[must_use]
pub(crate) fn count_threads(job: &Job<'_>) -> usize {
    if job.device == "cpu" { job.cores } else { 1 }
}

/// Stops a stage that cannot resume and will start again from the beginning.
///
/// # Errors
/// If a signal requested a stop.
pub(crate) fn check_interrupt(job: &Job<'_>) -> Result<(), Failure> {
    if !job.interrupt.load(Ordering::SeqCst) {
        return Ok(());
    }
    Err(stopped_failure(job))
}

fn stopped_failure(job: &Job<'_>) -> Failure {
    let next = match &job.stage.config {
        StageConfig::Rows(config) if config.window.is_none() => "goes on behind its last shard",
        _ => "starts it again from the beginning",
    };
    let message = format!("stage `{}` was stopped; the next run {next}", job.stage.name);
    Failure { kind: FailureKind::Interrupted, message, help: None }
}

impl ScratchFiles for Job<'_> {
    fn create(&self) -> std::io::Result<std::fs::File> {
        Ok(self.slot.scratch_file()?)
    }
}

/// Writes the files of rows into an artifact.
pub(crate) struct ArtifactSink<'a>(pub(crate) &'a mut ArtifactWriter);

impl FileSink for ArtifactSink<'_> {
    fn file(&mut self, name: &str) -> std::io::Result<Box<dyn RowsFile>> {
        Ok(Box::new(self.0.file(name)?))
    }
}

impl RowsFile for HashingFile {
    fn finish(self: Box<Self>) -> std::io::Result<()> {
        Ok(HashingFile::finish(*self)?)
    }
}

/// Finishes the files that are sent to it, in order.
pub(crate) struct FileFinisher(SyncSender<HashingFile>);

impl FileFinisher {
    /// Hands over a file whose bytes are written. It can be read back from now on; an error of finishing it is that of
    /// [`with_finisher`].
    ///
    /// # Errors
    /// If an earlier file could not be finished.
    pub(crate) fn finish(&self, file: HashingFile) -> Result<(), Failure> {
        self.0.send(file).map_err(|_| stage_failure("an earlier file could not be finished"))
    }
}

/// Does `work` while a thread brings finished files to stable storage: the disk writes what is read back and compared meanwhile.
///
/// # Errors
/// The first error of a file, or that of `work`.
pub(crate) fn with_finisher<T>(work: impl FnOnce(&FileFinisher) -> Result<T, Failure>) -> Result<T, Failure> {
    // One file waits at most, so that few are open at a time.
    let (sender, files) = sync_channel::<HashingFile>(1);
    thread::scope(|scope| {
        let finisher = scope.spawn(move || files.into_iter().try_for_each(HashingFile::finish));
        let finish = FileFinisher(sender);
        let done = work(&finish);
        drop(finish);
        finisher.join().unwrap_or_else(|panic| resume_unwind(panic))?;
        done
    })
}
