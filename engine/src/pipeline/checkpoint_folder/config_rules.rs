//! Rules of config.json.

use super::CheckpointFolder;
use super::fault::FolderFault;

/// The rule: config.json describes a model that can be computed.
pub(super) fn check_config(folder: &CheckpointFolder) -> Vec<FolderFault> {
    folder.config.as_ref().err().cloned().into_iter().collect()
}
