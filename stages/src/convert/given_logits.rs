//! Logits that another program computed from the source: an independent check, because a bug in this backbone would affect
//! both sides of the comparison with the source folder.

use std::path::Path;

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use crate::convert::certificate::{ELSEWHERE, ForeignParity};
use crate::convert::compare::{LogitDistance, find_meaningless_logits};
use crate::weights::WeightsError;

/// The expected content of the file, and how to make it.
pub(crate) const FORM: &str = "the file holds `input_ids` [B, L] (I64 or I32) and `logits` [B, L, V] (F32), \
                        which another program computed from the source under a causal mask";

/// Token ids, and the logits that another program computed for every position under a causal mask.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct GivenLogits {
    file: String,
    blake3: String,
    batch: (usize, usize),
    tokens: Vec<u32>,
    logits: Vec<f32>,
}

impl GivenLogits {
    /// Reads a safetensors file for a model of `vocabulary` tokens; [`FORM`] describes it.
    ///
    /// # Errors
    /// If the file cannot be read, or a tensor is missing, unknown, mis-shaped, out of range or not finite, or the logits of a
    /// position are all 0. The error names it.
    pub(crate) fn read(path: &Path, vocabulary: usize) -> Result<Self, WeightsError> {
        let file = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        let bytes = std::fs::read(path).map_err(|e| WeightsError::Io { file: file.clone(), reason: e })?;
        let faults = FileErrors(&file);
        let tensors = SafeTensors::deserialize(&bytes).map_err(|e| faults.file_error(e.to_string()))?;
        if let Some(extra) = tensors.names().into_iter().find(|name| !["input_ids", "logits"].contains(name))
        {
            return Err(faults
                .tensor_error(extra, "is not expected: a reference holds only `input_ids` and `logits`"));
        }
        let (batch, tokens) = faults.ids(&faults.get(&tensors, "input_ids")?, vocabulary)?;
        let logits = faults.logits(&faults.get(&tensors, "logits")?, [batch.0, batch.1, vocabulary])?;
        if let Some(what) = find_meaningless_logits(&logits, vocabulary) {
            return Err(faults.tensor_error("logits", format!("the logits {what}, which proves nothing")));
        }
        Ok(Self { blake3: blake3::hash(&bytes).to_hex().to_string(), file, batch, tokens, logits })
    }

    /// Refuses the mask token among the ids. Its embedding row is new, so no other program can know its logits.
    ///
    /// # Errors
    /// If the mask token is among the ids.
    pub(crate) fn refuse_mask_token(&self, mask: u32) -> Result<(), WeightsError> {
        match self.tokens.contains(&mask) {
            false => Ok(()),
            true => {
                let reason = format!(
                    "holds the mask token {mask}, whose embedding is new; keep the old one with `row=\"keep\"`"
                );
                Err(FileErrors(&self.file).tensor_error("input_ids", reason))
            }
        }
    }

    /// The rows of tokens.
    pub(super) fn rows(&self) -> impl Iterator<Item = &[u32]> {
        self.tokens.chunks(self.batch.1)
    }

    /// How far the logits `found` are from those of row `row`, leaving out the vocabulary entry `excluded`.
    pub(super) fn measure_row(&self, row: usize, found: &[f32], excluded: Option<u32>) -> LogitDistance {
        let values = self.logits.len() / self.batch.0;
        let (expected, vocabulary) = (&self.logits[row * values..][..values], values / self.batch.1);
        LogitDistance::measure(expected, found, vocabulary, excluded)
    }

    /// The comparison, from the distance over all rows.
    pub(super) fn conclude(&self, distance: LogitDistance, tolerance: f64) -> ForeignParity {
        let LogitDistance { difference, largest, ratio } = distance;
        ForeignParity {
            reference: ELSEWHERE.into(),
            blake3: self.blake3.clone(),
            batch: self.batch,
            difference,
            largest,
            ratio,
            holds: distance.holds(tolerance),
        }
    }
}

/// Makes errors that name the file.
struct FileErrors<'a>(&'a str);

impl FileErrors<'_> {
    fn file_error(&self, reason: impl Into<String>) -> WeightsError {
        WeightsError::Malformed { file: self.0.into(), tensor: None, reason: reason.into() }
    }

    fn tensor_error(&self, name: &str, reason: impl Into<String>) -> WeightsError {
        WeightsError::Malformed { file: self.0.into(), tensor: Some(name.into()), reason: reason.into() }
    }

    fn get<'t>(&self, tensors: &SafeTensors<'t>, name: &str) -> Result<TensorView<'t>, WeightsError> {
        let missing = |_| WeightsError::Missing { place: format!("`{}`", self.0), tensor: name.into() };
        tensors.tensor(name).map_err(missing)
    }

    /// (rows, tokens per row), and the ids.
    fn ids(
        &self,
        view: &TensorView<'_>,
        vocabulary: usize,
    ) -> Result<((usize, usize), Vec<u32>), WeightsError> {
        let fault = |reason: String| self.tensor_error("input_ids", reason);
        let (rows, length) = match *view.shape() {
            [rows, length] if rows * length > 0 => (rows, length),
            _ => return Err(fault(format!("has shape {:?}, expected [B, L]", view.shape()))),
        };
        let ids: Vec<i64> = match view.dtype() {
            Dtype::I64 => view.data().chunks_exact(8).map(|b| i64::from_le_bytes(to_byte_array(b))).collect(),
            Dtype::I32 => {
                view.data().chunks_exact(4).map(|b| i32::from_le_bytes(to_byte_array(b)).into()).collect()
            }
            other => return Err(fault(format!("is {other}, expected I64 or I32"))),
        };
        let known = |id: &i64| u32::try_from(*id).ok().filter(|id| (*id as usize) < vocabulary);
        match ids.iter().find(|id| known(id).is_none()) {
            Some(id) => Err(fault(format!("holds id {id}, but the vocabulary has {vocabulary} tokens"))),
            None => Ok(((rows, length), ids.iter().filter_map(known).collect())),
        }
    }

    fn logits(&self, view: &TensorView<'_>, expected: [usize; 3]) -> Result<Vec<f32>, WeightsError> {
        let (file, tensor) = (self.0.to_owned(), "logits".to_owned());
        if view.shape() != expected {
            let (found, expected) = (view.shape().to_vec(), expected.to_vec());
            return Err(WeightsError::Shape { file, tensor, found, expected });
        }
        if view.dtype() != Dtype::F32 {
            return Err(self.tensor_error("logits", format!("is {}, expected F32", view.dtype())));
        }
        let values: Vec<f32> =
            view.data().chunks_exact(4).map(|b| f32::from_le_bytes(to_byte_array(b))).collect();
        match values.iter().position(|x| !x.is_finite()) {
            Some(index) => Err(WeightsError::NotFinite { file, tensor, index }),
            None => Ok(values),
        }
    }
}

/// The bytes of one number. `chunks_exact` guarantees the length, so the copy cannot panic.
fn to_byte_array<const N: usize>(chunk: &[u8]) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(chunk);
    bytes
}
