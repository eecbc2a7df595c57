//! Which states of a training are kept for good, and which weights are published.

use crate::pipeline::config::TrainConfig;
use crate::pipeline::config::learning_rate::LearningRateShape;

impl TrainConfig {
    /// What the stage called `name` publishes, if it is not its last weights.
    #[must_use]
    pub fn describe_published(&self, name: &str) -> Option<String> {
        self.ema.map(|decay| {
            format!(
                "`{name}` publishes the moving average of its weights (ema, decay {decay}), not the last ones"
            )
        })
    }

    /// Whether the state after `done` updates is kept for good: as `permanent` says, and where a training with more `steps` could go on.
    #[must_use]
    pub fn keeps_for_good(&self, done: u64) -> bool {
        let permanent = self.checkpoint.permanent.is_some_and(|every| done.is_multiple_of(every));
        permanent || self.find_extension_point() == Some(done)
    }

    /// Updates after which a training with more `steps` would go on; `None` if its schedule would be another from the end of the warmup
    /// on, or its guard rewinds.
    #[must_use]
    pub fn find_extension_point(&self) -> Option<u64> {
        match self.learning_rate.shape {
            // A guard may go back further than to the one state that is kept.
            _ if self.guard.count_rewind_states() > 0 => None,
            LearningRateShape::Constant | LearningRateShape::WarmupStableDecay { .. } => {
                Some(self.learning_rate.count_free_updates(self.steps)).filter(|free| *free > 0)
            }
            LearningRateShape::Cosine | LearningRateShape::Linear => None,
        }
    }

    /// Checkpoints that are kept for good.
    #[must_use]
    pub(crate) fn count_kept_checkpoints(&self) -> u64 {
        let permanent = self.checkpoint.permanent.map_or(0, |every| self.steps / every);
        let known = |point: &u64| self.checkpoint.permanent.is_some_and(|every| point.is_multiple_of(every));
        permanent + u64::from(self.find_extension_point().is_some_and(|point| !known(&point)))
    }
}
