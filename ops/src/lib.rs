//! Fused operations of a transformer, forward and backward, as an extension of Burn.
//!
//! ```text
//! attention, rms_norm, turn, gate, linear     operations of a forward pass, differentiable    this file
//! measure_losses, differentiate_losses        the head and its loss, with gradients           this file
//! update_values, sum_squares                  the optimizer                                   this file
//!   extension    routes to a backend; records nodes of the autodiff graph
//!     flex       unpacks tensors of the CPU into slices
//!       kernels  computes on slices
//! ```
//! On devices without kernels an operation is its [`reference`]: the same formula in plain Burn operations.

mod adamw;
#[cfg(feature = "cpu")]
mod extension;
#[cfg(feature = "cpu")]
mod flex;
#[cfg(feature = "cpu")]
mod kernels;
mod loss;
pub mod reference;

use burn_tensor::{Int, Tensor};
#[cfg(feature = "cpu")]
pub use kernels::tasks::serially;

pub use adamw::{AdamWRates, UpdatedValues};
pub use loss::{LossGradients, LossTerms, PositionLosses};

#[cfg(feature = "cpu")]
use extension::{Dispatch, FusedOps, TrainingOps, has_kernels};

/// cos and sin of the rotary angles of every token, [B or 1, L, h / 2] each. One row may serve the whole batch.
#[derive(Clone, Debug)]
pub struct Angles {
    /// Cosines.
    pub cos: Tensor<3>,
    /// Sines.
    pub sin: Tensor<3>,
}

/// softmax(q k^T / sqrt(h)) v over the keys that each query sees. A query that sees none yields 0.
///
/// Query i sees the keys j with a <= j < b or c <= j < d, where (a, b, c, d) are its two intervals. Heads of queries share the
/// heads of keys in groups of H / K neighbors. No [L, L] tensor is made, neither here nor in the backward pass.
///
/// # Shapes
/// `queries`: [B, L, H, h]; `keys`, `values`: [B, L, K, h]; `visible`: [B or 1, L, 4]; returns [B, L, H, h].
#[must_use]
pub fn attention(
    queries: Tensor<4>,
    keys: Tensor<4>,
    values: Tensor<4>,
    visible: Tensor<3, Int>,
) -> Tensor<4> {
    #[cfg(feature = "cpu")]
    if has_kernels(&queries) {
        let [queries, keys, values] = [queries, keys, values].map(Tensor::into_dispatch);
        return Tensor::from_dispatch(Dispatch::attention(queries, keys, values, visible.into_dispatch()));
    }
    reference::attention(queries, keys, values, visible)
}

/// x / sqrt(mean(x^2) + eps) * weight, over the last dimension.
///
/// # Shapes
/// `x`: [N, n], `weight`: `[n]`; returns [N, n].
#[must_use]
pub fn rms_norm(x: Tensor<2>, weight: Tensor<1>, eps: f64) -> Tensor<2> {
    #[cfg(feature = "cpu")]
    if has_kernels(&x) {
        return Tensor::from_dispatch(Dispatch::rms_norm(x.into_dispatch(), weight.into_dispatch(), eps));
    }
    reference::rms_norm(x, weight, eps)
}

/// [`rms_norm`] of every head, then rotary position embedding.
///
/// # Shapes
/// `x`: [B, L, H, h], `weight`: `[h]`; returns [B, L, H, h].
#[must_use]
pub fn turn(x: Tensor<4>, weight: Tensor<1>, eps: f64, angles: &Angles) -> Tensor<4> {
    #[cfg(feature = "cpu")]
    if has_kernels(&x) {
        let (cos, sin) = (angles.cos.clone().into_dispatch(), angles.sin.clone().into_dispatch());
        return Tensor::from_dispatch(Dispatch::turn(
            x.into_dispatch(),
            weight.into_dispatch(),
            cos,
            sin,
            eps,
        ));
    }
    reference::turn(x, weight, eps, angles)
}

/// silu(gate) up.
///
/// # Shapes
/// [N, n] each.
#[must_use]
pub fn gate(gate: Tensor<2>, up: Tensor<2>) -> Tensor<2> {
    #[cfg(feature = "cpu")]
    if has_kernels(&gate) {
        return Tensor::from_dispatch(Dispatch::gate(gate.into_dispatch(), up.into_dispatch()));
    }
    reference::gate(gate, up)
}

