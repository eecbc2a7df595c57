//! The state that changes from update to update: weights, moments, counters.

use fmflow_engine::error::Failure;
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::adamw::{AdamW, StepError, StepFacts, measure_weight_norm};
use super::ema::WeightAverage;
use super::gradient_sums::FlatGradients;
use super::guard::GuardRecord;
use super::held_out::HeldOutLoss;
use crate::backbone::Backbone;
use crate::failure::stage_failure;

/// The state of training after `step` updates.
pub(crate) struct TrainingState {
    /// Updates done in this stage.
    pub step: u64,
    /// Value of `step` at the last checkpoint.
    pub saved: u64,
    /// The weights, without autodiff.
    pub model: Backbone,
    /// The optimizer's moments.
    pub optimizer: AdamW,
    /// The average of the weights, if that is what is published.
    pub average: Option<WeightAverage>,
    /// The counters for the metrics.
    pub counters: TrainingCounters,
}

/// Counts over the whole stage. Saved as `state.json`, so that metrics continue after resuming.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TrainingCounters {
    /// Updates done.
    pub step: u64,
    /// Updates whose gradient was clipped.
    pub clipped: u64,
    /// Tokens, without padding.
    pub tokens: u64,
    /// The same per dataset.
    pub tokens_by_dataset: IndexMap<String, u64>,
    /// What the stage was before its first update; `None` until it is measured.
    #[serde(default)]
    pub start: Option<StageStart>,
    /// Measurements in a row whose held-out loss was worse than chance and than at the start.
    #[serde(default)]
    pub worse: u64,
    /// How far the weights have grown, as far as it was reported.
    #[serde(default)]
    pub growth: WeightGrowth,
    /// Updates of the optimizer before this stage, if its moments were carried over.
    #[serde(default)]
    pub carried: u64,
    /// Updates of the optimizer before the average of the weights began, which a branch may have carried over without one.
    #[serde(default)]
    pub average_began: u64,
    /// What the guard has seen and done.
    #[serde(default)]
    pub guard: GuardRecord,
}

/// How far the norm of the weights has grown since the start of the stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum WeightGrowth {
    /// At most half of the guard's limit.
    #[default]
    Expected,
    /// More than half of it.
    Large,
    /// Beyond it.
    Beyond,
}

impl TrainingCounters {
    /// Updates that made the moments of the optimizer: all that were not left out, and those before this stage.
    #[must_use]
    pub(super) fn count_optimizer_updates(&self) -> u64 {
        self.carried + self.step - self.guard.skipped
    }

    /// Whether the guard would have stopped the stage, had it been allowed to.
    #[must_use]
    pub(super) fn has_diverged(&self) -> bool {
        self.worse > 0 || self.growth == WeightGrowth::Beyond
    }
}

/// What the stage was before its first update. Later measurements are compared with it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StageStart {
    /// Euclidean norm of all weights.
    pub weight_norm: f64,
    /// Held-out cross-entropy by dataset, in nats per position.
    pub cross_entropy: IndexMap<String, f64>,
}

impl StageStart {
    /// Measures the weights of `model`; `held_out` has been measured for them.
    ///
    /// # Errors
    /// If the device fails.
    pub(super) fn new(model: &Backbone, held_out: &IndexMap<String, HeldOutLoss>) -> Result<Self, Failure> {
        let cross_entropy =
            held_out.iter().map(|(dataset, found)| (dataset.clone(), found.cross_entropy)).collect();
        let weight_norm = measure_weight_norm(model).map_err(stage_failure)?;
        Ok(Self { weight_norm, cross_entropy })
    }
}

impl TrainingState {
    /// The model that is measured, asked and published: the one that is trained, or its average.
    ///
    /// # Errors
    /// Never in practice, because shapes do not change.
    pub(crate) fn published_model(&self) -> Result<Backbone, Failure> {
        match &self.average {
            Some(average) => average.apply(self.model.clone()).map_err(stage_failure),
            None => Ok(self.model.clone()),
        }
    }

    /// Applies one update to the weights, the moments and the average. Updates that were left out do not count for the moments.
    pub(crate) fn apply(
        &mut self,
        gradients: FlatGradients,
        learning_rate: f64,
    ) -> Result<StepFacts, StepError> {
        let before = self.counters.count_optimizer_updates();
        let (model, facts) = self.optimizer.step(self.model.clone(), gradients, learning_rate, before)?;
        self.model = model;
        if let Some(average) = &mut self.average {
            average.update(&self.model, before + 1 - self.counters.average_began);
        }
        self.step += 1;
        Ok(facts)
    }

    /// Counts an applied update.
    pub(crate) fn count(&mut self, facts: &StepFacts, tokens: u64, by_dataset: &IndexMap<String, u64>) {
        self.counters.step = self.step;
        self.counters.clipped += u64::from(facts.clipped);
        self.counters.tokens += tokens;
        for (dataset, tokens) in by_dataset {
            *self.counters.tokens_by_dataset.entry(dataset.clone()).or_default() += tokens;
        }
    }
}
