//! One update of AdamW, in one pass over values, gradient and moments.

use burn_backend::{DType, TensorMetadata};
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::launch::{add_up, count_units, empty, read};
use crate::adamw::AdamWRates;

/// The most cubes that share a tensor, and so the most partial sums that the host adds.
const MOST_CUBES: usize = 512;

/// Changes values and moments in place.
#[cube(launch)]
fn update_part(
    gradient: &[f32],
    values: &mut [f32],
    first: &mut [f32],
    second: &mut [f32],
    squares: &mut [f32],
    scale: f32,
    beta1: f32,
    rest1: f32,
    beta2: f32,
    rest2: f32,
    root: f32,
    epsilon: f32,
    rate: f32,
    keep: f32,
    count: usize,
    #[comptime] units: u32,
) {
    let mut shared = Shared::new_slice(units as usize);
    let mut changes = 0.0_f32;
    let mut before = 0.0_f32;
    let mut i = ABSOLUTE_POS;
    while i < count {
        let g = gradient[i] * scale;
        let m = first[i] * beta1 + g * rest1;
        let v = second[i] * beta2 + g * g * rest2;
        let old = values[i];
        let new = old * keep - m / (v.sqrt() * root + epsilon) * rate;
        first[i] = m;
        second[i] = v;
        values[i] = new;
        let change = new - old;
        changes += change * change;
        before += old * old;
        i += CUBE_COUNT * CUBE_DIM as usize;
    }
    let all_changes = add_up(changes, &mut shared);
    let all_before = add_up(before, &mut shared);
    if UNIT_POS == 0 {
        squares[CUBE_POS * 2] = all_changes;
        squares[CUBE_POS * 2 + 1] = all_before;
    }
}

#[cube(launch)]
fn add_squares(x: &[f32], sums: &mut [f32], count: usize, #[comptime] units: u32) {
    let mut shared = Shared::new_slice(units as usize);
    let mut sum = 0.0_f32;
    let mut i = ABSOLUTE_POS;
    while i < count {
        sum += x[i] * x[i];
        i += CUBE_COUNT * CUBE_DIM as usize;
    }
    let total = add_up(sum, &mut shared);
    if UNIT_POS == 0 {
        sums[CUBE_POS] = total;
    }
}

/// A function of the size alone, so that sums have one order on one kind of device.
fn count_cubes(count: usize, units: u32) -> usize {
    count.div_ceil(units as usize).clamp(1, MOST_CUBES)
}

fn cubes(count: usize) -> CubeCount {
    CubeCount::Static(count as u32, 1, 1)
}

/// A tensor that this update may change: the given one if nobody else holds it.
fn own(x: CubeTensor) -> CubeTensor {
    let x = burn_cubecl::kernel::into_contiguous(x);
    if x.can_mut() { x } else { x.copy() }
}

/// New values, new moments, and sums of the squares of the change and of the old values in turn.
///
/// # Shapes
/// `[n]` each.
pub(super) fn update(
    values: CubeTensor,
    gradient: &CubeTensor,
    moments: [CubeTensor; 2],
    rates: &AdamWRates,
) -> [CubeTensor; 4] {
    let (count, units) = (values.shape().num_elements(), count_units(&values));
    let cube_count = count_cubes(count, units);
    let squares = empty(&values, [2 * cube_count], DType::F32);
    let [first, second] = moments.map(own);
    let values = own(values);
    update_part::launch(
        &values.client,
        cubes(cube_count),
        CubeDim::new_1d(units),
        read(gradient),
        values.clone().into_buffer_arg(),
        first.clone().into_buffer_arg(),
        second.clone().into_buffer_arg(),
        squares.clone().into_buffer_arg(),
        rates.scale,
        rates.first[0],
        rates.first[1],
        rates.second[0],
        rates.second[1],
        rates.root,
        rates.epsilon,
        rates.rate,
        rates.keep,
        count,
        units,
    );
    [values, first, second, squares]
}

/// Partial sums of squares.
///
/// # Shapes
/// `x`: `[n]`; returns a vector.
pub(super) fn sum_squares(x: &CubeTensor) -> CubeTensor {
    let (count, units) = (x.shape().num_elements(), count_units(x));
    let cube_count = count_cubes(count, units);
    let sums = empty(x, [cube_count], DType::F32);
    add_squares::launch(
        &x.client,
        cubes(cube_count),
        CubeDim::new_1d(units),
        read(x),
        sums.clone().into_buffer_arg(),
        count,
        units,
    );
    sums
}
