//! The files of an adapter, in checkpoints and in finished stages: its tensors under the names that the library PEFT gives them, and
//! its settings with the digests of the weights that it was trained on.

use std::path::Path;

use fmflow_engine::error::Failure;
use fmflow_engine::pipeline::config::AdapterSettings;
use fmflow_engine::store::ArtifactWriter;
use indexmap::IndexMap;
use safetensors::SafeTensors;
use safetensors::tensor::Dtype;
use serde::{Deserialize, Serialize};

use crate::backbone::Backbone;
use crate::failure::{input_failure, stage_failure};
use crate::weights::{CheckpointReader, TensorLayout, write_f32_tensors};

/// File of the tensors.
pub(crate) const ADAPTER: &str = "adapter.safetensors";
/// File of the settings.
pub(crate) const ADAPTER_FACTS: &str = "adapter.json";
/// The schema of the settings.
const SCHEMA: &str = "fmflow.adapter/1";
/// What PEFT puts before the name of a tensor.
const PREFIX: &str = "base_model.model.";

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

impl AdapterFacts {
    /// The facts of an adapter on the checkpoint in `folder`.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub(super) fn of_base(settings: &AdapterSettings, folder: &Path) -> Result<Self, Failure> {
        let base =
            CheckpointReader::open(folder).and_then(|base| base.hash_files()).map_err(stage_failure)?;
        Ok(Self { schema: SCHEMA.into(), settings: settings.clone(), base })
    }

    /// Reads them from the folder of a stage or a checkpoint.
    ///
    /// # Errors
    /// If they are missing or malformed.
    pub(crate) fn read(folder: &Path) -> Result<Self, Failure> {
        let malformed = |why: String| {
            input_failure(
                format!("`{ADAPTER_FACTS}`: {why}"),
                "use the result of a stage that trains an adapter",
            )
        };
        let bytes = std::fs::read(folder.join(ADAPTER_FACTS)).map_err(|e| malformed(e.to_string()))?;
        let facts: Self = serde_json::from_slice(&bytes).map_err(|e| malformed(e.to_string()))?;
        match facts.schema == SCHEMA {
            true => Ok(facts),
            false => Err(malformed(format!("its version is not {SCHEMA}"))),
        }
    }

    /// Writes the adapter of `model`.
    ///
    /// # Errors
    /// If the store or the device fails.
    pub(super) fn write(&self, writer: &mut ArtifactWriter, model: &Backbone) -> Result<(), Failure> {
        let layout: TensorLayout =
            model.trained().map(|(name, tensor)| (format!("{PREFIX}{name}"), tensor.shape())).collect();
        let mut file = writer.file(ADAPTER)?;
        write_f32_tensors(&mut file, &layout, |name| {
            let tensor = model.parameter(&name[PREFIX.len()..]).expect("the layout is that of the model");
            tensor.values().map_err(std::io::Error::other)
        })
        .map_err(stage_failure)?;
        file.finish()?;
        writer.write(ADAPTER_FACTS, &serde_json::to_vec_pretty(self).map_err(stage_failure)?)?;
        Ok(())
    }
}

/// Reads the tensors of the adapter in `folder`, by PEFT's names and sorted by them. The store has verified the file.
///
/// # Errors
/// If the file cannot be read, or a value is not a finite f32.
pub(crate) fn read_adapter(folder: &Path) -> Result<IndexMap<String, AdapterTensor>, Failure> {
    let bytes = std::fs::read(folder.join(ADAPTER)).map_err(stage_failure)?;
    let parsed = SafeTensors::deserialize(&bytes).map_err(stage_failure)?;
    let mut found = IndexMap::new();
    for (name, view) in parsed.iter() {
        let values: Vec<f32> = view.data().as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        if view.dtype() != Dtype::F32 || !values.iter().all(|x| x.is_finite()) {
            return Err(stage_failure(format!("tensor `{name}` of `{ADAPTER}` is not of finite f32 values")));
        }
        found.insert(name.to_owned(), AdapterTensor { shape: view.shape().to_vec(), values });
    }
    found.sort_keys();
    Ok(found)
}

/// Puts the values of the adapter in `folder` into `model`, which has an adapter of the same settings.
///
/// # Errors
/// If a tensor is missing, left over or has another shape.
pub(super) fn restore_adapter(folder: &Path, model: Backbone) -> Result<Backbone, Failure> {
    let mut saved = read_adapter(folder)?;
    let mut values = IndexMap::new();
    for (name, tensor) in model.trained() {
        let found =
            saved.shift_remove(&format!("{PREFIX}{name}")).filter(|found| found.shape == tensor.shape());
        let missing = || stage_failure(format!("`{ADAPTER}` has no tensor for `{name}` of its shape"));
        values.insert(name.to_owned(), found.ok_or_else(missing)?.values);
    }
    if let Some((name, _)) = saved.first() {
        return Err(stage_failure(format!("`{ADAPTER}` has an unexpected tensor `{name}`")));
    }
    model.with_trained_values(values).map_err(stage_failure)
}
