//! The operations as an extension of Burn: routing by backend, and nodes of the autodiff graph.

mod forward;
mod inputs;
mod training;

use burn_autodiff::Autodiff;
use burn_autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn_autodiff::grads::Gradients;
use burn_autodiff::ops::{Backward, Ops, OpsKind};
use burn_backend::tensor::FloatTensor;
use burn_backend::{Backend, DType};
use burn_backend_extension::backend_extension;
#[cfg(feature = "cpu")]
use burn_dispatch::BackendTensor;
pub(crate) use burn_dispatch::Dispatch;
use burn_dispatch::DispatchTensorKind;
#[cfg(feature = "cpu")]
use burn_flex::Flex;
use burn_tensor::Tensor;

use crate::choice::wants_reference;
#[cfg(feature = "cpu")]
use crate::kernels::product::PackedMatrix;
use crate::{Intervals, Precision};
pub(crate) use forward::forward_through_kernels;
pub(crate) use inputs::{AttentionInputs, TurnInputs};
pub(crate) use training::TrainingOps;

/// The paths that [`backend_extension`] expects of the crate `burn`.
mod burn {
    pub(super) mod backend {
        pub(crate) use burn_backend::*;
        pub(crate) use burn_dispatch::backends::*;
        pub(crate) use burn_dispatch::{backend::*, device::*, tensor::*};
    }
}

/// Whether the tensor's device has kernels for the operations of this crate, in its type of numbers, and nobody asked for the reference.
pub(crate) fn has_kernels<const D: usize>(x: &Tensor<D>) -> bool {
    match x.clone().into_dispatch().kind {
        _ if wants_reference() || x.dtype() != DType::F32 => false,
        #[cfg(feature = "cpu")]
        DispatchTensorKind::Flex(_) => true,
        #[cfg(feature = "cube")]
        DispatchTensorKind::Cube(_) => true,
        DispatchTensorKind::Autodiff(inner) => match *inner {
            #[cfg(feature = "cpu")]
            DispatchTensorKind::Flex(_) => true,
            #[cfg(feature = "cube")]
            DispatchTensorKind::Cube(_) => true,
            #[allow(unreachable_patterns, reason = "there are others if other backends are compiled in")]
            _ => false,
        },
        #[allow(unreachable_patterns, reason = "there are others if other backends are compiled in")]
        _ => false,
    }
}

/// The tensor of the CPU in `x`, if it is one of f32 without gradients, and kernels are wanted.
#[cfg(feature = "cpu")]
pub(crate) fn find_plain<const D: usize>(x: &Tensor<D>) -> Option<FloatTensor<Flex>> {
    match x.clone().into_dispatch().kind {
        _ if wants_reference() => None,
        DispatchTensorKind::Flex(BackendTensor::Float(x)) if x.dtype() == DType::F32 => Some(x),
        #[allow(unreachable_patterns, reason = "there are others if other backends are compiled in")]
        _ => None,
    }
}

/// Operations without gradients.
#[cfg(feature = "cpu")]
#[backend_extension(Flex)]
pub(crate) trait FrozenOps: Backend {
    fn linear_packed(x: FloatTensor<Self>, weight: std::sync::Arc<PackedMatrix>) -> FloatTensor<Self>;
}

/// The operations, differentiable. Shapes are those of the functions of this crate.
#[backend_extension(Cube: cfg(feature = "cube"), Flex: cfg(feature = "cpu"), Autodiff)]
pub(crate) trait FusedOps: Backend {
    fn attention(
        queries: FloatTensor<Self>,
        keys: FloatTensor<Self>,
        values: FloatTensor<Self>,
        visible: Intervals,
        precision: Precision,
    ) -> FloatTensor<Self>;
    fn rms_norm(x: FloatTensor<Self>, weight: FloatTensor<Self>, eps: f64) -> FloatTensor<Self>;
    fn turn(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
        eps: f64,
    ) -> FloatTensor<Self>;
    fn gate(gate: FloatTensor<Self>, up: FloatTensor<Self>) -> FloatTensor<Self>;
    fn linear(x: FloatTensor<Self>, weight: FloatTensor<Self>, precision: Precision) -> FloatTensor<Self>;
}

