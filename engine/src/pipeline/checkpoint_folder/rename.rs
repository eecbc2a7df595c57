//! Tensors that have the right names but for what another program put before them.

use std::collections::BTreeSet;

use super::layout::HEAD;
use super::weight_files::WeightFileHeader;

/// A change of every name that makes them those of the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TensorRename {
    /// Where the names come from.
    pub(super) cause: &'static str,
    /// The new name of `k`, in Python.
    pub(super) python: String,
    /// A name that has to be changed.
    pub(super) example: String,
    /// The file that has it.
    pub(super) file: String,
}

/// Parts of names that other programs add, and where they come from. A part that ends like another stands before it.
const WRAPPERS: [(&str, &str); 5] = [
    ("_orig_mod.", "a model that was saved while compiled (`torch.compile`)"),
    ("_fsdp_wrapped_module.", "a model that was saved from `FullyShardedDataParallel`"),
    ("_checkpoint_wrapped_module.", "a model that was saved with its activation checkpointing"),
    ("module.", "a model that was saved from `DataParallel` or `DistributedDataParallel`"),
    ("base_model.model.", "a model that was saved from peft"),
];

/// The model without its head, as `Qwen3Model` saves it.
const INNER: &str = "model.";

/// The change after which `known` accepts every name, if there is one and it is needed.
pub(super) fn find_rename(files: &[WeightFileHeader], known: &dyn Fn(&str) -> bool) -> Option<TensorRename> {
    let names =
        || files.iter().flat_map(|file| file.entries.iter().map(move |entry| (file, entry.name.as_str())));
    let (file, example) = names().find(|(_, name)| !known(name))?;
    let mut left: Vec<String> = names().map(|(_, name)| name.to_owned()).collect();
    let mut used = Vec::new();
    for wrapper in WRAPPERS {
        if left.iter().any(|name| name.contains(wrapper.0)) {
            left.iter_mut().for_each(|name| *name = name.replace(wrapper.0, ""));
            used.push(wrapper);
        }
    }
    let strip = |name: &str| used.iter().fold(name.to_owned(), |name, (part, _)| name.replace(part, ""));
    let accepted = |change: &dyn Fn(&str) -> String| {
        let changed: BTreeSet<String> = names().map(|(_, name)| change(name)).collect();
        changed.len() == names().count() && changed.iter().all(|name| known(name))
    };
    let found = |cause, python| {
        Some(TensorRename { cause, python, example: example.to_owned(), file: file.name.clone() })
    };
    if let Some((_, cause)) = used.first().filter(|_| accepted(&strip)) {
        let python =
            used.iter().fold("k".to_owned(), |code, (part, _)| format!("{code}.replace('{part}', '')"));
        return found(cause, python);
    }
    let wrap = |name: &str| if name == HEAD { name.to_owned() } else { format!("{INNER}{name}") };
    match accepted(&wrap) {
        true => found(
            "a model that was saved without its head (`Qwen3Model`)",
            format!("k if k == '{HEAD}' else '{INNER}' + k"),
        ),
        false => None,
    }
}
