//! The head and its loss: the logits of some positions at a time, a kernel for their rows, and the products of their gradient.

use burn_backend::cubecl::dtype_to_elem_type;
use burn_backend::ops::FloatTensorOps;
use burn_backend::{DType, TensorMetadata};
use burn_cubecl::CubeBackend;
use burn_cubecl::tensor::CubeTensor;
use cubecl::ir::ElemType;
use cubecl::prelude::*;

use super::launch::{add_up, count_units, cube_per_row, empty, find_largest, read};
use super::product::{factor_type, multiply, narrow, round, transpose};
use crate::Precision;

/// The most logits that exist at once, in values: 1 GiB of f32.
const LOGIT_VALUES: usize = 1 << 28;

/// Tokens and factors of the loss, `[n]` each.
#[derive(Clone, Debug)]
pub(super) struct TermTensors {
    /// i32.
    pub(super) targets: CubeTensor,
    /// i32.
    pub(super) present: CubeTensor,
    pub(super) cross_entropy: CubeTensor,
    pub(super) probability: CubeTensor,
}

impl TermTensors {
    fn narrow(&self, first: usize, count: usize) -> Self {
        let part = |x: &CubeTensor| narrow(x, 0, first, count);
        Self {
            targets: part(&self.targets),
            present: part(&self.present),
            cross_entropy: part(&self.cross_entropy),
            probability: part(&self.probability),
        }
    }
}

/// What a position's logits give: (max, ln of the sum of exponentials above it).
#[cube]
fn sum_row(logits: &[f32], start: usize, width: usize, shared: &mut Shared<[f32]>) -> (f32, f32) {
    let mut largest = logits[start];
    let mut j = UNIT_POS as usize;
    while j < width {
        largest = max(largest, logits[start + j]);
        j += CUBE_DIM as usize;
    }
    let largest = find_largest(largest, shared);
    let mut sum = 0.0_f32;
    let mut j = UNIT_POS as usize;
    while j < width {
        sum += (logits[start + j] - largest).exp();
        j += CUBE_DIM as usize;
    }
    let total = add_up(sum, shared);
    (largest, total.ln())
}

#[cube(launch)]
fn measure_row(
    logits: &[f32],
    targets: &[i32],
    present: &[i32],
    losses: &mut [f32],
    probabilities: &mut [f32],
    width: usize,
    #[comptime] units: u32,
) {
    let mut shared = Shared::new_slice(units as usize);
    let row = CUBE_POS_X as usize;
    let start = row * width;
    let (largest, rest) = sum_row(logits, start, width, &mut shared);
    if UNIT_POS == 0 {
        let target = usize::cast_from(targets[row]);
        let token = usize::cast_from(present[row]);
        losses[row] = rest - (logits[start + target] - largest);
        probabilities[row] = (logits[start + token] - largest - rest).exp();
    }
}

/// As `measure_row`, with the gradient of a CE + b p(x): q_j (a - b p(x)) - a [j = target] + b p(x) [j = x], q = softmax.
#[cube(launch)]
fn differentiate_row<O: Float>(
    logits: &[f32],
    targets: &[i32],
    present: &[i32],
    cross_entropy: &[f32],
    probability: &[f32],
    losses: &mut [f32],
    probabilities: &mut [f32],
    gradient: &mut [O],
    width: usize,
    #[comptime] units: u32,
    #[define(O)] _out: ElemType,
) {
    let mut shared = Shared::new_slice(units as usize);
    let row = CUBE_POS_X as usize;
    let start = row * width;
    let (largest, rest) = sum_row(logits, start, width, &mut shared);
    let target = usize::cast_from(targets[row]);
    let token = usize::cast_from(present[row]);
    let found = (logits[start + token] - largest - rest).exp();
    let own = cross_entropy[row];
    let pull = probability[row] * found;
    let mut j = UNIT_POS as usize;
    while j < width {
        let mut value = (logits[start + j] - largest - rest).exp() * (own - pull);
        if j == target {
            value -= own;
        }
        if j == token {
            value += pull;
        }
        gradient[start + j] = O::cast_from(value);
        j += CUBE_DIM as usize;
    }
    if UNIT_POS == 0 {
        losses[row] = rest - (logits[start + target] - largest);
        probabilities[row] = found;
    }
}

