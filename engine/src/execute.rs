//! The seam between the engine and the stages: what a stage is given, what it gives back, what it may say.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::pipeline::Stage;
use crate::store::Slot;

/// Runs stages, several at a time if asked for. Implemented by the stages crate; the engine knows no other way to do work.
pub trait Execute: Sync {
    /// Whether this build and this machine have the device; asked before any work.
    ///
    /// # Errors
    /// A sentence that says why not.
    fn device(&self, name: &str) -> Result<(), String>;

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
    pub inputs: &'a IndexMap<String, std::path::PathBuf>,
    /// Permission to write the artifact and its checkpoints.
    pub slot: &'a Slot,
    /// Where progress is told.
    pub report: &'a dyn Report,
    /// Set when the stage shall checkpoint at the next step boundary and stop with [`FailureKind::Interrupted`].
    pub interrupt: &'a AtomicBool,
    /// The device to compute on: `cpu` or `cuda:<n>`.
    pub device: &'a str,
    /// Cores that it may use, at least one. They change no result.
    pub cores: usize,
}

/// What a stage tells about its result; stored as `summary.json` beside the artifact's files.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// A few words for the table at the end of a run, such as `held-out 2.31` or `exact match 98.4 %`.
    pub headline: String,
    /// Lines for people who look at the stage: a certificate, samples, scores.
    pub lines: Vec<String>,
    /// Numbers by name.
    pub metrics: IndexMap<String, f64>,
}

/// Where a stage tells its progress. Nothing here changes a result.
pub trait Report: Sync {
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

/// Why a stage did not finish.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// Decides the exit code.
    pub kind: FailureKind,
    /// What happened: names file, line, tensor or field.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

/// Kinds of failure; each has an exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// The stage failed (1).
    Stage,
    /// An artifact or checkpoint is corrupt (4).
    Corrupt,
    /// The disk is full; resumable (6).
    Space,
    /// Training diverged (7).
    Diverged,
    /// Input is invalid or changed since the plan (8).
    Input,
    /// Stopped by a signal after a checkpoint; resumable (75).
    Interrupted,
    /// A defect of fmflow (70).
    Bug,
}
