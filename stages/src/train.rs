//! The `train` stage: reads rows, saves checkpoints along the way, and publishes a checkpoint artifact.
//!
//! A step is an optimizer update. Update k is a pure function of the weights, the moments and (seed, k): its rows
//! ([`crate::data::mixture`]), its corruption ([`update`]), its gradient ([`gradient`]), its learning rate and its step
//! ([`adamw`]). The loop only owns the order, so resuming means starting it at k with the content of a checkpoint.

pub mod adamw;
pub(crate) mod adapter_files;
pub(crate) mod attention;
mod backward;
pub(crate) mod checkpoint;
mod data_wait;
mod divergence;
mod ema;
pub(crate) mod forward;
pub mod gradient;
pub mod gradient_sums;
mod growth;
mod guard;
pub(crate) mod held_out;
pub(crate) mod losses;
pub(crate) mod metrics;
mod optimizer_file;
pub(crate) mod pieces;
pub(crate) mod probing;
mod progress;
mod remedy;
mod retention;
mod rows;
pub(crate) mod saving;
pub(crate) mod setup;
pub(crate) mod state;
pub mod task;
pub mod update;
mod validation;

use std::sync::atomic::Ordering;
use std::thread;
use std::time::Instant;

use fmflow_engine::error::{Failure, FailureKind};
use fmflow_engine::pipeline::config::TrainConfig;
use fmflow_engine::run::execute::Job;
use fmflow_engine::store::Summary;
use indexmap::IndexMap;

use crate::backbone::Backbone;
use crate::data::packing::Row;
use crate::failure::stage_failure;
use crate::window::StopWindows;
use adamw::StepFacts;
use data_wait::DataWait;
use gradient_sums::FlatGradients;
use guard::Trouble;
use metrics::{LossSum, StepMetrics};
use probing::Prober;
use progress::ProgressLine;
use remedy::Remedy;
use saving::{Retention, SaveClock};
use setup::TrainingSetup;
use state::TrainingState;
use validation::{Validation, record_start, validate, was_validated};

/// Runs a `train` stage.
///
/// # Errors
/// If inputs contradict the settings, a loss or gradient is not finite, the guard finds that training diverged, a signal
/// requests a stop (after saving a checkpoint), or the store or the device fails.
pub(crate) fn run_train(job: &Job<'_>, config: &TrainConfig, prober: Prober) -> Result<Summary, Failure> {
    let setup = TrainingSetup::open(job, config)?;
    let windows = setup.windows();
    let threads = (job.cores / windows.len().max(1)).max(1);
    let summary = thread::scope(|scope| {
        // However training ends, the threads have to end before the scope does.
        let _stop = StopWindows(windows.clone());
        for window in &windows {
            scope.spawn(move || window.make_shards(threads));
        }
        train_model(job, &setup, prober)
    })?;
    windows.iter().for_each(|window| job.report.note(&window.describe()));
    Ok(summary)
}

