//! RMSNorm of rows, and its gradients.

use burn_backend::ops::FloatTensorOps;
use burn_backend::{DType, Shape, TensorMetadata};
use burn_cubecl::CubeBackend;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::launch::{add_up, count_units, cube_per_row, empty, read};

/// Rows whose parts of the weight's gradient are added by one unit, unless there are very many.
const ROWS_OF_PART: usize = 64;

/// The most parts: a grid of CUDA has at most 65,535 cubes along its second axis.
const MOST_PARTS: usize = 1 << 15;

#[cube(launch)]
fn normalize_row(
    x: &[f32],
    weight: &[f32],
    y: &mut [f32],
    scales: &mut [f32],
    eps: f32,
    width: usize,
    #[comptime] units: u32,
) {
    let mut shared = Shared::new_slice(units as usize);
    let start = CUBE_POS_X as usize * width;
    let mut squares = 0.0_f32;
    let mut i = UNIT_POS as usize;
    while i < width {
        let value = x[start + i];
        squares += value * value;
        i += CUBE_DIM as usize;
    }
    let mean = add_up(squares, &mut shared) / f32::cast_from(width);
    let scale = 1.0_f32 / (mean + eps).sqrt();
    let mut i = UNIT_POS as usize;
    while i < width {
        y[start + i] = x[start + i] * scale * weight[i];
        i += CUBE_DIM as usize;
    }
    if UNIT_POS == 0 {
        scales[CUBE_POS_X as usize] = scale;
    }
}

/// dx = s (w dy - x s mean(w dy x s)), where s = 1 / sqrt(mean(x^2) + eps).
#[cube(launch)]
fn differentiate_row(
    x: &[f32],
    weight: &[f32],
    scales: &[f32],
    upstream: &[f32],
    dx: &mut [f32],
    width: usize,
    #[comptime] units: u32,
) {
    let mut shared = Shared::new_slice(units as usize);
    let start = CUBE_POS_X as usize * width;
    let scale = scales[CUBE_POS_X as usize];
    let mut product = 0.0_f32;
    let mut i = UNIT_POS as usize;
    while i < width {
        product += weight[i] * upstream[start + i] * x[start + i] * scale;
        i += CUBE_DIM as usize;
    }
    let mean = add_up(product, &mut shared) / f32::cast_from(width);
    let mut i = UNIT_POS as usize;
    while i < width {
        dx[start + i] = scale * (weight[i] * upstream[start + i] - x[start + i] * scale * mean);
        i += CUBE_DIM as usize;
    }
}

/// Sums of dy x s over some rows, for every column.
#[cube(launch)]
fn add_weight_gradients(
    x: &[f32],
    scales: &[f32],
    upstream: &[f32],
    parts: &mut [f32],
    width: usize,
    rows: usize,
    rows_of_part: usize,
) {
    let column = ABSOLUTE_POS_X as usize;
    let first = CUBE_POS_Y as usize * rows_of_part;
    if column >= width {
        terminate!();
    }
    let last = min(first + rows_of_part, rows);
    let mut sum = 0.0_f32;
    for row in first..last {
        sum += upstream[row * width + column] * x[row * width + column] * scales[row];
    }
    parts[CUBE_POS_Y as usize * width + column] = sum;
}

/// Normalized rows, and the scale of every row.
///
/// # Shapes
/// `x`: [..., n], `weight`: `[n]`.
pub(super) fn normalize(x: &CubeTensor, weight: &CubeTensor, eps: f64) -> (CubeTensor, CubeTensor) {
    let width = weight.shape()[0];
    let rows = x.shape().num_elements() / width;
    let (y, scales) = (empty(x, [rows, width], DType::F32), empty(x, [rows], DType::F32));
    let units = count_units(x);
    normalize_row::launch(
        &x.client,
        cube_per_row(rows),
        CubeDim::new_1d(units),
        read(x),
        read(weight),
        y.clone().into_buffer_arg(),
        scales.clone().into_buffer_arg(),
        eps as f32,
        width,
        units,
    );
    (CubeBackend::float_reshape(y, x.shape()), scales)
}

/// Gradients of `x` and of the weight.
///
/// # Shapes
/// `x`, `upstream`: [..., n], `weight`: `[n]`, `scales`: one per row.
pub(super) fn differentiate([x, weight, scales, upstream]: [&CubeTensor; 4]) -> [CubeTensor; 2] {
    let width = weight.shape()[0];
    let rows = x.shape().num_elements() / width;
    let dx = empty(x, [rows, width], DType::F32);
    let units = count_units(x);
    differentiate_row::launch(
        &x.client,
        cube_per_row(rows),
        CubeDim::new_1d(units),
        read(x),
        read(weight),
        read(scales),
        read(upstream),
        dx.clone().into_buffer_arg(),
        width,
        units,
    );
    [CubeBackend::float_reshape(dx, x.shape()), differentiate_weight([x, scales, upstream], rows, width)]
}

fn differentiate_weight([x, scales, upstream]: [&CubeTensor; 3], rows: usize, width: usize) -> CubeTensor {
    let rows_of_part = ROWS_OF_PART.max(rows.div_ceil(MOST_PARTS));
    let count = rows.div_ceil(rows_of_part);
    let parts = empty(x, [count, width], DType::F32);
    let units = count_units(x);
    add_weight_gradients::launch(
        &x.client,
        CubeCount::Static(width.div_ceil(units as usize) as u32, count as u32, 1),
        CubeDim::new_1d(units),
        read(x),
        read(scales),
        read(upstream),
        parts.clone().into_buffer_arg(),
        width,
        rows,
        rows_of_part,
    );
    CubeBackend::float_reshape(CubeBackend::float_sum_dim(parts, 0), Shape::from([width]))
}