/// The operations as a backend computes them: each forward pass returns the values and what its backward pass saves.
pub(crate) trait Kernels: Backend {
    fn attention_forward(inputs: &AttentionInputs<Self>) -> (FloatTensor<Self>, FloatTensor<Self>);
    /// Gradients of queries, keys and values, given the output, the saved statistics and the gradient of the output.
    fn attention_backward(
        inputs: &AttentionInputs<Self>,
        saved: &[FloatTensor<Self>; 2],
        upstream: &FloatTensor<Self>,
    ) -> [FloatTensor<Self>; 3];
    fn rms_norm_forward(
        x: &FloatTensor<Self>,
        weight: &FloatTensor<Self>,
        eps: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);
    fn rms_norm_backward(
        inputs: [&FloatTensor<Self>; 2],
        saved: &FloatTensor<Self>,
        upstream: &FloatTensor<Self>,
    ) -> [FloatTensor<Self>; 2];
    fn turn_forward(inputs: &TurnInputs<Self>, eps: f64) -> (FloatTensor<Self>, FloatTensor<Self>);
    fn turn_backward(
        inputs: &TurnInputs<Self>,
        saved: &FloatTensor<Self>,
        upstream: &FloatTensor<Self>,
    ) -> [FloatTensor<Self>; 2];
    fn gate_forward(gate: &FloatTensor<Self>, up: &FloatTensor<Self>) -> FloatTensor<Self>;
    fn gate_backward(inputs: [&FloatTensor<Self>; 2], upstream: &FloatTensor<Self>)
    -> [FloatTensor<Self>; 2];
    fn linear_forward(
        x: &FloatTensor<Self>,
        weight: &FloatTensor<Self>,
        precision: Precision,
    ) -> FloatTensor<Self>;
    /// dy W.
    fn linear_input_gradient(
        weight: &FloatTensor<Self>,
        upstream: &FloatTensor<Self>,
        precision: Precision,
    ) -> FloatTensor<Self>;
    /// dy^T x.
    fn linear_weight_gradient(
        x: &FloatTensor<Self>,
        upstream: &FloatTensor<Self>,
        precision: Precision,
    ) -> FloatTensor<Self>;
}

/// Registers the gradients of the parents that are tracked.
fn register<B: Backend, S, const N: usize>(
    grads: &mut Gradients,
    ops: &Ops<S, N>,
    found: [FloatTensor<B>; N],
) {
    for (node, gradient) in ops.parents.iter().zip(found) {
        if let Some(node) = node {
            grads.register::<B>(node.id, gradient);
        }
    }
}

/// Attention in the graph.
#[derive(Debug)]
struct AttentionNode;

impl<B: Kernels> Backward<B, 3> for AttentionNode {
    type State = (AttentionInputs<B>, [FloatTensor<B>; 2]);
    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let upstream = grads.consume::<B>(&ops.node);
        let (inputs, saved) = &ops.state;
        register::<B, _, 3>(grads, &ops, B::attention_backward(inputs, saved, &upstream));
    }
}

/// RMSNorm in the graph.
#[derive(Debug)]
struct RmsNormNode;

impl<B: Kernels> Backward<B, 2> for RmsNormNode {
    type State = [FloatTensor<B>; 3];
    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let upstream = grads.consume::<B>(&ops.node);
        let [x, weight, saved] = &ops.state;
        register::<B, _, 2>(grads, &ops, B::rms_norm_backward([x, weight], saved, &upstream));
    }
}

/// `turn` in the graph.
#[derive(Debug)]
struct TurnNode;

impl<B: Kernels> Backward<B, 2> for TurnNode {
    type State = (TurnInputs<B>, FloatTensor<B>);
    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let upstream = grads.consume::<B>(&ops.node);
        let (inputs, saved) = &ops.state;
        register::<B, _, 2>(grads, &ops, B::turn_backward(inputs, saved, &upstream));
    }
}

