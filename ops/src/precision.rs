//! The format of the factors of products.

use burn_tensor::{DType, Tensor};

/// The format to which products round their factors. Sums, and everything that is no product, are f32.
///
/// A product of two bf16 numbers is exact in f32, so rounding the factors and computing in f32 gives what bf16 arithmetic with
/// sums in f32 gives, apart from the order of sums and from denormal numbers, which instructions for bf16 take for 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// Factors are used as they are.
    #[default]
    F32,
    /// Factors are rounded to the nearest bf16, ties to even.
    Bf16,
}

impl Precision {
    /// The values as a product reads them, still in f32. Gradients are rounded too.
    #[must_use]
    pub fn round<const D: usize>(self, x: Tensor<D>) -> Tensor<D> {
        match self {
            Self::F32 => x,
            Self::Bf16 => x.cast(DType::BF16).cast(DType::F32),
        }
    }
}
