//! The learning rate as a pure function of the optimizer update. There is no scheduler with a state that could fall out of
//! step when devices or micro-batches change.

/// A learning rate schedule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LearningRate {
    /// Largest value, reached at the end of the warmup.
    pub peak: f64,
    /// Value that the decay reaches after the last update.
    pub final_value: f64,
    /// Updates of linear warmup from 0.
    pub warmup: u64,
    /// Shape of the decay.
    pub shape: LearningRateShape,
}

/// Shape of the decay after the warmup.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LearningRateShape {
    /// Half a cosine from peak to final.
    Cosine,
    /// A straight line from peak to final.
    Linear,
    /// The peak to the end.
    Constant,
    /// The peak, then a straight line from peak to final over the last `decay` updates.
    WarmupStableDecay {
        /// Updates of the decay.
        decay: u64,
    },
}

impl LearningRate {
    /// The learning rate of update `k`, counted from 0, of `steps`.
    ///
    /// LR(0) = 0 if there is a warmup, as in transformers' `get_cosine_schedule_with_warmup`:
    /// `peak * k / warmup` for k < warmup, then the shape over progress `(k - warmup) / (steps - warmup)`.
    ///
    /// ```
    /// use fmflow_engine::pipeline::config::{LearningRate, LearningRateShape};
    ///
    /// let shape = LearningRateShape::Cosine;
    /// let rate = LearningRate { peak: 1e-3, final_value: 1e-4, warmup: 10, shape };
    /// assert_eq!([rate.at(0, 110), rate.at(5, 110), rate.at(10, 110)], [0.0, 5e-4, 1e-3]);
    /// ```
    #[must_use]
    pub fn at(&self, k: u64, steps: u64) -> f64 {
        if k < self.warmup {
            return self.peak * k as f64 / self.warmup as f64;
        }
        let span = self.peak - self.final_value;
        match self.shape {
            LearningRateShape::Constant => self.peak,
            LearningRateShape::Linear => self.peak - span * compute_progress(k, self.warmup, steps),
            LearningRateShape::Cosine => {
                let angle = std::f64::consts::PI * compute_progress(k, self.warmup, steps);
                self.final_value + span * 0.5 * (1.0 + angle.cos())
            }
            LearningRateShape::WarmupStableDecay { decay } => {
                let start = steps.saturating_sub(decay).max(self.warmup);
                if k < start { self.peak } else { self.peak - span * compute_progress(k, start, steps) }
            }
        }
    }

    /// How many of the first updates have a rate that does not depend on `steps`. A training of more updates has the same rates
    /// there, so that it can go on from a state of this one.
    #[must_use]
    pub fn count_free_updates(&self, steps: u64) -> u64 {
        let free = match self.shape {
            LearningRateShape::Constant => steps,
            LearningRateShape::WarmupStableDecay { decay } => steps.saturating_sub(decay).max(self.warmup),
            LearningRateShape::Cosine | LearningRateShape::Linear => self.warmup,
        };
        free.min(steps)
    }
}

/// Progress of `k` from `start` to `end`, in [0, 1].
fn compute_progress(k: u64, start: u64, end: u64) -> f64 {
    (k.saturating_sub(start) as f64 / end.saturating_sub(start).max(1) as f64).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const COSINE: LearningRate =
        LearningRate { peak: 1e-3, final_value: 1e-4, warmup: 10, shape: LearningRateShape::Cosine };

    #[test]
    fn warm_up_starts_at_zero_and_ends_at_the_peak() {
        assert_eq!(COSINE.at(0, 110), 0.0);
        assert_eq!(COSINE.at(5, 110), 5e-4);
        assert_eq!(COSINE.at(10, 110), 1e-3);
    }

    #[test]
    fn the_cosine_is_half_way_in_the_middle() {
        assert!((COSINE.at(60, 110) - 5.5e-4).abs() < 1e-12);
        assert!((COSINE.at(110, 110) - 1e-4).abs() < 1e-12);
    }

    #[test]
    fn stable_then_decay() {
        let wsd = LearningRate { shape: LearningRateShape::WarmupStableDecay { decay: 20 }, ..COSINE };
        assert_eq!(wsd.at(89, 110), 1e-3);
        assert!((wsd.at(100, 110) - 5.5e-4).abs() < 1e-12);
        assert!((wsd.at(110, 110) - 1e-4).abs() < 1e-12);
    }

    #[test]
    fn free_updates_have_the_rates_of_every_longer_training() {
        let shapes = [
            LearningRateShape::Constant,
            LearningRateShape::Linear,
            LearningRateShape::Cosine,
            LearningRateShape::WarmupStableDecay { decay: 20 },
            LearningRateShape::WarmupStableDecay { decay: 200 },
        ];
        let free = shapes.map(|shape| {
            let rate = LearningRate { shape, ..COSINE };
            let free = rate.count_free_updates(110);
            for longer in [111, 130, 500] {
                let shared = free.min(rate.count_free_updates(longer));
                assert!((0..shared).all(|k| rate.at(k, 110) == rate.at(k, longer)), "{shape:?} {longer}");
                assert_eq!(shared, free, "{shape:?}: a longer training is free for longer");
            }
            free
        });
        assert_eq!(free, [110, 10, 10, 90, 10]);
        assert_eq!(COSINE.count_free_updates(7), 7, "a training that ends while it warms up");
    }

    #[test]
    fn a_linear_decay_without_warm_up_starts_at_the_peak() {
        let linear = LearningRate { warmup: 0, shape: LearningRateShape::Linear, ..COSINE };
        assert_eq!(linear.at(0, 100), 1e-3);
        assert!((linear.at(50, 100) - 5.5e-4).abs() < 1e-12);
    }
}
