//! Resumable state: weights, moments, counters. Restored totally or refused.

use burn_tensor::{Device, Tensor, TensorData};
use fmflow_engine::error::Failure;
use fmflow_engine::run::execute::Job;
use fmflow_engine::store::Summary;
use indexmap::IndexMap;

use super::adamw::AdamW;
use super::flat;
use super::setup::Setup;
use super::state::{Counters, State};
use crate::failure::{self, stage};
use crate::model::Model;

/// File with the moments of the optimizer.
const OPTIMIZER: &str = "optimizer.safetensors";
/// File with the counters.
const COUNTERS: &str = "state.json";

/// The state to go on from: that of the newest valid checkpoint, or a new one.
pub fn start_or_resume(job: &Job<'_>, setup: &Setup<'_>) -> Result<State, Failure> {
    let model = setup.parent.backbone.clone();
    let optimizer = AdamW::new(&setup.config.optimizer, &model)
        .map_err(|e| failure::input(e, "name a part of a parameter's name, or its group"))?;
    let fresh = State { step: 0, saved: 0, model, optimizer, counters: Counters::default() };
    let Some(found) = job.slot.latest_checkpoint()? else {
        job.slot.truncate_metrics_from(0)?;
        return Ok(fresh);
    };
    found.notes.iter().for_each(|note| job.report.note(note));
    let state = restore(&found.path, fresh)?;
    if state.step != found.step {
        return Err(stage(format!(
            "the checkpoint in {} is not of update {}",
            found.path.display(),
            found.step
        )));
    }
    job.slot.truncate_metrics_from(state.step)?;
    job.report.note(&format!("continues after update {} of {}", state.step, setup.config.steps));
    Ok(state)
}

/// Publishes the state after `state.step` updates and prunes older checkpoints.
pub fn save(job: &Job<'_>, setup: &Setup<'_>, state: &State, keep: usize) -> Result<(), Failure> {
    let mut writer = job.slot.checkpoint(state.step)?;
    setup.artifact(state).write(&mut writer)?;
    let mut moments = Vec::new();
    for (name, m) in &state.optimizer.moments {
        moments.push((format!("first.{name}"), host(&m.first)?));
        moments.push((format!("second.{name}"), host(&m.second)?));
    }
    let mut file = writer.file(OPTIMIZER)?;
    flat::write(&mut file, &moments).map_err(stage)?;
    file.finish()?;
    let counters = serde_json::to_vec_pretty(&state.counters).map_err(stage)?;
    writer.write(COUNTERS, &counters)?;
    let headline = format!("after update {}", state.step);
    let summary = Summary { headline, lines: Vec::new(), metrics: IndexMap::new() };
    writer.publish(&summary, &IndexMap::new())?;
    job.slot.prune_checkpoints(keep).map_err(Failure::from)
}

/// Reads a checkpoint over a fresh state of the same stage.
fn restore(folder: &std::path::Path, fresh: State) -> Result<State, Failure> {
    let device = fresh.model.device();
    let model = Model::open(folder, &device)?.backbone;
    let counters: Counters =
        serde_json::from_slice(&std::fs::read(folder.join(COUNTERS)).map_err(stage)?).map_err(stage)?;
    let mut saved = flat::read(&folder.join(OPTIMIZER)).map_err(stage)?;
    let mut optimizer = fresh.optimizer;
    for (name, moments) in &mut optimizer.moments {
        let n = moments.first.dims()[0];
        moments.first = take(&mut saved, &format!("first.{name}"), n, &device)?;
        moments.second = take(&mut saved, &format!("second.{name}"), n, &device)?;
    }
    if let Some((name, _)) = saved.first() {
        return Err(stage(format!("optimizer state has an unexpected tensor `{name}`")));
    }
    let step = counters.step;
    Ok(State { step, saved: step, model, optimizer, counters })
}

fn take(
    saved: &mut IndexMap<String, Vec<f32>>,
    name: &str,
    n: usize,
    device: &Device,
) -> Result<Tensor<1>, Failure> {
    let values = saved
        .shift_remove(name)
        .filter(|values| values.len() == n)
        .ok_or_else(|| stage(format!("optimizer state lacks tensor `{name}` of {n} values")))?;
    Ok(Tensor::from_data(TensorData::new(values, [n]), device))
}

fn host(x: &Tensor<1>) -> Result<Vec<f32>, Failure> {
    x.clone().try_into_vec_as::<f32>().map_err(|e| stage(e.to_string()))
}
