//! An adapter on disk, and what it changes in the weights beside it.
//!
//! A stage that trains an adapter publishes its tensors, under the names that the library PEFT gives them, its settings with the
//! digests of the weights that it was trained on, and those weights, stored once for both stages. Whoever reads such a folder
//! tensor by tensor gets W + s B A.

use std::path::Path;

use fmflow_engine::pipeline::config::AdapterSettings;
use indexmap::IndexMap;
use safetensors::SafeTensors;
use safetensors::tensor::Dtype as FileDtype;
use serde::{Deserialize, Serialize};

use super::WeightsError;
use crate::backbone::{FACTOR_ENDS, LowRankChange};

/// File of the tensors.
pub(crate) const ADAPTER: &str = "adapter.safetensors";
/// File of the settings.
pub(crate) const ADAPTER_FACTS: &str = "adapter.json";
/// The schema of the settings.
const SCHEMA: &str = "fmflow.adapter/1";
/// What PEFT puts before the name of a tensor.
pub(crate) const PREFIX: &str = "base_model.model.";

/// The contents of [`ADAPTER_FACTS`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AdapterFacts {
    /// Always [`SCHEMA`].
    schema: String,
    /// Rank, factor and targets.
    pub settings: AdapterSettings,
    /// BLAKE3 of config.json and of every weight file of the checkpoint that it was trained on.
    pub base: IndexMap<String, String>,
}

/// A tensor of an adapter on the host, row-major.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AdapterTensor {
    /// `[n]` or [out, in].
    pub shape: Vec<usize>,
    /// The values.
    pub values: Vec<f32>,
}

/// What an adapter does to a tensor.
#[derive(Debug)]
pub(super) enum TensorChange {
    /// Adds s B A.
    LowRank(LowRankChange),
    /// Takes its place.
    Replaced(Vec<f32>),
}

impl AdapterFacts {
    /// The facts of an adapter with these settings on weights with these digests.
    pub(crate) fn new(settings: &AdapterSettings, base: IndexMap<String, String>) -> Self {
        Self { schema: SCHEMA.into(), settings: settings.clone(), base }
    }

    /// Reads them from the folder of a stage or a checkpoint.
    ///
    /// # Errors
    /// If they are missing or malformed.
    pub(crate) fn read(folder: &Path) -> Result<Self, WeightsError> {
        let bytes = std::fs::read(folder.join(ADAPTER_FACTS)).map_err(|e| refused(ADAPTER_FACTS, e))?;
        let facts: Self = serde_json::from_slice(&bytes).map_err(|e| refused(ADAPTER_FACTS, e))?;
        match facts.schema == SCHEMA {
            true => Ok(facts),
            false => Err(refused(ADAPTER_FACTS, format!("its version is not {SCHEMA}"))),
        }
    }
}

impl TensorChange {
    /// Applies it to the values of the tensor from index `start` on.
    pub(super) fn apply(&self, values: &mut [f32], start: usize) {
        match self {
            Self::LowRank(change) => change.add_to(values, start),
            Self::Replaced(own) => values.copy_from_slice(&own[start..start + values.len()]),
        }
    }
}

fn refused(file: &str, why: impl ToString) -> WeightsError {
    WeightsError::Adapter { file: file.into(), reason: why.to_string() }
}

/// Reads the tensors of the adapter in `folder`, by PEFT's names and sorted by them.
///
/// # Errors
/// If the file cannot be read, or a value is not a finite f32.
pub(crate) fn read_adapter(folder: &Path) -> Result<IndexMap<String, AdapterTensor>, WeightsError> {
    let bytes = std::fs::read(folder.join(ADAPTER)).map_err(|e| refused(ADAPTER, e))?;
    let parsed = SafeTensors::deserialize(&bytes).map_err(|e| refused(ADAPTER, e))?;
    let mut found = IndexMap::new();
    for (name, view) in parsed.iter() {
        let values: Vec<f32> = view.data().as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        if view.dtype() != FileDtype::F32 || !values.iter().all(|x| x.is_finite()) {
            return Err(refused(ADAPTER, format!("tensor `{name}` is not of finite f32 values")));
        }
        found.insert(name.to_owned(), AdapterTensor { shape: view.shape().to_vec(), values });
    }
    found.sort_keys();
    Ok(found)
}

/// What the adapter in `folder` changes in tensors of these shapes, by their names.
///
/// # Errors
/// If a file of the adapter is refused, or one of its tensors fits no tensor of the weights.
pub(super) fn read_changes(
    folder: &Path,
    shape_of: impl Fn(&str) -> Option<Vec<usize>>,
) -> Result<IndexMap<String, TensorChange>, WeightsError> {
    let (settings, mut tensors) = (AdapterFacts::read(folder)?.settings, read_adapter(folder)?);
    let mut changes = IndexMap::new();
    while let Some((name, tensor)) = tensors.shift_remove_index(0) {
        let unfit = || refused(ADAPTER, format!("tensor `{name}` fits no weight"));
        let own = name.strip_prefix(PREFIX).ok_or_else(unfit)?;
        let (weight, shape, change) = match own.strip_suffix(FACTOR_ENDS[0]) {
            None => (own.to_owned(), tensor.shape, TensorChange::Replaced(tensor.values)),
            Some(projection) => {
                let partner = format!("{PREFIX}{projection}{}", FACTOR_ENDS[1]);
                let up = tensors.shift_remove(&partner).ok_or_else(unfit)?;
                let shape = vec![up.shape[0], tensor.shape[1]];
                let ranks = [tensor.shape[0], up.shape[1]];
                if ranks != [settings.rank; 2] {
                    return Err(unfit());
                }
                let change = LowRankChange::new(tensor.values, up.values, settings.rank, settings.scale());
                (format!("{projection}.weight"), shape, TensorChange::LowRank(change))
            }
        };
        if shape_of(&weight) != Some(shape) {
            return Err(unfit());
        }
        changes.insert(weight, change);
    }
    Ok(changes)
}
