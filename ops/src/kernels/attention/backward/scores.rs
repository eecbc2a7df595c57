//! Probabilities, and gradients of scores, of a tile of queries and a tile of keys.

use pulp::Simd;

use super::key_side::KeySide;
use super::queries::Queries;
use super::{NV, ROWS};
use crate::kernels::attention::KEYS;
use crate::kernels::attention::tiles::sees;
use crate::kernels::panels::multiply_panels;
use crate::kernels::vector::exp;

/// Two tiles [ROWS, KEYS] as right panels, [panel][ROWS][lanes]: probabilities and gradients of scores.
pub(super) struct Scores {
    pub(super) weights: Vec<f32>,
    pub(super) gradients: Vec<f32>,
    /// Gradients as left panels, [ROWS / MR][KEYS][MR].
    pub(super) packed: Vec<f32>,
}

impl Scores {
    pub(super) fn new() -> Self {
        let zeros = || vec![0.0; ROWS * KEYS];
        Self { weights: zeros(), gradients: zeros(), packed: zeros() }
    }

    /// Probabilities, and gradients of the scores, of a tile of queries and the keys from `first` on. `hidden(row)` gives the
    /// intervals of a row if not all keys are visible.
    #[inline(always)]
    #[expect(clippy::too_many_arguments, reason = "a tile is given by its queries, its keys and its place")]
    pub(super) fn compute<S: Simd, const MR: usize>(
        &mut self,
        simd: S,
        queries: &Queries,
        side: &KeySide,
        tile: usize,
        rows: usize,
        width: usize,
        first: usize,
        hidden: impl Fn(usize) -> Option<[i32; 4]>,
    ) {
        let wide = NV * S::F32_LANES;
        let left = tile * ROWS * width..(tile + 1) * ROWS * width;
        let (left_rows, upstream_rows) = (&queries.rows[left.clone()], &queries.upstream_rows[left]);
        for panel in 0..KEYS / wide {
            let keys = S::as_simd_f32s(&side.keys[panel * width * wide..][..width * wide]).0;
            let values = S::as_simd_f32s(&side.values[panel * width * wide..][..width * wide]).0;
            let at = panel * ROWS * wide;
            let weights = S::as_mut_simd_f32s(&mut self.weights[at..at + ROWS * wide]).0;
            let gradients = S::as_mut_simd_f32s(&mut self.gradients[at..at + ROWS * wide]).0;
            let panels = left_rows.chunks_exact(MR * width).zip(upstream_rows.chunks_exact(MR * width));
            let out = weights.chunks_exact_mut(MR * NV).zip(gradients.chunks_exact_mut(MR * NV));
            for ((query, upstream), (weights, gradients)) in panels.zip(out) {
                weights.copy_from_slice(multiply_panels::<S, MR, NV>(simd, query, keys).as_flattened());
                gradients
                    .copy_from_slice(multiply_panels::<S, MR, NV>(simd, upstream, values).as_flattened());
            }
            let lines =
                self.weights[at..].chunks_exact_mut(wide).zip(self.gradients[at..].chunks_exact_mut(wide));
            for (row, (weights, gradients)) in lines.take(rows).enumerate() {
                let [maximum, inverse, mean] = queries.statistics[tile * ROWS + row];
                if let Some(visible) = hidden(row) {
                    hide_row(weights, visible, first + panel * wide);
                }
                for (weight, gradient) in weights.iter_mut().zip(gradients) {
                    *weight = exp(*weight - maximum) * inverse;
                    *gradient = *weight * (*gradient - mean);
                }
            }
        }
    }

    /// Packs the gradients as left panels of rows.
    #[inline(always)]
    pub(super) fn pack_gradients(&mut self, wide: usize, height: usize) {
        for (panel, gradients) in self.gradients.chunks_exact(ROWS * wide).enumerate() {
            for (number, rows) in gradients.chunks_exact(height * wide).enumerate() {
                let out = &mut self.packed[number * height * KEYS + panel * wide * height..][..wide * height];
                for (r, row) in rows.chunks_exact(wide).enumerate() {
                    for (line, value) in out.chunks_exact_mut(height).zip(row) {
                        line[r] = *value;
                    }
                }
            }
        }
    }
}

/// Hides the keys from `first` on that a query does not see.
#[inline(always)]
fn hide_row(scores: &mut [f32], visible: [i32; 4], first: usize) {
    for (lane, score) in scores.iter_mut().enumerate() {
        *score = if sees(visible, (first + lane) as i32) { *score } else { f32::NEG_INFINITY };
    }
}
