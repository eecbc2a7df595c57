//! Packed panels, and the product of two panels in registers.
//!
//! A panel holds a few rows of a matrix, index of the sum first: `[depth][rows]`. The left factor of a product is packed
//! into panels of `MR` rows, the right one, transposed, into panels of `NV` registers.

use pulp::Simd;

use super::rounding::round_values;
use crate::Precision;

/// A matrix in memory: element (i, j) is `values[i * row_stride + j * column_stride]`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'a> {
    pub(crate) values: &'a [f32],
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) row_stride: usize,
    pub(crate) column_stride: usize,
    /// The format to which values are rounded when they are packed.
    pub(crate) precision: Precision,
}

impl<'a> View<'a> {
    /// Rows of `columns` values, each `row_stride` after the one before.
    pub(crate) fn new(values: &'a [f32], rows: usize, columns: usize, row_stride: usize) -> Self {
        Self { values, rows, columns, row_stride, column_stride: 1, precision: Precision::F32 }
    }

    /// The same matrix, rounded when it is packed.
    pub(crate) fn rounded(self, precision: Precision) -> Self {
        Self { precision, ..self }
    }

    pub(crate) fn transposed(self) -> Self {
        Self {
            values: self.values,
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            precision: self.precision,
        }
    }
}

/// Packs rows from `first` on and columns `from..from + depth` into panels of `height` rows, until `out` is full, rounded to the
/// precision of the view. Rows beyond the matrix are 0.
#[inline(always)]
pub(crate) fn pack(view: View, first: usize, from: usize, depth: usize, height: usize, out: &mut [f32]) {
    for (number, panel) in out.chunks_exact_mut(height * depth).enumerate() {
        let start = first + number * height;
        let rows = height.min(view.rows.saturating_sub(start));
        if rows < height {
            panel.fill(0.0);
        }
        match (view.row_stride, view.column_stride) {
            (1, step) => {
                for (k, line) in panel.chunks_exact_mut(height).enumerate() {
                    let at = start + (from + k) * step;
                    line[..rows].copy_from_slice(&view.values[at..at + rows]);
                }
            }
            (step, 1) => {
                for r in 0..rows {
                    let at = (start + r) * step + from;
                    for (line, value) in panel.chunks_exact_mut(height).zip(&view.values[at..at + depth]) {
                        line[r] = *value;
                    }
                }
            }
            (step, other) => {
                for (k, line) in panel.chunks_exact_mut(height).enumerate() {
                    for (r, value) in line[..rows].iter_mut().enumerate() {
                        *value = view.values[(start + r) * step + (from + k) * other];
                    }
                }
            }
        }
        round_values(view.precision, panel);
    }
}

/// The product of two panels: element (i, j) is the chain of fused multiply-adds of `left[k][i] * right[k][j]`, from 0, in
/// the order of k.
#[inline(always)]
pub(crate) fn multiply_panels<S: Simd, const MR: usize, const NV: usize>(
    simd: S,
    left: &[f32],
    right: &[S::f32s],
) -> [[S::f32s; NV]; MR] {
    let mut sums = [[simd.splat_f32s(0.0); NV]; MR];
    let (left, _) = left.as_chunks::<MR>();
    let (right, _) = right.as_chunks::<NV>();
    for (left, right) in left.iter().zip(right) {
        for (sums, factor) in sums.iter_mut().zip(left) {
            let factor = simd.splat_f32s(*factor);
            for (sum, value) in sums.iter_mut().zip(right) {
                *sum = simd.mul_add_f32s(factor, *value, *sum);
            }
        }
    }
    sums
}
