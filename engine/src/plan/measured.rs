//! How long trainings take: from the speed that the store has measured for such a training, else from the assumed machine.

use indexmap::IndexMap;

use crate::error::Result;
use crate::pipeline::Pipeline;
use crate::pipeline::checkpoint_headers::read_model_shape;
use crate::pipeline::config::StageConfig;
use crate::pipeline::fingerprint::{Fingerprint, IngredientKind, Ledger};
use crate::pipeline::shape::ModelShape;
use crate::plan::planned::{Plan, PlanState, PlannedStage};
use crate::store::metrics::{list_update_seconds, read_metrics};
use crate::store::{Manifest, Store, StoreListing, StoredFolder};

/// Settings on which the speed of a training depends, by the beginning of their paths. Rows of an update are counted out.
const SPEED_FIELDS: [&str; 8] =
    ["adapter", "attention", "batch.per-device", "ema", "objective", "precision", "recompute", "teacher"];

/// How long the rest of a training takes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TimeEstimate {
    /// Updates that are left.
    pub updates: u64,
    /// Seconds, without validation and checkpoints; `None` if nothing is known.
    pub seconds: Option<f64>,
    /// Whether they were measured.
    pub measured: bool,
    /// Where the speed is from, for people.
    pub source: String,
}

/// A training in the store, and how fast it was.
struct Measurement {
    name: String,
    fingerprint: Fingerprint,
    created: String,
    device: String,
    /// Settings, shape and row length; `None` if the store no longer has them.
    class: Option<SpeedClass>,
    /// Seconds for a row of an update, the median of all updates but the first.
    row_seconds: f64,
}

/// What trainings of one speed have in common, apart from the device.
#[derive(Debug, PartialEq, Eq)]
struct SpeedClass {
    shape: ModelShape,
    length: u64,
    settings: Vec<(String, String)>,
}

/// The time left of every selected training that is not finished.
///
/// # Errors
/// If the store cannot be read.
pub(crate) fn estimate_times(
    pipeline: &Pipeline,
    plan: &Plan,
    store: Option<(&Store, &StoreListing)>,
) -> Result<IndexMap<String, TimeEstimate>> {
    let trains = |planned: &&PlannedStage| matches!(pipeline.stage(planned.id).config, StageConfig::Train(_));
    let open = plan.wanted().filter(|planned| planned.state != PlanState::Cached).filter(trains);
    let open: Vec<&PlannedStage> = open.collect();
    // The records of long trainings take a while to read.
    let store = store.filter(|_| !open.is_empty());
    let known = store.map_or(Ok(Vec::new()), |(store, listing)| measure_store(store, listing))?;
    let times = open.into_iter().filter_map(|planned| {
        let StageConfig::Train(config) = &pipeline.stage(planned.id).config else { return None };
        let done = match planned.state {
            PlanState::Resume { step, .. } => step,
            _ => 0,
        };
        let updates = config.steps.saturating_sub(done);
        let found = find_measurement(planned, &known);
        let estimate = match found {
            Some(found) => TimeEstimate {
                updates,
                seconds: Some(found.row_seconds * config.batch.rows as f64 * updates as f64),
                measured: true,
                source: format!("measured: `{}` on {}", found.name, found.device),
            },
            None => assume_time(pipeline, planned, updates, config.steps),
        };
        Some((planned.key.name.clone(), estimate))
    });
    Ok(times.collect())
}

fn assume_time(pipeline: &Pipeline, planned: &PlannedStage, updates: u64, steps: u64) -> TimeEstimate {
    let all = planned.cost.training.as_ref().and_then(|training| training.seconds);
    let seconds = all.map(|all| all * updates as f64 / steps.max(1) as f64);
    let source = match (seconds, &pipeline.budget.gpu) {
        (Some(_), Some(gpu)) => {
            format!("assumed: `machine gpu=\"{gpu}\" mfu={}`", pipeline.budget.mfu.unwrap_or_default())
        }
        _ => "unknown: the store has no such training".to_owned(),
    };
    TimeEstimate { updates, seconds, measured: false, source }
}

/// The measurement of the stage itself, else the newest one of its class.
fn find_measurement<'a>(planned: &PlannedStage, known: &'a [Measurement]) -> Option<&'a Measurement> {
    let own = known.iter().find(|found| found.fingerprint == planned.key.fingerprint);
    let class = planned.cost.shape.zip(planned.cost.training.as_ref()).map(|(shape, training)| SpeedClass {
        shape,
        length: training.length,
        settings: list_speed_settings(&planned.key.ledger),
    });
    let same = || {
        let same = known.iter().filter(|found| found.class.is_some() && found.class == class);
        same.max_by(|a, b| a.created.cmp(&b.created))
    };
    own.or_else(same)
}

fn measure_store(store: &Store, listing: &StoreListing) -> Result<Vec<Measurement>> {
    let runs = store.past_runs()?;
    let device = |fingerprint: &Fingerprint| {
        let run = runs.iter().rev().find(|run| run.begun.values().any(|begun| *begun == fingerprint.0));
        run.map_or_else(|| "an unknown device".to_owned(), |run| run.device.clone())
    };
    let mut found = Vec::new();
    for folder in listing.artifacts.iter().chain(&listing.unfinished) {
        let Ok(manifest) = &folder.manifest else { continue };
        if manifest.stage.kind != "train" {
            continue;
        }
        let Some(metrics) = read_metrics(store.vfs(), &folder.path)? else { continue };
        let rows = find_field(&manifest.ledger, "batch.rows").and_then(|rows| rows.parse::<f64>().ok());
        let seconds = list_update_seconds(&metrics.lines).into_iter().skip(1).map(|(_, seconds)| seconds);
        let Some((rows, seconds)) = rows.zip(find_middle(seconds.collect())) else { continue };
        found.push(Measurement {
            name: manifest.stage.name.clone(),
            fingerprint: manifest.fingerprint.clone(),
            created: manifest.created.clone(),
            device: device(&manifest.fingerprint),
            class: find_class(folder, manifest, listing),
            row_seconds: seconds / rows,
        });
    }
    Ok(found)
}

/// The class of a finished training, as far as the store still has what it was made from.
fn find_class(folder: &StoredFolder, manifest: &Manifest, listing: &StoreListing) -> Option<SpeedClass> {
    let shape = read_model_shape(&folder.path.join("config.json"))?;
    let (_, rows) = manifest.inputs.iter().find(|(role, _)| role.starts_with("rows/"))?;
    let mut all = listing.artifacts.iter().filter_map(|artifact| artifact.manifest.as_ref().ok());
    let rows = all.find(|artifact| artifact.fingerprint == *rows)?;
    let length = find_field(&rows.ledger, "length")?.parse().ok()?;
    Some(SpeedClass { shape, length, settings: list_speed_settings(&manifest.ledger) })
}

fn list_speed_settings(ledger: &Ledger) -> Vec<(String, String)> {
    let fields = ledger.0.iter().filter(|one| one.what == IngredientKind::Field);
    let own = fields.filter(|one| SPEED_FIELDS.iter().any(|start| one.name.starts_with(start)));
    own.map(|one| (one.name.clone(), one.value.clone())).collect()
}

fn find_field<'a>(ledger: &'a Ledger, path: &str) -> Option<&'a str> {
    let own = ledger.0.iter().find(|one| one.what == IngredientKind::Field && one.name == path)?;
    Some(&own.value)
}

/// The median; of an even number, the upper of the two in the middle. `None` of nothing.
fn find_middle(mut values: Vec<f64>) -> Option<f64> {
    values.retain(|value| value.is_finite());
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}
