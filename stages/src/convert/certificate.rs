//! The certificate of a conversion: which tensors were kept, which are new, and how far the logits are from the source's.

use std::fmt;

use indexmap::IndexMap;

use crate::convert::compare::LogitDistance;
use crate::weights::Dtype;

/// The schema of the file. Version 2 added reference logits, so that the artifact can be verified without its source;
/// version 3 compares position by position and says with whose logits.
pub(crate) const SCHEMA: &str = "fmflow.certificate/3";

/// Schemas that earlier versions wrote.
pub(crate) const OLD_SCHEMAS: [&str; 2] = ["fmflow.certificate/1", "fmflow.certificate/2"];

/// The largest accepted difference of logits, relative to the largest |logit| (float32 on CPU).
#[cfg(test)]
pub(crate) const TOLERANCE: f64 = 1e-4;

/// Where the logits of [`Parity`] come from. fmflow computes both sides, so this proves the conversion, not the reading.
pub(super) const OWN_READING: &str = "our own reading of the source";

/// Where the logits of [`ForeignParity`] come from.
pub(super) const ELSEWHERE: &str = "logits made elsewhere";

/// What the conversion did with a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum TensorAction {
    /// All values are the source's.
    Copied,
    /// Not stored, because it is the embedding.
    Tied,
    /// Not in the source.
    New,
    /// All values are the source's except the row of the mask token.
    Changed,
}

/// One tensor of the ledger.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct LedgerLine {
    /// The tensor's name in the artifact.
    pub name: String,
    /// The source tensor that it comes from; `None` if it is new.
    pub from: Option<String>,
    /// The tensor's shape.
    pub shape: Vec<usize>,
    /// The type in which the source stored it; `None` if it is new.
    pub stored: Option<Dtype>,
    /// BLAKE3 of the values as little-endian float32.
    pub blake3: String,
    /// What the conversion did with it.
    pub action: TensorAction,
    /// The row that changed, if one did.
    pub row: Option<u32>,
}

/// The comparison of logits.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Parity {
    /// Where the reference logits come from.
    pub reference: String,
    /// Rows and tokens compared, under a causal mask, without the mask token.
    pub batch: (usize, usize),
    /// The largest |difference| of logits.
    pub difference: f64,
    /// The largest |logit| of the source.
    pub largest: f64,
    /// The largest |difference| of a position relative to the largest |logit| there, at the worst position.
    pub ratio: f64,
    /// The accepted ratio.
    pub tolerance: f64,
    /// The vocabulary entry left out of the comparison: the mask token, if its output row changed.
    pub excluded: Option<u32>,
    /// Whether everything compared is finite, not all of it is 0, and every position is within the tolerance.
    pub holds: bool,
}

/// The comparison with logits that another program computed.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct ForeignParity {
    /// Where the reference logits come from.
    pub reference: String,
    /// BLAKE3 of the file.
    pub blake3: String,
    /// Rows and tokens compared.
    pub batch: (usize, usize),
    /// The largest |difference| of logits.
    pub difference: f64,
    /// The largest |logit| of the file.
    pub largest: f64,
    /// As in [`Parity`].
    pub ratio: f64,
    /// As in [`Parity`], with the tolerance there.
    pub holds: bool,
}

/// Some logits of the source, and the batch of tokens that they were computed for.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct ReferenceLogits {
    /// Rows and tokens of the batch.
    pub batch: (usize, usize),
    /// The ids of the batch, row-major.
    pub tokens: Vec<u32>,
    /// The logits, one per position.
    pub logits: Vec<ReferenceLogit>,
}

/// One logit of the source under a causal mask.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct ReferenceLogit {
    /// Position in the batch, row-major.
    pub position: usize,
    /// The vocabulary entry whose logit this is.
    pub token: u32,
    /// The logit. Its decimal form in the file restores the float32 exactly.
    pub value: f32,
}

/// The record of one conversion, stored as JSON beside the weights.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Certificate {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// BLAKE3 of the source's config.json and weight files, by name.
    pub source: IndexMap<String, String>,
    /// BLAKE3 of the artifact's config.json and weight files, by name.
    pub artifact: IndexMap<String, String>,
    /// One line for every tensor.
    pub ledger: Vec<LedgerLine>,
    /// The id of the mask token.
    pub mask_token: Option<u32>,
    /// Euclidean norm of the mask token's row in the embedding.
    pub mask_row_norm: Option<f64>,
    /// Mean norm of all rows of the source's embedding.
    pub mean_row_norm: f64,
    /// The comparison with the source's logits.
    pub parity: Parity,
    /// The comparison with logits that another program computed, if some were given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elsewhere: Option<ForeignParity>,
    /// Some of the source's logits, for a later comparison without the source.
    pub reference: ReferenceLogits,
}

impl Parity {
    /// The distance of the logits.
    #[must_use]
    pub(crate) fn distance(&self) -> LogitDistance {
        LogitDistance { difference: self.difference, largest: self.largest, ratio: self.ratio }
    }
}

impl ForeignParity {
    /// The distance of the logits.
    #[must_use]
    pub(crate) fn distance(&self) -> LogitDistance {
        LogitDistance { difference: self.difference, largest: self.largest, ratio: self.ratio }
    }
}

impl Certificate {
    /// Whether all comparisons hold.
    #[must_use]
    pub(crate) fn holds(&self) -> bool {
        self.parity.holds && self.elsewhere.as_ref().is_none_or(|elsewhere| elsewhere.holds)
    }

    /// Number of ledger lines with this action.
    #[must_use]
    pub(crate) fn count(&self, action: TensorAction) -> usize {
        self.ledger.iter().filter(|line| line.action == action).count()
    }
}

impl fmt::Display for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |action| self.count(action);
        writeln!(
            f,
            "tensors     {} copied, {} tied, {} new, {} changed",
            count(TensorAction::Copied),
            count(TensorAction::Tied),
            count(TensorAction::New),
            count(TensorAction::Changed)
        )?;
        if let (Some(id), Some(norm)) = (self.mask_token, self.mask_row_norm) {
            writeln!(
                f,
                "mask token  {id}, norm of its embedding {norm:.4} (mean of all {:.4})",
                self.mean_row_norm
            )?;
        }
        let parity = &self.parity;
        let (rows, tokens) = parity.batch;
        writeln!(f, "compared    {rows} x {tokens} tokens under a causal mask")?;
        if let Some(id) = parity.excluded {
            writeln!(f, "left out    the logit of the mask token {id}, whose embedding is new")?;
        }
        write!(
            f,
            "parity      {} {}: {} (tolerance {:.0e}, largest of all {:.4})",
            verdict(parity.holds),
            parity.reference,
            parity.distance(),
            parity.tolerance,
            parity.largest
        )?;
        match &self.elsewhere {
            Some(elsewhere) => write!(f, "\n{elsewhere}"),
            None => write!(f, "\nelsewhere   not compared: no {ELSEWHERE} were given (`certify reference=`)"),
        }
    }
}

impl fmt::Display for ForeignParity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (rows, tokens) = self.batch;
        let file = self.blake3.get(..12).unwrap_or(&self.blake3);
        let (verdict, reference, distance) = (verdict(self.holds), &self.reference, self.distance());
        write!(f, "elsewhere   {verdict} {reference}: {distance}, {rows} x {tokens} tokens of {file}")
    }
}

/// The verb between the artifact and what it is compared with.
fn verdict(holds: bool) -> &'static str {
    if holds { "equals" } else { "DIFFERS from" }
}
