//! Low-rank changes of projections (LoRA; Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021):
//! y = W x + s B (A x), with s = alpha / rank, A [rank, in] and B [out, rank].
//!
//! A is drawn and B is 0 at the start, so that a fresh adapter changes no logit. Only A and B are trained, and the norms if the
//! settings say so. The names and shapes of A and B are those of the library PEFT, without its prefix.

use burn_tensor::Tensor;
use fmflow_engine::pipeline::config::AdapterSettings;
use indexmap::IndexMap;

use super::{Backbone, BackboneError, Parameter};
use crate::rng::{self, RandomPurpose};

/// Ends of the names of A and B, after the name of their projection.
const ENDS: [&str; 2] = [".lora_A.weight", ".lora_B.weight"];

/// The names of A and B of the projection whose weight is called `name`.
#[must_use]
pub(crate) fn name_factors(name: &str) -> [String; 2] {
    let projection = name.strip_suffix(".weight").unwrap_or(name);
    ENDS.map(|end| format!("{projection}{end}"))
}

/// Whether `name` is that of an A or B.
fn is_factor(name: &str) -> bool {
    ENDS.iter().any(|end| name.ends_with(end))
}

/// Whether an adapter with these settings trains the parameter called `name`.
fn is_trained(adapter: Option<&AdapterSettings>, name: &str) -> bool {
    adapter.is_none_or(|adapter| is_factor(name) || adapter.trains_norm(name))
}

impl Backbone {
    /// The settings of the adapter, if it has one.
    #[must_use]
    pub(crate) fn adapter(&self) -> Option<&AdapterSettings> {
        self.adapter.as_ref()
    }

    /// The same backbone with an adapter whose A are drawn, from uniform(-1, 1) / sqrt(in), and whose B are 0: it computes what it
    /// computed without. It must have none yet. `first` tells apart the adapters of stages that follow each other.
    ///
    /// # Errors
    /// If the settings adapt no projection.
    pub fn adapted(
        mut self,
        settings: &AdapterSettings,
        seed: u64,
        first: u64,
    ) -> Result<Self, BackboneError> {
        let (device, precision) = (self.device(), self.precision);
        let targets: Vec<(String, Vec<usize>)> = self
            .parameters()
            .filter(|(name, _)| settings.adapts(name))
            .map(|(name, parameter)| (name.to_owned(), parameter.shape()))
            .collect();
        if targets.is_empty() {
            return Err(BackboneError::Missing("a projection that the adapter changes".into()));
        }
        for (index, (name, shape)) in targets.into_iter().enumerate() {
            let ([down, up], rank) = (name_factors(&name), settings.rank);
            let mut stream = rng::derive_stream(seed, RandomPurpose::Adapter, [index as u64, first, 0]);
            let bound = 1.0 / (shape[1] as f64).sqrt();
            let drawn = (0..rank * shape[1]).map(|_| ((2.0 * stream.uniform() - 1.0) * bound) as f32);
            self.parameters.insert(down, Parameter::new(&[rank, shape[1]], drawn.collect(), &device)?);
            self.parameters
                .insert(up, Parameter::new(&[shape[0], rank], vec![0.0; shape[0] * rank], &device)?);
        }
        let Self { config, conditioning, parameters, .. } = self;
        Ok(Self::assemble(config, conditioning, Some(settings.clone()), parameters)?.computing_in(precision))
    }

    /// The parameters that training changes: all, or those of the adapter. The order is that of [`Backbone::parameters`].
    pub fn trained(&self) -> impl Iterator<Item = (&str, &Parameter)> {
        self.parameters().filter(|(name, _)| is_trained(self.adapter.as_ref(), name))
    }

    /// Whether training changes the parameter called `name`.
    #[must_use]
    pub(crate) fn trains(&self, name: &str) -> bool {
        self.parameters.contains_key(name) && is_trained(self.adapter.as_ref(), name)
    }

    /// Replaces each parameter that training changes by the result of `f`, in the order of [`Backbone::trained`].
    ///
    /// # Errors
    /// If a replacement has a different shape.
    pub(crate) fn map_trained(
        self,
        mut f: impl FnMut(&str, Parameter) -> Parameter,
    ) -> Result<Self, BackboneError> {
        let adapter = self.adapter.clone();
        self.map(|name, parameter| match is_trained(adapter.as_ref(), name) {
            true => f(name, parameter),
            false => parameter,
        })
    }

    /// The same backbone with these flat values of the parameters that are trained, by name.
    ///
    /// # Errors
    /// If one has another size than its parameter.
    pub(crate) fn with_trained_tensors(
        self,
        values: &IndexMap<String, Tensor<1>>,
    ) -> Result<Self, BackboneError> {
        self.map_trained(|name, parameter| parameter.map(|_| values[name].clone()))
    }