/// Ranges of positions, (first, count), whose logits fit.
fn split_positions(positions: usize, vocabulary: usize) -> impl Iterator<Item = (usize, usize)> {
    let size = (LOGIT_VALUES / vocabulary).max(1);
    (0..positions).step_by(size).map(move |first| (first, size.min(positions - first)))
}

fn measure_logits(logits: &CubeTensor, [targets, present]: [&CubeTensor; 2]) -> [CubeTensor; 2] {
    let ([rows, width], units) = (logits.shape().dims::<2>(), count_units(logits));
    let found = [(); 2].map(|()| empty(logits, [rows], DType::F32));
    measure_row::launch(
        &logits.client,
        cube_per_row(rows),
        CubeDim::new_1d(units),
        read(logits),
        read(targets),
        read(present),
        found[0].clone().into_buffer_arg(),
        found[1].clone().into_buffer_arg(),
        width,
        units,
    );
    found
}

/// Losses, p(x), and the gradient of the logits in `dtype`.
///
/// # Shapes
/// `logits`: [n, V].
pub(super) fn differentiate_logits(
    logits: &CubeTensor,
    terms: &TermTensors,
    dtype: DType,
) -> [CubeTensor; 3] {
    let ([rows, width], units) = (logits.shape().dims::<2>(), count_units(logits));
    let [losses, probabilities] = [(); 2].map(|()| empty(logits, [rows], DType::F32));
    let gradient = empty(logits, [rows, width], dtype);
    differentiate_row::launch(
        &logits.client,
        cube_per_row(rows),
        CubeDim::new_1d(units),
        read(logits),
        read(&terms.targets),
        read(&terms.present),
        read(&terms.cross_entropy),
        read(&terms.probability),
        losses.clone().into_buffer_arg(),
        probabilities.clone().into_buffer_arg(),
        gradient.clone().into_buffer_arg(),
        width,
        units,
        dtype_to_elem_type(dtype),
    );
    [losses, probabilities, gradient]
}

/// Losses and p(x) at every position.
///
/// # Shapes
/// `hidden`: [n, D], `head`: [V, D], `targets` and `present`: `[n]`, i32.
pub(super) fn measure(
    hidden: &CubeTensor,
    head: &CubeTensor,
    [targets, present]: [&CubeTensor; 2],
    precision: Precision,
) -> [CubeTensor; 2] {
    let (hidden, head) = (round(hidden, precision), transpose(round(head, precision)));
    let (mut losses, mut probabilities) = (Vec::new(), Vec::new());
    for (first, count) in split_positions(hidden.shape()[0], head.shape()[1]) {
        let logits = multiply(narrow(&hidden, 0, first, count), head.clone());
        let part = |x: &CubeTensor| narrow(x, 0, first, count);
        let [own_losses, own] = measure_logits(&logits, [&part(targets), &part(present)]);
        losses.push(own_losses);
        probabilities.push(own);
    }
    [losses, probabilities].map(|parts| CubeBackend::float_cat(parts, 0))
}

/// Losses, p(x), and the gradients of hidden states and, if it is `trained`, of the head.
///
/// # Shapes
/// `hidden`: [n, D], `head`: [V, D].
pub(super) fn differentiate(
    hidden: &CubeTensor,
    head: &CubeTensor,
    terms: &TermTensors,
    precision: Precision,
    trained: bool,
) -> ([CubeTensor; 3], Option<CubeTensor>) {
    let (hidden, head) = (round(hidden, precision), round(head, precision));
    let mut parts: [Vec<CubeTensor>; 3] = Default::default();
    let mut sum: Option<CubeTensor> = None;
    for (first, count) in split_positions(hidden.shape()[0], head.shape()[0]) {
        let rows = narrow(&hidden, 0, first, count);
        let logits = multiply(rows.clone(), transpose(head.clone()));
        let own_terms = terms.narrow(first, count);
        let [losses, probabilities, gradient] =
            differentiate_logits(&logits, &own_terms, factor_type(precision));
        drop(logits);
        if trained {
            let own = multiply(transpose(gradient.clone()), rows);
            sum = Some(match sum {
                Some(sum) => CubeBackend::float_add(sum, own),
                None => own,
            });
        }
        let hidden = multiply(gradient, head.clone());
        for (all, part) in parts.iter_mut().zip([losses, probabilities, hidden]) {
            all.push(part);
        }
    }
    (parts.map(|parts| CubeBackend::float_cat(parts, 0)), sum)
}
