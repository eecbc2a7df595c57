//! The seam between the engine and the stages: what a stage gets, what it returns, and how it reports progress.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use indexmap::IndexMap;
use serde_json::Value;

use crate::error::Failure;
use crate::hub::online::{Secret, StorageKeys};
use crate::pipeline::config::{PromptKind, StageConfig};
use crate::pipeline::role::InputRole;
use crate::pipeline::stage::Stage;
use crate::run::last_words;
use crate::run::rows_view::{RowsRequest, RowsStatistics, RowsView};
use crate::run::text::TextModel;
use crate::store::{Slot, Summary};

/// Runs stages, possibly several at once (`--jobs`). Implemented by the stages package, so that the engine never depends on
/// Burn.
pub trait Execute: Sync {
    /// Whether this build and this machine have the device; called before any work.
    ///
    /// # Errors
    /// A sentence for the user that says why not.
    fn check_device(&self, name: &str) -> Result<(), String>;

    /// What decides the last bits of a stage's result on a device beside the fingerprint, as facts for manifests. Nothing for an
    /// executor that computes nothing.
    fn describe_arithmetic(&self, _device: &str, _config: &StageConfig) -> IndexMap<String, Value> {
        IndexMap::new()
    }

    /// Whether this build can download files of repositories; asked before any work.
    fn can_download(&self) -> bool;

    /// Does the work of one stage and publishes its artifact through the job's slot.
    ///
    /// # Errors
    /// A [`Failure`] whose kind decides the exit code. Nothing incomplete is ever published.
    fn run(&self, job: &Job<'_>) -> Result<Summary, Failure>;

    /// Repeats the forward pass of the certificate of the artifact in `folder`; returns one line for the user.
    ///
    /// # Errors
    /// A [`Failure`] of kind `Corrupt` when the numbers differ.
    fn verify_deep(&self, folder: &Path, operations: Operations) -> Result<String, Failure>;

    /// Rows of the artifact in `folder`, as people read them.
    ///
    /// # Errors
    /// If the artifact has no rows or is damaged, or there is no such row.
    fn view_rows(&self, folder: &Path, request: &RowsRequest) -> Result<RowsView, Failure>;

    /// What is in the rows of the artifact in `folder`. Of more than `most` rows of a part, as many are read, evenly spaced.
    ///
    /// # Errors
    /// If the artifact has no rows or is damaged.
    fn measure_rows(&self, folder: &Path, most: u64) -> Result<RowsStatistics, Failure>;

    /// Answers requests with the checkpoint in `folder` alone, in batches and with a cache; returns one line for the user.
    ///
    /// # Errors
    /// A [`Failure`] if an answer depends on the batch, or the folder is no checkpoint.
    fn verify_batches(&self, folder: &Path, device: &str) -> Result<String, Failure>;

    /// How many tokens the texts of requests take, by the tokenizer in `folder`; `None` for one that it cannot encode, and for all if
    /// this executor cannot count: the stage that asks says why.
    ///
    /// # Errors
    /// If the tokenizer cannot be read.
    fn count_prompt_tokens(
        &self,
        _folder: &Path,
        prompts: &[&PromptKind],
    ) -> Result<Vec<Option<usize>>, Failure> {
        Ok(vec![None; prompts.len()])
    }

    /// Opens the checkpoint in `folder` for text, on a device.
    ///
    /// # Errors
    /// A [`Failure`] if the folder is no checkpoint with a tokenizer, or the device fails.
    fn open_text_model(&self, folder: &Path, device: &str) -> Result<Box<dyn TextModel>, Failure>;
}

/// What a stage gets.
pub struct Job<'a> {
    /// The stage: name, settings, roles.
    pub stage: &'a Stage,
    /// The pipeline's seed; every random number derives from it.
    pub seed: u64,
    /// Verified folders of upstream artifacts, by role.
    pub inputs: &'a IndexMap<InputRole, PathBuf>,
    /// How to make the training rows of a window, by the role of its plan.
    pub windows: &'a IndexMap<InputRole, WindowSource<'a>>,
    /// Permission to write the artifact and its checkpoints.
    pub slot: &'a Slot,
    /// Where the stage reports progress.
    pub report: &'a dyn ProgressReporter,
    /// Once set, the stage has to write a checkpoint at the next step boundary and stop with
    /// [`FailureKind::Interrupted`](crate::error::FailureKind::Interrupted).
    pub interrupt: &'a AtomicBool,
    /// The device to compute on: `cpu` or `cuda:<n>`.
    pub device: &'a str,
    /// Cores that the stage may use, at least one. Results do not depend on it.
    pub cores: usize,
    /// Seconds that an update of a training takes at the peak of the device's arithmetic; `None` if the peak or the model is unknown.
    pub peak_seconds: Option<f64>,
    /// Whether the command line lets programs that a checkpoint wrote run without a sandbox.
    pub unsafe_no_sandbox: bool,
    /// The account on the hub, if the pipeline declares its secret. Stages that download send it to the hub, and to nobody else.
    pub token: Option<&'a Secret>,
    /// What signs requests to S3, if the pipeline declares it.
    pub storage: Option<&'a StorageKeys>,
}

impl Job<'_> {
    /// Notes that a training has done `done` updates, for what is told if memory runs out in the next one.
    pub fn note_updates(&self, done: u64) {
        last_words::note_updates(&self.stage.name, done);
    }
}

/// What a training stage needs to make rows while it reads them.
#[derive(Clone, Debug)]
pub struct WindowSource<'a> {
    /// The stage that planned the rows: settings and sources.
    pub stage: &'a Stage,
    /// Verified folders of that stage's inputs, by role.
    pub inputs: IndexMap<InputRole, PathBuf>,
    /// Bytes that the rows may take.
    pub disk: u64,
}

/// What computes when a forward pass is verified.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Operations {
    /// The operations of every stage
    #[default]
    Fused,
    /// Their definitions, in plain operations
    Reference,
}

/// Where a stage reports its progress. Results do not depend on it.
pub trait ProgressReporter: Sync {
    /// Reports how far long work has come; may be called often.
    fn progress(&self, progress: &Progress<'_>);
    /// Reports a measurement that was made on the way.
    fn event(&self, text: &str);
    /// Reports a sentence that the user should see.
    fn note(&self, text: &str);
}

/// How far long work has come.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress<'a> {
    /// Units done; in training, updates.
    pub done: u64,
    /// Units in total.
    pub total: u64,
    /// What a unit is, such as `update`, `document` or `prompt`.
    pub unit: &'a str,
    /// Numbers worth showing, such as `loss 2.31 · 21.4K tok/s`.
    pub text: &'a str,
}
