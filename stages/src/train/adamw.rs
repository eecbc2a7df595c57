//! AdamW with clipping of the global gradient norm, and statistics of each step.
//!
//! Loshchilov and Hutter, "Decoupled Weight Decay Regularization", 2019; the arithmetic is that of PyTorch's `AdamW` and
//! `clip_grad_norm_`. State is keyed by parameter name, so that a checkpoint either restores all of it or is refused.

use burn_tensor::Tensor;
use fmflow_engine::pipeline::config::train::OptimizerSettings;
use fmflow_ops::{AdamWRates, sum_squares, update_values};
use indexmap::IndexMap;

use super::gradient_sums::FlatGradients;
use crate::backbone::{Backbone, BackboneError, Parameter};

/// PyTorch's `clip_grad_norm_` divides by the norm plus this.
const CLIP_EPSILON: f64 = 1e-6;

/// Moments of one parameter, flat.
#[derive(Clone, Debug)]
pub struct Moments {
    /// Running mean of gradients.
    pub first: Tensor<1>,
    /// Running mean of squared gradients.
    pub second: Tensor<1>,
}

impl Moments {
    /// Moments without values, on the device of `like`.
    fn empty(like: &Tensor<1>) -> Self {
        let empty = Tensor::empty([0], &like.device());
        Self { first: empty.clone(), second: empty }
    }
}

/// The optimizer: settings and moments.
#[derive(Clone, Debug)]
pub struct AdamW {
    settings: OptimizerSettings,
    /// Moments by parameter name, in the order of the parameters.
    pub moments: IndexMap<String, Moments>,
}

/// Statistics of one step.
#[derive(Clone, Debug, PartialEq)]
pub struct StepFacts {
    /// Global norm of the gradient before clipping.
    pub grad_norm: f64,
    /// The norm per parameter group, before clipping.
    pub grad_norm_by_group: IndexMap<String, f64>,
    /// Whether the gradient was scaled down.
    pub clipped: bool,
    /// Norm of the change of all weights, divided by the norm of the weights before it.
    pub update_ratio: f64,
    /// Euclidean norm of all weights before the change.
    pub weight_norm: f64,
}

/// Why a step was refused.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// The gradient is infinite or NaN.
    #[error("the gradient of group `{group}` is not finite")]
    NonFinite {
        /// The first parameter group with such a gradient.
        group: String,
    },
    /// A word of `no-decay` matches no parameter.
    #[error("`no-decay \"{word}\"` matches no parameter")]
    NoMatch {
        /// The word.
        word: String,
    },
    /// The backbone or its device failed.
    #[error(transparent)]
    Backbone(#[from] BackboneError),
}

/// The group of the parameter with this Hugging Face name.
#[must_use]
pub(crate) fn find_parameter_group(name: &str) -> &'static str {
    const GROUPS: [(&str, &str); 6] = [
        ("embed_tokens", "embedding"),
        ("lm_head", "head"),
        ("time", "time"),
        ("norm", "norm"),
        ("self_attn", "attention"),
        ("mlp", "feed-forward"),
    ];
    GROUPS.iter().find(|(part, _)| name.contains(part)).map_or("other", |(_, group)| group)
}

/// Whether `word` of a `no-decay` list matches a parameter: it is part of the parameter's name, or the name of its group.
#[must_use]
pub(crate) fn is_exempt_from_decay(word: &str, name: &str) -> bool {
    name.contains(word) || find_parameter_group(name) == word
}

impl AdamW {
    /// An optimizer without history.
    ///
    /// # Errors
    /// If a word of `no-decay` matches nothing. A pattern without effect is a mistake: norms have been decayed by accident
    /// because a pattern was written for another model's names.
    pub fn new(settings: &OptimizerSettings, model: &Backbone) -> Result<Self, StepError> {
        for word in &settings.no_decay {
            if !model.parameters().any(|(name, _)| is_exempt_from_decay(word, name)) {
                return Err(StepError::NoMatch { word: word.clone() });
            }
        }
        let device = model.device();
        let zero = |p: &Parameter| Tensor::zeros([p.count()], &device);
        let start =
            |(name, p): (&str, &Parameter)| (name.to_owned(), Moments { first: zero(p), second: zero(p) });
        Ok(Self { settings: settings.clone(), moments: model.trained().map(start).collect() })
    }

