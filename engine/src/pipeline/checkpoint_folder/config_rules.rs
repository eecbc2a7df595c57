//! Rules of config.json.

use super::CheckpointFolder;
use super::fault::FolderFault;
use crate::pipeline::checkpoint_config::Qwen3Config;

/// The rule: config.json describes a model that can be computed.
pub(super) fn check_config(folder: &CheckpointFolder) -> Vec<FolderFault> {
    folder.config.as_ref().err().cloned().into_iter().collect()
}

/// The rule: every setting of config.json is read or known to be harmless. Of a config.json that is refused nothing more is said.
pub(super) fn check_settings(folder: &CheckpointFolder) -> Vec<FolderFault> {
    let (Some(text), Some(_)) = (folder.config_text(), folder.config()) else { return Vec::new() };
    let unread = Qwen3Config::list_unread_settings(text, folder.contract());
    let unread = unread.expect("a config.json without faults is an object");
    unread.iter().map(|one| FolderFault::unread(one.to_string(), one.cure())).collect()
}
