//! The backward pass. Lanes are keys: the sums of dk and dv run down the rows of a tile of queries.
//!
//! A task owns one key head and a span of keys. It adds to its own copy of dq; the copies are then added in the order of
//! the spans.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::tiles::{Sight, find_sight};
use super::{Inputs, KEYS, Saved, Shape};
use crate::kernels::panels::{View, multiply_panels, pack};
use crate::kernels::vector::{dispatch, dot, exp};

/// Registers of lanes.
const NV: usize = 2;

/// Lanes of queries in a tile; the sums of dk and dv are cut at its multiples.
const ROWS: usize = 64;

/// Keys of one task.
const SPAN: usize = 32 * KEYS;

/// Gradients of queries, keys and values, shaped like them.
#[derive(Clone, Debug)]
pub(crate) struct Gradients {
    pub(crate) queries: Vec<f32>,
    pub(crate) keys: Vec<f32>,
    pub(crate) values: Vec<f32>,
}

/// Gradients of the inputs, given that of the output.
///
/// # Shapes
/// `upstream`: [B, L, H, h].
pub(crate) fn compute_gradients(inputs: &Inputs, output: &Saved, upstream: &[f32]) -> Gradients {
    let shape = inputs.shape;
    let spans = shape.length.div_ceil(SPAN);
    let tasks: Vec<(usize, usize)> =
        (0..shape.batch * shape.shared).flat_map(|i| (0..spans).map(move |s| (i, s))).collect();
    let parts: Vec<Part> = tasks
        .par_iter()
        .map(|&(number, span)| {
            let (b, head) = (number / shape.shared, number % shape.shared);
            let keys = span * SPAN..shape.length.min((span + 1) * SPAN);
            dispatch(Task { inputs, output, upstream, b, head, keys })
        })
        .collect();
    gather(&shape, &parts, spans)
}

/// Gradients of one task: those of the keys and values of its span, and what the span adds to those of the queries.
struct Part {
    /// [lanes, h], lanes being (token, head of the group).
    queries: Vec<f32>,
    /// [keys, h].
    keys: Vec<f32>,
    /// [keys, h].
    values: Vec<f32>,
}

/// Puts the parts, ordered by row, head and span, into whole tensors.
fn gather(shape: &Shape, parts: &[Part], spans: usize) -> Gradients {
    let (group, width, scale) = (shape.group(), shape.width, shape.scale());
    let mut queries = vec![0.0; shape.batch * shape.query_row()];
    queries.par_chunks_mut(shape.query_row()).enumerate().for_each(|(b, row)| {
        row.par_chunks_mut(group * width).enumerate().for_each(|(place, out)| {
            let (token, head) = (place / shape.shared, place % shape.shared);
            let parts = &parts[(b * shape.shared + head) * spans..][..spans];
            let lanes = token * group * width..(token + 1) * group * width;
            for (i, out) in out.iter_mut().enumerate() {
                *out = parts.iter().fold(0.0, |sum, part| sum + part.queries[lanes.start + i]) * scale;
            }
        });
    });
    let put = |of: fn(&Part) -> &[f32]| {
        let mut out = vec![0.0; shape.batch * shape.key_row()];
        out.par_chunks_mut(shape.key_row()).enumerate().for_each(|(b, row)| {
            for (place, out) in row.chunks_exact_mut(width).enumerate() {
                let (token, head) = (place / shape.shared, place % shape.shared);
                let part = &parts[(b * shape.shared + head) * spans + token / SPAN];
                out.copy_from_slice(&of(part)[token % SPAN * width..][..width]);
            }
        });
        out
    };
    Gradients { queries, keys: put(|part| &part.keys), values: put(|part| &part.values) }
}

/// One key head and a span of keys.
struct Task<'a> {
    inputs: &'a Inputs<'a>,
    output: &'a Saved<'a>,
    upstream: &'a [f32],
    b: usize,
    head: usize,
    keys: std::ops::Range<usize>,
}

impl WithSimd for Task<'_> {
    type Output = Part;
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Part {
        match S::REGISTER_COUNT {
            32.. => self.compute::<S, 8>(simd),
            _ => self.compute::<S, 4>(simd),
        }
    }
}

/// The query side of a task, in the order of lanes.
struct Queries {
    /// Scaled queries, left panels of rows: [lanes / MR][h][MR].
    rows: Vec<f32>,
    /// Upstream gradients, the same.
    upstream_rows: Vec<f32>,
    /// Scaled queries, left panels of columns for each tile: [tile][h / MR][ROWS][MR].
    columns: Vec<f32>,
    /// Upstream gradients, the same.
    upstream_columns: Vec<f32>,
    /// m, 1 / l and do . o of every lane.
    statistics: Vec<[f32; 3]>,
}

/// Two tiles [ROWS, KEYS] as right panels, [panel][ROWS][lanes]: probabilities and gradients of scores.
struct Scores {
    weights: Vec<f32>,
    gradients: Vec<f32>,
    /// Gradients as left panels, [ROWS / MR][KEYS][MR].
    packed: Vec<f32>,
}