    /// Applies update number `k` (from 0) and returns the new backbone.
    ///
    /// # Errors
    /// If the gradient is not finite. Nothing is changed then.
    pub fn step(
        &mut self,
        model: Backbone,
        gradients: FlatGradients,
        learning_rate: f64,
        k: u64,
    ) -> Result<(Backbone, StepFacts), StepError> {
        let norms = GradientNorms::from_gradients(&model, &gradients)?;
        let scale = self.settings.clip.map_or(1.0, |clip| (clip / (norms.total + CLIP_EPSILON)).min(1.0));
        let rates = StepRates::new(&self.settings, learning_rate, scale, k);
        let mut gradients = gradients.into_iter();
        let mut squares = Vec::new();
        let moments = &mut self.moments;
        let no_decay = &self.settings.no_decay;
        let model = model.map_trained(|name, parameter| {
            let gradient = gradients.next().expect("every parameter has a gradient, in the same order");
            let moments = moments.get_mut(name).expect("every parameter has moments since the start");
            let decay = !no_decay.iter().any(|word| is_exempt_from_decay(word, name));
            parameter.map(|old| {
                let taken = std::mem::replace(moments, Moments::empty(&old));
                let found = update_values(old, gradient, [taken.first, taken.second], rates.of(decay));
                let [first, second] = found.moments;
                *moments = Moments { first, second };
                squares.push(found.squares);
                found.values
            })
        })?;
        let sums = add_on_host(squares, |squares| {
            squares.chunks_exact(2).fold([0.0, 0.0], |[c, w], s| [c + f64::from(s[0]), w + f64::from(s[1])])
        })?;
        let [change, weight] = sums.into_iter().fold([0.0, 0.0], |[c, w], [own, old]| [c + own, w + old]);
        let facts = StepFacts {
            grad_norm: norms.total,
            grad_norm_by_group: norms.by_group,
            clipped: scale < 1.0,
            update_ratio: if weight == 0.0 { 0.0 } else { (change / weight).sqrt() },
            weight_norm: weight.sqrt(),
        };
        Ok((model, facts))
    }
}

/// Euclidean norm of all weights that are trained.
///
/// # Errors
/// If the device fails.
pub(crate) fn measure_weight_norm(model: &Backbone) -> Result<f64, BackboneError> {
    let squares = model.trained().map(|(_, parameter)| sum_squares(parameter.flat())).collect();
    Ok(sum_on_host(squares)?.iter().sum::<f64>().sqrt())
}

/// The scalars of one step, the same for all parameters.
struct StepRates<'a> {
    settings: &'a OptimizerSettings,
    learning_rate: f64,
    scale: f64,
    correction: [f64; 2],
}

impl<'a> StepRates<'a> {
    fn new(settings: &'a OptimizerSettings, learning_rate: f64, scale: f64, k: u64) -> Self {
        let power = |beta: f64| 1.0 - beta.powf((k + 1) as f64);
        Self { settings, learning_rate, scale, correction: [power(settings.beta1), power(settings.beta2)] }
    }

    /// w ← w (1 - lr · wd) - lr · m̂ / (√v̂ + ε), where m̂ and v̂ are corrected for their start at 0.
    fn of(&self, decay: bool) -> AdamWRates {
        let OptimizerSettings { beta1, beta2, epsilon, weight_decay, .. } = *self.settings;
        AdamWRates {
            scale: self.scale as f32,
            first: [beta1 as f32, (1.0 - beta1) as f32],
            second: [beta2 as f32, (1.0 - beta2) as f32],
            root: (1.0 / self.correction[1].sqrt()) as f32,
            epsilon: epsilon as f32,
            rate: (self.learning_rate / self.correction[0]) as f32,
            keep: if decay { (1.0 - self.learning_rate * weight_decay) as f32 } else { 1.0 },
        }
    }
}

/// Norms of a gradient, in total and by parameter group.
struct GradientNorms {
    total: f64,
    by_group: IndexMap<String, f64>,
}

impl GradientNorms {
    fn from_gradients(model: &Backbone, gradients: &FlatGradients) -> Result<Self, StepError> {
        let sums = sum_on_host(gradients.iter().cloned().map(sum_squares).collect())?;
        let mut by_group = IndexMap::<String, f64>::new();
        for ((name, _), sum) in model.trained().zip(&sums) {
            *by_group.entry(find_parameter_group(name).to_owned()).or_default() += sum;
        }
        if let Some((group, _)) = by_group.iter().find(|(_, sum)| !sum.is_finite()) {
            return Err(StepError::NonFinite { group: group.clone() });
        }
        by_group.values_mut().for_each(|sum| *sum = sum.sqrt());
        Ok(Self { total: sums.iter().sum::<f64>().sqrt(), by_group })
    }
}

/// Adds the values of each tensor on the host, in f64 and in order.
fn sum_on_host(parts: Vec<Tensor<1>>) -> Result<Vec<f64>, BackboneError> {
    add_on_host(parts, |values| values.iter().map(|&x| f64::from(x)).sum())
}

/// What `add` makes of the values of each tensor. All tensors are transferred at once, because each transfer waits for the
/// device.
fn add_on_host<T>(parts: Vec<Tensor<1>>, add: impl Fn(&[f32]) -> T) -> Result<Vec<T>, BackboneError> {
    let lengths: Vec<usize> = parts.iter().map(|p| p.dims()[0]).collect();
    let all =
        Tensor::cat(parts, 0).try_into_vec_as::<f32>().map_err(|e| BackboneError::Device(e.to_string()))?;
    let mut rest = all.as_slice();
    let take = |n| {
        let (own, other) = rest.split_at(n);
        rest = other;
        add(own)
    };
    Ok(lengths.into_iter().map(take).collect())
}
