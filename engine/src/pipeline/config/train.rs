//! Settings of a training stage.

use serde::{Deserialize, Serialize};

use crate::pipeline::config::adapter::AdapterSettings;
use crate::pipeline::config::attention::AttentionSchedule;
use crate::pipeline::config::growth::GrowthSettings;
pub use crate::pipeline::config::guard::{
    DivergenceSettings, GuardAction, GuardSettings, NonFiniteGuard, SpikeGuard,
};
use crate::pipeline::config::learning_rate::LearningRate;
pub use crate::pipeline::config::precision::ComputeFormat;
use crate::pipeline::config::sample::{BenchmarkSettings, ExactMatch, Prompt};
use crate::pipeline::config::teacher::TeacherSettings;
use crate::pipeline::role::InputRole;

/// Trains a checkpoint. Role `from`, and `rows/<dataset>` for every part of the mixture.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainConfig {
    /// The permanent checkpoint to start from; `None`: the end of the parent.
    pub branch: Option<Branch>,
    /// First update of each phase of the mixture; the first phase starts at 0.
    pub phases: Vec<u64>,
    /// The datasets of the mixture and their weights.
    pub parts: Vec<MixturePart>,
    /// What the model learns.
    pub objective: Objective,
    /// The low-rank changes that are trained in place of the weights. Role `adapter` if they start from those of another stage.
    pub adapter: Option<AdapterSettings>,
    /// The autoregressive model from which the trained one is measured at every validation. Role `teacher`.
    pub teacher: Option<TeacherSettings>,
    /// How times t are drawn; no effect on `autoregressive`.
    pub time: TimeSettings,
    /// Which positions see which.
    pub attention: AttentionSchedule,
    /// Rows of an update, and of a micro-batch.
    pub batch: BatchSettings,
    /// Number of optimizer updates.
    pub steps: u64,
    /// AdamW and gradient clipping.
    pub optimizer: OptimizerSettings,
    /// Decay of the moving average of the weights that is published in their place; `None`: the last weights are.
    pub ema: Option<f64>,
    /// Learning rate of every update.
    pub learning_rate: LearningRate,
    /// When resumable checkpoints are written. Not part of the fingerprint.
    pub checkpoint: CheckpointSettings,
    /// What happens when training goes wrong.
    pub guard: GuardSettings,
    /// When the held-out loss is measured during training. Not part of the fingerprint.
    pub validate: ValidateSettings,
    /// What the model is asked during training. Not part of the fingerprint.
    pub probe: Option<ProbeSettings>,
    /// Updates between progress lines. Not part of the fingerprint.
    pub log_every: u64,
    /// Whether transformer blocks are recomputed in the backward pass, to save memory.
    pub recompute: bool,
    /// The format to which products round their factors. Everything else is f32.
    pub compute: ComputeFormat,
}

impl TrainConfig {
    /// Token share of each part in phase `at`; the shares sum to 1.
    #[must_use]
    pub(crate) fn shares(&self, at: usize) -> Vec<f64> {
        let weight = |part: &MixturePart| part.weights[at];
        let all: f64 = self.parts.iter().map(weight).sum();
        self.parts.iter().map(|part| weight(part) / all).collect()
    }

    /// Token share of each part over all updates; the shares sum to 1.
    #[must_use]
    pub fn mean_shares(&self) -> Vec<f64> {
        let mut sums = vec![0.0; self.parts.len()];
        for (at, start) in self.phases.iter().enumerate() {
            let end = self.phases.get(at + 1).copied().unwrap_or(self.steps);
            let length = end.saturating_sub(*start) as f64 / self.steps as f64;
            sums.iter_mut().zip(self.shares(at)).for_each(|(sum, share)| *sum += length * share);
        }
        sums
    }
}

/// One dataset of a mixture.
#[derive(Clone, Debug, PartialEq)]
pub struct MixturePart {
    /// Name of the dataset.
    pub dataset: String,
    /// Weight in each phase, in tokens; only the ratios to the other parts matter.
    pub weights: Vec<f64>,
    /// Role of its rows: `rows/<dataset>`.
    pub role: InputRole,
}

/// What the model learns.
#[derive(Clone, Debug, PartialEq)]
pub enum Objective {
    /// Position i predicts token i + 1.
    Autoregressive,
    /// The posterior p(x_1 | x_t, t).
    Flow {
        /// The path from noise to data.
        path: ProbabilityPath,
        /// Loss of one position.
        loss: Loss,
        /// Which positions contribute to the sum.
        over: LossPositions,
        /// What the sum is divided by.
        normalise: LossDivisor,
        /// Cap on the weight of a position in training; `None`: no cap.
        max_weight: Option<f64>,
        /// Weight of the autoregressive loss on the clean half of causal [x_t, x_0]; `None`: it has no loss.
        clean_weight: Option<f64>,
        /// How text grows where it is filled in; `None`: it does not.
        growth: Option<GrowthSettings>,
    },
}

