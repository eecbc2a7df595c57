//! The operations on plain slices of f32, for processors.
//!
//! # The same bits everywhere
//! Every result is defined by a fixed sequence of IEEE operations: products are fused multiply-adds in the order of the
//! index that is summed, sums of rows use [`vector::LANES`] lanes whatever the width of a register, and tiles lie at
//! multiples of a constant. So a result depends neither on the number of threads, nor on the instruction set, nor on other
//! rows of the batch. Only products of factors in bf16 have another sequence on processors with AVX512-BF16 (`product`).

pub(crate) mod adamw;
pub(crate) mod attention;
pub(crate) mod gated;
pub(crate) mod loss;
pub(crate) mod panels;
pub(crate) mod product;
pub(crate) mod rms_norm;
pub(crate) mod rotary;
pub(crate) mod rounding;
pub(crate) mod tasks;
pub(crate) mod vector;
