//! Rules of the contract: it can be read, fits the model, and has not been lost.

use super::CheckpointFolder;
use super::fault::{FaultKind, FolderFault};
use crate::pipeline::contract::{CERTIFICATE, ContractError, PROVENANCE, SIDECAR};
use crate::pipeline::export_sidecar::CONDITIONING;

/// The rule: the contract can be read and fits the weights. A folder that shows that it had one has one.
pub(super) fn check_contract(folder: &CheckpointFolder) -> Vec<FolderFault> {
    let error = match (&folder.contract, folder.config()) {
        (Err(error), _) => error.clone(),
        (Ok(None), _) => return find_lost_contract(folder).into_iter().collect(),
        (Ok(Some(stored)), Some(config)) => match stored.contract.refuse_mask_beyond(config.vocab_size) {
            Err(error) => error,
            Ok(()) => return Vec::new(),
        },
        (Ok(Some(_)), None) => return Vec::new(),
    };
    vec![invalid_contract(&error)]
}

fn invalid_contract(error: &ContractError) -> FolderFault {
    let cure = "restore the folder from the artifact that it was copied from, or use a version of fmflow that knows this contract";
    FolderFault { kind: FaultKind::Contract, ..FolderFault::new(error.to_string(), cure) }
}

/// A folder without a contract would pass for a model that was never converted, and a conversion would overwrite its trained
/// mask row.
fn find_lost_contract(folder: &CheckpointFolder) -> Option<FolderFault> {
    let (file, lost) = match () {
        () if folder.has(CONDITIONING) => (CONDITIONING, SIDECAR),
        () if folder.has(CERTIFICATE) => (CERTIFICATE, PROVENANCE),
        () => return None,
    };
    let message =
        format!("the folder has `{file}` of a flow model, but not the `{lost}` that says what the model is");
    let cure = format!("copy `{lost}` from the folder that these files come from");
    Some(FolderFault { kind: FaultKind::Contract, ..FolderFault::new(message, cure) })
}
