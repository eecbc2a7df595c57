//! The files of a folder that hold its weights, with their headers.

use std::io::BufReader;
use std::path::Path;

use indexmap::{IndexMap, IndexSet};

use super::CheckpointFolder;
use super::fault::FolderFault;
use super::header::{HeaderError, TensorEntry, read_header};
use super::{MAX_TEXT_BYTES, read_text};
use crate::pipeline::checkpoint_config::cut;
use crate::pipeline::export_sidecar::CONDITIONING;
use crate::text::file_head;

/// File name of unsharded weights.
pub const SINGLE: &str = "model.safetensors";
/// File name of the index of sharded weights.
pub const INDEX: &str = "model.safetensors.index.json";

/// The most files of a checkpoint. The largest published models have fewer than 200.
const MAX_FILES: usize = 1000;

/// A weight file without its values.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightFileHeader {
    /// Its name in the folder.
    pub name: String,
    /// Its tensors, in the order of their data.
    pub entries: Vec<TensorEntry>,
}

#[derive(serde::Deserialize)]
struct ShardIndex {
    weight_map: IndexMap<String, String>,
}

/// The rule: weight files exist, are whole, and agree with their index.
pub(super) fn check_weight_files(folder: &CheckpointFolder) -> Vec<FolderFault> {
    folder.weights.as_ref().err().cloned().into_iter().collect()
}

/// Before the names of weight files that are those of the checkpoint under an adapter, which lies beside them.
pub const BASE: &str = "base-";
/// The adapter's settings, without which a folder has no such files.
pub(super) const ADAPTER_FACTS: &str = "adapter.json";

/// The weight files of a folder, checked against the index if there is one. If the model is `conditioned` on the time and the folder
/// keeps those tensors apart, their file is the last.
pub(super) fn open_weight_files(
    folder: &Path,
    names: &[String],
    conditioned: bool,
) -> Result<Vec<WeightFileHeader>, FolderFault> {
    let has = |name: &str| names.iter().any(|own| own == name);
    let mut files = match (has(SINGLE), has(INDEX)) {
        (true, false) => vec![open_weight_file(folder, SINGLE)?],
        (false, true) => open_indexed_files(folder)?,
        (true, true) => {
            let message = format!(
                "the folder has both `{SINGLE}` and `{INDEX}`; remove the one that does not belong there"
            );
            return Err(FolderFault::new(message, "remove the one that is left over from another save"));
        }
        (false, false) if has(ADAPTER_FACTS) => open_base_files(folder, names)?,
        (false, false) => return Err(explain_missing_weights(names)),
    };
    if conditioned && has(CONDITIONING) {
        files.push(open_weight_file(folder, CONDITIONING)?);
    }
    Ok(files)
}

/// The weight files under an adapter. Their index is not needed: they are those of a folder that was checked.
fn open_base_files(folder: &Path, names: &[String]) -> Result<Vec<WeightFileHeader>, FolderFault> {
    let is_base = |name: &&String| name.starts_with(BASE) && name.ends_with(".safetensors");
    match names.iter().filter(is_base).map(|name| open_weight_file(folder, name)).collect::<Result<_, _>>()? {
        files if Vec::is_empty(&files) => Err(explain_missing_weights(names)),
        files => Ok(files),
    }
}

fn open_weight_file(folder: &Path, name: &str) -> Result<WeightFileHeader, FolderFault> {
    let (file, length) = file_head::open_regular_file(&folder.join(name))
        .map_err(|error| FolderFault::damaged(name, error))?;
    let entries = read_header(&mut BufReader::new(file), length, name)?;
    Ok(WeightFileHeader { name: name.to_owned(), entries })
}

/// Formats that hold weights and are not read, by the end of their names: what they are, and the cure.
const OTHER_FORMATS: &[(&[&str], &str, &str)] = &[
    (
        &[".bin", ".pt", ".pth", ".ckpt", ".pkl"],
        "a pickle file, which can run code and is never opened; convert it to safetensors",
        "with transformers, on a machine where you trust the file: `AutoModelForCausalLM.from_pretrained(F).save_pretrained(F)` writes model.safetensors; then remove the pickle",
    ),
    (&[".gguf"], "a file of llama.cpp", "use the checkpoint that it was made from"),
    (
        &[".h5", ".msgpack"],
        "a file of TensorFlow or Flax",
        "with transformers: `AutoModelForCausalLM.from_pretrained(F, from_flax=True).save_pretrained(F)`, or `from_tf=True`",
    ),
    (&[".onnx"], "a compiled model", "use the checkpoint that it was made from"),
];

