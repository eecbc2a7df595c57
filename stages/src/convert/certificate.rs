//! The proof that a converted model still is its source, made from the two folders alone.

use std::fmt;
use std::path::Path;

use indexmap::IndexMap;

use super::ConvertError;
use super::elsewhere::{Elsewhere, Given};
use super::reference::{BATCH, Reference, batch, logits};
use crate::backbone::{EMBEDDING, HEAD};
use crate::device::Device;
use crate::weights::{self, Checkpoint, Dtype};

/// The schema of the file. 2: with reference logits, so that the artifact alone can be verified.
pub const SCHEMA: &str = "fmflow.certificate/2";

/// Largest accepted difference of logits, relative to the largest logit (float32 on CPU).
pub const TOLERANCE: f64 = 1e-4;

/// What became of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// The same values.
    Copied,
    /// Not stored: it is the embedding.
    Tied,
    /// Not in the source.
    New,
    /// The same values except the row of the mask token.
    Changed,
}

/// One tensor of the ledger.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Line {
    /// Its name.
    pub name: String,
    /// The tensor of the source that it comes from.
    pub from: Option<String>,
    /// Its shape.
    pub shape: Vec<usize>,
    /// The type in which the source stored it.
    pub stored: Option<Dtype>,
    /// BLAKE3 of its values as little-endian float32.
    pub blake3: String,
    /// What became of it.
    pub action: Action,
    /// The row that changed.
    pub row: Option<u32>,
}

/// The comparison of logits.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Parity {
    /// Where the reference logits come from.
    pub reference: String,
    /// Rows and tokens compared, under a causal mask, without the mask token.
    pub batch: (usize, usize),
    /// The largest |difference| of logits.
    pub difference: f64,
    /// The largest |logit| of the source.
    pub largest: f64,
    /// Their accepted ratio.
    pub tolerance: f64,
    /// The vocabulary entry left out: the mask token, where its output row changed.
    pub excluded: Option<u32>,
    /// Whether the difference is within the tolerance.
    pub holds: bool,
}

/// What was kept, what is new, and how far the result is from the source.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Certificate {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// BLAKE3 of the source's files.
    pub source: IndexMap<String, String>,
    /// BLAKE3 of the artifact's files.
    pub artifact: IndexMap<String, String>,
    /// Every tensor.
    pub ledger: Vec<Line>,
    /// The id of the mask token.
    pub mask_token: Option<u32>,
    /// Euclidean norm of its row in the embedding.
    pub mask_row_norm: Option<f64>,
    /// Mean norm of all rows of the source's embedding.
    pub mean_row_norm: f64,
    /// The comparison of logits.
    pub parity: Parity,
    /// The comparison with logits that another program made, where some were given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elsewhere: Option<Elsewhere>,
    /// Some of the source's logits, for a later comparison without the source.
    pub reference: Reference,
}

impl Parity {
    /// Compares the artifact's logits with those of the source folder, rows of `vocab` each.
    fn of(reference: &[f32], found: &[f32], vocab: usize, excluded: Option<u32>, tolerance: f64) -> Self {
        let (difference, largest) = compare(reference, found, vocab, excluded);
        Self {
            reference: "the source folder read through the Hugging Face path".into(),
            batch: BATCH,
            difference,
            largest,
            tolerance,
            excluded,
            holds: difference <= tolerance * largest,
        }
    }
}

impl Certificate {
    /// Whether all comparisons hold.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.parity.holds && self.elsewhere.as_ref().is_none_or(|elsewhere| elsewhere.holds)
    }

    /// Number of tensors with this action.
    #[must_use]
    pub fn count(&self, action: Action) -> usize {
        self.ledger.iter().filter(|line| line.action == action).count()
    }
}

impl fmt::Display for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |action| self.count(action);
        writeln!(
            f,
            "tensors     {} copied, {} tied, {} new, {} changed",
            count(Action::Copied),
            count(Action::Tied),
            count(Action::New),
            count(Action::Changed)
        )?;
        if let (Some(id), Some(norm)) = (self.mask_token, self.mask_row_norm) {
            writeln!(f, "mask token  {id}, row norm {norm:.4} (mean of all rows {:.4})", self.mean_row_norm)?;
        }
        let parity = &self.parity;
        let (rows, tokens) = parity.batch;
        writeln!(f, "compared    {rows} x {tokens} tokens, causal, with {}", parity.reference)?;
        if let Some(id) = parity.excluded {
            writeln!(f, "left out    the logit of the mask token {id}, whose row is new")?;
        }
        let verdict = |holds| if holds { "holds" } else { "BROKEN" };
        write!(
            f,
            "parity      {}: {:.2e} of the largest logit {:.4} (tolerance {:.0e})",
            verdict(parity.holds),
            parity.difference / parity.largest,
            parity.largest,
            parity.tolerance
        )?;
        let Some(Elsewhere { blake3, batch, difference, largest, holds }) = &self.elsewhere else {
            return Ok(());
        };
        let (verdict, ratio, file) =
            (verdict(*holds), difference / largest, blake3.get(..12).unwrap_or(blake3));
        let (rows, tokens) = batch;
        write!(
            f,
            "\nelsewhere   {verdict}: {ratio:.2e} of the largest logit {largest:.4}, {rows} x {tokens} tokens of {file}"
        )
    }
}

