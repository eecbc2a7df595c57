//! The key side of a task: a tile of keys and values, and the gradients that queries add to it.

use pulp::Simd;

use super::queries::Queries;
use super::scores::Scores;
use super::{NV, ROWS, Task};
use crate::kernels::attention::KEYS;
use crate::kernels::panels::{View, multiply_panels, pack};

/// A tile of keys and values as right panels, and their gradients.
pub(super) struct KeySide {
    /// k, [panel][h][lanes].
    pub(super) keys: Vec<f32>,
    /// v, [panel][h][lanes].
    pub(super) values: Vec<f32>,
    /// k, transposed: [panel of h][KEYS][lanes].
    columns: Vec<f32>,
    /// dk, [panel][h][lanes].
    pub(super) key_gradients: Vec<f32>,
    /// dv, [panel][h][lanes].
    pub(super) value_gradients: Vec<f32>,
}

impl KeySide {
    #[inline(always)]
    pub(super) fn new(width: usize, wide: usize) -> Self {
        let zeros = || vec![0.0; KEYS * width];
        Self {
            keys: zeros(),
            values: zeros(),
            columns: vec![0.0; KEYS * width.next_multiple_of(wide)],
            key_gradients: zeros(),
            value_gradients: zeros(),
        }
    }

    #[inline(always)]
    pub(super) fn load(&mut self, task: &Task, first: usize, wide: usize) {
        let shape = task.inputs.shape;
        let start = task.b * shape.key_row() + task.head * shape.width;
        let step = shape.shared * shape.width;
        let view = |all| View::new(all, shape.length, shape.width, step);
        let (keys, values) = (view(&task.inputs.keys[start..]), view(&task.inputs.values[start..]));
        pack(keys, first, 0, shape.width, wide, &mut self.keys);
        pack(values, first, 0, shape.width, wide, &mut self.values);
        let count = KEYS.min(shape.length - first);
        let columns = &mut self.columns[..count * shape.width.next_multiple_of(wide)];
        pack(keys.transposed(), 0, first, count, wide, columns);
        self.key_gradients.fill(0.0);
        self.value_gradients.fill(0.0);
    }

    /// Adds a tile of queries to dk and dv.
    #[inline(always)]
    pub(super) fn add<S: Simd, const MR: usize>(
        &mut self,
        simd: S,
        scores: &Scores,
        queries: &Queries,
        tile: usize,
        rows: usize,
        width: usize,
    ) {
        let block = ROWS * width.next_multiple_of(MR);
        let columns = &queries.columns[tile * block..][..block / ROWS * rows];
        let upstream = &queries.upstream_columns[tile * block..][..block / ROWS * rows];
        add_products::<S, MR>(simd, columns, &scores.gradients, rows, width, &mut self.key_gradients);
        add_products::<S, MR>(simd, upstream, &scores.weights, rows, width, &mut self.value_gradients);
    }

    /// Adds a tile of keys to the gradient of the queries, [rows, h]; `left` keys are left in the row.
    #[inline(always)]
    pub(super) fn add_to_queries<S: Simd, const MR: usize>(
        &self,
        simd: S,
        scores: &Scores,
        out: &mut [f32],
        width: usize,
        left: usize,
    ) {
        let (wide, keys) = (NV * S::F32_LANES, KEYS.min(left));
        for (j, columns) in
            self.columns[..keys * width.next_multiple_of(wide)].chunks_exact(keys * wide).enumerate()
        {
            let columns = S::as_simd_f32s(columns).0;
            for (out, left) in out.chunks_mut(MR * width).zip(scores.packed.chunks_exact(MR * KEYS)) {
                let sums = multiply_panels::<S, MR, NV>(simd, &left[..MR * keys], columns);
                for (row, sums) in out.chunks_exact_mut(width).zip(sums) {
                    for (part, sum) in row[j * wide..].chunks_mut(S::F32_LANES).zip(sums) {
                        let sum = simd.add_f32s(simd.partial_load_f32s(part), sum);
                        simd.partial_store_f32s(part, sum);
                    }
                }
            }
        }
    }
}

/// Adds left panels of h rows times right panels [panel][rows][lanes] to `out`, [panel][h][lanes].
#[inline(always)]
fn add_products<S: Simd, const MR: usize>(
    simd: S,
    left: &[f32],
    right: &[f32],
    rows: usize,
    width: usize,
    out: &mut [f32],
) {
    let wide = NV * S::F32_LANES;
    for (right, out) in right.chunks_exact(ROWS * wide).zip(out.chunks_exact_mut(width * wide)) {
        let right = &S::as_simd_f32s(right).0[..rows * NV];
        let out = S::as_mut_simd_f32s(out).0;
        for (left, out) in left.chunks_exact(MR * rows).zip(out.chunks_mut(MR * NV)) {
            let sums = multiply_panels::<S, MR, NV>(simd, left, right);
            for (out, sum) in out.iter_mut().zip(sums.as_flattened()) {
                *out = simd.add_f32s(*out, *sum);
            }
        }
    }
}

/// Copies right panels [panel][h][lanes] to rows [keys, h].
pub(super) fn unpack(panels: &[f32], wide: usize, width: usize, out: &mut [f32]) {
    for (key, row) in out.chunks_exact_mut(width).enumerate() {
        let at = key / wide * width * wide + key % wide;
        for (i, value) in row.iter_mut().enumerate() {
            *value = panels[at + i * wide];
        }
    }
}
