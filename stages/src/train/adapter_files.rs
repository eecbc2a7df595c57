//! An adapter in training: where it comes from, and how it is saved.

use std::path::Path;

use fmflow_engine::error::Failure;
use fmflow_engine::pipeline::config::AdapterSettings;
use fmflow_engine::store::ArtifactWriter;
use indexmap::IndexMap;

use crate::backbone::Backbone;
use crate::failure::stage_failure;
use crate::model::weights_failure;
use crate::weights::{
    ADAPTER, ADAPTER_FACTS, ADAPTER_PREFIX, AdapterFacts, CheckpointReader, TensorLayout, read_adapter,
    write_f32_tensors,
};

impl AdapterFacts {
    /// The facts of an adapter on the checkpoint in `folder`.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub(super) fn of_base(settings: &AdapterSettings, folder: &Path) -> Result<Self, Failure> {
        let base =
            CheckpointReader::open(folder).and_then(|base| base.hash_files()).map_err(stage_failure)?;
        Ok(Self::new(settings, base))
    }

    /// Writes the adapter of `model`.
    ///
    /// # Errors
    /// If the store or the device fails.
    pub(super) fn write(&self, writer: &mut ArtifactWriter, model: &Backbone) -> Result<(), Failure> {
        let layout: TensorLayout = model
            .trained()
            .map(|(name, tensor)| (format!("{ADAPTER_PREFIX}{name}"), tensor.shape()))
            .collect();
        let mut file = writer.file(ADAPTER)?;
        write_f32_tensors(&mut file, &layout, |name| {
            let tensor =
                model.parameter(&name[ADAPTER_PREFIX.len()..]).expect("the layout is that of the model");
            tensor.values().map_err(std::io::Error::other)
        })
        .map_err(stage_failure)?;
        file.finish()?;
        writer.write(ADAPTER_FACTS, &serde_json::to_vec_pretty(self).map_err(stage_failure)?)?;
        Ok(())
    }
}

/// Puts the values of the adapter in `folder` into `model`, which has an adapter of the same settings.
///
/// # Errors
/// If a tensor is missing, left over or has another shape.
pub(super) fn restore_adapter(folder: &Path, model: Backbone) -> Result<Backbone, Failure> {
    let mut saved = read_adapter(folder).map_err(|e| weights_failure(folder, &e))?;
    let mut values = IndexMap::new();
    for (name, tensor) in model.trained() {
        let found = saved
            .shift_remove(&format!("{ADAPTER_PREFIX}{name}"))
            .filter(|found| found.shape == tensor.shape());
        let missing = || stage_failure(format!("`{ADAPTER}` has no tensor for `{name}` of its shape"));
        values.insert(name.to_owned(), found.ok_or_else(missing)?.values);
    }
    if let Some((name, _)) = saved.first() {
        return Err(stage_failure(format!("`{ADAPTER}` has an unexpected tensor `{name}`")));
    }
    model.with_trained_values(values).map_err(stage_failure)
}
