//! The seam between the engine and the stages: what a stage is given, what it gives back, what it may say.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use indexmap::IndexMap;

use crate::error::Failure;
use crate::pipeline::role::InputRole;
use crate::pipeline::stage::Stage;
use crate::store::{Slot, Summary};

/// Runs stages, several at a time if asked for. Implemented by the stages crate; the engine knows no other way to do work.
pub trait Execute: Sync {
    /// Whether this build and this machine have the device; asked before any work.
    ///
    /// # Errors
    /// A sentence that says why not.
    fn check_device(&self, name: &str) -> Result<(), String>;

    /// Does the work of one stage and publishes its artifact through the job's slot.
    ///
    /// # Errors
    /// A [`Failure`] whose kind decides the exit code. Nothing half-done is ever published.
    fn run(&self, job: &Job<'_>) -> Result<Summary, Failure>;

    /// Re-runs the forward pass that the certificate of the artifact in `folder` speaks of.
    ///
    /// # Errors
    /// A [`Failure`] of kind `Corrupt` when the numbers differ.
    fn verify_deep(&self, folder: &Path) -> Result<String, Failure>;
}

/// What a stage is given.
pub struct Job<'a> {
    /// The stage: name, settings, roles.
    pub stage: &'a Stage,
    /// Seed of every random number: the pipeline's.
    pub seed: u64,
    /// Verified folders of upstream artifacts, by role.
    pub inputs: &'a IndexMap<InputRole, PathBuf>,
    /// Permission to write the artifact and its checkpoints.
    pub slot: &'a Slot,
    /// Where progress is told.
    pub report: &'a dyn ProgressReporter,
    /// Set when the stage shall checkpoint at the next step boundary and stop with [`FailureKind::Interrupted`].
    pub interrupt: &'a AtomicBool,
    /// The device to compute on: `cpu` or `cuda:<n>`.
    pub device: &'a str,
    /// Cores that it may use, at least one. They change no result.
    pub cores: usize,
}

/// Where a stage tells its progress. Nothing here changes a result.
pub trait ProgressReporter: Sync {
    /// Progress of long work.
    fn progress(&self, progress: &Progress<'_>);
    /// A sentence that a person should see.
    fn note(&self, text: &str);
}

/// Progress of long work.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress<'a> {
    /// Units done, for training the updates.
    pub done: u64,
    /// Units in all.
    pub total: u64,
    /// What a unit is, such as `update`, `document` or `prompt`.
    pub unit: &'a str,
    /// Numbers worth showing, such as `loss 2.31 · 21.4K tok/s`.
    pub text: &'a str,
}
