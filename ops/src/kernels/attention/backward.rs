//! The backward pass. Lanes are keys: the sums of dk and dv run down the rows of a tile of queries.
//!
//! A task owns one key head and a span of keys. It adds to its own copy of dq; the copies are then added in the order of
//! the spans.

mod key_side;
mod queries;
mod scores;

use pulp::{Arch, Simd, WithSimd};

use key_side::KeySide;
use queries::Queries;
use scores::Scores;

use super::tiles::{Sight, find_sight};
use super::{Inputs, KEYS, Saved, Shape};
use crate::kernels::tasks;

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
pub(crate) fn compute_gradients(arch: Arch, inputs: &Inputs, output: &Saved, upstream: &[f32]) -> Gradients {
    let shape = inputs.shape;
    assert_eq!(shape.length, shape.keys, "only attention within a row is differentiated, and a cache is not");
    let spans = shape.length.div_ceil(SPAN);
    let pairs = (0..shape.batch * shape.shared).flat_map(|i| (0..spans).map(move |span| (i, span)));
    let parts = tasks::map(2 * shape.cost(), pairs, |(number, span)| {
        let (b, head) = (number / shape.shared, number % shape.shared);
        let keys = span * SPAN..shape.length.min((span + 1) * SPAN);
        arch.dispatch(Task { inputs, output, upstream, b, head, keys })
    });
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
    tasks::run(queries.len(), queries.chunks_mut(shape.query_row()).enumerate(), |(b, row)| {
        for (place, out) in row.chunks_exact_mut(group * width).enumerate() {
            let (token, head) = (place / shape.shared, place % shape.shared);
            let parts = &parts[(b * shape.shared + head) * spans..][..spans];
            for part in parts {
                for (out, value) in out.iter_mut().zip(&part.queries[token * group * width..]) {
                    *out += value;
                }
            }
            out.iter_mut().for_each(|out| *out *= scale);
        }
    });
    let put = |of: fn(&Part) -> &[f32]| {
        let mut out = vec![0.0; shape.batch * shape.key_row()];
        tasks::run(out.len(), out.chunks_mut(shape.key_row()).enumerate(), |(b, row)| {
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

impl Task<'_> {
    #[inline(always)]
    fn compute<S: Simd, const MR: usize>(self, simd: S) -> Part {
        let shape = self.inputs.shape;
        let (group, width, wide) = (shape.group(), shape.width, NV * S::F32_LANES);
        let lanes = shape.length * group;
        let queries = Queries::load(&self, MR);
        let visible = self.inputs.visible_row(self.b);
        let mut part = Part {
            queries: vec![0.0; lanes * width],
            keys: vec![0.0; self.keys.len() * width],
            values: vec![0.0; self.keys.len() * width],
        };
        let mut scores = Scores::new();
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
            key_side::unpack(&side.key_gradients, wide, width, &mut part.keys[at..at + count * width]);
            key_side::unpack(&side.value_gradients, wide, width, &mut part.values[at..at + count * width]);
        }
        part
    }
}