impl Task<'_> {
    #[inline(always)]
    fn compute<S: Simd, const MR: usize>(self, simd: S) -> Part {
        let shape = self.inputs.shape;
        let (group, width, wide) = (shape.group(), shape.width, NV * S::F32_LANES);
        let lanes = shape.length * group;
        let queries = self.load_queries(MR);
        let visible = self.inputs.visible_row(self.b);
        let mut part = Part {
            queries: vec![0.0; lanes * width],
            keys: vec![0.0; self.keys.len() * width],
            values: vec![0.0; self.keys.len() * width],
        };
        let mut scores = Scores {
            weights: vec![0.0; ROWS * KEYS],
            gradients: vec![0.0; ROWS * KEYS],
            packed: vec![0.0; ROWS * KEYS],
        };
        let mut side = KeySide::new(width, wide);
        for first in self.keys.clone().step_by(KEYS) {
            side.load(&self, first, wide);
            for tile in 0..lanes.div_ceil(ROWS) {
                let rows = tile * ROWS..lanes.min((tile + 1) * ROWS);
                let tokens = rows.start / group..rows.end.div_ceil(group);
                let sight = find_sight(&visible[tokens], first);
                if sight == Sight::None {
                    continue;
                }
                let hidden = |row: usize| (sight == Sight::Some).then(|| visible[(rows.start + row) / group]);
                scores.compute::<S, MR>(simd, &queries, &side, tile, rows.len(), width, first, hidden);
                side.add::<S, MR>(simd, &scores, &queries, tile, rows.len(), width);
                scores.pack_gradients(wide, MR);
                let out = &mut part.queries[rows.start * width..rows.end * width];
                side.add_to_queries::<S, MR>(simd, &scores, out, width, shape.length - first);
            }
            let at = (first - self.keys.start) * width;
            let count = KEYS.min(self.keys.end - first);
            unpack(&side.key_gradients, wide, width, &mut part.keys[at..at + count * width]);
            unpack(&side.value_gradients, wide, width, &mut part.values[at..at + count * width]);
        }
        part
    }

    /// Packs the queries of the task's heads and their upstream gradients.
    #[inline(always)]
    fn load_queries(&self, height: usize) -> Queries {
        let shape = self.inputs.shape;
        let (group, width) = (shape.group(), shape.width);
        let (lanes, step) = (shape.length * group, shape.heads * width);
        let start = self.b * shape.query_row() + self.head * group * width;
        let collect = |all: &[f32], factor: f32| -> Vec<f32> {
            let rows = all[start..].chunks(step).take(shape.length);
            rows.flat_map(|row| &row[..group * width]).map(|x| x * factor).collect()
        };
        let scaled = collect(self.inputs.queries, shape.scale());
        let upstream = collect(self.upstream, 1.0);
        let mixed = collect(self.output.mixed, 1.0);
        let tiles = lanes.div_ceil(ROWS);
        let pack_rows = |values: &[f32]| {
            let mut out = vec![0.0; tiles * ROWS * width];
            pack(View::new(values, lanes, width, width), 0, 0, width, height, &mut out);
            out
        };
        let block = ROWS * width.next_multiple_of(height);
        let pack_columns = |values: &[f32]| {
            let mut out = vec![0.0; tiles * block];
            let view = View::new(values, lanes, width, width).transposed();
            for (tile, out) in out.chunks_exact_mut(block).enumerate() {
                let rows = ROWS.min(lanes - tile * ROWS);
                pack(view, 0, tile * ROWS, rows, height, &mut out[..block / ROWS * rows]);
            }
            out
        };
        let saved = &self.output.statistics[self.b * shape.length * shape.heads * 2..];
        let statistics = (0..lanes).map(|lane| {
            let place = lane / group * shape.heads + self.head * group + lane % group;
            let row = lane * width..(lane + 1) * width;
            [saved[place * 2], saved[place * 2 + 1], dot(&upstream[row.clone()], &mixed[row])]
        });
        Queries {
            statistics: statistics.collect(),
            rows: pack_rows(&scaled),
            upstream_rows: pack_rows(&upstream),
            columns: pack_columns(&scaled),
            upstream_columns: pack_columns(&upstream),
        }
    }
}

/// A tile of keys and values as right panels, and their gradients.
struct KeySide {
    /// k, [panel][h][lanes].
    keys: Vec<f32>,
    /// v, [panel][h][lanes].
    values: Vec<f32>,
    /// k, transposed: [panel of h][KEYS][lanes].
    columns: Vec<f32>,
    /// dk, [panel][h][lanes].
    key_gradients: Vec<f32>,
    /// dv, [panel][h][lanes].
    value_gradients: Vec<f32>,
}

impl KeySide {
    #[inline(always)]
    fn new(width: usize, wide: usize) -> Self {
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
    fn load(&mut self, task: &Task, first: usize, wide: usize) {
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
    fn add<S: Simd, const MR: usize>(
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
    fn add_to_queries<S: Simd, const MR: usize>(
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

impl Scores {
    /// Probabilities, and gradients of the scores, of a tile of queries and the keys from `first` on. `hidden(row)` gives the
    /// intervals of a row if not all keys are visible.
    #[inline(always)]
    #[expect(clippy::too_many_arguments, reason = "a tile is given by its queries, its keys and its place")]
    fn compute<S: Simd, const MR: usize>(
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
        let left = |panels: &'_ [f32]| panels[tile * ROWS * width..][..ROWS * width].to_vec();
        let (left_rows, upstream_rows) = (left(&queries.rows), left(&queries.upstream_rows));
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
    fn pack_gradients(&mut self, wide: usize, height: usize) {
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
fn hide_row(scores: &mut [f32], [a, b, c, d]: [i32; 4], first: usize) {
    for (lane, score) in scores.iter_mut().enumerate() {
        let key = (first + lane) as i32;
        let seen = ((a <= key) & (key < b)) | ((c <= key) & (key < d));
        *score = if seen { *score } else { f32::NEG_INFINITY };
    }
}

/// Copies right panels [panel][h][lanes] to rows [keys, h].
fn unpack(panels: &[f32], wide: usize, width: usize, out: &mut [f32]) {
    for (key, row) in out.chunks_exact_mut(width).enumerate() {
        let at = key / wide * width * wide + key % wide;
        for (i, value) in row.iter_mut().enumerate() {
            *value = panels[at + i * wide];
        }
    }
}
