//! What training computes beside the graph: the head with its loss, and the optimizer.

use burn_tensor::{Int, Tensor};

use crate::adamw::{AdamWRates, UpdatedValues};
#[cfg(feature = "kernels")]
use crate::extension::{Dispatch, TrainingOps, has_kernels};
use crate::loss::{LossGradients, LossTerms, PositionLosses};
use crate::{Precision, reference};

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
    precision: Precision,
) -> PositionLosses {
    #[cfg(feature = "kernels")]
    if has_kernels(&hidden) {
        let [hidden, head] = [hidden, head].map(Tensor::into_dispatch);
        let (targets, present) = (targets.into_dispatch(), present.into_dispatch());
        let found = Dispatch::measure_losses(hidden, head, targets, present, precision);
        return PositionLosses::from_dispatch(found);
    }
    reference::measure_losses(hidden, head, targets, present, precision)
}

/// As [`measure_losses`], with the gradients of the sum of the loss. `precision` rounds the gradient of the logits, too. No more than the logits of some hundred positions are in
/// memory.
///
/// # Shapes
/// `hidden`: [n, D], `head`: [V, D], both without autodiff.
#[must_use]
pub fn differentiate_losses(
    hidden: Tensor<2>,
    head: Tensor<2>,
    terms: LossTerms,
    precision: Precision,
) -> LossGradients {
    #[cfg(feature = "kernels")]
    if has_kernels(&hidden) {
        let [hidden, head] = [hidden, head].map(Tensor::into_dispatch);
        let (ce, p, hidden, head) = terms.differentiate(hidden, head, precision);
        return LossGradients {
            losses: PositionLosses::from_dispatch((ce, p)),
            hidden: Tensor::from_dispatch(hidden),
            head: Tensor::from_dispatch(head),
        };
    }
    reference::differentiate_losses(hidden, head, terms, precision)
}

/// As [`differentiate_losses`] for a head that is not trained: the losses, and the gradient of the hidden states, [n, D].
///
/// # Shapes
/// `hidden`: [n, D], `head`: [V, D], both without autodiff.
#[must_use]
pub fn differentiate_hidden(
    hidden: Tensor<2>,
    head: Tensor<2>,
    terms: LossTerms,
    precision: Precision,
) -> (PositionLosses, Tensor<2>) {
    #[cfg(feature = "kernels")]
    if has_kernels(&hidden) {
        let [hidden, head] = [hidden, head].map(Tensor::into_dispatch);
        let (ce, p, hidden) = terms.differentiate_hidden(hidden, head, precision);
        return (PositionLosses::from_dispatch((ce, p)), Tensor::from_dispatch(hidden));
    }
    reference::differentiate_hidden(hidden, head, terms, precision)
}

/// What [`differentiate_losses`] computes between its products: losses for given logits, and their gradient.
///
/// # Shapes
/// `logits`: [n, V], without autodiff; so is the gradient.
#[must_use]
pub fn differentiate_logits(logits: Tensor<2>, terms: LossTerms) -> (PositionLosses, Tensor<2>) {
    #[cfg(feature = "kernels")]
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
    #[cfg(feature = "kernels")]
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
    #[cfg(feature = "kernels")]
    if has_kernels(&x) {
        return Tensor::from_dispatch(Dispatch::sum_squares(x.into_dispatch()));
    }
    reference::sum_squares(x)
}
