//! Products of matrices.
//!
//! Element (i, j) of a b is a sum of chains: the chain of fused multiply-adds over the first [`CHAIN`] products, plus that
//! over the next ones, and so on. Nothing else enters, so the element does not depend on how the work is divided.
//!
//! Factors that are rounded to bf16 are multiplied by instructions for pairs of bf16 numbers where the processor has them
//! (`pairs`): the same chains, in which each pair of summands is added second one first.

mod packed;
#[cfg(target_arch = "x86_64")]
mod pairs;

pub(crate) use packed::{PackedMatrix, multiply_packed};
#[cfg(target_arch = "x86_64")]
pub(crate) use pairs::find_bf16_instructions;

use super::panels::{View, multiply_panels, pack};
use super::tasks;
#[cfg(target_arch = "x86_64")]
use crate::Precision;
use pulp::{Arch, Simd, WithSimd};

/// Products in one chain. A panel of this depth stays in the nearest cache.
pub(crate) const CHAIN: usize = 256;

/// Registers side by side in a panel of the right factor.
const NV: usize = 2;

/// Most rows of the result that one task computes.
const TASK_ROWS: usize = 96;

/// Tasks wanted of one product. More would read the right factor more often than they gain.
const TASKS: usize = 2;

/// Panels of the right factor that one task packs.
const TASK_PANELS: usize = 8;

/// Computes a b.
///
/// # Shapes
/// `a`: [m, k], `b`: [k, n], `out`: [m, n], row-major.
pub(crate) fn multiply(arch: Arch, a: View, b: View, out: &mut [f32]) {
    multiply_onto(arch, a, b, out, false);
}

/// Adds a b to `out`, or writes it. Shapes as for [`multiply`].
///
/// Adding products over the next [`CHAIN`] summands, again and again, yields every bit of the product over all of them.
pub(crate) fn multiply_onto(arch: Arch, a: View, b: View, out: &mut [f32], add: bool) {
    #[cfg(target_arch = "x86_64")]
    if a.precision == Precision::Bf16
        && let Some(b) = pairs::PairedMatrix::new(arch, b)
    {
        return b.multiply_onto(a, out, add);
    }
    let right = pack_right(arch, b);
    let (columns, rows) = (b.columns, count_task_rows(a.rows));
    let cost = (a.rows * columns).saturating_mul(a.columns) / 16;
    tasks::run(cost, out.chunks_mut(rows * columns).enumerate(), |(number, out)| {
        arch.dispatch(Rows { a, first: number * rows, right: &right, columns, out, add });
    });
}

/// Rows of a task: a multiple of every panel's height, few enough for [`TASKS`] tasks.
fn count_task_rows(rows: usize) -> usize {
    const HEIGHT: usize = 12;
    rows.div_ceil(TASKS).next_multiple_of(HEIGHT).min(TASK_ROWS)
}

/// Packs the right factor: chains one after another, each as panels.
fn pack_right(arch: Arch, b: View) -> Vec<f32> {
    let width = NV * arch.dispatch(CountLanes);
    let panels = b.columns.div_ceil(width);
    let mut packed = vec![0.0; b.rows * panels * width];
    let tasks = packed.chunks_mut(CHAIN * panels * width).enumerate().flat_map(|(number, chain)| {
        let depth = chain.len() / (panels * width);
        let parts = chain.chunks_mut(depth * width * TASK_PANELS).enumerate();
        parts.map(move |(task, out)| (number, depth, task, out))
    });
    tasks::run(b.rows * b.columns, tasks, |(number, depth, task, out)| {
        pack(b.transposed(), task * TASK_PANELS * width, number * CHAIN, depth, width, out);
    });
    packed
}

/// Values in a register.
struct CountLanes;

impl WithSimd for CountLanes {
    type Output = usize;
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> usize {
        S::F32_LANES
    }
}

/// Rows of a product.
struct Rows<'a> {
    a: View<'a>,
    first: usize,
    right: &'a [f32],
    columns: usize,
    out: &'a mut [f32],
    add: bool,
}

impl WithSimd for Rows<'_> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match S::REGISTER_COUNT {
            32.. => self.multiply::<S, 12>(simd),
            _ => self.multiply::<S, 6>(simd),
        }
    }
}

