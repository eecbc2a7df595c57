//! Products with a right factor that is packed once and used many times.
//!
//! With few rows, packing takes longer than the product itself: for one row, some twenty times as long.

use pulp::{Arch, Simd, WithSimd};

use super::{CHAIN, CountLanes, NV, Rows, TASK_PANELS, TASK_ROWS, pack_right, store};
use crate::Precision;
use crate::kernels::panels::{View, multiply_panels, pack};
use crate::kernels::tasks;

/// Up to this many rows, tasks divide the columns of the result, and panels are as high as the rows are many.
const FEW: usize = 32;

/// The panels of a right factor.
#[derive(Debug)]
enum Panels {
    Values(Vec<f32>),
    #[cfg(target_arch = "x86_64")]
    Pairs(super::pairs::PairedMatrix),
}

impl Panels {
    fn new(arch: Arch, b: View) -> Self {
        #[cfg(target_arch = "x86_64")]
        if let Some(pairs) = super::pairs::PairedMatrix::new(arch, b) {
            return Self::Pairs(pairs);
        }
        Self::Values(pack_right(arch, b))
    }
}

/// A right factor [k, n], packed.
#[derive(Debug)]
pub(crate) struct PackedMatrix {
    data: Panels,
    depth: usize,
    columns: usize,
    precision: Precision,
}

impl PackedMatrix {
    /// Packs `b` [k, n].
    pub(crate) fn new(arch: Arch, b: View) -> Self {
        Self { data: Panels::new(arch, b), depth: b.rows, columns: b.columns, precision: b.precision }
    }

    /// n.
    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    /// The format to which its values were rounded.
    pub(crate) fn precision(&self) -> Precision {
        self.precision
    }
}

/// Computes a b with every bit of [`super::multiply`]. Both factors have one precision.
///
/// # Shapes
/// `a`: [m, k], `b`: [k, n], `out`: [m, n], row-major.
pub(crate) fn multiply_packed(arch: Arch, a: View, b: &PackedMatrix, out: &mut [f32]) {
    let values = match &b.data {
        Panels::Values(values) => values.as_slice(),
        #[cfg(target_arch = "x86_64")]
        Panels::Pairs(pairs) => return pairs.multiply_onto(a, out, false),
    };
    let cost = (a.rows * b.columns).saturating_mul(a.columns) / 16;
    if a.rows > FEW {
        tasks::run(cost, out.chunks_mut(TASK_ROWS * b.columns).enumerate(), |(number, out)| {
            let (first, columns) = (number * TASK_ROWS, b.columns);
            arch.dispatch(Rows { a, first, right: values, columns, out, add: false });
        });
        return;
    }
    let width = TASK_PANELS * NV * arch.dispatch(CountLanes);
    let mut parts: Vec<Vec<&mut [f32]>> = Vec::new();
    parts.resize_with(b.columns.div_ceil(width), Vec::new);
    for row in out.chunks_exact_mut(b.columns) {
        parts.iter_mut().zip(row.chunks_mut(width)).for_each(|(part, row)| part.push(row));
    }
    tasks::run(cost, parts.into_iter().enumerate(), |(number, out)| {
        arch.dispatch(Columns {
            a,
            values,
            depth: b.depth,
            columns: b.columns,
            first: number * TASK_PANELS,
            out,
        });
    });
}

/// Some columns of a product with few rows, from panel `first` on.
struct Columns<'a> {
    a: View<'a>,
    values: &'a [f32],
    depth: usize,
    columns: usize,
    first: usize,
    out: Vec<&'a mut [f32]>,
}

impl WithSimd for Columns<'_> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match (self.a.rows, S::REGISTER_COUNT) {
            (1, _) => self.multiply::<S, 1>(simd),
            (2, _) => self.multiply::<S, 2>(simd),
            (9.., 32..) => self.multiply::<S, 8>(simd),
            _ => self.multiply::<S, 4>(simd),
        }
    }
}

impl Columns<'_> {
    #[inline(always)]
    fn multiply<S: Simd, const MR: usize>(mut self, simd: S) {
        let width = NV * S::F32_LANES;
        let (panels, height) = (self.columns.div_ceil(width), self.a.rows.next_multiple_of(MR));
        let mut buffer = vec![0.0; height * CHAIN.min(self.a.columns)];
        for from in (0..self.depth).step_by(CHAIN) {
            let depth = CHAIN.min(self.depth - from);
            let left = &mut buffer[..height * depth];
            pack(self.a, 0, from, depth, MR, left);
            let chain = &self.values[from * panels * width..][..depth * panels * width];
            let own = chain.chunks_exact(depth * width).skip(self.first).take(TASK_PANELS);
            for (j, right) in own.enumerate() {
                let right = S::as_simd_f32s(right).0;
                for (left, rows) in left.chunks_exact(MR * depth).zip(self.out.chunks_mut(MR)) {
                    let sums = multiply_panels::<S, MR, NV>(simd, left, right);
                    for (row, sums) in rows.iter_mut().zip(sums) {
                        store(simd, &mut row[j * width..], sums, from > 0);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::product::multiply;
    use crate::kernels::vector::tests::find_instruction_sets;

    #[test]
    fn a_packed_factor_changes_no_bit() {
        let noise =
            |count: usize, step: usize| (0..count).map(move |i| ((i * step) % 1009) as f32 / 504.5 - 1.0);
        for m in [1, 2, 3, 4, 5, 8, 9, 12, 17, 32, 33, 100] {
            for (n, k) in [(1, 1), (33, 256), (70, 257), (600, 31), (31, 600)] {
                let (a, b): (Vec<f32>, Vec<f32>) = (noise(m * k, 37).collect(), noise(k * n, 91).collect());
                let (a, b) = (View::new(&a, m, k, k), View::new(&b, n, k, k).transposed());
                let mut expected = vec![0.0; m * n];
                multiply(Arch::Scalar, a, b, &mut expected);
                for arch in find_instruction_sets() {
                    let mut out = vec![f32::NAN; m * n];
                    multiply_packed(arch, a, &PackedMatrix::new(arch, b), &mut out);
                    assert!(out == expected, "{m} x {n} x {k}, {arch:?}");
                }
            }
        }
    }
}
