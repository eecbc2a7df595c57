//! Rotary position embedding of heads.

use burn_backend::{DType, TensorMetadata};
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::launch::{count_units, empty, read, unit_per_value};

/// Turns pairs (x_i, x_(i + h/2)) by the angle of their token; `sign` -1 turns them back. Its transpose is its inverse, so
/// that is what the backward pass does.
#[cube(launch)]
fn turn_pairs(
    x: &[f32],
    cos: &[f32],
    sin: &[f32],
    y: &mut [f32],
    sign: f32,
    heads: usize,
    half: usize,
    angles: usize,
    pairs: usize,
) {
    let pair = ABSOLUTE_POS;
    if pair >= pairs {
        terminate!();
    }
    let head = pair / half;
    let i = pair % half;
    let token = (head / heads) % angles;
    let turn_cos = cos[token * half + i];
    let turn_sin = sin[token * half + i] * sign;
    let first = x[head * 2 * half + i];
    let second = x[head * 2 * half + half + i];
    y[head * 2 * half + i] = first * turn_cos - second * turn_sin;
    y[head * 2 * half + half + i] = second * turn_cos + first * turn_sin;
}

/// Turns every head by the angles of its token, forward or back.
///
/// # Shapes
/// `x`: [B, L, H, h]; `cos`, `sin`: [B or 1, L, h / 2].
pub(super) fn turn(x: &CubeTensor, [cos, sin]: [&CubeTensor; 2], sign: f32) -> CubeTensor {
    let [batch, length, heads, width] = x.shape().dims::<4>();
    let (half, pairs) = (width / 2, x.shape().num_elements() / 2);
    let y = empty(x, [batch, length, heads, width], DType::F32);
    let units = count_units(x);
    turn_pairs::launch(
        &x.client,
        unit_per_value(pairs, units),
        CubeDim::new_1d(units),
        read(x),
        read(cos),
        read(sin),
        y.clone().into_buffer_arg(),
        sign,
        heads,
        half,
        cos.shape().num_elements() / half,
        pairs,
    );
    y
}
