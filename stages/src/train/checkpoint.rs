//! Saves and restores the resumable state: weights, moments, counters. Where an average of the weights is published, a checkpoint's
//! model is that average, and the weights that are trained lie beside the moments.
//!
//! A checkpoint is restored completely or refused. Training that continues with fresh moments, or only some of the old
//! ones, would look normal and give other weights than the uninterrupted run.

use std::path::Path;

use fmflow_engine::error::Failure;
use fmflow_engine::pipeline::role::InputRole;
use fmflow_engine::run::execute::Job;
use fmflow_engine::store::Summary;
use fmflow_engine::text::escape::show_path;
use indexmap::IndexMap;

use super::adamw::AdamW;
use super::adapter_files;
use super::ema::WeightAverage;
use super::guard::is_rewind_needed;
use super::optimizer_file::{restore_optimizer, write_optimizer};
use super::saving::Retention;
use super::setup::TrainingSetup;
use super::state::{TrainingCounters, TrainingState};
use crate::backbone::Backbone;
use crate::failure::{self, stage_failure};
use crate::job::find_input_folder;
use crate::model::{Model, weights_failure};
use crate::weights::AdapterFacts;

/// File with the counters.
const COUNTERS: &str = "state.json";

/// The state to continue from: the newest valid checkpoint, or a fresh state. Drops metrics of updates that will run again.
pub(crate) fn open_training_state(
    job: &Job<'_>,
    setup: &TrainingSetup<'_>,
) -> Result<TrainingState, Failure> {
    let fresh = build_fresh_state(job, setup)?;
    let Some(found) = job.slot.latest_checkpoint()? else {
        job.slot.truncate_metrics_from(0)?;
        return Ok(fresh);
    };
    found.notes.iter().for_each(|note| job.report.note(note));
    let state = restore_checkpoint(&found.path, fresh)?;
    if state.step != found.step {
        return Err(stage_failure(format!(
            "the checkpoint in {} was not saved after update {}",
            show_path(&found.path),
            found.step
        )));
    }
    job.slot.truncate_metrics_from(state.step)?;
    Ok(state)
}

/// The state before the first update, with the moments of the parent if they are carried over.
pub(super) fn build_fresh_state(job: &Job<'_>, setup: &TrainingSetup<'_>) -> Result<TrainingState, Failure> {
    let model = start_model(job, setup)?;
    let average = setup.config.ema.map(|decay| WeightAverage::new(decay, &model));
    let optimizer = AdamW::new(&setup.config.optimizer, &model)
        .map_err(|e| failure::input_failure(e, "name a part of a parameter's name, or its group"))?;
    let counters = TrainingCounters::default();
    let mut state = TrainingState { step: 0, saved: 0, model, optimizer, average, counters };
    if setup.config.branch.is_some_and(|branch| branch.carries_optimizer) {
        let folder = find_input_folder(job, &InputRole::From)?;
        let before = read_counters(folder)?;
        let (restored, averaged) = restore_optimizer(folder, state)?;
        state = restored;
        state.counters.carried = before.count_optimizer_updates();
        // The parent's average goes on; a new one begins here.
        state.counters.average_began = if averaged { before.average_began } else { state.counters.carried };
    }
    Ok(state)
}

/// The model before the first update: the parent's, with an adapter that is new or another stage's.
fn start_model(job: &Job<'_>, setup: &TrainingSetup<'_>) -> Result<Backbone, Failure> {
    let model = setup.initial_model()?;
    let (Some(facts), Ok(folder)) = (&setup.adapter, find_input_folder(job, &InputRole::Adapter)) else {
        return Ok(model);
    };
    if AdapterFacts::read(folder).map_err(|e| weights_failure(folder, &e))? != *facts {
        let what = "the adapter was trained on another base, or with other settings";
        let help = "leave `from=` out of `adapter`, or start from the checkpoint that it was trained on";
        return Err(failure::input_failure(what, help));
    }
    adapter_files::restore_adapter(folder, model)
}

/// Publishes the state after `state.step` updates, then removes checkpoints that newer ones replace.
pub(crate) fn save_checkpoint(
    job: &Job<'_>,
    setup: &TrainingSetup<'_>,
    state: &mut TrainingState,
    retention: Retention,
) -> Result<(), Failure> {
    let mut writer = match retention {
        Retention::Replaced => job.slot.checkpoint(state.step)?,
        Retention::Permanent => job.slot.permanent_checkpoint(state.step)?,
    };
    match (&setup.adapter, retention) {
        // The weights are the parent's.
        (Some(facts), Retention::Replaced) => facts.write(&mut writer, &state.published_model()?)?,
        _ => setup.write_artifact(state, &mut writer)?,
    }
    write_optimizer(state, &mut writer)?;
    let counters = serde_json::to_vec_pretty(&state.counters).map_err(stage_failure)?;
    writer.write(COUNTERS, &counters)?;
    let headline = format!("after update {}", state.step);
    let summary = Summary { headline, lines: Vec::new(), metrics: IndexMap::new() };
    writer.publish(&summary, &IndexMap::new())?;
    state.saved = state.step;
    let (guard, done) = (&setup.config.guard, state.step);
    let needed = |step| is_rewind_needed(guard, &state.counters.guard, done, step);
    job.slot.prune_checkpoints(setup.config.checkpoint.keep, needed).map_err(Failure::from)
}

/// Restores a checkpoint into the fresh state of the same stage.
pub(super) fn restore_checkpoint(folder: &Path, fresh: TrainingState) -> Result<TrainingState, Failure> {
    let TrainingState { model, optimizer, average, .. } = fresh;
    let (device, precision) = (model.device(), model.precision());
    let decay = average.map(|average| average.decay());
    let model = match model.adapter() {
        Some(_) => adapter_files::restore_adapter(folder, model)?,
        None => {
            // Not beside those that are read.
            drop(model);
            Model::open(folder, &device)?.backbone.computing_in(precision)
        }
    };
    let counters = read_counters(folder)?;
    let step = counters.step;
    let average = decay.map(|decay| WeightAverage::new(decay, &model));
    let state = TrainingState { step, saved: step, model, optimizer, average, counters };
    Ok(restore_optimizer(folder, state)?.0)
}

fn read_counters(folder: &Path) -> Result<TrainingCounters, Failure> {
    let bytes = std::fs::read(folder.join(COUNTERS)).map_err(stage_failure)?;
    serde_json::from_slice(&bytes).map_err(stage_failure)
}
