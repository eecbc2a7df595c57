//! Products of matrices: the library's kernels, with sums in f32.

use burn_backend::ops::FloatTensorOps;
use burn_backend::{DType, Shape, Slice, TensorMetadata};
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::cast;
use burn_cubecl::kernel::matmul::{MatmulStrategy, matmul};
use burn_cubecl::tensor::CubeTensor;

use crate::Precision;

/// The type in which factors of products are kept.
pub(super) fn factor_type(precision: Precision) -> DType {
    match precision {
        Precision::F32 => DType::F32,
        Precision::Bf16 => DType::BF16,
    }
}

/// Factors as products read them.
pub(super) fn round(x: &CubeTensor, precision: Precision) -> CubeTensor {
    cast(x.clone(), factor_type(precision))
}

/// a b in f32, of factors of one type. Batches go in front.
pub(super) fn multiply(a: CubeTensor, b: CubeTensor) -> CubeTensor {
    matmul(a, b, None, MatmulStrategy::default(), DType::F32)
        .expect("the library has a kernel for every shape")
}

/// The last two dimensions exchanged, without a copy.
pub(super) fn transpose(x: CubeTensor) -> CubeTensor {
    let rank = x.rank();
    CubeBackend::float_swap_dims(x, rank - 2, rank - 1)
}

/// `count` indices from `first` on along a dimension.
pub(super) fn narrow(x: &CubeTensor, dimension: usize, first: usize, count: usize) -> CubeTensor {
    let shape = x.shape();
    let whole = shape.iter().map(|n| Slice::from(0..*n));
    let mut slices: Vec<Slice> = whole.collect();
    slices[dimension] = Slice::from(first..first + count);
    CubeBackend::float_slice(x.clone(), &slices)
}

pub(super) fn reshape<const D: usize>(x: CubeTensor, shape: [usize; D]) -> CubeTensor {
    CubeBackend::float_reshape(x, Shape::from(shape))
}
