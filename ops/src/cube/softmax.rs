//! Rows of attention between its products: from scores to probabilities, and back.

use burn_backend::cubecl::dtype_to_elem_type;
use burn_backend::{DType, TensorMetadata};
use burn_cubecl::tensor::CubeTensor;
use cubecl::ir::ElemType;
use cubecl::prelude::*;

use super::launch::{add_up, count_units, cube_per_row, empty, find_largest, read};

/// Less than any score.
const LOWEST: f32 = -3.0e38;

/// Which query a row of scores belongs to, and which keys its columns are.
#[derive(Clone, Copy, Debug)]
pub(super) struct QueryTile {
    /// The first query.
    pub(super) first: usize,
    /// Queries of the tile: rows of scores repeat them for every head.
    pub(super) count: usize,
    /// The key of the first column.
    pub(super) from: usize,
    /// Keys of the tile.
    pub(super) width: usize,
    /// Queries of the whole row.
    pub(super) length: usize,
    /// Rows of scores of one row of the batch: H times `count`.
    pub(super) rows_of_one: usize,
    /// Rows of intervals: 1, or those of the batch.
    pub(super) interval_rows: usize,
}

/// The place of the intervals of the query of this cube.
#[cube]
fn find_bounds(first: usize, count: usize, length: usize, rows_of_one: usize, interval_rows: usize) -> usize {
    let row = CUBE_POS_X as usize;
    let query = first + row % count;
    let member = (row / rows_of_one) % interval_rows;
    4 * (member * length + query)
}

#[cube]
fn is_visible(bounds: &[i32], at: usize, key: usize) -> bool {
    let key = i32::cast_from(key);
    (key >= bounds[at] && key < bounds[at + 1]) || (key >= bounds[at + 2] && key < bounds[at + 3])
}

/// Probabilities of one row, and max + ln(sum) of its scaled scores; 0 where the query sees nothing.
#[cube(launch)]
fn exponentiate_row<O: Float>(
    scores: &[f32],
    bounds: &[i32],
    probabilities: &mut [O],
    statistics: &mut [f32],
    scale: f32,
    lowest: f32,
    first: usize,
    count: usize,
    from: usize,
    width: usize,
    length: usize,
    rows_of_one: usize,
    interval_rows: usize,
    #[comptime] units: u32,
    #[define(O)] _out: ElemType,
) {
    let mut shared = Shared::new_slice(units as usize);
    let at = find_bounds(first, count, length, rows_of_one, interval_rows);
    let start = CUBE_POS_X as usize * width;
    let mut largest = lowest;
    let mut j = UNIT_POS as usize;
    while j < width {
        if is_visible(bounds, at, from + j) {
            largest = max(largest, scores[start + j] * scale);
        }
        j += CUBE_DIM as usize;
    }
    let largest = find_largest(largest, &mut shared);
    let mut sum = 0.0_f32;
    let mut j = UNIT_POS as usize;
    while j < width {
        if is_visible(bounds, at, from + j) {
            sum += (scores[start + j] * scale - largest).exp();
        }
        j += CUBE_DIM as usize;
    }
    let sum = add_up(sum, &mut shared);
    let mut j = UNIT_POS as usize;
    while j < width {
        let mut probability = 0.0_f32;
        if is_visible(bounds, at, from + j) {
            probability = (scores[start + j] * scale - largest).exp() / sum;
        }
        probabilities[start + j] = O::cast_from(probability);
        j += CUBE_DIM as usize;
    }
    if UNIT_POS == 0 {
        let mut found = 0.0_f32;
        if sum > 0.0_f32 {
            found = largest + sum.ln();
        }
        statistics[CUBE_POS_X as usize] = found;
    }
}

/// Gradients of one row's scores: p (dp - sum(p dp)) scale, and its probabilities p again.
#[cube(launch)]
fn differentiate_row<O: Float>(
    scores: &[f32],
    upstream: &[f32],
    statistics: &[f32],
    bounds: &[i32],
    probabilities: &mut [O],
    gradients: &mut [O],
    scale: f32,
    first: usize,
    count: usize,
    from: usize,
    width: usize,
    length: usize,
    rows_of_one: usize,
    interval_rows: usize,
    #[comptime] units: u32,
    #[define(O)] _out: ElemType,
) {
    let mut shared = Shared::new_slice(units as usize);
    let at = find_bounds(first, count, length, rows_of_one, interval_rows);
    let start = CUBE_POS_X as usize * width;
    let statistic = statistics[CUBE_POS_X as usize];
    let mut product = 0.0_f32;
    let mut j = UNIT_POS as usize;
    while j < width {
        if is_visible(bounds, at, from + j) {
            product += (scores[start + j] * scale - statistic).exp() * upstream[start + j];
        }
        j += CUBE_DIM as usize;
    }
    let mean = add_up(product, &mut shared);
    let mut j = UNIT_POS as usize;
    while j < width {
        let mut probability = 0.0_f32;
        let mut gradient = 0.0_f32;
        if is_visible(bounds, at, from + j) {
            probability = (scores[start + j] * scale - statistic).exp();
            gradient = probability * (upstream[start + j] - mean) * scale;
        }
        probabilities[start + j] = O::cast_from(probability);
        gradients[start + j] = O::cast_from(gradient);
        j += CUBE_DIM as usize;
    }
}

/// Probabilities, and the statistics of the rows.
///
/// # Shapes
/// `scores`: [B K, G, S] of the tile's S keys; `bounds`: row-major [B or 1, L, 4]; returns [B K, G, S] and [B K G].
pub(super) fn exponentiate(
    scores: CubeTensor,
    bounds: &CubeTensor,
    tile: QueryTile,
    scale: f64,
    dtype: DType,
) -> (CubeTensor, CubeTensor) {
    let (shape, units) = (scores.shape().dims::<3>(), count_units(&scores));
    let rows = shape[0] * shape[1];
    let (found, statistics) = (empty(&scores, shape, dtype), empty(&scores, [rows], DType::F32));
    exponentiate_row::launch(
        &scores.client,
        cube_per_row(rows),
        CubeDim::new_1d(units),
        read(&scores),
        read(bounds),
        found.clone().into_buffer_arg(),
        statistics.clone().into_buffer_arg(),
        scale as f32,
        LOWEST,
        tile.first,
        tile.count,
        tile.from,
        tile.width,
        tile.length,
        tile.rows_of_one,
        tile.interval_rows,
        units,
        dtype_to_elem_type(dtype),
    );
    (found, statistics)
}

/// Probabilities and gradients of scores, given the gradient of the probabilities.
///
/// # Shapes
/// `scores`, `upstream`: [B K, G, S]; `statistics`: [B K G].
pub(super) fn differentiate(
    [scores, upstream, statistics, bounds]: [&CubeTensor; 4],
    tile: QueryTile,
    scale: f64,
    dtype: DType,
) -> [CubeTensor; 2] {
    let (shape, units) = (scores.shape().dims::<3>(), count_units(scores));
    let found = [(); 2].map(|()| empty(scores, shape, dtype));
    differentiate_row::launch(
        &scores.client,
        cube_per_row(shape[0] * shape[1]),
        CubeDim::new_1d(units),
        read(scores),
        read(upstream),
        read(statistics),
        read(bounds),
        found[0].clone().into_buffer_arg(),
        found[1].clone().into_buffer_arg(),
        scale as f32,
        tile.first,
        tile.count,
        tile.from,
        tile.width,
        tile.length,
        tile.rows_of_one,
        tile.interval_rows,
        units,
        dtype_to_elem_type(dtype),
    );
    found
}
