//! Rules of the tensors: those in the headers are those that config.json and the contract require.

use std::collections::HashSet;

use indexmap::IndexMap;

use super::CheckpointFolder;
use super::fault::{FaultKind, FolderFault, is_plain};
use super::header::HeaderError;
use super::layout::{EMBEDDING, HEAD, build_layout};
use super::rename::{TensorRename, find_rename};
use super::weight_files::{INDEX, WeightFileHeader};
use crate::pipeline::checkpoint_config::Qwen3Config;
use crate::pipeline::config::TimeConditioning;

/// What the tensors of a folder are compared with.
struct Expected<'a> {
    folder: &'a str,
    shapes: IndexMap<String, Vec<usize>>,
    config: &'a Qwen3Config,
    files: &'a [WeightFileHeader],
}

/// The rule: every tensor of the model is in the files once, in its shape, and nothing else is.
pub(super) fn check_tensors(folder: &CheckpointFolder) -> Vec<FolderFault> {
    let (Some(config), Ok(files), Ok(contract)) = (folder.config(), &folder.weights, &folder.contract) else {
        return Vec::new();
    };
    let time = contract.as_ref().map_or(TimeConditioning::None, |stored| stored.contract.time_conditioning);
    let shapes = build_layout(config, time).into_iter().collect();
    let expected = Expected { folder: folder.shown(), shapes, config, files };
    if let Some(rename) = find_rename(files, &|name| name == HEAD || expected.shapes.contains_key(name)) {
        return vec![explain_rename(folder, &rename)];
    }
    let faults = [
        expected.find_extra(),
        expected.find_other_shape(),
        expected.find_repeated(),
        expected.find_missing(),
        expected.find_doubtful_head(),
    ];
    faults.into_iter().flatten().collect()
}

impl Expected<'_> {
    /// The shape of a tensor. A tied model may repeat its embedding as a head.
    fn shape(&self, name: &str) -> Option<&Vec<usize>> {
        let tied_head = self.config.tie_word_embeddings && name == HEAD;
        self.shapes.get(if tied_head { EMBEDDING } else { name })
    }

    fn entries(&self) -> impl Iterator<Item = (&str, &super::header::TensorEntry)> {
        self.files.iter().flat_map(|file| file.entries.iter().map(|entry| (file.name.as_str(), entry)))
    }

    fn find_extra(&self) -> Option<FolderFault> {
        let extra: Vec<_> = self.entries().filter(|(_, entry)| self.shape(&entry.name).is_none()).collect();
        let (file, first) = extra.first()?;
        let buffers = extra.iter().all(|(_, entry)| entry.name.ends_with("rotary_emb.inv_freq"));
        let cure = match buffers {
            true => format!(
                "these are frequencies that the model computes itself; remove them: {}",
                rewrite_command(
                    self.folder,
                    file,
                    "{k: v for k, v in t.items() if not k.endswith('inv_freq')}"
                )
            ),
            false => "use the config.json that was saved with these weights, and a model of the kind Qwen3"
                .to_owned(),
        };
        let reason = "is not part of the model that config.json describes";
        Some(tensor_fault(file, &first.name, &format!(" {reason}"), extra.len(), cure))
    }

    fn find_other_shape(&self) -> Option<FolderFault> {
        let fits = |entry: &super::header::TensorEntry| {
            self.shape(&entry.name).is_none_or(|shape| *shape == entry.shape)
        };
        let other: Vec<_> = self.entries().filter(|(_, entry)| !fits(entry)).collect();
        let (file, first) = other.first()?;
        let expected = self.shape(&first.name)?;
        let is_vocabulary = |name: &str| name == EMBEDDING || name == HEAD;
        let cure = match first.shape[..] {
            [rows, width]
                if other.iter().all(|(_, entry)| is_vocabulary(&entry.name))
                    && width == self.config.hidden_size =>
            {
                format!(
                    "the embedding is of {rows} tokens: write `\"vocab_size\": {rows}` in config.json, if these are the right weights"
                )
            }
            _ => "use the config.json that was saved with these weights".to_owned(),
        };
        let reason = format!(" has shape {:?}, expected {expected:?}", first.shape);
        Some(tensor_fault(file, &first.name, &reason, other.len(), cure))
    }

    fn find_repeated(&self) -> Option<FolderFault> {
        let mut seen: IndexMap<&str, &str> = IndexMap::new();
        for (file, entry) in self.entries() {
            if let Some(first) = seen.insert(&entry.name, file) {
                let cure = format!(
                    "remove the file that does not belong to the checkpoint, or name its tensors in `{INDEX}`"
                );
                return Some(tensor_fault(file, &entry.name, &format!(": is also in `{first}`"), 1, cure));
            }
        }
        None
    }

    fn find_missing(&self) -> Option<FolderFault> {
        let found: HashSet<&str> = self.entries().map(|(_, entry)| entry.name.as_str()).collect();
        let missing: Vec<&String> =
            self.shapes.keys().filter(|name| !found.contains(name.as_str())).collect();
        let first = missing.first()?;
        if missing.len() == 1 && *first == HEAD {
            let message =
                format!("tensor `{HEAD}` is missing, but config.json says `tie_word_embeddings`: false");
            let cure = "if the head is the embedding, write `\"tie_word_embeddings\": true` in config.json; if not, copy the file that has the head";
            return Some(FolderFault::new(message, cure));
        }
        let names: Vec<String> = self.files.iter().map(|file| format!("`{}`", file.name)).collect();
        let message =
            format!("{}: tensor `{first}` is missing{}", names.join(", "), count_more(missing.len()));
        Some(FolderFault::new(
            message,
            "use the config.json that was saved with these weights, and all of their files",
        ))
    }

    /// A tied model whose files have a head: a copy of the embedding, or a head of its own that the flag denies.
    fn find_doubtful_head(&self) -> Option<FolderFault> {
        let (file, _) =
            self.entries().find(|(_, entry)| entry.name == HEAD && self.config.tie_word_embeddings)?;
        let message = format!(
            "`{file}`: tensor `{HEAD}` beside `tie_word_embeddings`: true; the fetch refuses it if it differs from the embedding"
        );
        let fault = FolderFault::new(message, TIED_HEAD_CURE);
        Some(FolderFault { kind: FaultKind::Doubtful, ..fault })
    }
}

