//! Settings of the stage that averages weights.

/// Averages the weights of permanent checkpoints of a training. Roles `from`, the training, and `permanent/<update>` for each of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AverageConfig {
    /// Updates after which the checkpoints were saved, the earliest first; at least two.
    pub updates: Vec<u64>,
}