/// Trains from the newest checkpoint to the last update, and publishes the model.
fn train_model(job: &Job<'_>, setup: &TrainingSetup<'_>, prober: Prober) -> Result<Summary, Failure> {
    let config = setup.config;
    let mut state = checkpoint::open_training_state(job, setup)?;
    record_start(job, setup, &mut state)?;
    probing::repeat_lost_probe(job, setup, &state, prober)?;
    let mut waits = DataWait::new(setup);
    let mut shown = ProgressLine::new();
    let mut validated = None;
    let mut clock = SaveClock::start();
    while state.step < config.steps {
        if job.interrupt.load(Ordering::SeqCst) {
            return Err(stop_training(job, setup, &mut state)?);
        }
        let updated = match run_update(job, setup, &mut state) {
            // A signal came while the update waited for its rows.
            Err(failure) if failure.kind == FailureKind::Interrupted => {
                return Err(stop_training(job, setup, &mut state)?);
            }
            other => other?,
        };
        waits.tell_first(job);
        match updated {
            UpdateResult::Applied(metrics, norm) => {
                metrics.record(job)?;
                shown.show(job, config, &metrics);
                divergence::judge_weights(job, setup, &mut state, norm)?;
            }
            UpdateResult::Refused(trouble) => {
                if remedy::apply_remedy(job, setup, &mut state, &trouble)? == Remedy::Rewound {
                    continue;
                }
            }
        }
        if state.step.is_multiple_of(config.validate.every) || state.step == config.steps {
            validated = Some(validate(job, setup, &mut state)?);
        }
        if let Some(retention) = clock.find_due(config, state.step) {
            checkpoint::save_checkpoint(job, setup, &mut state, retention)?;
            probing::probe_if_due(job, setup, &state, prober)?;
            clock.restart();
        }
    }
    // A probe after the last update that a signal stopped is asked again by the next run.
    if job.interrupt.load(Ordering::SeqCst) && state.saved == state.step {
        return Err(stop_training(job, setup, &mut state)?);
    }
    let validated = match validated {
        Some(found) => found,
        // The stage continues from a checkpoint after its last update: this was recorded and judged before.
        None if was_validated(job, state.step)? => {
            Validation::measure(setup, &state.published_model()?, state.step)?
        }
        // It goes on from a state of a longer training, which was not measured there.
        None => validate(job, setup, &mut state)?,
    };
    let norm = adamw::measure_weight_norm(&state.model).map_err(stage_failure)?;
    divergence::judge_weights(job, setup, &mut state, norm)?;
    publish_model(job, setup, &state, &validated)
}

/// What one update came to.
enum UpdateResult {
    /// It was applied: its metrics, and the norm of the weights before it.
    Applied(Box<StepMetrics>, f64),
    /// It was refused, and the state is as before.
    Refused(Trouble),
}

/// Runs one optimizer update and advances the state, unless the guard refuses it.
fn run_update(
    job: &Job<'_>,
    setup: &TrainingSetup<'_>,
    state: &mut TrainingState,
) -> Result<UpdateResult, Failure> {
    let (config, k, start) = (setup.config, state.step, Instant::now());
    let draw = k + state.counters.guard.shift();
    let (rows, by_dataset) = setup.rows_of(draw)?;
    let (task, how) = (setup.task(k), setup.forward_options(k, draw));
    let update =
        update::build_update(setup.seed, setup.coordinate(draw), &rows, config.batch.per_device, &task);
    let data_wait = start.elapsed().as_secs_f64();
    let (gradients, sum) = gradient::compute_update_gradient(&state.model, &update, how, setup.threads)
        .map_err(stage_failure)?;
    let (gradients, teacher) = add_teacher_loss(setup, &state.model, &rows, gradients)?;
    let loss = sum.weighted / update.divisor + teacher.map_or(0.0, |kl| kl.weighted);
    if !loss.is_finite() {
        return Ok(UpdateResult::Refused(Trouble::NonFinite(format!("the loss is {loss}"))));
    }
    let spike = config.guard.spike.as_ref();
    if let Some(found) = spike.and_then(|spike| state.counters.guard.find_spike(spike, sum.unweighted())) {
        return Ok(UpdateResult::Refused(found));
    }
    let learning_rate = config.learning_rate.at(k, config.steps);
    let facts = match state.apply(gradients, learning_rate) {
        Err(error @ adamw::StepError::NonFinite { .. }) => {
            return Ok(UpdateResult::Refused(Trouble::NonFinite(error.to_string())));
        }
        other => other.map_err(divergence::step_failure)?,
    };
    divergence::refuse_non_finite_update(k, &facts)?;
    state.count(&facts, update.tokens, &by_dataset);
    state.counters.guard.note_applied(&config.guard, k, sum.unweighted());
    let (seconds, norm) = (start.elapsed().as_secs_f64(), facts.weight_norm);
    let speed = update.tokens as f64 / seconds;
    let metrics = build_step_metrics(k, learning_rate, loss, &sum, facts, state, speed, data_wait);
    let epochs_by_dataset = setup.count_epochs(&state.counters.tokens_by_dataset);
    let metrics = StepMetrics { teacher_kl: teacher.map(|kl| kl.plain), epochs_by_dataset, ..metrics };
    Ok(UpdateResult::Applied(Box::new(metrics.with_machine(job, seconds)), norm))
}

