//! Measures the loss on held-out rows at fixed times. This is the curve to watch.
//!
//! The training loss of one update depends on the times that it happened to draw. Here rows, times and corruption
//! depend on the row's number alone, so two measurements differ only by the weights.

use crate::backbone::{Attention, Backbone, BackboneError};
use crate::data::packing::Row;
use crate::flow::time::draw_validation_times;
use crate::rng::RandomPurpose;
use crate::threads::map_in_parallel;
use crate::train::losses;
use crate::train::metrics::LossSum;
use crate::train::update::{MicroBatch, NoiseStreams, TrainingTask};

/// Tokens per forward pass: enough to fill the matrix products, few enough to fit a cache.
const TOKENS: usize = 2048;

/// Seed of held-out corruption. It is the same for every pipeline, so that their numbers can be compared.
const SEED: u64 = 0;

/// The held-out loss of one dataset.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct HeldOutLoss {
    /// The loss as the task weighs and divides it.
    pub loss: f64,
    /// Mean cross-entropy of the positions that count, without weights, in nats; ln V for a model that knows nothing.
    pub cross_entropy: f64,
    /// Number of positions that count. Without any there is no loss, and the 0 beside it means nothing.
    pub positions: u64,
}

impl HeldOutLoss {
    /// Whether both numbers are finite.
    #[must_use]
    pub(crate) fn is_finite(&self) -> bool {
        self.loss.is_finite() && self.cross_entropy.is_finite()
    }
}

/// Loss per counted position over `rows`, each at `times` fixed times (once for a task without times).
///
/// # Errors
/// If the rows contradict the backbone, or the device fails.
pub(crate) fn measure_held_out_loss(
    model: &Backbone,
    rows: &[Row],
    task: &TrainingTask,
    attention: Attention,
    times: usize,
    threads: usize,
) -> Result<HeldOutLoss, BackboneError> {
    let (batches, divisor) = build_held_out_batches(rows, task, times, SEED);
    let mut total = LossSum::default();
    for wave in batches.chunks(threads.max(1)) {
        for sum in map_in_parallel(wave, |batch| losses::compute_loss_sum(model, batch, attention)) {
            total.merge(&sum?);
        }
    }
    Ok(HeldOutLoss {
        loss: total.weighted / divisor.max(1) as f64,
        cross_entropy: total.unweighted(),
        positions: total.count_by_time.iter().sum(),
    })
}

/// All corrupted copies of all rows in micro-batches, and the divisor of their loss.
pub(super) fn build_held_out_batches(
    rows: &[Row],
    task: &TrainingTask,
    times: usize,
    seed: u64,
) -> (Vec<MicroBatch>, u64) {
    let times = if task.has_times() { times } else { 1 };
    build_batches_at(rows, task, seed, |number| draw_validation_times(seed, number, times))
}

/// The same with a copy of row i for each of `times(i)`.
pub(crate) fn build_batches_at(
    rows: &[Row],
    task: &TrainingTask,
    seed: u64,
    times: impl Fn(u64) -> Vec<f64>,
) -> (Vec<MicroBatch>, u64) {
    let (mut filling, mut divisor) = (FillingBatch::default(), 0);
    for (number, row) in rows.iter().enumerate() {
        let pieces = task.pieces(row);
        for (copy, t) in times(number as u64).into_iter().enumerate() {
            let place = NoiseStreams {
                seed,
                purpose: [RandomPurpose::Validate, RandomPurpose::Source],
                at: [number as u64, copy as u64],
            };
            divisor += filling.open.push(row, &pieces, &vec![t; pieces.len()], task, &place);
            filling.close_full();
        }
    }
    (filling.finish(), divisor)
}

/// Micro-batches that are filled one after the other.
#[derive(Debug, Default)]
pub(crate) struct FillingBatch {
    /// The one that is filled.
    pub open: MicroBatch,
    done: Vec<MicroBatch>,
}

impl FillingBatch {
    /// Closes the open one if no other row fits.
    pub(crate) fn close_full(&mut self) {
        if (self.open.rows + 1) * self.open.length > TOKENS {
            self.done.push(std::mem::take(&mut self.open));
        }
    }

    /// All of them.
    #[must_use]
    pub(crate) fn finish(mut self) -> Vec<MicroBatch> {
        if self.open.rows > 0 {
            self.done.push(self.open);
        }
        self.done
    }
}
