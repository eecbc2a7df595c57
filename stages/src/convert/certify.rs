//! Proves from the two folders alone that a converted model still computes what its source computes.
//!
//! Both folders are read back from disk. A proof about tensors in memory would not cover what was written.

use std::path::Path;

use indexmap::IndexMap;

use crate::backbone::{EMBEDDING, HEAD};
use crate::convert::certificate::{Certificate, LedgerLine, OWN_READING, Parity, SCHEMA, TensorAction};
use crate::convert::compare::{LogitDistance, find_meaningless_logits};
use crate::convert::error::ConvertError;
use crate::convert::given_logits::GivenLogits;
use crate::convert::reference::{
    BATCH, compute_causal_logits, draw_reference_tokens, select_reference_logits,
};
use crate::device::Device;
use crate::weights::{self, Checkpoint, Dtype};

/// Compares the folder `artifact` with the folder `source`, both read from disk: first every tensor, then the logits of a
/// fixed batch under a causal mask, then the logits in `given`, which another program computed.
///
/// # Errors
/// If a folder is refused, a tensor is not accounted for, the source's logits are not finite or all 0 at a position, or
/// logits differ by more than `tolerance`.
pub(crate) fn certify_conversion(
    source: &Path,
    artifact: &Path,
    given: Option<&GivenLogits>,
    device: &Device,
    tolerance: f64,
) -> Result<Certificate, ConvertError> {
    let before = weights::read_checkpoint(source)?;
    let from = FolderDigest::for_checkpoint(&before);
    let (files, vocab) = (before.files.clone(), before.config.vocab_size);
    let after = weights::read_checkpoint(artifact)?;
    let mask = after.contract.as_ref().and_then(|p| p.mask_token);
    let tokens = draw_reference_tokens(vocab.min(after.config.vocab_size), mask);
    // Keep only digests of the first model, so that one model at a time is on the device.
    let reference = compute_causal_logits(&before.into_backbone(device)?, &tokens, BATCH)?;
    if let Some(what) = find_meaningless_logits(&reference, vocab) {
        return Err(ConvertError::Meaningless(what));
    }
    let to = FolderDigest::for_checkpoint(&after);
    let (artifact, tied) = (after.files.clone(), after.config.tie_word_embeddings);
    let model = after.into_backbone(device)?;
    let found = compute_causal_logits(&model, &tokens, BATCH)?;
    let ledger = make_ledger(&from, &to, mask, tied)?;
    let changed =
        |name: &str| ledger.iter().any(|line| line.name == name && line.action == TensorAction::Changed);
    let excluded = mask.filter(|_| changed(if tied { EMBEDDING } else { HEAD }));
    let elsewhere = given.map(|given| given.compare(&model, excluded, tolerance)).transpose()?;
    let certificate = Certificate {
        schema: SCHEMA.into(),
        source: files,
        artifact,
        mask_token: mask,
        mask_row_norm: mask.and_then(|id| to.norms.get(id as usize).copied()),
        mean_row_norm: from.norms.iter().sum::<f64>() / from.norms.len() as f64,
        ledger,
        parity: compare_with_source(&reference, &found, vocab, excluded, tolerance),
        elsewhere,
        reference: select_reference_logits(&reference, tokens, vocab, excluded),
    };
    match certificate.holds() {
        true => Ok(certificate),
        false => Err(ConvertError::Parity(Box::new(certificate))),
    }
}

/// Compares the artifact's logits with those of the source folder, rows of `vocab` each.
fn compare_with_source(
    reference: &[f32],
    found: &[f32],
    vocab: usize,
    excluded: Option<u32>,
    tolerance: f64,
) -> Parity {
    let distance = LogitDistance::measure(reference, found, vocab, excluded);
    let LogitDistance { difference, largest, ratio } = distance;
    Parity {
        reference: OWN_READING.into(),
        batch: BATCH,
        difference,
        largest,
        ratio,
        tolerance,
        excluded,
        holds: distance.holds(tolerance),
    }
}

/// What is kept of a folder's tensors once their values are freed.
///
/// The embedding and the head are hashed row by row, because the ledger must show that nothing but the mask row changed,
/// and the values of both models are never in memory together.
struct FolderDigest {
    /// Shape, stored type, digest of all values, and (for the embedding and the head only) the digest of every row.
    tensors: IndexMap<String, (Vec<usize>, Dtype, blake3::Hash, Vec<blake3::Hash>)>,
    /// Euclidean norms of the embedding's rows.
    norms: Vec<f64>,
}

impl FolderDigest {
    fn for_checkpoint(checkpoint: &Checkpoint) -> Self {
        let width = checkpoint.config.hidden_size;
        let tensors = checkpoint.tensors.iter().map(|(name, tensor)| {
            let by_row = [EMBEDDING, HEAD].contains(&name.as_str());
            let rows = tensor.values.chunks(width).filter(|_| by_row).map(hash_values).collect();
            (name.clone(), (tensor.shape.clone(), tensor.dtype, hash_values(&tensor.values), rows))
        });
        let norm = |row: &[f32]| row.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
        let norms = checkpoint.tensors[EMBEDDING].values.chunks(width).map(norm);
        Self { tensors: tensors.collect(), norms: norms.collect() }
    }
}

fn hash_values(values: &[f32]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    for part in values.chunks(1 << 16) {
        hasher.update(&part.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>());
    }
    hasher.finalize()
}

/// One line for every tensor of the artifact, plus one for a head that is tied to the embedding.
fn make_ledger(
    from: &FolderDigest,
    to: &FolderDigest,
    mask: Option<u32>,
    tied: bool,
) -> Result<Vec<LedgerLine>, ConvertError> {
    let mut lines = Vec::with_capacity(to.tensors.len() + 1);
    for (name, (shape, _, digest, rows)) in &to.tensors {
        let origin = from.tensors.get(name);
        let action = match origin {
            None => TensorAction::New,
            Some((_, _, before, _)) if before == digest => TensorAction::Copied,
            Some((_, _, _, before)) if differs_in_row_only(before, rows, mask) => TensorAction::Changed,
            Some(_) => return Err(ConvertError::Differs(name.clone())),
        };
        lines.push(LedgerLine {
            name: name.clone(),
            from: origin.map(|_| name.clone()),
            shape: shape.clone(),
            stored: origin.map(|(_, dtype, ..)| *dtype),
            blake3: digest.to_hex().to_string(),
            action,
            row: mask.filter(|_| action == TensorAction::Changed),
        });
    }
    if let Some(lost) = from.tensors.keys().find(|name| !to.tensors.contains_key(*name)) {
        return Err(ConvertError::Differs(lost.clone()));
    }
    if let Some(embedding) = lines.iter().find(|line| tied && line.name == EMBEDDING).cloned() {
        let from = Some(EMBEDDING.to_owned());
        lines.push(LedgerLine { name: HEAD.into(), from, action: TensorAction::Tied, ..embedding });
    }
    Ok(lines)
}

/// Whether the rows are equal except possibly row `mask`.
fn differs_in_row_only(before: &[blake3::Hash], after: &[blake3::Hash], mask: Option<u32>) -> bool {
    let same = |(i, (a, b)): (usize, (&blake3::Hash, &blake3::Hash))| a == b || mask == Some(i as u32);
    !after.is_empty() && before.len() == after.len() && before.iter().zip(after).enumerate().all(same)
}