/// x W^T, with W as Hugging Face stores it.
///
/// # Shapes
/// `x`: [N, in], `weight`: [out, in]; returns [N, out].
#[must_use]
pub fn linear(x: Tensor<2>, weight: Tensor<2>) -> Tensor<2> {
    #[cfg(feature = "cpu")]
    if has_kernels(&x) {
        return Tensor::from_dispatch(Dispatch::linear(x.into_dispatch(), weight.into_dispatch()));
    }
    reference::linear(x, weight)
}

/// Cross-entropy and probability of the present token at every position, given its hidden state.
///
/// # Shapes
/// `hidden`: [n, D], `head`: [V, D], both without autodiff; `targets`, `present`: `[n]`, below V.
#[must_use]
pub fn measure_losses(
    hidden: Tensor<2>,
    head: Tensor<2>,
    targets: Tensor<1, Int>,
    present: Tensor<1, Int>,
) -> PositionLosses {
    #[cfg(feature = "cpu")]
    if has_kernels(&hidden) {
        let [hidden, head] = [hidden, head].map(Tensor::into_dispatch);
        let (targets, present) = (targets.into_dispatch(), present.into_dispatch());
        return PositionLosses::from_dispatch(Dispatch::measure_losses(hidden, head, targets, present));
    }
    reference::measure_losses(hidden, head, targets, present)
}

/// As [`measure_losses`], with the gradients of the sum of the loss. No more than the logits of some hundred positions are in
/// memory.
///
/// # Shapes
/// `hidden`: [n, D], `head`: [V, D], both without autodiff.
#[must_use]
pub fn differentiate_losses(hidden: Tensor<2>, head: Tensor<2>, terms: LossTerms) -> LossGradients {
    #[cfg(feature = "cpu")]
    if has_kernels(&hidden) {
        let [hidden, head] = [hidden, head].map(Tensor::into_dispatch);
        let (ce, p, hidden, head) = terms.differentiate(hidden, head);
        return LossGradients {
            losses: PositionLosses::from_dispatch((ce, p)),
            hidden: Tensor::from_dispatch(hidden),
            head: Tensor::from_dispatch(head),
        };
    }
    reference::differentiate_losses(hidden, head, terms)
}

/// What [`differentiate_losses`] computes between its products: losses for given logits, and their gradient.
///
/// # Shapes
/// `logits`: [n, V], without autodiff; so is the gradient.
#[must_use]
pub fn differentiate_logits(logits: Tensor<2>, terms: LossTerms) -> (PositionLosses, Tensor<2>) {
    #[cfg(feature = "cpu")]
    if has_kernels(&logits) {
        let LossTerms { targets, present, cross_entropy, probability } = terms;
        let (ce, p, gradient) = Dispatch::differentiate_logits(
            logits.into_dispatch(),
            targets.into_dispatch(),
            present.into_dispatch(),
            cross_entropy.into_dispatch(),
            probability.into_dispatch(),
        );
        return (PositionLosses::from_dispatch((ce, p)), Tensor::from_dispatch(gradient));
    }
    reference::differentiate_logits(logits, terms)
}

/// One update of AdamW. Tensors that nobody else holds are changed in place.
///
/// # Shapes
/// `[n]` each, without autodiff; `moments` are those of the gradient and of its square.
#[must_use]
pub fn update_values(
    values: Tensor<1>,
    gradient: Tensor<1>,
    moments: [Tensor<1>; 2],
    rates: AdamWRates,
) -> UpdatedValues {
    #[cfg(feature = "cpu")]
    if has_kernels(&values) {
        let [first, second] = moments.map(Tensor::into_dispatch);
        let found =
            Dispatch::update_values(values.into_dispatch(), gradient.into_dispatch(), first, second, rates);
        let (values, first, second, squares) = found;
        let [values, first, second, squares] = [values, first, second, squares].map(Tensor::from_dispatch);
        return UpdatedValues { values, moments: [first, second], squares };
    }
    reference::update_values(values, gradient, moments, rates)
}

/// Partial sums of the squares of a tensor, in a fixed order. They are to be added in f64.
///
/// # Shapes
/// `x`: `[n]`, without autodiff; returns a vector.
#[must_use]
pub fn sum_squares(x: Tensor<1>) -> Tensor<1> {
    #[cfg(feature = "cpu")]
    if has_kernels(&x) {
        return Tensor::from_dispatch(Dispatch::sum_squares(x.into_dispatch()));
    }
    reference::sum_squares(x)
}
