//! Finds the files of a folder that hold its weights.

use std::path::Path;

use indexmap::{IndexMap, IndexSet};

use super::weights_file::WeightsFile;
use super::{WeightsError, read_text_file};

/// File name of unsharded weights.
pub(crate) const SINGLE: &str = "model.safetensors";
/// File name of the index of sharded weights.
pub(crate) const INDEX: &str = "model.safetensors.index.json";

#[derive(serde::Deserialize)]
struct ShardIndex {
    weight_map: IndexMap<String, String>,
}

/// The weight files of `dir`, checked against the index if there is one.
pub(super) fn find_weight_files(dir: &Path) -> Result<Vec<String>, WeightsError> {
    match (dir.join(SINGLE).exists(), dir.join(INDEX).exists()) {
        (true, false) => Ok(vec![SINGLE.into()]),
        (false, true) => read_indexed_files(dir),
        (true, true) => Err(WeightsError::Folder(format!(
            "the folder has both `{SINGLE}` and `{INDEX}`; remove the one that does not belong there"
        ))),
        (false, false) => Err(no_weights_error(dir)),
    }
}

fn no_weights_error(dir: &Path) -> WeightsError {
    let names = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut pickles: Vec<String> = names
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| {
            let extension = name.rsplit('.').next().unwrap_or_default();
            ["bin", "pt", "pth", "ckpt", "pkl"].contains(&extension)
        })
        .collect();
    pickles.sort();
    match pickles.first() {
        None => WeightsError::Folder(format!("the folder has neither `{SINGLE}` nor `{INDEX}`")),
        Some(pickle) => WeightsError::Folder(format!(
            "`{pickle}` is a pickle file, which can run code and is never opened; convert it to safetensors"
        )),
    }
}

fn read_indexed_files(dir: &Path) -> Result<Vec<String>, WeightsError> {
    let malformed = |file: &str, tensor: Option<&str>, reason: String| WeightsError::Malformed {
        file: file.into(),
        tensor: tensor.map(Into::into),
        reason,
    };
    let index: ShardIndex =
        serde_json::from_str(&read_index_text(dir)?).map_err(|e| malformed(INDEX, None, e.to_string()))?;
    for (tensor, file) in &index.weight_map {
        let plain = file.ends_with(".safetensors") && !file.contains(['/', '\\', '\0']) && file.len() <= 255;
        if !plain {
            return Err(malformed(INDEX, Some(tensor), format!("`{file}` is not a file of this folder")));
        }
        if !dir.join(file).exists() {
            return Err(malformed(
                file,
                Some(tensor),
                format!("the file is missing, but `{INDEX}` names it"),
            ));
        }
    }
    let files: IndexSet<String> = index.weight_map.values().cloned().collect();
    let mut missing: IndexMap<&str, &str> =
        index.weight_map.iter().map(|(tensor, file)| (tensor.as_str(), file.as_str())).collect();
    for file in &files {
        for entry in WeightsFile::open(&dir.join(file))?.entries {
            match index.weight_map.get(&entry.name) {
                Some(owner) if owner == file => _ = missing.swap_remove(entry.name.as_str()),
                Some(owner) => {
                    let reason = format!("`{INDEX}` says that the tensor is in `{owner}`");
                    return Err(malformed(file, Some(&entry.name), reason));
                }
                None => {
                    return Err(malformed(
                        file,
                        Some(&entry.name),
                        format!("`{INDEX}` does not list the tensor"),
                    ));
                }
            }
        }
    }
    match missing.first() {
        None => Ok(files.into_iter().collect()),
        Some((tensor, file)) => Err(malformed(
            file,
            Some(tensor),
            format!("the tensor is missing, but `{INDEX}` says that it is in this file"),
        )),
    }
}

/// Reads the index. The limit of 1 MiB is ample: the largest published models need a few hundred KiB.
fn read_index_text(dir: &Path) -> Result<String, WeightsError> {
    read_text_file(&dir.join(INDEX))
}
