//! Weights on disk: reads a Hugging Face folder and writes safetensors files.
//!
//! Loading is total: a tensor that is missing, unexpected, mis-shaped, of an unknown type or not finite is an error that
//! names file and tensor. Nothing is skipped and nothing is filled in, because a lenient loader runs on random weights
//! without a word when names do not match.
//!
//! ```text
//! folder --the engine's rules--> CheckpointReader --tensor by tensor--> f32 on the host --> Backbone
//! ```
//! What the headers of a folder show is decided by the engine (its `CheckpointFolder`), so that `check` and a run refuse the same
//! folders. Here their values are read: by the stages that change or copy a checkpoint one tensor or part at a time
//! ([`CheckpointReader`]), by those that run it all at once ([`read_checkpoint`]). Pickle files are never opened: reading one can
//! run code.

mod adapter;
mod encoding;
mod reader;
mod weights_file;
mod write;

use std::path::Path;

use burn_tensor::Device;
use indexmap::IndexMap;

use crate::backbone::{Backbone, BackboneError, Qwen3Config, TimeConditioning};
use fmflow_engine::pipeline::checkpoint_folder::{FolderFault, HeaderError, TIED_HEAD_CURE};
use fmflow_engine::pipeline::contract::Contract;

pub(crate) use adapter::{
    ADAPTER, ADAPTER_FACTS, AdapterFacts, AdapterTensor, PREFIX as ADAPTER_PREFIX, read_adapter,
};
pub(crate) use encoding::Encoding;
pub(crate) use fmflow_engine::pipeline::checkpoint_folder::{BASE, Dtype, INDEX, SINGLE};
pub use reader::CheckpointReader;
pub(crate) use weights_file::WeightsFile;
pub(crate) use write::TensorWriter;
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
    /// The adapter beside the weights is malformed, or does not fit them.
    #[error("`{file}`: {reason}")]
    Adapter {
        /// The file.
        file: String,
        /// What is wrong.
        reason: String,
    },
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
            Self::Adapter { .. } => "use the result of a stage that trains an adapter",
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
    let reader = CheckpointReader::open(dir)?;
    let names = reader.layout().into_iter().map(|(name, _)| name);
    let tensors = names.map(|name| Ok((name.clone(), reader.read(&name)?)));
    let tensors = tensors.collect::<Result<_, WeightsError>>()?;
    let CheckpointReader { config, contract, redundant_head, .. } = reader;
    Ok(Checkpoint { config, contract, tensors, redundant_head })
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
