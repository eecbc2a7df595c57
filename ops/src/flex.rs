//! The operations on tensors of the CPU: unpacks them into slices, calls the kernels, and wraps what they return.

mod training;
use std::sync::Arc;

use burn_backend::tensor::FloatTensor;
use burn_backend::{Shape as TensorShape, TensorData, TensorMetadata};
use burn_flex::{Flex, FlexTensor};
use pulp::Arch;

use crate::extension::{AttentionInputs, FrozenOps, Kernels, TurnInputs, forward_through_kernels};
use crate::kernels::attention::{self, Inputs, Output, Shape};
use crate::kernels::panels::View;
use crate::kernels::product::{PackedMatrix, multiply, multiply_packed};
use crate::kernels::rounding::copy_as_bf16;
use crate::kernels::{gated, rms_norm, rotary};
use crate::{Intervals, Precision};

/// A tensor whose values lie in order.
struct Values(FlexTensor);

impl Values {
    fn new(x: &FlexTensor) -> Self {
        Self(x.to_contiguous())
    }

    /// As [`Values::new`], rounded. A product that rounds while it packs needs no such copy.
    fn rounded(x: &FlexTensor, precision: Precision) -> Self {
        let values = Self::new(x);
        match precision {
            Precision::F32 => values,
            Precision::Bf16 => Self(wrap(copy_as_bf16(values.slice()), x.shape())),
        }
    }

    fn slice(&self) -> &[f32] {
        let start = self.0.layout().start_offset();
        &self.0.storage::<f32>()[start..start + self.0.layout().num_elements()]
    }
}

fn wrap(values: Vec<f32>, shape: TensorShape) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, shape))
}

/// Inputs of attention as slices.
struct AttentionSlices {
    shape: Shape,
    queries: Values,
    keys: Values,
    values: Values,
    visible: Intervals,
}

impl AttentionSlices {
    fn new(inputs: &AttentionInputs<Flex>) -> Self {
        let (shape, keys) = (inputs.queries.shape(), inputs.keys.shape());
        let (batch, length, heads, width) = (shape[0], shape[1], shape[2], shape[3]);
        Self {
            shape: Shape { batch, length, keys: keys[1], heads, shared: keys[2], width },
            queries: Values::rounded(&inputs.queries, inputs.precision),
            keys: Values::rounded(&inputs.keys, inputs.precision),
            values: Values::rounded(&inputs.values, inputs.precision),
            visible: inputs.visible.clone(),
        }
    }

    fn inputs(&self) -> Inputs<'_> {
        Inputs {
            shape: self.shape,
            queries: self.queries.slice(),
            keys: self.keys.slice(),
            values: self.values.slice(),
            visible: self.visible.bounds(),
        }
    }
}

/// A matrix as rows.
fn view<'a>(values: &'a Values, shape: &TensorShape) -> View<'a> {
    View::new(values.slice(), shape[0], shape[1], shape[1])
}

/// a b as a tensor, of factors that are rounded.
fn product(factors: [View; 2], precision: Precision) -> FlexTensor {
    let [a, b] = factors.map(|x| x.rounded(precision));
    let mut out = vec![0.0; a.rows * b.columns];
    multiply(Arch::new(), a, b, &mut out);
    wrap(out, TensorShape::from([a.rows, b.columns]))
}

impl Kernels for Flex {
    fn attention_forward(inputs: &AttentionInputs<Self>) -> (FlexTensor, FlexTensor) {
        let slices = AttentionSlices::new(inputs);
        let Output { mixed, statistics } = attention::attend(Arch::new(), &slices.inputs());
        let count = TensorShape::from([statistics.len()]);
        (wrap(mixed, inputs.queries.shape()), wrap(statistics, count))
    }

    fn attention_backward(
        inputs: &AttentionInputs<Self>,
        [mixed, statistics]: &[FlexTensor; 2],
        upstream: &FlexTensor,
    ) -> [FlexTensor; 3] {
        let slices = AttentionSlices::new(inputs);
        let [mixed, statistics] = [mixed, statistics].map(Values::new);
        let upstream = Values::rounded(upstream, inputs.precision);
        let saved = attention::Saved { mixed: mixed.slice(), statistics: statistics.slice() };
        let found = attention::compute_gradients(Arch::new(), &slices.inputs(), &saved, upstream.slice());
        [
            wrap(found.queries, inputs.queries.shape()),
            wrap(found.keys, inputs.keys.shape()),
            wrap(found.values, inputs.values.shape()),
        ]
    }

