//! Folders that are something else than a checkpoint: an adapter, a folder of checkpoints.

use super::CheckpointFolder;
use super::fault::{FolderFault, NAME_A_CHECKPOINT, is_plain};
use super::tokenizer_rules::TOKENIZER;

const ADAPTER_CONFIG: &str = "adapter_config.json";

/// What the folder is, if it is no checkpoint; then nothing else about it is worth a report. Also a checkpoint with an adapter beside
/// it, because other programs would add the adapter to the weights.
pub(super) fn find_other_kind(folder: &CheckpointFolder) -> Option<FolderFault> {
    if let Some(adapter) = find_adapter(folder) {
        return Some(explain_adapter(folder, adapter));
    }
    if folder.has("config.json") {
        return None;
    }
    let inner = |name: &&String| is_plain(name) && is_checkpoint(folder, name);
    let Some(inner) = folder.folders().iter().rev().find(inner) else {
        return explain_no_checkpoint(folder);
    };
    let message = format!("the folder has no config.json, but its folder `{inner}` has one");
    let shown = folder.shown().trim_end_matches('/');
    Some(FolderFault::new(message, format!("if that is the checkpoint, write `\"{shown}/{inner}\"`")))
}

/// A folder with none of the files of a checkpoint.
fn explain_no_checkpoint(folder: &CheckpointFolder) -> Option<FolderFault> {
    if folder.files().iter().any(|name| name.ends_with(".safetensors")) {
        return None;
    }
    let shown = folder.shown().trim_end_matches('/');
    let cure = match folder.has(TOKENIZER) {
        true => format!(
            "{NAME_A_CHECKPOINT}; for the tokenizer alone, declare `tokenizer \"mine\" from=\"{shown}/{TOKENIZER}\"`"
        ),
        false => NAME_A_CHECKPOINT.to_owned(),
    };
    Some(FolderFault::new("it is no checkpoint: it has neither config.json nor weights", cure))
}

fn find_adapter(folder: &CheckpointFolder) -> Option<&str> {
    let is_adapter = |name: &&String| *name == ADAPTER_CONFIG || name.starts_with("adapter_model.");
    folder.files().iter().find(is_adapter).map(String::as_str)
}

fn explain_adapter(folder: &CheckpointFolder, file: &str) -> FolderFault {
    let merge = format!(
        "merge it first, with peft: `AutoPeftModelForCausalLM.from_pretrained('{}').merge_and_unload().save_pretrained('merged')`, copy the tokenizer's files to `merged`, and name that folder",
        folder.shown()
    );
    match folder.has("config.json") {
        false => FolderFault::new(
            format!("the folder has an adapter (`{file}`) and not the model that it adapts"),
            merge,
        ),
        true => FolderFault::new(
            format!("beside the weights lies an adapter (`{file}`), which other programs add to them"),
            format!("{merge}; or move the files `adapter_*` away, if the weights are meant without it"),
        ),
    }
}

fn is_checkpoint(folder: &CheckpointFolder, name: &str) -> bool {
    crate::text::file_head::is_present(&folder.path().join(name).join("config.json"))
}
