//! The metrics of every update. For every number it is defined what it is averaged over.

use fmflow_engine::error::Failure;
use fmflow_engine::run::execute::Job;
use fmflow_engine::text::machine::read_peak_memory;
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::failure::stage_failure;

/// Number of equal bands of t for which the loss is recorded separately.
pub(crate) const TIME_BANDS: usize = 4;

/// The metrics of one optimizer update: one line of `metrics.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct StepMetrics {
    /// Optimizer update, counted from 0.
    pub step: u64,
    /// Learning rate of this update.
    pub learning_rate: f64,
    /// The minimized loss: weighted, summed over all micro-batches of the update, divided once; with the share of a teacher.
    pub loss: f64,
    /// KL(teacher || model) of the next token in this update, in nats per token; absent if no teacher is part of the loss.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub teacher_kl: Option<f64>,
    /// Mean cross-entropy over the positions that contributed, without weights, over the whole update.
    pub loss_unweighted: f64,
    /// Mean cross-entropy per band of t; 0 for an empty band.
    pub loss_by_time: [f64; TIME_BANDS],
    /// Positions that contributed, per band of t.
    pub count_by_time: [u64; TIME_BANDS],
    /// Global norm of the gradient before clipping.
    pub grad_norm: f64,
    /// Norm of the gradient per parameter group, before clipping.
    pub grad_norm_by_group: IndexMap<String, f64>,
    /// Share of the updates of this stage so far, including this one, whose gradient was clipped.
    pub clip_rate: f64,
    /// Norm of the change of all weights divided by the norm of the weights.
    pub update_ratio: f64,
    /// Tokens of this stage so far, without padding.
    pub tokens: u64,
    /// The same per dataset, to compare the realized shares with the declared ones.
    pub tokens_by_dataset: IndexMap<String, u64>,
    /// How often the training rows of each dataset have been seen in this stage: its tokens so far, divided by those of all its training
    /// rows. Without datasets whose rows are made in a window, of which nobody has counted all; earlier versions wrote none.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub epochs_by_dataset: IndexMap<String, f64>,
    /// Tokens of this update per wall-clock second, without padding and without time for validation and checkpoints.
    pub tokens_per_second: f64,
    /// Wall-clock seconds of this update spent on rows and corruption.
    pub data_wait: f64,
    /// Model FLOP/s utilization: operations that the model needs for all tokens of the update, as `plan` counts them, divided by its seconds
    /// and by the peak of the device in bf16. Absent where the peak is not known, as that of a processor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mfu: Option<f64>,
    /// The most memory that the process has held since it started, in GiB, with everything else that it did before and beside this stage.
    /// Absent on a GPU, whose memory nobody asks, and on systems that do not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_memory_gib: Option<f64>,
}

impl StepMetrics {
    /// Appends the line to `metrics.jsonl`.
    ///
    /// # Errors
    /// If the store refuses it.
    pub(super) fn record(&self, job: &Job<'_>) -> Result<(), Failure> {
        let line = serde_json::to_string(self).map_err(stage_failure)?;
        job.slot.append_metrics(&line).map_err(Failure::from)
    }

    /// With what the machine says about an update that took `seconds`.
    #[must_use]
    pub(super) fn with_machine(self, job: &Job<'_>, seconds: f64) -> Self {
        let own = read_peak_memory().filter(|_| job.device == "cpu");
        Self {
            mfu: job.peak_seconds.map(|least| least / seconds),
            peak_memory_gib: own.map(|bytes| bytes as f64 / (1u64 << 30) as f64),
            ..self
        }
    }
}

/// Sums of a loss over positions.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LossSum {
    /// Weighted loss, not yet divided.
    pub weighted: f64,
    /// Sum of cross-entropy per band of t.
    pub by_time: [f64; TIME_BANDS],
    /// Positions per band of t.
    pub count_by_time: [u64; TIME_BANDS],
}

impl LossSum {
    /// Adds one position.
    pub(crate) fn add(&mut self, t: f64, weighted: f64, cross_entropy: f64) {
        let band = ((t * TIME_BANDS as f64) as usize).min(TIME_BANDS - 1);
        self.weighted += weighted;
        self.by_time[band] += cross_entropy;
        self.count_by_time[band] += 1;
    }

    /// Adds another sum.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.weighted += other.weighted;
        for band in 0..TIME_BANDS {
            self.by_time[band] += other.by_time[band];
            self.count_by_time[band] += other.count_by_time[band];
        }
    }

    /// Mean cross-entropy over all positions; 0 if there are none.
    #[must_use]
    pub(crate) fn unweighted(&self) -> f64 {
        compute_mean(self.by_time.iter().sum(), self.count_by_time.iter().sum())
    }

    /// Mean cross-entropy per band; 0 for an empty band.
    #[must_use]
    pub(crate) fn means(&self) -> [f64; TIME_BANDS] {
        std::array::from_fn(|band| compute_mean(self.by_time[band], self.count_by_time[band]))
    }
}

fn compute_mean(sum: f64, count: u64) -> f64 {
    if count == 0 { 0.0 } else { sum / count as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_merge_and_average() {
        let (mut a, mut b) = (LossSum::default(), LossSum::default());
        a.add(0.1, 2.0, 1.0);
        b.add(0.99, 30.0, 3.0);
        b.add(1.0, 30.0, 5.0);
        a.merge(&b);
        assert_eq!(a.weighted, 62.0);
        assert_eq!(a.unweighted(), 3.0);
        assert_eq!(a.means(), [1.0, 0.0, 0.0, 4.0]);
        assert_eq!(LossSum::default().unweighted(), 0.0);
    }
}
