//! silu(gate) up, and its gradients.

use burn_backend::{DType, TensorMetadata};
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::launch::{count_units, empty, read, unit_per_value};

#[cube]
fn sigmoid(x: f32) -> f32 {
    1.0_f32 / (1.0_f32 + (-x).exp())
}

#[cube(launch)]
fn gate_values(gate: &[f32], up: &[f32], y: &mut [f32], count: usize) {
    let i = ABSOLUTE_POS;
    if i >= count {
        terminate!();
    }
    y[i] = gate[i] * sigmoid(gate[i]) * up[i];
}

/// d silu(g) / dg = s (1 + g (1 - s)), where s = sigmoid(g).
#[cube(launch)]
fn differentiate_values(
    gate: &[f32],
    up: &[f32],
    upstream: &[f32],
    d_gate: &mut [f32],
    d_up: &mut [f32],
    count: usize,
) {
    let i = ABSOLUTE_POS;
    if i >= count {
        terminate!();
    }
    let s = sigmoid(gate[i]);
    d_gate[i] = upstream[i] * up[i] * s * (1.0_f32 + gate[i] * (1.0_f32 - s));
    d_up[i] = upstream[i] * gate[i] * s;
}

/// silu(gate) up.
///
/// # Shapes
/// [N, n] each.
pub(super) fn gate(gate: &CubeTensor, up: &CubeTensor) -> CubeTensor {
    let (count, units) = (gate.shape().num_elements(), count_units(gate));
    let y = empty(gate, gate.shape().dims::<2>(), DType::F32);
    gate_values::launch(
        &gate.client,
        unit_per_value(count, units),
        CubeDim::new_1d(units),
        read(gate),
        read(up),
        y.clone().into_buffer_arg(),
        count,
    );
    y
}

/// Gradients of `gate` and `up`.
///
/// # Shapes
/// [N, n] each.
pub(super) fn differentiate(gate: &CubeTensor, up: &CubeTensor, upstream: &CubeTensor) -> [CubeTensor; 2] {
    let (count, units) = (gate.shape().num_elements(), count_units(gate));
    let gradients = [(); 2].map(|()| empty(gate, gate.shape().dims::<2>(), DType::F32));
    differentiate_values::launch(
        &gate.client,
        unit_per_value(count, units),
        CubeDim::new_1d(units),
        read(gate),
        read(up),
        read(upstream),
        gradients[0].clone().into_buffer_arg(),
        gradients[1].clone().into_buffer_arg(),
        count,
    );
    gradients
}
