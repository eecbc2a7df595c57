//! Why a conversion is refused.

use crate::backbone::BackboneError;
use crate::convert::certificate::Certificate;
use crate::weights::WeightsError;

/// Why a conversion is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConvertError {
    /// The vocabulary has no row for the mask token.
    #[error(
        "the tokenizer uses {used} ids and the vocabulary has {rows} entries, so none is reserved; name a mask id below {rows}"
    )]
    NoReservedRow {
        /// Ids that the tokenizer uses.
        used: usize,
        /// Rows of the embedding.
        rows: usize,
    },
    /// The mask id is not a row of the embedding.
    #[error("mask id {id} is outside the vocabulary of {rows}")]
    MaskId {
        /// The id.
        id: u32,
        /// Rows of the embedding.
        rows: usize,
    },
    /// An option is out of range.
    #[error("{0}")]
    Option(&'static str),
    /// A tensor of the artifact differs from the source's, and the conversion does not explain it.
    #[error("tensor `{0}` of the artifact differs from the source's")]
    Differs(String),
    /// The source's logits cannot be compared with.
    #[error("nothing can be proven about this conversion: the logits that the source computes {0}")]
    Meaningless(String),
    /// The artifact's logits differ from the source's, or from those given by another program.
    #[error("the artifact's logits differ from the reference's by more than the tolerance{}", indent_lines(.0))]
    Parity(Box<Certificate>),
    /// The weights are refused.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The backbone is refused.
    #[error(transparent)]
    Backbone(#[from] BackboneError),
}

/// The lines of a certificate below a message. An indented line cannot be mistaken for a message of its own.
fn indent_lines(certificate: &Certificate) -> String {
    certificate.to_string().lines().map(|line| format!("\n  {line}")).collect()
}
