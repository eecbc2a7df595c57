//! The exponential moving average of the weights that a training publishes in place of the last ones.
//!
//! After applied update n, counted from 1: a ← a + (1 - d) (w - a) with d = min(decay, (1 + n) / (10 + n)), in f32, from a = the
//! weights that the training starts from. The ramp is the one of MDLM and of TensorFlow's `ExponentialMovingAverage(num_updates)`:
//! without it a short training would mostly publish the weights that it started from.

use burn_tensor::Tensor;
use indexmap::IndexMap;

use crate::backbone::{Backbone, BackboneError, Parameter};

/// Averages of what is trained, flat and by the name of the parameter.
#[derive(Clone, Debug)]
pub(crate) struct WeightAverage {
    decay: f64,
    values: IndexMap<String, Tensor<1>>,
}

impl WeightAverage {
    /// The average before the first update: the values of `model`.
    pub(crate) fn new(decay: f64, model: &Backbone) -> Self {
        let own = |(name, parameter): (&str, &Parameter)| (name.to_owned(), parameter.flat());
        Self { decay, values: model.trained().map(own).collect() }
    }

    /// Its decay at most.
    pub(super) fn decay(&self) -> f64 {
        self.decay
    }

    /// Moves towards `model`, which has had `updates` updates since the average began.
    pub(crate) fn update(&mut self, model: &Backbone, updates: u64) {
        let rate = 1.0 - find_decay(self.decay, updates);
        for (name, parameter) in model.trained() {
            let average = self.values.get_mut(name).expect("every parameter has an average since the start");
            *average = average.clone() + (parameter.flat() - average.clone()) * (rate as f32);
        }
    }

    /// `model` with the averages in place of its weights.
    ///
    /// # Errors
    /// Never in practice, because shapes do not change.
    pub(crate) fn apply(&self, model: Backbone) -> Result<Backbone, BackboneError> {
        model.with_trained_tensors(&self.values)
    }
}

/// The decay after `updates` updates: at most (1 + n) / (10 + n).
fn find_decay(decay: f64, updates: u64) -> f64 {
    decay.min((1 + updates) as f64 / (10 + updates) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_decay_grows_to_its_limit() {
        assert_eq!(find_decay(0.999, 1), 2.0 / 11.0);
        assert_eq!(find_decay(0.999, 90), 91.0 / 100.0);
        assert_eq!(find_decay(0.999, 8_990), 8_991.0 / 9_000.0);
        assert_eq!(find_decay(0.999, 8_991), 0.999);
        assert_eq!(find_decay(0.0, 5), 0.0, "the last weights");
    }
}