impl Rows<'_> {
    #[inline(always)]
    fn multiply<S: Simd, const MR: usize>(self, simd: S) {
        let width = NV * S::F32_LANES;
        let panels = self.columns.div_ceil(width);
        let rows = self.out.len() / self.columns;
        let height = rows.next_multiple_of(MR);
        let mut buffer = vec![0.0; height * CHAIN.min(self.a.columns)];
        for from in (0..self.a.columns).step_by(CHAIN) {
            let depth = CHAIN.min(self.a.columns - from);
            let left = &mut buffer[..height * depth];
            pack(self.a, self.first, from, depth, MR, left);
            let right = &self.right[from * panels * width..][..depth * panels * width];
            for (j, right) in right.chunks_exact(depth * width).enumerate() {
                let right = S::as_simd_f32s(right).0;
                for (i, left) in left.chunks_exact(MR * depth).enumerate() {
                    let sums = multiply_panels::<S, MR, NV>(simd, left, right);
                    let rows = self.out.chunks_exact_mut(self.columns).skip(i * MR);
                    for (row, sums) in rows.zip(sums) {
                        store(simd, &mut row[j * width..], sums, self.add || from > 0);
                    }
                }
            }
        }
    }
}

/// Writes or adds registers to the beginning of a row; what is beyond its end is dropped.
#[inline(always)]
fn store<S: Simd>(simd: S, row: &mut [f32], sums: [S::f32s; NV], add: bool) {
    for (part, sum) in row.chunks_mut(S::F32_LANES).zip(sums) {
        if let ([whole], _) = S::as_mut_simd_f32s(part) {
            *whole = if add { simd.add_f32s(*whole, sum) } else { sum };
        } else {
            let sum = if add { simd.add_f32s(simd.partial_load_f32s(part), sum) } else { sum };
            simd.partial_store_f32s(part, sum);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::vector::tests::find_instruction_sets;

    fn noise(count: usize, step: usize) -> Vec<f32> {
        (0..count).map(|i| ((i * step) % 1009) as f32 / 504.5 - 1.0).collect()
    }

    /// The definition: chains of fused multiply-adds, and their sum.
    fn multiply_plainly(a: View, b: View) -> Vec<u32> {
        let element = |i: usize, j: usize| {
            let chain = |from: usize| {
                (from..a.columns.min(from + CHAIN)).fold(0.0_f32, |sum, k| {
                    let left = a.values[i * a.row_stride + k * a.column_stride];
                    left.mul_add(b.values[k * b.row_stride + j * b.column_stride], sum)
                })
            };
            let first = chain(0);
            (CHAIN..a.columns).step_by(CHAIN).fold(first, |sum, from| sum + chain(from))
        };
        (0..a.rows)
            .flat_map(|i| (0..b.columns).map(move |j| (i, j)))
            .map(|(i, j)| element(i, j).to_bits())
            .collect()
    }

    #[test]
    fn sums_of_products_are_the_product() {
        let (m, n, k) = (30, 17, 2 * CHAIN + 5);
        let (a, b) = (noise(m * k, 37), noise(k * n, 91));
        let (a, b) = (View::new(&a, m, k, k), View::new(&b, k, n, n));
        let (mut whole, mut sum) = (vec![0.0; m * n], vec![f32::NAN; m * n]);
        multiply(Arch::new(), a, b, &mut whole);
        for from in (0..k).step_by(CHAIN) {
            let part = from..k.min(from + CHAIN);
            let left = View { values: &a.values[from..], columns: part.len(), ..a };
            let right = View { values: &b.values[from * n..], rows: part.len(), ..b };
            multiply_onto(Arch::new(), left, right, &mut sum, from > 0);
        }
        assert_eq!(whole, sum);
    }

    #[test]
    fn every_bit_is_that_of_the_definition() {
        for (m, n, k) in [(1, 1, 1), (5, 33, 256), (97, 40, 257), (13, 70, 600), (200, 3, 31)] {
            let (a, b) = (noise(m * k, 37), noise(k * n, 91));
            let (rows, columns) = (View::new(&a, m, k, k), View::new(&b, k, n, n));
            for (a, b) in [
                (rows, columns),
                (View::new(&a, k, m, m).transposed(), columns),
                (rows, View::new(&b, n, k, k).transposed()),
            ] {
                let expected = multiply_plainly(a, b);
                for arch in find_instruction_sets() {
                    let mut out = vec![f32::NAN; m * n];
                    multiply(arch, a, b, &mut out);
                    let found: Vec<u32> = out.iter().map(|x| x.to_bits()).collect();
                    assert!(found == expected, "{m} x {n} x {k}, {arch:?}");
                }
            }
        }
    }
}
