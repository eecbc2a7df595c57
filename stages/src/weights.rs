//! Weights on disk: reads a Hugging Face folder and writes safetensors files.
//!
//! Loading is total: a tensor that is missing, unexpected, mis-shaped, of an unknown type or not finite is an error that
//! names file and tensor. Nothing is skipped and nothing is filled in, because a lenient loader runs on random weights
//! without a word when names do not match.
//!
//! ```text
//! folder --shards--> weight files --header--> tensor entries --read--> f32 on the host --> Backbone
//! ```
//! Pickle files are never opened: reading one can run code.

mod header;
mod shards;
mod weights_file;
mod write;

use std::fs::File;
use std::io::Read;
use std::path::Path;

use burn_tensor::Device;
use indexmap::IndexMap;

use crate::backbone::{
    Backbone, BackboneError, ConfigError, EMBEDDING, HEAD, Qwen3Config, TimeConditioning, build_layout,
};
use fmflow_engine::pipeline::contract::{Contract, ContractError};
use header::TensorEntry;
use weights_file::{WeightsFile, read_tensor_values};

pub(crate) use header::Dtype;
pub(crate) use shards::{INDEX, SINGLE};
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
        reason: String,
    },
    /// The folder has no readable weights, or they are ambiguous.
    #[error("{0}")]
    Folder(String),
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
    /// A file has a tensor that the config does not describe.
    #[error("`{file}`: tensor `{tensor}` is not part of the model that config.json describes")]
    Extra {
        /// The file.
        file: String,
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
    #[error("tensor `lm_head.weight` {0}")]
    Tie(&'static str),
    /// config.json is refused.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// provenance.json is refused.
    #[error(transparent)]
    Contract(#[from] ContractError),
    /// The backbone refuses the tensors.
    #[error(transparent)]
    Backbone(#[from] BackboneError),
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
    /// The contract from provenance.json, if there is one.
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

/// Reads and checks the backbone in the folder `dir`, whose contract stands in another file: config.json and all weights
/// without the time conditioning.
///
/// # Errors
/// As [`read_checkpoint`].
pub(crate) fn read_backbone_of(dir: &Path, contract: &Contract) -> Result<Checkpoint, WeightsError> {
    let plain = Contract { time_conditioning: TimeConditioning::None, ..contract.clone() };
    read_checkpoint_with(dir, &read_text_file(&dir.join("config.json"))?, Some(plain))
}

/// Reads and checks the folder `dir`: config.json, provenance.json if present, and all weights.
///
/// # Errors
/// If anything is missing, unexpected or malformed; see [`WeightsError`].
pub fn read_checkpoint(dir: &Path) -> Result<Checkpoint, WeightsError> {
    let config_text = read_text_file(&dir.join("config.json"))?;
    let contract = match dir.join("provenance.json") {
        file if file.exists() => Some(Contract::parse(&read_text_file(&file)?)?),
        _ => None,
    };
    read_checkpoint_with(dir, &config_text, contract)
}

fn read_checkpoint_with(
    dir: &Path,
    config_text: &str,
    contract: Option<Contract>,
) -> Result<Checkpoint, WeightsError> {
    let config = Qwen3Config::parse_with_contract(config_text, contract.as_ref())?;
    contract.as_ref().map_or(Ok(()), |contract| contract.refuse_mask_beyond(config.vocab_size))?;
    let time = contract.as_ref().map_or(TimeConditioning::None, |p| p.time_conditioning);
    let names = shards::find_weight_files(dir)?;
    let expected: IndexMap<String, Vec<usize>> = build_layout(&config, time).into_iter().collect();
    // Check all headers first, so that a folder that does not fit is refused before gigabytes are read.
    let entries = names.iter().map(|name| Ok((name.as_str(), WeightsFile::open(&dir.join(name))?.entries)));
    check_tensors(&entries.collect::<Result<Vec<_>, WeightsError>>()?, &expected, &config)?;
    let mut files = IndexMap::from([("config.json".to_owned(), hash_bytes(config_text.as_bytes()))]);
    let mut found = IndexMap::new();
    for name in names {
        let (tensors, hash) = read_safetensors_file(&dir.join(&name))?;
        found.extend(tensors);
        files.insert(name, hash);
    }
    let redundant_head = take_redundant_head(&config, &mut found)?;
    let mut take = |name: String| match found.swap_remove(&name) {
        Some(tensor) => Ok((name, tensor)),
        None => Err(WeightsError::Missing { place: "the checkpoint".into(), tensor: name }),
    };
    let tensors = expected.into_keys().map(&mut take).collect::<Result<_, _>>()?;
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

/// Compares the tensors in the headers with those that the config requires.
fn check_tensors(
    files: &[(&str, Vec<TensorEntry>)],
    expected: &IndexMap<String, Vec<usize>>,
    config: &Qwen3Config,
) -> Result<(), WeightsError> {
    let mut seen = IndexMap::new();
    for (file, entry) in files.iter().flat_map(|(file, entries)| entries.iter().map(move |e| (*file, e))) {
        let (file, tensor) = (file.to_owned(), entry.name.clone());
        let tied_head = config.tie_word_embeddings && entry.name == HEAD;
        let Some(shape) = expected.get(if tied_head { EMBEDDING } else { &entry.name }) else {
            return Err(WeightsError::Extra { file, tensor });
        };
        if *shape != entry.shape {
            let (found, expected) = (entry.shape.clone(), shape.clone());
            return Err(WeightsError::Shape { file, tensor, found, expected });
        }
        if let Some(first) = seen.insert(entry.name.as_str(), file.clone()) {
            let reason = format!("is also in `{first}`");
            return Err(WeightsError::Malformed { file, tensor: Some(tensor), reason });
        }
    }
    match expected.keys().find(|name| !seen.contains_key(name.as_str())) {
        None => Ok(()),
        Some(name) if name == HEAD => {
            Err(WeightsError::Tie("is missing, but config.json says `tie_word_embeddings`: false"))
        }
        Some(name) => {
            let names: Vec<String> = files.iter().map(|(file, _)| format!("`{file}`")).collect();
            Err(WeightsError::Missing { place: names.join(", "), tensor: name.clone() })
        }
    }
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
    Err(WeightsError::Tie("differs from the embedding, but config.json says `tie_word_embeddings`: true"))
}

/// Reads a text file of at most 1 MiB.
fn read_text_file(path: &Path) -> Result<String, WeightsError> {
    let file = to_file_name(path);
    let mut bytes = Vec::new();
    let limit = 1 << 20;
    let opened = File::open(path).and_then(|f| f.take(limit + 1).read_to_end(&mut bytes));
    opened.map_err(|e| io_error(&file, &e))?;
    if bytes.len() as u64 > limit {
        return Err(WeightsError::Io { file, reason: "the file is longer than 1 MiB".into() });
    }
    String::from_utf8(bytes).map_err(|_| WeightsError::Io { file, reason: "the file is not UTF-8".into() })
}

fn hash_bytes(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}

fn to_file_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

fn io_error(file: &str, error: &std::io::Error) -> WeightsError {
    WeightsError::Io { file: file.into(), reason: error.to_string() }
}

#[cfg(test)]
mod tests;