/// A probability path from a source distribution (t = 0) to data (t = 1).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProbabilityPath {
    /// Share of the mask token in the source; the rest is uniform over the vocabulary. 1: mask source, 0: uniform.
    pub mask_share: f64,
    /// The scheduler kappa(t).
    pub scheduler: Scheduler,
}

/// The scheduler kappa(t) of a convex path: kappa(0) = 0, kappa(1) = 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Scheduler {
    /// t^n.
    Polynomial {
        /// n > 0.
        exponent: f64,
    },
    /// 1 - cos(pi t / 2).
    Cosine,
    /// sin^2(pi t / 2).
    SineSquared,
}

/// Losses of a flow objective.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Generalized KL divergence.
    GeneralizedKl,
    /// Cross-entropy weighted by kappa'(t) / (1 - kappa(t)).
    Elbo,
    /// Cross-entropy without weights.
    CrossEntropy,
}

/// The name of the loss of autoregressive training in `provenance.json`.
pub(crate) const AUTOREGRESSIVE_LOSS: &str = "autoregressive";

/// Every name of a loss in `provenance.json`.
pub(crate) const LOSS_NAMES: [&str; 4] =
    [AUTOREGRESSIVE_LOSS, Loss::GeneralizedKl.name(), Loss::Elbo.name(), Loss::CrossEntropy.name()];

impl Loss {
    /// The name in a configuration and in `provenance.json`.
    #[must_use]
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::GeneralizedKl => "gkl",
            Self::Elbo => "elbo",
            Self::CrossEntropy => "cross-entropy",
        }
    }
}

/// Which positions contribute to a loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LossPositions {
    /// Positions where x_t was replaced by the source.
    Corrupted,
    /// All supervised positions.
    Supervised,
}

/// What a loss is divided by; both counts run over the whole update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LossDivisor {
    /// All supervised positions.
    Tokens,
    /// Corrupted positions.
    Corrupted,
}

/// How times t are drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TimeSettings {
    /// Distribution of the times of an update.
    pub sampling: TimeSampling,
    /// Smallest t.
    pub from: f64,
    /// Largest t: `to` of the configuration, but at most 1 - epsilon.
    pub to: f64,
    /// Minimum of corrupted positions in every supervised segment (an answer, or a row of text); with block attention, in
    /// every block that has supervised positions.
    pub at_least_masked: u64,
}

/// Distribution of the times of an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeSampling {
    /// Independent and uniform.
    Uniform,
    /// One draw in each of n equal bands, with the bands shuffled over the rows of the update.
    Stratified,
    /// n evenly spaced times with one common offset, shuffled.
    LowDiscrepancy,
    /// Pairs of a uniform draw and its mirror image, shuffled.
    Antithetic,
}

/// Rows of a mixture that are shuffled together. The last block of a phase may be shorter.
pub const MIXTURE_BLOCK: u64 = 256;

/// Rows of an update, and how they are split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchSettings {
    /// Rows of one update, summed over all devices and micro-batches.
    pub rows: usize,
    /// Rows of one micro-batch on one device; divides `rows`.
    pub per_device: usize,
}

/// AdamW (Loshchilov and Hutter, 2019) and clipping by the global gradient norm.
#[derive(Clone, Debug, PartialEq)]
pub struct OptimizerSettings {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the square root of the second moment.
    pub epsilon: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Largest global gradient norm; larger gradients are scaled down to it. `None`: no clipping.
    pub clip: Option<f64>,
    /// Parameters are exempt from weight decay if their name contains one of these words or their group is called so, such
    /// as `norm`. A word that matches nothing is an error.
    pub no_decay: Vec<String>,
}

/// When resumable checkpoints are written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CheckpointSettings {
    /// What lies between two checkpoints.
    pub every: CheckpointInterval,
    /// Number of checkpoints to keep besides the permanent ones.
    pub keep: usize,
    /// Updates between permanent checkpoints; `None`: there are none.
    pub permanent: Option<u64>,
}

/// What lies between two checkpoints.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum CheckpointInterval {
    /// A number of updates.
    Updates(u64),
    /// Wall-clock time, in seconds.
    Seconds(f64),
}

/// When and on what the held-out loss is measured during training.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ValidateSettings {
    /// Updates between measurements; one always follows the last update.
    pub every: u64,
    /// Number of held-out rows per dataset; the first ones are used.
    pub rows: usize,
    /// Times t per row: stratified, and the same at every measurement.
    pub times: usize,
}

/// A start from a permanent checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Branch {
    /// Updates of the parent after which it was saved.
    pub at: u64,
    /// Whether the moments of the optimizer are carried over.
    pub carries_optimizer: bool,
}

/// What the model is asked during training.
#[derive(Clone, Debug, PartialEq)]
pub struct ProbeSettings {
    /// Updates between probes.
    pub every: u64,
    /// Text to write.
    pub prompts: Vec<Prompt>,
    /// Questions to answer.
    pub exact_match: Vec<ExactMatch>,
    /// Programs to write.
    pub benchmarks: Vec<BenchmarkSettings>,
}
