//! Weights on disk: reads a Hugging Face folder and writes safetensors files.
//!
//! Loading is total: a tensor that is missing, unexpected, mis-shaped, of an unknown type or not finite is an error that
//! names file and tensor. Nothing is skipped and nothing is filled in, because a lenient loader runs on random weights
//! without a word when names do not match.
//!
//! ```text
//! folder --the engine's rules--> weight files and their tensors --read--> f32 on the host --> Backbone
//! ```
//! What the headers of a folder show is decided by the engine ([`CheckpointFolder`]), so that `check` and a run refuse the same
//! folders. Here their values are read. Pickle files are never opened: reading one can run code.

mod encoding;
mod weights_file;
mod write;

use std::path::Path;

use burn_tensor::Device;
use indexmap::IndexMap;

use crate::backbone::{
    Backbone, BackboneError, EMBEDDING, HEAD, Qwen3Config, TimeConditioning, build_layout,
};
use fmflow_engine::pipeline::checkpoint_folder::{
    CheckpointFolder, FolderFault, HeaderError, TIED_HEAD_CURE,
};
use fmflow_engine::pipeline::contract::Contract;
use fmflow_engine::text::escape::show_path;
use weights_file::{WeightsFile, read_tensor_values};

pub(crate) use encoding::Encoding;
pub(crate) use fmflow_engine::pipeline::checkpoint_folder::{Dtype, INDEX, SINGLE};
pub use write::{TensorLayout, distribute_tensors, save_backbone, write_f32_tensors, write_tensors_as};

/// Why weights are refused.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// A file cannot be read.
    #[error("`{file}`: {reason}")]
    Io {
        /// The file.
        file: String,
        /// The error of the operating system.
        #[source]
        reason: std::io::Error,
    },
    /// The folder's headers show that it cannot be used.
    #[error(transparent)]
    Folder(#[from] FolderFault),
    /// A header, an entry or the length of a file is malformed.
    #[error("`{file}`{}: {reason}", .tensor.as_ref().map(|t| format!(", tensor `{t}`")).unwrap_or_default())]
    Malformed {
        /// The file.
        file: String,
        /// The affected tensor, if it is about one.
        tensor: Option<String>,
        /// What is wrong.
        reason: String,
    },
    /// A tensor that the config requires is in no file.
    #[error("{place}: tensor `{tensor}` is missing")]
    Missing {
        /// The files that were searched.
        place: String,
        /// The tensor.
        tensor: String,
    },
    /// A tensor does not have the shape that the config requires.
    #[error("`{file}`: tensor `{tensor}` has shape {found:?}, expected {expected:?}")]
    Shape {
        /// The file.
        file: String,
        /// The tensor.
        tensor: String,
        /// The shape in the file.
        found: Vec<usize>,
        /// The shape according to config.json.
        expected: Vec<usize>,
    },
    /// A value is infinite or NaN.
    #[error("`{file}`: tensor `{tensor}` has a value that is not finite at index {index}")]
    NotFinite {
        /// The file.
        file: String,
        /// The tensor.
        tensor: String,
        /// Index of the first such value, in row-major order.
        index: usize,
    },
    /// config.json and the tensors disagree about the output head.
    #[error(
        "tensor `lm_head.weight` differs from the embedding, but config.json says `tie_word_embeddings`: true"
    )]
    Tie,
    /// The backbone refuses the tensors.
    #[error(transparent)]
    Backbone(#[from] BackboneError),
}

impl WeightsError {
    /// What to do about it.
    #[must_use]
    pub(crate) fn cure(&self) -> &str {
        match self {
            Self::Folder(fault) => &fault.cure,
            Self::Tie => TIED_HEAD_CURE,
            _ => "use a complete Qwen3 checkpoint in safetensors files",
        }
    }
}

impl From<HeaderError> for WeightsError {
    fn from(error: HeaderError) -> Self {
        let HeaderError { file, tensor, reason, .. } = error;
        Self::Malformed { file, tensor, reason }
    }
}

/// A tensor on the host.
#[derive(Clone, Debug, PartialEq)]
pub struct HostTensor {
    /// The shape, as stored.
    pub shape: Vec<usize>,
    /// The element type in the file.
    pub dtype: Dtype,
    /// The values as f32, row-major.
    pub values: Vec<f32>,
}

