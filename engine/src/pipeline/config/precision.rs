//! Number formats of a training.

/// A format of the factors of products.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ComputeFormat {
    /// They are not rounded.
    F32,
    /// They are rounded to bf16.
    Bf16,
}
