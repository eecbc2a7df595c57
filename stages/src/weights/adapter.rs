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

use super::{TensorLayout, WeightsError};
use crate::backbone::{LowRankChange, name_factors};

/// File of the tensors.
pub(crate) const ADAPTER: &str = "adapter.safetensors";
/// File of the settings.
pub(crate) const ADAPTER_FACTS: &str = "adapter.json";
/// Largest file of settings that is read, in bytes.
const MAX_FACTS_BYTES: u64 = 1 << 20;
/// Largest file of tensors that is read, in bytes: an adapter of the largest Qwen3 at rank 256 has less than half of it.
const MAX_ADAPTER_BYTES: u64 = 16 << 30;
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
        let facts: Self =
            serde_json::from_slice(&read_facts(folder)?).map_err(|e| refused(ADAPTER_FACTS, e))?;
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

/// The bytes of the settings.
pub(super) fn read_facts(folder: &Path) -> Result<Vec<u8>, WeightsError> {
    read_whole(folder, ADAPTER_FACTS, MAX_FACTS_BYTES)
}

/// Reads a regular file of at most `largest` bytes: a pipe would block.
fn read_whole(folder: &Path, name: &str, largest: u64) -> Result<Vec<u8>, WeightsError> {
    let path = folder.join(name);
    let stat = std::fs::metadata(&path).map_err(|e| refused(name, e))?;
    if !stat.is_file() || stat.len() > largest {
        return Err(refused(name, format!("it is no file of at most {} MiB", largest >> 20)));
    }
    std::fs::read(&path).map_err(|e| refused(name, e))
}

fn refused(file: &str, why: impl ToString) -> WeightsError {
    WeightsError::Adapter { file: file.into(), reason: why.to_string() }
}

/// Reads the tensors of the adapter in `folder`, by PEFT's names and sorted by them.
///
/// # Errors
/// If the file cannot be read, or a value is not a finite f32.
pub(crate) fn read_adapter(folder: &Path) -> Result<IndexMap<String, AdapterTensor>, WeightsError> {
    let bytes = read_whole(folder, ADAPTER, MAX_ADAPTER_BYTES)?;
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

/// What the adapter in `folder` changes in tensors of this layout, by their names.
///
/// # Errors
/// If a file of the adapter is refused, one of its tensors fits no tensor of the weights, or one is missing.
pub(super) fn read_changes(
    folder: &Path,
    layout: &TensorLayout,
) -> Result<IndexMap<String, TensorChange>, WeightsError> {
    let (settings, mut tensors) = (AdapterFacts::read(folder)?.settings, read_adapter(folder)?);
    let mut changes = IndexMap::new();
    for (name, shape) in layout {
        if settings.adapts(name) {
            changes.insert(name.clone(), take_change(&mut tensors, &settings, (name, shape))?);
        } else if settings.trains_norm(name) {
            let own = take_tensor(&mut tensors, name, shape)?;
            changes.insert(name.clone(), TensorChange::Replaced(own));
        }
    }
    match tensors.first() {
        None => Ok(changes),
        Some((name, _)) => Err(refused(ADAPTER, format!("tensor `{name}` fits no weight"))),
    }
}

/// Takes A and B of the projection `name` of this shape.
fn take_change(
    tensors: &mut IndexMap<String, AdapterTensor>,
    settings: &AdapterSettings,
    (name, shape): (&str, &[usize]),
) -> Result<TensorChange, WeightsError> {
    let ([down, up], rank) = (name_factors(name), settings.rank);
    let &[out, width] = shape else { return Err(refused(ADAPTER, format!("`{name}` is no matrix"))) };
    if rank == 0 {
        return Err(refused(ADAPTER_FACTS, "its rank is 0"));
    }
    let down = take_tensor(tensors, &down, &[rank, width])?;
    let up = take_tensor(tensors, &up, &[out, rank])?;
    Ok(TensorChange::LowRank(LowRankChange::new(down, up, rank, settings.scale())))
}

/// Takes the values of a tensor, which must have this shape.
fn take_tensor(
    tensors: &mut IndexMap<String, AdapterTensor>,
    name: &str,
    shape: &[usize],
) -> Result<Vec<f32>, WeightsError> {
    let found = tensors.shift_remove(&format!("{PREFIX}{name}")).filter(|found| found.shape == shape);
    let missing = || refused(ADAPTER, format!("it has no tensor for `{name}` of shape {shape:?}"));
    Ok(found.ok_or_else(missing)?.values)
}