/// The content of a checkpoint folder, read and checked.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// Shape and constants, from config.json.
    pub config: Qwen3Config,
    /// The contract of the folder, if it has one.
    pub contract: Option<Contract>,
    /// All tensors of the layout, in its order.
    pub tensors: IndexMap<String, HostTensor>,
    /// BLAKE3 of config.json and of every weight file, by name.
    pub files: IndexMap<String, String>,
    /// Whether the files had a redundant `lm_head.weight` equal to the embedding, which was dropped.
    pub redundant_head: bool,
}

impl Checkpoint {
    /// Whether and how the model is conditioned on time.
    #[must_use]
    pub(crate) fn time_conditioning(&self) -> TimeConditioning {
        self.contract.as_ref().map_or(TimeConditioning::None, |p| p.time_conditioning)
    }

    /// Builds the backbone, moving each tensor to the device and freeing it on the host.
    ///
    /// # Errors
    /// If a tensor is missing, which [`read_checkpoint`] rules out.
    pub fn into_backbone(mut self, device: &Device) -> Result<Backbone, WeightsError> {
        let (config, time) = (self.config.clone(), self.time_conditioning());
        Backbone::build(&config, time, device, |name, _| match self.tensors.swap_remove(name) {
            Some(tensor) => Ok(tensor.values),
            None => Err(WeightsError::Missing { place: "the checkpoint".into(), tensor: name.into() }),
        })
    }
}

/// Reads and checks the folder `dir`: config.json, its contract if it has one, and all weights.
///
/// # Errors
/// If anything is missing, unexpected or malformed; see [`WeightsError`].
pub fn read_checkpoint(dir: &Path) -> Result<Checkpoint, WeightsError> {
    // All headers first, so that a folder that does not fit is refused before gigabytes are read.
    let folder = CheckpointFolder::open(dir, show_path(dir));
    if let Some(fault) = folder.find_faults().into_iter().find(FolderFault::is_certain) {
        return Err(fault.into());
    }
    let sound = "a folder without faults has a config.json";
    let (config, text) = (folder.config().expect(sound).clone(), folder.config_text().expect(sound));
    let contract = folder.contract().cloned();
    let time = contract.as_ref().map_or(TimeConditioning::None, |contract| contract.time_conditioning);
    let mut files = IndexMap::from([("config.json".to_owned(), hash_bytes(text.as_bytes()))]);
    let mut found = IndexMap::new();
    for file in folder.weight_files() {
        let (tensors, hash) = read_safetensors_file(&dir.join(&file.name))?;
        found.extend(tensors);
        files.insert(file.name.clone(), hash);
    }
    let redundant_head = take_redundant_head(&config, &mut found)?;
    let mut take = |name: String| match found.swap_remove(&name) {
        Some(tensor) => Ok((name, tensor)),
        None => Err(WeightsError::Missing { place: "the checkpoint".into(), tensor: name }),
    };
    let layout = build_layout(&config, time).into_iter();
    let tensors = layout.map(|(name, _)| take(name)).collect::<Result<_, _>>()?;
    Ok(Checkpoint { config, contract, tensors, files, redundant_head })
}

/// All tensors of one safetensors file in the order of their data, and the BLAKE3 digest of the file.
///
/// # Errors
/// If the file is malformed or a value is not finite.
pub(crate) fn read_safetensors_file(
    path: &Path,
) -> Result<(IndexMap<String, HostTensor>, String), WeightsError> {
    let WeightsFile { mut reader, entries, file } = WeightsFile::open(path)?;
    let mut tensors = IndexMap::with_capacity(entries.len());
    for entry in entries {
        let values = read_tensor_values(&mut reader, &entry, &file)?;
        tensors.insert(entry.name, HostTensor { shape: entry.shape, dtype: entry.dtype, values });
    }
    Ok((tensors, reader.digest()))
}

/// Removes an `lm_head.weight` that repeats a tied embedding; refuses one that differs.
fn take_redundant_head(
    config: &Qwen3Config,
    found: &mut IndexMap<String, HostTensor>,
) -> Result<bool, WeightsError> {
    if !config.tie_word_embeddings {
        return Ok(false);
    }
    let Some(head) = found.swap_remove(HEAD) else { return Ok(false) };
    if found.get(EMBEDDING).is_some_and(|embedding| embedding.values == head.values) {
        return Ok(true);
    }
    Err(WeightsError::Tie)
}

fn hash_bytes(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}

fn to_file_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

/// The error for a file that is not read, though it could be.
fn refused_file(file: String, why: &str) -> WeightsError {
    WeightsError::Io { file, reason: std::io::Error::new(std::io::ErrorKind::InvalidData, why) }
}

#[cfg(test)]
mod tests;
