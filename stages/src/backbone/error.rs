//! Why a backbone cannot be built or used.

use super::ConfigError;

/// Why a backbone cannot be built or used.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum BackboneError {
    /// A tensor that the config requires was not given.
    #[error("tensor `{0}` is missing")]
    Missing(String),
    /// The shape of a tensor differs from the one that the config requires, or the layout has no such tensor.
    #[error("tensor `{name}` has shape {found:?}, expected {expected:?}")]
    Mismatch {
        /// Name of the tensor.
        name: String,
        /// The given shape.
        found: Vec<usize>,
        /// The shape in the layout; empty if the layout has no such tensor.
        expected: Vec<usize>,
    },
    /// The number of values does not match the shape, or the rank is not 1 or 2.
    #[error("{count} values cannot have shape {shape:?}")]
    Shape {
        /// The requested shape.
        shape: Vec<usize>,
        /// The number of values given.
        count: usize,
    },
    /// A token id is outside the vocabulary.
    #[error("token id {id} is outside the vocabulary of {vocab}")]
    Token {
        /// The offending id.
        id: u32,
        /// Rows of the embedding.
        vocab: usize,
    },
    /// The context contradicts itself, the tokens, or the backbone.
    #[error("{0}")]
    Context(String),
    /// The config is inconsistent or unsupported.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A logit is infinite or NaN. Every comparison with it would pass or fail by accident.
    #[error("the forward pass yields logits that are not finite for row {0}")]
    NotFiniteIn(
        /// Number of the row, from 0 on.
        u64,
    ),
    /// Reading values back from the device failed.
    #[error("the device failed: {0}")]
    Device(String),
}