    /// The same backbone with other values of the parameters that are trained, by name and row-major.
    ///
    /// # Errors
    /// If the values of one are missing or too many.
    pub fn with_trained_values(self, mut values: IndexMap<String, Vec<f32>>) -> Result<Self, BackboneError> {
        let (device, mut parameters) = (self.device(), IndexMap::new());
        for (name, old) in self.trained() {
            let own = values.swap_remove(name).ok_or_else(|| BackboneError::Missing(name.to_owned()))?;
            parameters.insert(name.to_owned(), Parameter::new(&old.shape(), own, &device)?);
        }
        self.map_trained(|name, _| parameters.swap_remove(name).expect("a value for each was found above"))
    }

    /// The same backbone with every parameter that is trained as an autodiff leaf, and the others without gradients.
    ///
    /// # Errors
    /// Never in practice, because shapes do not change.
    pub fn trainable(self) -> Result<Self, BackboneError> {
        let adapter = self.adapter.clone();
        self.map(|name, parameter| match is_trained(adapter.as_ref(), name) {
            true => parameter.trainable(),
            false => parameter.untracked(),
        })
    }

    /// An ordinary backbone with the weights W + s B A; the same one if it has no adapter.
    ///
    /// # Errors
    /// If the device fails.
    pub fn merged(self) -> Result<Self, BackboneError> {
        let Some(settings) = self.adapter.clone() else { return Ok(self) };
        let (precision, device) = (self.precision, self.device());
        let Self { config, conditioning, parameters, .. } = self;
        let mut weights = IndexMap::new();
        for (name, parameter) in parameters.iter().filter(|(name, _)| !is_factor(name)) {
            let [down, up] = name_factors(name).map(|name| parameters.get(&name));
            let merged = match down.zip(up) {
                None => parameter.clone(),
                Some((down, up)) => {
                    let change =
                        LowRankChange::new(down.values()?, up.values()?, settings.rank, settings.scale());
                    let mut values = parameter.values()?;
                    change.add_to(&mut values, 0);
                    Parameter::new(&parameter.shape(), values, &device)?
                }
            };
            weights.insert(name.clone(), merged);
        }
        Ok(Self::assemble(config, conditioning, None, weights)?.computing_in(precision))
    }
}

/// The change s B A of a projection, on the host.
#[derive(Debug)]
pub(crate) struct LowRankChange {
    /// A, [rank, in].
    down: Vec<f32>,
    /// B, [out, rank].
    up: Vec<f32>,
    rank: usize,
    scale: f32,
}

impl LowRankChange {
    /// The change by A [rank, in] and B [out, rank], row-major.
    pub(crate) fn new(down: Vec<f32>, up: Vec<f32>, rank: usize, scale: f64) -> Self {
        Self { down, up, rank, scale: scale as f32 }
    }

    /// Adds it to `values`: those of the projection [out, in] from index `start` on, row-major. Each element of B A is summed in f32 in
    /// the order of the rank, so that a checkpoint has the same weights wherever it is read, whole or in parts.
    pub(crate) fn add_to(&self, mut values: &mut [f32], mut start: usize) {
        let width = self.down.len() / self.rank;
        let mut sums = vec![0.0; width];
        while !values.is_empty() {
            let (row, column) = (start / width, start % width);
            let (own, rest) = values.split_at_mut(values.len().min(width - column));
            let sums = &mut sums[..own.len()];
            sums.fill(0.0);
            let factors = &self.up[row * self.rank..][..self.rank];
            for (factor, down) in factors.iter().zip(self.down.chunks_exact(width)) {
                sums.iter_mut().zip(&down[column..]).for_each(|(sum, x)| *sum += factor * x);
            }
            own.iter_mut().zip(&*sums).for_each(|(value, sum)| *value += self.scale * sum);
            (start, values) = (start + own.len(), rest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_the_same_in_parts_and_as_a_whole() {
        let (out, rank, width) = (7, 3, 11);
        let noise = |count: usize, step: usize| (0..count).map(move |i| ((i * step) % 23) as f32 / 7.0 - 1.5);
        let change =
            LowRankChange::new(noise(rank * width, 5).collect(), noise(out * rank, 9).collect(), rank, 2.0);
        let weights: Vec<f32> = noise(out * width, 13).collect();
        let mut whole = weights.clone();
        change.add_to(&mut whole, 0);
        for (i, (found, weight)) in whole.iter().zip(&weights).enumerate() {
            let term =
                |k: usize| f64::from(change.up[i / width * rank + k] * change.down[k * width + i % width]);
            let expected = f64::from(*weight) + 2.0 * (0..rank).map(term).sum::<f64>();
            assert!((f64::from(*found) - expected).abs() < 1e-5, "{i}: {found} {expected}");
        }
        for size in [1, 4, 11, 30, 77] {
            let mut parts = weights.clone();
            for (number, part) in parts.chunks_mut(size).enumerate() {
                change.add_to(part, number * size);
            }
            assert_eq!(parts, whole, "parts of {size}");
        }
    }
}