    fn rms_norm_forward(x: &FlexTensor, weight: &FlexTensor, eps: f64) -> (FlexTensor, FlexTensor) {
        let (values, weight) = (Values::new(x), Values::new(weight));
        let (y, scales) = rms_norm::normalize(values.slice(), weight.slice(), eps as f32);
        let count = TensorShape::from([scales.len()]);
        (wrap(y, x.shape()), wrap(scales, count))
    }

    fn rms_norm_backward(
        [x, weight]: [&FlexTensor; 2],
        scales: &FlexTensor,
        upstream: &FlexTensor,
    ) -> [FlexTensor; 2] {
        let shapes = [x.shape(), weight.shape()];
        let [x, weight, scales, upstream] = [x, weight, scales, upstream].map(Values::new);
        let (dx, dw) =
            rms_norm::compute_gradients(x.slice(), weight.slice(), scales.slice(), upstream.slice());
        let [x, weight] = shapes;
        [wrap(dx, x), wrap(dw, weight)]
    }

    fn turn_forward(inputs: &TurnInputs<Self>, eps: f64) -> (FlexTensor, FlexTensor) {
        let TurnInputs { x, weight, cos, sin } = inputs;
        let shape = x.shape();
        let [x, weight, cos, sin] = [x, weight, cos, sin].map(Values::new);
        let angles = rotary::AngleSlices { cos: cos.slice(), sin: sin.slice() };
        let (y, scales) = rotary::turn(x.slice(), shape[2], weight.slice(), eps as f32, angles);
        let count = TensorShape::from([scales.len()]);
        (wrap(y, shape), wrap(scales, count))
    }

    fn turn_backward(
        inputs: &TurnInputs<Self>,
        scales: &FlexTensor,
        upstream: &FlexTensor,
    ) -> [FlexTensor; 2] {
        let TurnInputs { x, weight, cos, sin } = inputs;
        let shapes = [x.shape(), weight.shape()];
        let [x, weight, cos, sin] = [x, weight, cos, sin].map(Values::new);
        let [scales, upstream] = [scales, upstream].map(Values::new);
        let angles = rotary::AngleSlices { cos: cos.slice(), sin: sin.slice() };
        let [whole, width] = shapes;
        let (dx, dw) = rotary::compute_gradients(
            x.slice(),
            whole[2],
            weight.slice(),
            scales.slice(),
            angles,
            upstream.slice(),
        );
        [wrap(dx, whole), wrap(dw, width)]
    }

    fn gate_forward(gate: &FlexTensor, up: &FlexTensor) -> FlexTensor {
        let shape = gate.shape();
        let (gate, up) = (Values::new(gate), Values::new(up));
        wrap(gated::gate(gate.slice(), up.slice()), shape)
    }

    fn gate_backward([gate, up]: [&FlexTensor; 2], upstream: &FlexTensor) -> [FlexTensor; 2] {
        let shape = gate.shape();
        let [gate, up, upstream] = [gate, up, upstream].map(Values::new);
        let (da, db) = gated::compute_gradients(gate.slice(), up.slice(), upstream.slice());
        [wrap(da, shape.clone()), wrap(db, shape)]
    }

    fn linear_forward(x: &FlexTensor, weight: &FlexTensor, precision: Precision) -> FlexTensor {
        let (a, b) = (Values::new(x), Values::new(weight));
        product([view(&a, &x.shape()), view(&b, &weight.shape()).transposed()], precision)
    }

    fn linear_input_gradient(weight: &FlexTensor, upstream: &FlexTensor, precision: Precision) -> FlexTensor {
        let (a, b) = (Values::new(upstream), Values::new(weight));
        product([view(&a, &upstream.shape()), view(&b, &weight.shape())], precision)
    }

    fn linear_weight_gradient(x: &FlexTensor, upstream: &FlexTensor, precision: Precision) -> FlexTensor {
        let (a, b) = (Values::new(upstream), Values::new(x));
        product([view(&a, &upstream.shape()).transposed(), view(&b, &x.shape())], precision)
    }
}

/// W^T of a weight W, packed.
pub(crate) fn pack_weight(weight: &FlexTensor, precision: Precision) -> PackedMatrix {
    let values = Values::new(weight);
    PackedMatrix::new(Arch::new(), view(&values, &weight.shape()).transposed().rounded(precision))
}

impl FrozenOps for Flex {
    fn linear_packed(x: FloatTensor<Self>, weight: Arc<PackedMatrix>) -> FloatTensor<Self> {
        let (values, shape) = (Values::new(&x), x.shape());
        let mut out = vec![0.0; shape[0] * weight.columns()];
        multiply_packed(Arch::new(), view(&values, &shape).rounded(weight.precision()), &weight, &mut out);
        wrap(out, TensorShape::from([shape[0], weight.columns()]))
    }
}

forward_through_kernels!(Flex);
