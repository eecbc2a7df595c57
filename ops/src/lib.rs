//! Fused operations of a transformer, forward and backward, as an extension of Burn.
//!
//! ```text
//! attention, rms_norm, turn, gate, linear     operations of a forward pass, differentiable    this file
//! measure_losses, differentiate_losses        the head and its loss, with gradients           training
//! differentiate_hidden                        the same for a head that is not trained         training
//! update_values, sum_squares                  the optimizer                                   training
//!   extension    routes to a backend; records nodes of the autodiff graph
//!     flex       unpacks tensors of the CPU into slices
//!       kernels  computes on slices
//!     cube       kernels in CubeCL, for GPUs
//! ```
//! On devices without kernels an operation is its [`reference`]: the same formula in plain Burn operations.

mod adamw;
mod arithmetic;
mod choice;
#[cfg(feature = "cube")]
mod cube;
#[cfg(feature = "kernels")]
mod extension;
#[cfg(feature = "cpu")]
mod flex;
mod intervals;
#[cfg(feature = "cpu")]
mod kernels;
mod loss;
mod precision;
pub mod reference;
mod training;

#[cfg(feature = "cpu")]
use std::sync::Arc;

use burn_tensor::Tensor;
#[cfg(feature = "cpu")]
pub use kernels::tasks::serially;

pub use adamw::{AdamWRates, UpdatedValues};
pub use arithmetic::{REVISION, name_processor_class};
pub use choice::by_reference;
pub use intervals::Intervals;
pub use loss::{LossGradients, LossTerms, PositionLosses};
pub use precision::Precision;
pub use training::{
    differentiate_hidden, differentiate_logits, differentiate_losses, measure_losses, sum_squares,
    update_values,
};

#[cfg(feature = "kernels")]
use extension::{Dispatch, FusedOps, has_kernels};
#[cfg(feature = "cpu")]
use extension::{FrozenOps, find_plain};

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
/// Heads of queries share the heads of keys in groups of H / K neighbors. No [L, S] tensor is made, neither here nor in the
/// backward pass.
///
/// Keys of earlier tokens that were computed before may stand in front of those of the queries' own tokens. On the CPU the
/// output of a query has the same bits whatever other queries and rows there are, and whatever follows the last key seen.
/// There, `precision` rounds queries, keys, values and the gradient of the output; probabilities stay f32.
///
/// # Shapes
/// `queries`: [B, L, H, h]; `keys`, `values`: [B, S, K, h], where gradients need S = L; returns [B, L, H, h].
#[must_use]
pub fn attention(
    queries: Tensor<4>,
    keys: Tensor<4>,
    values: Tensor<4>,
    visible: Intervals,
    precision: Precision,
) -> Tensor<4> {
    #[cfg(feature = "kernels")]
    if has_kernels(&queries) {
        let [queries, keys, values] = [queries, keys, values].map(Tensor::into_dispatch);
        return Tensor::from_dispatch(Dispatch::attention(queries, keys, values, visible, precision));
    }
    reference::attention(queries, keys, values, visible, precision)
}

/// x / sqrt(mean(x^2) + eps) * weight, over the last dimension.
///
/// # Shapes
/// `x`: [N, n], `weight`: `[n]`; returns [N, n].
#[must_use]
pub fn rms_norm(x: Tensor<2>, weight: Tensor<1>, eps: f64) -> Tensor<2> {
    #[cfg(feature = "kernels")]
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
    #[cfg(feature = "kernels")]
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
    #[cfg(feature = "kernels")]
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
pub fn linear(x: Tensor<2>, weight: Tensor<2>, precision: Precision) -> Tensor<2> {
    #[cfg(feature = "kernels")]
    if has_kernels(&x) {
        return Tensor::from_dispatch(Dispatch::linear(x.into_dispatch(), weight.into_dispatch(), precision));
    }
    reference::linear(x, weight, precision)
}

/// The weight of a linear layer that does not change, with a copy in the order in which products read it. Without the copy
/// each product makes it anew, which takes longer than a product with few rows itself.
#[derive(Clone, Debug)]
pub struct FrozenWeight {
    weight: Tensor<2>,
    precision: Precision,
    /// W^T, if the device has kernels.
    #[cfg(feature = "cpu")]
    packed: Option<Arc<kernels::product::PackedMatrix>>,
}

impl FrozenWeight {
    /// Copies `weight` [out, in] if its device has kernels and it has no gradients.
    #[must_use]
    pub fn new(weight: Tensor<2>, precision: Precision) -> Self {
        Self {
            #[cfg(feature = "cpu")]
            packed: find_plain(&weight).map(|weight| Arc::new(flex::pack_weight(&weight, precision))),
            weight,
            precision,
        }
    }
}

/// [`linear`] with every bit of it, but without gradients.
///
/// # Shapes
/// `x`: [N, in], `weight`: [out, in]; returns [N, out].
#[must_use]
pub fn linear_frozen(x: Tensor<2>, weight: &FrozenWeight) -> Tensor<2> {
    #[cfg(feature = "cpu")]
    if let (Some(packed), Some(_)) = (&weight.packed, find_plain(&x)) {
        return Tensor::from_dispatch(Dispatch::linear_packed(x.into_dispatch(), Arc::clone(packed)));
    }
    linear(x, weight.weight.clone(), weight.precision)
}
