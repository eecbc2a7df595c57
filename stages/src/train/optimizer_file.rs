//! The file of the optimizer in a checkpoint: two moments of every parameter that is trained, and the parameter itself where the model
//! of the checkpoint is an average. Tensors are flat f32, sorted by name, written and restored one at a time.

use std::path::Path;

use burn_tensor::{Device, Tensor, TensorData};
use fmflow_engine::error::Failure;
use fmflow_engine::pipeline::checkpoint_folder::TensorEntry;
use fmflow_engine::store::ArtifactWriter;
use indexmap::{IndexMap, IndexSet};

use super::state::TrainingState;
use crate::failure::stage_failure;
use crate::weights::{Dtype, WeightsFile, write_f32_tensors};

/// Name of the file.
const OPTIMIZER: &str = "optimizer.safetensors";
/// What is before the name of a parameter: in its first moment, in its second one, and where it is trained but not published.
const PREFIXES: [&str; 3] = ["first.", "second.", "trained."];

/// Writes the moments of `state`, and what is trained if the model that is saved is an average.
///
/// # Errors
/// If the store or the device fails.
pub(super) fn write_optimizer(state: &TrainingState, writer: &mut ArtifactWriter) -> Result<(), Failure> {
    let all = collect_tensors(state);
    let layout: Vec<_> = all.iter().map(|(name, tensor)| (name.clone(), tensor.dims().to_vec())).collect();
    let mut file = writer.file(OPTIMIZER)?;
    write_f32_tensors(&mut file, &layout, |name| {
        all[name].clone().try_into_vec_as::<f32>().map_err(|e| std::io::Error::other(e.to_string()))
    })
    .map_err(stage_failure)?;
    file.finish()?;
    Ok(())
}

/// All tensors of the file on the device, sorted by name.
fn collect_tensors(state: &TrainingState) -> IndexMap<String, Tensor<1>> {
    let [first, second, trained] = PREFIXES;
    let mut all = IndexMap::new();
    for (name, moments) in &state.optimizer.moments {
        all.insert(format!("{first}{name}"), moments.first.clone());
        all.insert(format!("{second}{name}"), moments.second.clone());
    }
    if state.average.is_some() {
        all.extend(
            state.model.trained().map(|(name, parameter)| (format!("{trained}{name}"), parameter.flat())),
        );
    }
    all.sort_keys();
    all
}

/// Restores what the file in `folder` has into `state`, whose model is that of the folder: all moments, matched by the names of
/// parameters, and what is trained if that model is an average. Returns whether it is one, too.
///
/// # Errors
/// If the file cannot be read, or a tensor is missing, left over, of another size or not finite.
pub(super) fn restore_optimizer(
    folder: &Path,
    mut state: TrainingState,
) -> Result<(TrainingState, bool), Failure> {
    let mut saved = SavedTensors::open(&folder.join(OPTIMIZER), state.model.device())?;
    let [first, second, trained] = PREFIXES;
    for (name, moments) in &mut state.optimizer.moments {
        let n = moments.first.dims()[0];
        moments.first = saved.take(first, name, n)?;
        moments.second = saved.take(second, name, n)?;
    }
    let averaged = saved.left.iter().any(|name| name.starts_with(trained));
    if averaged {
        let mut found = IndexMap::new();
        for (name, parameter) in state.model.trained() {
            found.insert(name.to_owned(), saved.take(trained, name, parameter.count())?);
        }
        state.model = state.model.with_trained_tensors(&found).map_err(stage_failure)?;
    }
    match saved.left.first() {
        Some(name) => Err(stage_failure(format!("the optimizer state has an unexpected tensor `{name}`"))),
        None => Ok((state, averaged)),
    }
}

/// The file, and the names of tensors that were not taken yet.
struct SavedTensors {
    file: WeightsFile,
    left: IndexSet<String>,
    device: Device,
}

impl SavedTensors {
    fn open(path: &Path, device: Device) -> Result<Self, Failure> {
        let file = WeightsFile::open(path).map_err(stage_failure)?;
        let left = file.entries.iter().map(|entry| entry.name.clone()).collect();
        Ok(Self { file, left, device })
    }

    /// The tensor of `n` values for the parameter `of`.
    fn take(&mut self, prefix: &str, of: &str, n: usize) -> Result<Tensor<1>, Failure> {
        let name = format!("{prefix}{of}");
        let fits = |entry: &&TensorEntry| {
            entry.name == name && entry.dtype == Dtype::F32 && entry.shape.as_slice() == [n]
        };
        let missing = || stage_failure(format!("the optimizer state has no tensor `{name}` of {n} values"));
        let entry = self.file.entries.iter().find(fits).ok_or_else(missing)?;
        let values = self.file.read(entry).map_err(stage_failure)?;
        self.left.shift_remove(&name);
        Ok(Tensor::from_data(TensorData::new(values, [n]), &self.device))
    }
}
