//! The query side of a task: queries and upstream gradients, packed for both kinds of products.

use super::{ROWS, Task};
use crate::kernels::panels::{View, pack};
use crate::kernels::vector::{dot, vectorized};

/// The query side of a task, in the order of lanes.
pub(super) struct Queries {
    /// Scaled queries, left panels of rows: [lanes / MR][h][MR].
    pub(super) rows: Vec<f32>,
    /// Upstream gradients, the same.
    pub(super) upstream_rows: Vec<f32>,
    /// Scaled queries, left panels of columns for each tile: [tile][h / MR][ROWS][MR].
    pub(super) columns: Vec<f32>,
    /// Upstream gradients, the same.
    pub(super) upstream_columns: Vec<f32>,
    /// m, 1 / l and do . o of every lane.
    pub(super) statistics: Vec<[f32; 3]>,
}

impl Queries {
    /// Packs the queries of the task's heads and their upstream gradients.
    #[inline(always)]
    pub(super) fn load(task: &Task, height: usize) -> Self {
        let shape = task.inputs.shape;
        let (group, width) = (shape.group(), shape.width);
        let (lanes, step) = (shape.length * group, shape.heads * width);
        let start = task.b * shape.query_row() + task.head * group * width;
        let collect = |all: &[f32], factor: f32| -> Vec<f32> {
            let rows = all[start..].chunks(step).take(shape.length);
            rows.flat_map(|row| &row[..group * width]).map(|x| x * factor).collect()
        };
        let scaled = collect(task.inputs.queries, shape.scale());
        let upstream = collect(task.upstream, 1.0);
        let mixed = collect(task.output.mixed, 1.0);
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
        let products = dot_rows(&upstream, &mixed, width);
        let saved = &task.output.statistics[task.b * shape.length * shape.heads * 2..];
        let statistics = (0..lanes).map(|lane| {
            let place = lane / group * shape.heads + task.head * group + lane % group;
            [saved[place * 2], saved[place * 2 + 1], products[lane]]
        });
        Self {
            statistics: statistics.collect(),
            rows: pack_rows(&scaled),
            upstream_rows: pack_rows(&upstream),
            columns: pack_columns(&scaled),
            upstream_columns: pack_columns(&upstream),
        }
    }
}

vectorized! {
    /// The inner product of each row with the row of the other.
    fn dot_rows<'a>(x: &'a [f32], y: &'a [f32], width: usize) -> Vec<f32> {
        let mut products = vec![0.0; x.len() / width];
        for ((product, x), y) in products.iter_mut().zip(x.chunks_exact(width)).zip(y.chunks_exact(width)) {
            *product = dot(x, y);
        }
        products
    }
}
