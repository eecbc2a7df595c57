//! What the kernels share: units that work on one row together, and new tensors.

use burn_backend::{DType, Shape};
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

/// The most units that work on one row.
const MOST_UNITS: u32 = 256;

/// How many units work on one row together: a power of two, so that they add up in pairs.
pub(super) fn count_units(x: &CubeTensor) -> u32 {
    let most = x.client.properties().hardware.max_units_per_cube.clamp(1, MOST_UNITS);
    1 << most.ilog2()
}

/// As many cubes as there are rows.
pub(super) fn cube_per_row(rows: usize) -> CubeCount {
    CubeCount::Static(rows as u32, 1, 1)
}

/// As many cubes as it takes to give every value a unit.
pub(super) fn unit_per_value(values: usize, units: u32) -> CubeCount {
    CubeCount::Static(values.div_ceil(units as usize) as u32, 1, 1)
}

/// A tensor on the device of `like`, without values.
pub(super) fn empty<const D: usize>(like: &CubeTensor, shape: [usize; D], dtype: DType) -> CubeTensor {
    empty_device_contiguous_dtype(like.client.clone(), like.device.clone(), Shape::from(shape), dtype)
}

/// The values in order, as an argument of a kernel.
pub(super) fn read(x: &CubeTensor) -> BufferArg {
    into_contiguous(x.clone()).into_buffer_arg()
}

/// The sum of `value` over the units of a cube, known to all of them. Pairs are added in a fixed order.
#[cube]
pub(super) fn add_up(value: f32, shared: &mut Shared<[f32]>) -> f32 {
    shared[UNIT_POS as usize] = value;
    sync_cube();
    let mut step = CUBE_DIM / 2;
    while step > 0 {
        if UNIT_POS < step {
            let other = shared[(UNIT_POS + step) as usize];
            shared[UNIT_POS as usize] += other;
        }
        sync_cube();
        step /= 2;
    }
    let total = shared[0];
    sync_cube();
    total
}

/// The largest `value` of the units of a cube, known to all of them.
#[cube]
pub(super) fn find_largest(value: f32, shared: &mut Shared<[f32]>) -> f32 {
    shared[UNIT_POS as usize] = value;
    sync_cube();
    let mut step = CUBE_DIM / 2;
    while step > 0 {
        if UNIT_POS < step {
            let other = shared[(UNIT_POS + step) as usize];
            let own = shared[UNIT_POS as usize];
            shared[UNIT_POS as usize] = max(own, other);
        }
        sync_cube();
        step /= 2;
    }
    let largest = shared[0];
    sync_cube();
    largest
}
