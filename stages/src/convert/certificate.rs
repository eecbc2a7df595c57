//! The certificate of a conversion: what was kept, what is new, and how far the result is from its source.

use std::fmt;

use indexmap::IndexMap;

use crate::weights::Dtype;

/// The schema of the file. 2: with reference logits, so that the artifact alone can be verified.
pub const SCHEMA: &str = "fmflow.certificate/2";

/// Largest accepted difference of logits, relative to the largest logit (float32 on CPU).
pub const TOLERANCE: f64 = 1e-4;

/// What became of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TensorAction {
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
pub struct LedgerLine {
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
    pub action: TensorAction,
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

/// The comparison with logits that another program made.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct ForeignParity {
    /// BLAKE3 of the file.
    pub blake3: String,
    /// Rows and tokens compared.
    pub batch: (usize, usize),
    /// The largest |difference| of logits.
    pub difference: f64,
    /// The largest |logit| of the file.
    pub largest: f64,
    /// Whether their ratio is within the certificate's tolerance.
    pub holds: bool,
}

/// Some logits of the source, and the tokens that they belong to.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct ReferenceLogits {
    /// Rows and tokens of the batch.
    pub batch: (usize, usize),
    /// Its ids, row-major.
    pub tokens: Vec<u32>,
    /// The logits, one at every position.
    pub logits: Vec<ReferenceLogit>,
}

/// One logit of the source under a causal mask.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct ReferenceLogit {
    /// Position in the batch, row-major.
    pub position: usize,
    /// The token that it speaks for.
    pub token: u32,
    /// Its value; the decimals give the float32 back exactly.
    pub value: f32,
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
    pub ledger: Vec<LedgerLine>,
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
    pub elsewhere: Option<ForeignParity>,
    /// Some of the source's logits, for a later comparison without the source.
    pub reference: ReferenceLogits,
}

impl Certificate {
    /// Whether all comparisons hold.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.parity.holds && self.elsewhere.as_ref().is_none_or(|elsewhere| elsewhere.holds)
    }

    /// Number of tensors with this action.
    #[must_use]
    pub fn count(&self, action: TensorAction) -> usize {
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
        let Some(ForeignParity { blake3, batch, difference, largest, holds }) = &self.elsewhere else {
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
