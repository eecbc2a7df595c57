//! Proves from the two folders alone that a converted model still computes what its source computes.
//!
//! Both folders are read back from disk. A proof about tensors in memory would not cover what was written.

use std::path::Path;

use indexmap::IndexMap;
use rayon::prelude::*;

use crate::backbone::{EMBEDDING, HEAD, LayeredBackbone, TokenBatch};
use crate::convert::certificate::{Certificate, LedgerLine, OWN_READING, Parity, SCHEMA, TensorAction};
use crate::convert::compare::{LogitDistance, find_meaningless_logits};
use crate::convert::error::ConvertError;
use crate::convert::given_logits::GivenLogits;
use crate::convert::reference::{BATCH, draw_reference_tokens, make_causal_batch, select_reference_logits};
use crate::device::Device;
use crate::weights::{CheckpointReader, Dtype, Encoding, HostTensor};

/// Compares the folder `artifact` with the folder `source`, both read from disk: first every tensor, then the logits of a
/// fixed batch under a causal mask, then the logits in `given`, which another program computed. Both models run block by block, so
/// neither needs to fit in memory.
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
    let (before, after) = (CheckpointReader::open(source)?, CheckpointReader::open(artifact)?);
    let (vocab, tied) = (before.config.vocab_size, after.config.tie_word_embeddings);
    let mask = after.contract.as_ref().and_then(|p| p.mask_token);
    let tokens = draw_reference_tokens(vocab.min(after.config.vocab_size), mask);
    let batch = make_causal_batch(tokens.clone(), BATCH, before.time_conditioning());
    let (mut reference, mut found) = (Vec::new(), Vec::new());
    let from = FolderDigest::run(&before, &[batch], device, |_, logits| reference = logits)?;
    if let Some(what) = find_meaningless_logits(&reference, vocab) {
        return Err(ConvertError::Meaningless(what));
    }
    // Whether the mask token's logit counts is known once all tensors have been read, which is when the logits come.
    let mut elsewhere = [(None, LogitDistance::NONE), (mask, LogitDistance::NONE)];
    let to = FolderDigest::run(&after, &list_batches(&tokens, given, &after), device, |i, logits| {
        match (i.checked_sub(1), given) {
            (Some(row), Some(given)) => elsewhere.iter_mut().for_each(|(excluded, distance)| {
                *distance = distance.and(given.measure_row(row, &logits, *excluded));
            }),
            _ => found = logits,
        }
    })?;
    let ledger = make_ledger(&from, &to, mask, tied)?;
    let changed =
        |name: &str| ledger.iter().any(|line| line.name == name && line.action == TensorAction::Changed);
    let excluded = mask.filter(|_| changed(if tied { EMBEDDING } else { HEAD }));
    let [all, known] = elsewhere.map(|(_, distance)| distance);
    let elsewhere = if excluded.is_some() { known } else { all };
    let certificate = Certificate {
        schema: SCHEMA.into(),
        source: before.hash_files()?,
        artifact: after.hash_files()?,
        mask_token: mask,
        mask_row_norm: mask.and_then(|id| to.norms.get(id as usize).copied()),
        mean_row_norm: from.norms.iter().sum::<f64>() / from.norms.len() as f64,
        ledger,
        parity: compare_with_source(&reference, &found, vocab, excluded, tolerance),
        elsewhere: given.map(|given| given.conclude(elsewhere, tolerance)),
        reference: select_reference_logits(&reference, tokens, vocab, excluded),
    };
    match certificate.holds() {
        true => Ok(certificate),
        false => Err(ConvertError::Parity(Box::new(certificate))),
    }
}

/// The compared batch, and each row of the logits made elsewhere as a batch of its own.
fn list_batches(tokens: &[u32], given: Option<&GivenLogits>, model: &CheckpointReader) -> Vec<TokenBatch> {
    let time = model.time_conditioning();
    let given = given.into_iter().flat_map(GivenLogits::rows);
    let rows = given.map(|row| make_causal_batch(row.to_vec(), (1, row.len()), time));
    std::iter::once(make_causal_batch(tokens.to_vec(), BATCH, time)).chain(rows).collect()
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
    tensors: IndexMap<String, TensorDigest>,
    /// Euclidean norms of the embedding's rows.
    norms: Vec<f64>,
}

/// What is kept of a tensor.
struct TensorDigest {
    shape: Vec<usize>,
    /// The type in which it is stored.
    dtype: Dtype,
    /// The digest of all values.
    values: blake3::Hash,
    /// The digest of every row, for the embedding and the head only.
    rows: Vec<blake3::Hash>,
}

impl FolderDigest {
    /// Runs the model of a folder, hands the logits of each batch to `take`, and digests each tensor on its way into the model.
    fn run(
        folder: &CheckpointReader,
        batches: &[TokenBatch],
        device: &Device,
        mut take: impl FnMut(usize, Vec<f32>),
    ) -> Result<Self, ConvertError> {
        let (config, conditioning) = (&folder.config, folder.time_conditioning());
        let (mut found, mut norms) = (IndexMap::new(), Vec::new());
        let values = |name: &str| {
            let tensor = folder.read(name)?;
            if name == EMBEDDING {
                norms = tensor.values.par_chunks(config.hidden_size).map(compute_norm).collect();
            }
            found.insert(name.to_owned(), TensorDigest::of(name, &tensor, config.hidden_size));
            Ok(tensor.values)
        };
        LayeredBackbone { config, conditioning, device, values }.run(batches, |i, logits| {
            take(i, logits);
            Ok::<_, ConvertError>(())
        })?;
        let layout = folder.layout().into_iter().map(|(name, _)| {
            let digest = found.swap_remove(&name).expect("a forward pass reads every tensor");
            (name, digest)
        });
        Ok(Self { tensors: layout.collect(), norms })
    }
}

impl TensorDigest {
    fn of(name: &str, tensor: &HostTensor, width: usize) -> Self {
        let by_row = [EMBEDDING, HEAD].contains(&name);
        let rows =
            if by_row { tensor.values.par_chunks(width).map(hash_values).collect() } else { Vec::new() };
        Self { shape: tensor.shape.clone(), dtype: tensor.dtype, values: hash_values(&tensor.values), rows }
    }
}

fn compute_norm(row: &[f32]) -> f64 {
    row.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt()
}

/// BLAKE3 of the values as little-endian float32, on several threads if there are many.
fn hash_values(values: &[f32]) -> blake3::Hash {
    /// Fewer values than this are hashed sooner than they are shared out.
    const MANY: usize = 1 << 15;
    let mut hasher = blake3::Hasher::new();
    for part in values.chunks(1 << 22) {
        let bytes = Dtype::F32.encode(part);
        match part.len() < MANY {
            true => hasher.update(&bytes),
            false => hasher.update_rayon(&bytes),
        };
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
    for (name, own) in &to.tensors {
        let origin = from.tensors.get(name);
        let action = match origin {
            None => TensorAction::New,
            Some(before) if before.values == own.values => TensorAction::Copied,
            Some(before) if differs_in_row_only(&before.rows, &own.rows, mask) => TensorAction::Changed,
            Some(_) => return Err(ConvertError::Differs(name.clone())),
        };
        lines.push(LedgerLine {
            name: name.clone(),
            from: origin.map(|_| name.clone()),
            shape: own.shape.clone(),
            stored: origin.map(|before| before.dtype),
            blake3: own.values.to_hex().to_string(),
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
