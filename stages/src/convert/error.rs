//! Why a conversion is refused.

use crate::backbone::BackboneError;
use crate::convert::certificate::Certificate;
use crate::weights::WeightsError;

/// Why a conversion is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    /// The vocabulary has no row for the mask token.
    #[error(
        "the tokenizer uses {used} ids and the embedding has {rows} rows, so none is reserved; name a mask id below {rows}"
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
    /// A number of the options makes no sense.
    #[error("{0}")]
    Option(&'static str),
    /// A tensor of the artifact is neither the source's nor accounted for.
    #[error("tensor `{0}` of the artifact is not that of the source")]
    Differs(String),
    /// The artifact computes something else than the source.
    #[error("the artifact's logits differ from the reference's by more than the tolerance\n{0}")]
    Parity(Box<Certificate>),
    /// The weights are refused.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The backbone is refused.
    #[error(transparent)]
    Backbone(#[from] BackboneError),
}
