//! Rules of the contract: it can be read, fits the weights and the tokenizer, and has not been lost.

use super::CheckpointFolder;
use super::fault::{FaultKind, FolderFault};
use super::read_text;
use super::tokenizer_rules::TOKENIZER;
use crate::pipeline::checkpoint_config::cut;
use crate::pipeline::contract::{
    CERTIFICATE, Contract, ContractError, MAX_CONTRACT_BYTES, PROVENANCE, SIDECAR,
};
use crate::pipeline::export_sidecar::CONDITIONING;
use crate::pipeline::origins::{ORIGINS, Origins};

/// The rule: the contract can be read, and a folder that shows that it had one has one.
pub(super) fn check_contract(folder: &CheckpointFolder) -> Vec<FolderFault> {
    match &folder.contract {
        Err(error) => vec![invalid_contract(error)],
        Ok(None) => find_lost_contract(folder).into_iter().collect(),
        Ok(Some(stored)) => check_claims(folder, &stored.contract).into_iter().collect(),
    }
}

/// The rule: what a folder says of the origins of its facts can be read.
pub(super) fn check_origins(folder: &CheckpointFolder) -> Vec<FolderFault> {
    let text = read_text(folder.path(), ORIGINS, MAX_CONTRACT_BYTES);
    let fault = text.and_then(|text| match text {
        Ok(text) => Origins::parse(&text).err(),
        Err(why) => Some(format!("{ORIGINS}: {why}")),
    });
    let cure = format!("restore {ORIGINS} from the folder that it comes from, or remove it");
    fault.map(|why| FolderFault::new(why, cure)).into_iter().collect()
}

/// What the contract claims of the other files of the folder.
fn check_claims(folder: &CheckpointFolder, contract: &Contract) -> Option<FolderFault> {
    let file = if folder.has(PROVENANCE) { PROVENANCE } else { SIDECAR };
    let restore = format!("restore the checkpoint's own {file} and {TOKENIZER}");
    let beyond = folder.config().and_then(|config| contract.refuse_mask_beyond(config.vocab_size).err());
    if let Some(error) = beyond {
        let error = if file == SIDECAR { error.in_sidecar() } else { error };
        return Some(FolderFault::new(error.to_string(), restore));
    }
    let (named, carried) = (contract.tokenizer.as_ref()?, folder.hash_tokenizer());
    if Some(named) != carried.as_ref() {
        let message = match carried {
            Some(_) => format!("{file}: the tokenizer differs from the one that the contract names"),
            None => format!(
                "{file}: the contract names a tokenizer, but {TOKENIZER} is missing or cannot be read"
            ),
        };
        return Some(FolderFault::new(message, "restore the artifact's own tokenizer.json"));
    }
    let id = contract.mask_token?;
    // As for a conversion: a token that is called a mask is the mask of its model.
    let taken =
        folder.tokens()?.text(u64::from(id)).filter(|token| !token.to_lowercase().contains("mask"))?;
    let message = format!("{file}: `mask_token` is {id}, which is the token `{}`", cut(taken));
    Some(FolderFault::new(message, restore))
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
