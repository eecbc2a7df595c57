//! The operations in CubeCL, for every device that its runtimes reach: products are the library's, what lies between them are
//! kernels of ours. Sums have a fixed order on one kind of device.

mod adamw;
mod attention;
mod gated;
mod launch;
mod loss;
mod product;
mod rms_norm;
mod rotary;
mod softmax;

use burn_backend::ops::IntTensorOps;
use burn_backend::tensor::{FloatTensor, IntTensor};
use burn_backend::{DType, IntDType};
use burn_cubecl::CubeBackend;
use burn_cubecl::tensor::CubeTensor;

use crate::adamw::AdamWRates;
use crate::extension::{AttentionInputs, Kernels, TrainingOps, TurnInputs, forward_through_kernels};
use crate::{Intervals, Precision};
use loss::TermTensors;
use product::{multiply, round, transpose};

/// Token ids as kernels read them.
fn as_i32(tokens: IntTensor<CubeBackend>) -> CubeTensor {
    CubeBackend::int_cast(tokens, IntDType::I32)
}

impl Kernels for CubeBackend {
    fn attention_forward(inputs: &AttentionInputs<Self>) -> (CubeTensor, CubeTensor) {
        attention::attend(inputs)
    }

    fn attention_backward(
        inputs: &AttentionInputs<Self>,
        [_, statistics]: &[CubeTensor; 2],
        upstream: &CubeTensor,
    ) -> [CubeTensor; 3] {
        attention::differentiate(inputs, statistics, upstream)
    }

    fn rms_norm_forward(x: &CubeTensor, weight: &CubeTensor, eps: f64) -> (CubeTensor, CubeTensor) {
        rms_norm::normalize(x, weight, eps)
    }

    fn rms_norm_backward(
        [x, weight]: [&CubeTensor; 2],
        scales: &CubeTensor,
        upstream: &CubeTensor,
    ) -> [CubeTensor; 2] {
        rms_norm::differentiate([x, weight, scales, upstream])
    }

    fn turn_forward(inputs: &TurnInputs<Self>, eps: f64) -> (CubeTensor, CubeTensor) {
        let (y, scales) = rms_norm::normalize(&inputs.x, &inputs.weight, eps);
        (rotary::turn(&y, [&inputs.cos, &inputs.sin], 1.0), scales)
    }

    fn turn_backward(
        inputs: &TurnInputs<Self>,
        scales: &CubeTensor,
        upstream: &CubeTensor,
    ) -> [CubeTensor; 2] {
        let upstream = rotary::turn(upstream, [&inputs.cos, &inputs.sin], -1.0);
        rms_norm::differentiate([&inputs.x, &inputs.weight, scales, &upstream])
    }

    fn gate_forward(gate: &CubeTensor, up: &CubeTensor) -> CubeTensor {
        gated::gate(gate, up)
    }

    fn gate_backward([gate, up]: [&CubeTensor; 2], upstream: &CubeTensor) -> [CubeTensor; 2] {
        gated::differentiate(gate, up, upstream)
    }

    fn linear_forward(x: &CubeTensor, weight: &CubeTensor, precision: Precision) -> CubeTensor {
        multiply(round(x, precision), transpose(round(weight, precision)))
    }

    fn linear_input_gradient(weight: &CubeTensor, upstream: &CubeTensor, precision: Precision) -> CubeTensor {
        multiply(round(upstream, precision), round(weight, precision))
    }

    fn linear_weight_gradient(x: &CubeTensor, upstream: &CubeTensor, precision: Precision) -> CubeTensor {
        multiply(transpose(round(upstream, precision)), round(x, precision))
    }
}

forward_through_kernels!(CubeBackend);

impl TrainingOps for CubeBackend {
    fn measure_losses(
        hidden: FloatTensor<Self>,
        head: FloatTensor<Self>,
        targets: IntTensor<Self>,
        present: IntTensor<Self>,
        precision: Precision,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let [targets, present] = [targets, present].map(as_i32);
        let [losses, probabilities] = loss::measure(&hidden, &head, [&targets, &present], precision);
        (losses, probabilities)
    }

    fn differentiate_losses(
        hidden: FloatTensor<Self>,
        head: FloatTensor<Self>,
        targets: IntTensor<Self>,
        present: IntTensor<Self>,
        cross_entropy: FloatTensor<Self>,
        probability: FloatTensor<Self>,
        precision: Precision,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let [targets, present] = [targets, present].map(as_i32);
        let terms = TermTensors { targets, present, cross_entropy, probability };
        let ([losses, probabilities, hidden], head) =
            loss::differentiate(&hidden, &head, &terms, precision, true);
        (losses, probabilities, hidden, head.expect("there are positions"))
    }

    fn differentiate_hidden(
        hidden: FloatTensor<Self>,
        head: FloatTensor<Self>,
        targets: IntTensor<Self>,
        present: IntTensor<Self>,
        cross_entropy: FloatTensor<Self>,
        probability: FloatTensor<Self>,
        precision: Precision,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let [targets, present] = [targets, present].map(as_i32);
        let terms = TermTensors { targets, present, cross_entropy, probability };
        let ([losses, probabilities, hidden], _) =
            loss::differentiate(&hidden, &head, &terms, precision, false);
        (losses, probabilities, hidden)
    }

    fn differentiate_logits(
        logits: FloatTensor<Self>,
        targets: IntTensor<Self>,
        present: IntTensor<Self>,
        cross_entropy: FloatTensor<Self>,
        probability: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let [targets, present] = [targets, present].map(as_i32);
        let terms = TermTensors { targets, present, cross_entropy, probability };
        let [losses, probabilities, gradient] = loss::differentiate_logits(&logits, &terms, DType::F32);
        (losses, probabilities, gradient)
    }

    fn update_values(
        values: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        rates: AdamWRates,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let [values, first, second, squares] = adamw::update(values, &gradient, [first, second], &rates);
        (values, first, second, squares)
    }

    fn sum_squares(x: FloatTensor<Self>) -> FloatTensor<Self> {
        adamw::sum_squares(&x)
    }
}