/// Why no weights were found, by the names of the files that are there.
fn explain_missing_weights(names: &[String]) -> FolderFault {
    for (ends, what, cure) in OTHER_FORMATS {
        let fits = |name: &&String| ends.iter().any(|end| name.ends_with(end));
        if let Some(name) = names.iter().find(fits) {
            return FolderFault::new(format!("`{name}` is {what}"), *cure);
        }
    }
    let found: Vec<&String> = names.iter().filter(|name| name.ends_with(".safetensors")).collect();
    let message = format!("the folder has neither `{SINGLE}` nor `{INDEX}`");
    match *found {
        [] => FolderFault::new(message, "copy the weights of the checkpoint into the folder"),
        [only] if !only.contains("-of-") => FolderFault::new(
            format!("{message}, but `{only}`"),
            format!("if these are the weights, rename `{only}` to `{SINGLE}`"),
        ),
        [first, ..] => FolderFault::new(
            format!("{message}, but `{first}`"),
            format!(
                "copy `{INDEX}` from where the checkpoint comes from: it says which tensor is in which file"
            ),
        ),
    }
}

/// A fault in the words of a header: `file`, tensor `name`: reason.
fn index_fault(file: &str, tensor: Option<&str>, reason: String, cure: String) -> FolderFault {
    HeaderError { file: file.into(), tensor: tensor.map(cut), reason, cure }.into()
}

fn open_indexed_files(folder: &Path) -> Result<Vec<WeightFileHeader>, FolderFault> {
    let damaged = |why: String| FolderFault::damaged(INDEX, why);
    // It was listed, but may be gone since, or lie in a folder that cannot be entered.
    let text = read_text(folder, INDEX, MAX_TEXT_BYTES).unwrap_or_else(|| Err("it cannot be opened".into()));
    let index: ShardIndex =
        serde_json::from_str(&text.map_err(damaged)?).map_err(|error| damaged(error.to_string()))?;
    check_file_names(folder, &index)?;
    let names: IndexSet<&String> = index.weight_map.values().collect();
    if names.len() > MAX_FILES {
        return Err(damaged(format!("it names {} files, more than {MAX_FILES}", names.len())));
    }
    let (mut files, mut tensors) = (Vec::new(), 0);
    for name in names {
        files.push(open_weight_file(folder, name)?);
        tensors += files.last().map_or(0, |file: &WeightFileHeader| file.entries.len());
        // More tensors than the index has are a fault that the comparison names, whatever the other files hold.
        if tensors > index.weight_map.len() {
            break;
        }
    }
    compare_with_index(&files, &index).map(|()| files)
}

/// Refuses names that lead out of the folder, and files that are not there.
fn check_file_names(folder: &Path, index: &ShardIndex) -> Result<(), FolderFault> {
    for (tensor, file) in &index.weight_map {
        let plain = file.ends_with(".safetensors") && !file.contains(['/', '\\', '\0']) && file.len() <= 255;
        if !plain {
            let reason = format!("`{}` is not a file of this folder", cut(file));
            let cure = format!("use the `{INDEX}` that was saved with these weights");
            return Err(index_fault(INDEX, Some(tensor), reason, cure));
        }
        if !file_head::is_present(&folder.join(file)) {
            let reason = format!("the file is missing, but `{INDEX}` names it");
            let cure = format!("copy `{file}` into the folder from where the checkpoint comes from");
            return Err(index_fault(file, Some(tensor), reason, cure));
        }
    }
    Ok(())
}

fn compare_with_index(files: &[WeightFileHeader], index: &ShardIndex) -> Result<(), FolderFault> {
    let saved = || format!("use the `{INDEX}` that was saved with these weights");
    let mut missing: IndexMap<&str, &str> =
        index.weight_map.iter().map(|(tensor, file)| (tensor.as_str(), file.as_str())).collect();
    for WeightFileHeader { name: file, entries } in files {
        for entry in entries {
            let reason = match index.weight_map.get(&entry.name) {
                Some(owner) if owner == file => {
                    missing.swap_remove(entry.name.as_str());
                    continue;
                }
                Some(owner) => format!("`{INDEX}` says that the tensor is in `{owner}`"),
                None => format!("`{INDEX}` does not list the tensor"),
            };
            return Err(index_fault(file, Some(&entry.name), reason, saved()));
        }
    }
    let Some((tensor, file)) = missing.first() else { return Ok(()) };
    let reason = format!("the tensor is missing, but `{INDEX}` says that it is in this file");
    let cure = format!(
        "if the model has no such tensor, remove `{tensor}` from `weight_map` of `{INDEX}`; if it has, copy `{file}` again"
    );
    Err(index_fault(file, Some(tensor), reason, cure))
}