/// What to do about a head that differs from the embedding of a tied model.
pub const TIED_HEAD_CURE: &str = "if the model has a head of its own, as after a merge of an adapter, write `\"tie_word_embeddings\": false` in config.json";

fn count_more(count: usize) -> String {
    match count {
        0 | 1 => String::new(),
        _ => format!(" (and {} more like it)", count - 1),
    }
}

/// A fault of the first of `count` tensors; `reason` follows its name.
fn tensor_fault(file: &str, tensor: &str, reason: &str, count: usize, cure: String) -> FolderFault {
    FolderFault::new(format!("`{file}`: tensor `{tensor}`{reason}{}", count_more(count)), cure)
}

fn explain_rename(folder: &CheckpointFolder, rename: &TensorRename) -> FolderFault {
    let TensorRename { cause, python, example, file } = rename;
    let reason = format!("is not a name of the model; the names are those of {cause}");
    let each = if folder.has(INDEX) { "in every file, and in the index" } else { "in the file" };
    let cure = format!(
        "rename the tensors {each}: {}",
        rewrite_command(folder.shown(), file, &format!("{{{python}: v for k, v in t.items()}}"))
    );
    let error = HeaderError { file: file.clone(), tensor: Some(example.clone()), reason, cure };
    error.into()
}

/// A command that rewrites a weight file; `tensors` makes the new tensors of the old ones, `t`.
fn rewrite_command(folder: &str, file: &str, tensors: &str) -> String {
    let path = format!("{}/{file}", folder.trim_end_matches('/'));
    let path = if is_plain(&path) { path.as_str() } else { "FILE" };
    format!(
        "`python -c \"from safetensors.torch import load_file, save_file; t = load_file('{path}'); save_file({tensors}, '{path}', {{'format': 'pt'}})\"`"
    )
}