/// The divergence of an update from its teacher, in nats per token.
#[derive(Clone, Copy, Debug)]
struct TeacherLoss {
    plain: f64,
    /// Its share of the loss.
    weighted: f64,
}

/// Adds the gradient of the divergence from the teacher; nothing without a teacher that has a weight.
fn add_teacher_loss(
    setup: &TrainingSetup<'_>,
    model: &Backbone,
    rows: &[Row],
    gradients: FlatGradients,
) -> Result<(FlatGradients, Option<TeacherLoss>), Failure> {
    let Some((teacher, weight)) = setup.loss_teacher() else { return Ok((gradients, None)) };
    let how = (setup.config.batch.per_device, setup.config.recompute, setup.threads);
    let (own, plain) =
        retention::differentiate_divergence(teacher, model, rows, weight, how).map_err(stage_failure)?;
    Ok((gradient::add_gradients(gradients, own), Some(TeacherLoss { plain, weighted: weight * plain })))
}

#[expect(
    clippy::too_many_arguments,
    reason = "these are the fields of one line of metrics; a struct would only repeat StepMetrics"
)]
fn build_step_metrics(
    step: u64,
    learning_rate: f64,
    loss: f64,
    sum: &LossSum,
    facts: StepFacts,
    state: &TrainingState,
    tokens_per_second: f64,
    data_wait: f64,
) -> StepMetrics {
    StepMetrics {
        step,
        learning_rate,
        loss,
        loss_unweighted: sum.unweighted(),
        loss_by_time: sum.means(),
        count_by_time: sum.count_by_time,
        grad_norm: facts.grad_norm,
        grad_norm_by_group: facts.grad_norm_by_group,
        clip_rate: state.counters.clipped as f64 / state.step as f64,
        update_ratio: facts.update_ratio,
        tokens: state.counters.tokens,
        tokens_by_dataset: state.counters.tokens_by_dataset.clone(),
        epochs_by_dataset: IndexMap::new(),
        tokens_per_second,
        data_wait,
        teacher_kl: None,
        mfu: None,
        peak_memory_gib: None,
    }
}

/// Saves a checkpoint if there is anything new, and returns the failure that reports the stop.
fn stop_training(
    job: &Job<'_>,
    setup: &TrainingSetup<'_>,
    state: &mut TrainingState,
) -> Result<Failure, Failure> {
    if state.step > state.saved {
        checkpoint::save_checkpoint(job, setup, state, Retention::Replaced)?;
    }
    Ok(Failure {
        kind: FailureKind::Interrupted,
        message: format!("stopped after update {} of {}", state.step, setup.config.steps),
        help: None,
    })
}

/// Publishes the artifact of the finished stage.
fn publish_model(
    job: &Job<'_>,
    setup: &TrainingSetup<'_>,
    state: &TrainingState,
    validated: &Validation,
) -> Result<Summary, Failure> {
    let held_out = validated.losses();
    let listed: Vec<String> = held_out.iter().map(|(dataset, loss)| format!("{dataset} {loss:.3}")).collect();
    let mut metrics = validated.metrics();
    metrics.insert("tokens".into(), state.counters.tokens as f64);
    metrics.insert("clip_rate".into(), state.counters.clipped as f64 / (state.step.max(1)) as f64);
    let headline = match listed.is_empty() {
        true => "no held-out rows".to_owned(),
        false => format!("held-out loss {}", listed.join(", ")),
    };
    let headline = if state.counters.has_diverged() { format!("DIVERGED: {headline}") } else { headline };
    let said = state.counters.guard.describe().into_iter().chain(validated.describe_retention());
    let published = setup.config.describe_published(&job.stage.name);
    let lines = setup.lines(state).into_iter().chain(published).chain(said).collect();
    let summary = Summary { headline, lines, metrics };
    let mut writer = job.slot.artifact()?;
    setup.write_artifact(state, &mut writer)?;
    writer.publish(&summary, &IndexMap::new())?;
    Ok(summary)
}

#[cfg(test)]
mod tests;