/// Compares the artifact in `artifact` with the folder `source`, both read from disk: every tensor, then the logits of a fixed
/// batch under a causal mask, then those of `given`, which another program made.
///
/// # Errors
/// When a folder is refused, a tensor is not accounted for, or the logits differ by more than `tolerance`.
pub fn certify(
    source: &Path,
    artifact: &Path,
    given: Option<&Given>,
    device: &Device,
    tolerance: f64,
) -> Result<Certificate, ConvertError> {
    let before = weights::read(source)?;
    let from = Side::digest(&before);
    let (files, vocab) = (before.files.clone(), before.config.vocab_size);
    let after = weights::read(artifact)?;
    let mask = after.provenance.as_ref().and_then(|p| p.mask_token);
    let tokens = batch(vocab.min(after.config.vocab_size), mask);
    // One model at a time on the device.
    let reference = logits(&before.into_backbone(device)?, &tokens, BATCH)?;
    let to = Side::digest(&after);
    let (artifact, tied) = (after.files.clone(), after.config.tie_word_embeddings);
    let model = after.into_backbone(device)?;
    let found = logits(&model, &tokens, BATCH)?;
    let ledger = ledger(&from, &to, mask, tied)?;
    let changed = |name: &str| ledger.iter().any(|line| line.name == name && line.action == Action::Changed);
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
        parity: Parity::of(&reference, &found, vocab, excluded, tolerance),
        elsewhere,
        reference: Reference::take(&reference, tokens, vocab, excluded),
    };
    match certificate.holds() {
        true => Ok(certificate),
        false => Err(ConvertError::Parity(Box::new(certificate))),
    }
}

/// What is kept of a folder's tensors once the values are gone.
struct Side {
    /// Shape, stored type, digest, and for the embedding and the head the digest of every row.
    tensors: IndexMap<String, (Vec<usize>, Dtype, blake3::Hash, Vec<blake3::Hash>)>,
    /// Norms of the rows of the embedding.
    norms: Vec<f64>,
}

impl Side {
    fn digest(checkpoint: &Checkpoint) -> Self {
        let width = checkpoint.config.hidden_size;
        let tensors = checkpoint.tensors.iter().map(|(name, tensor)| {
            let by_row = [EMBEDDING, HEAD].contains(&name.as_str());
            let rows = tensor.values.chunks(width).filter(|_| by_row).map(hash).collect();
            (name.clone(), (tensor.shape.clone(), tensor.dtype, hash(&tensor.values), rows))
        });
        let norm = |row: &[f32]| row.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
        let norms = checkpoint.tensors.get(EMBEDDING).map(|e| e.values.chunks(width).map(norm).collect());
        Self { tensors: tensors.collect(), norms: norms.unwrap_or_default() }
    }
}

fn hash(values: &[f32]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    for part in values.chunks(1 << 16) {
        hasher.update(&part.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>());
    }
    hasher.finalize()
}

/// One line for every tensor of the artifact, and one for a head that is the embedding.
fn ledger(from: &Side, to: &Side, mask: Option<u32>, tied: bool) -> Result<Vec<Line>, ConvertError> {
    let mut lines = Vec::with_capacity(to.tensors.len() + 1);
    for (name, (shape, _, digest, rows)) in &to.tensors {
        let origin = from.tensors.get(name);
        let action = match origin {
            None => Action::New,
            Some((_, _, before, _)) if before == digest => Action::Copied,
            Some((_, _, _, before)) if only_row(before, rows, mask) => Action::Changed,
            Some(_) => return Err(ConvertError::Differs(name.clone())),
        };
        lines.push(Line {
            name: name.clone(),
            from: origin.map(|_| name.clone()),
            shape: shape.clone(),
            stored: origin.map(|(_, dtype, ..)| *dtype),
            blake3: digest.to_hex().to_string(),
            action,
            row: mask.filter(|_| action == Action::Changed),
        });
    }
    if let Some(lost) = from.tensors.keys().find(|name| !to.tensors.contains_key(*name)) {
        return Err(ConvertError::Differs(lost.clone()));
    }
    if let Some(embedding) = lines.iter().find(|line| tied && line.name == EMBEDDING).cloned() {
        let from = Some(EMBEDDING.to_owned());
        lines.push(Line { name: HEAD.into(), from, action: Action::Tied, ..embedding });
    }
    Ok(lines)
}

/// Whether the rows are the same but for row `mask`.
fn only_row(before: &[blake3::Hash], after: &[blake3::Hash], mask: Option<u32>) -> bool {
    let same = |(i, (a, b)): (usize, (&blake3::Hash, &blake3::Hash))| a == b || mask == Some(i as u32);
    !after.is_empty() && before.len() == after.len() && before.iter().zip(after).enumerate().all(same)
}

/// |x|; infinitely far if x is not a number.
pub(super) fn far(x: f64) -> f64 {
    if x.is_nan() { f64::INFINITY } else { x.abs() }
}

/// The largest |difference| and the largest |reference|; a value that is not a number counts as infinitely far.
pub(super) fn compare(reference: &[f32], found: &[f32], vocab: usize, excluded: Option<u32>) -> (f64, f64) {
    let kept = |i: &usize| excluded.is_none_or(|id| i % vocab != id as usize);
    let pairs =
        || (0..reference.len().max(found.len())).filter(kept).map(|i| (reference.get(i), found.get(i)));
    let difference = pairs().map(|pair| match pair {
        (Some(a), Some(b)) => far(f64::from(*a) - f64::from(*b)),
        _ => f64::INFINITY,
    });
    let largest = pairs().filter_map(|(a, _)| a.map(|a| far(f64::from(*a)))).fold(0.0, f64::max);
    (difference.fold(0.0, f64::max), largest)
}