/// `gate` in the graph.
#[derive(Debug)]
struct GateNode;

impl<B: Kernels> Backward<B, 2> for GateNode {
    type State = [FloatTensor<B>; 2];
    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let upstream = grads.consume::<B>(&ops.node);
        let [gate, up] = &ops.state;
        register::<B, _, 2>(grads, &ops, B::gate_backward([gate, up], &upstream));
    }
}

/// `linear` in the graph.
#[derive(Debug)]
struct LinearNode;

impl<B: Kernels> Backward<B, 2> for LinearNode {
    type State = ([FloatTensor<B>; 2], Precision);
    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let upstream = grads.consume::<B>(&ops.node);
        let (([x, weight], precision), [input, parameter]) = (ops.state, ops.parents);
        if let Some(node) = input {
            grads.register::<B>(node.id, B::linear_input_gradient(&weight, &upstream, precision));
        }
        if let Some(node) = parameter {
            grads.register::<B>(node.id, B::linear_weight_gradient(&x, &upstream, precision));
        }
    }
}

impl<B: Backend + Kernels, C: CheckpointStrategy> FusedOps for Autodiff<B, C> {
    fn attention(
        queries: FloatTensor<Self>,
        keys: FloatTensor<Self>,
        values: FloatTensor<Self>,
        visible: Intervals,
        precision: Precision,
    ) -> FloatTensor<Self> {
        let nodes = [queries.node(), keys.node(), values.node()];
        let [queries, keys, values] = [queries, keys, values].map(|x| x.into_primitive());
        let inputs = AttentionInputs::<B> { queries, keys, values, visible, precision };
        let (mixed, statistics) = B::attention_forward(&inputs);
        match AttentionNode.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(ops) => ops.finish((inputs, [mixed.clone(), statistics]), mixed),
            OpsKind::UnTracked(ops) => ops.finish(mixed),
        }
    }

    fn rms_norm(x: FloatTensor<Self>, weight: FloatTensor<Self>, eps: f64) -> FloatTensor<Self> {
        let nodes = [x.node(), weight.node()];
        let [x, weight] = [x, weight].map(|x| x.into_primitive());
        let (y, scales) = B::rms_norm_forward(&x, &weight, eps);
        match RmsNormNode.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(ops) => ops.finish([x, weight, scales], y),
            OpsKind::UnTracked(ops) => ops.finish(y),
        }
    }

    fn turn(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
        eps: f64,
    ) -> FloatTensor<Self> {
        let nodes = [x.node(), weight.node()];
        let [x, weight, cos, sin] = [x, weight, cos, sin].map(|x| x.into_primitive());
        let inputs = TurnInputs::<B> { x, weight, cos, sin };
        let (y, scales) = B::turn_forward(&inputs, eps);
        match TurnNode.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(ops) => ops.finish((inputs, scales), y),
            OpsKind::UnTracked(ops) => ops.finish(y),
        }
    }

    fn gate(gate: FloatTensor<Self>, up: FloatTensor<Self>) -> FloatTensor<Self> {
        let nodes = [gate.node(), up.node()];
        let [gate, up] = [gate, up].map(|x| x.into_primitive());
        let y = B::gate_forward(&gate, &up);
        match GateNode.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(ops) => ops.finish([gate, up], y),
            OpsKind::UnTracked(ops) => ops.finish(y),
        }
    }

    fn linear(x: FloatTensor<Self>, weight: FloatTensor<Self>, precision: Precision) -> FloatTensor<Self> {
        let nodes = [x.node(), weight.node()];
        let [x, weight] = [x, weight].map(|x| x.into_primitive());
        let y = B::linear_forward(&x, &weight, precision);
        match LinearNode.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(ops) => ops.finish(([x, weight], precision), y),
            OpsKind::UnTracked(ops) => ops.finish(y),
        }
    }
}
