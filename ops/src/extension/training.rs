//! Operations that nothing differentiates: the loss, which brings its gradients, and the optimizer.

use burn_backend::Backend;
use burn_backend::tensor::{FloatTensor, IntTensor};
use burn_backend_extension::backend_extension;
use burn_dispatch::DispatchTensor;
use burn_tensor::Tensor;

use super::{Dispatch, burn};
use crate::Precision;
use crate::adamw::AdamWRates;
use crate::loss::LossTerms;

/// The operations. Shapes are those of the functions of this crate.
#[backend_extension(Cube: cfg(feature = "cube"), Flex: cfg(feature = "cpu"))]
pub(crate) trait TrainingOps: Backend {
    /// Cross-entropy and p(x).
    fn measure_losses(
        hidden: FloatTensor<Self>,
        head: FloatTensor<Self>,
        targets: IntTensor<Self>,
        present: IntTensor<Self>,
        precision: Precision,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);
    /// Cross-entropy, p(x), and the gradients of hidden states and head.
    fn differentiate_losses(
        hidden: FloatTensor<Self>,
        head: FloatTensor<Self>,
        targets: IntTensor<Self>,
        present: IntTensor<Self>,
        cross_entropy: FloatTensor<Self>,
        probability: FloatTensor<Self>,
        precision: Precision,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
    /// Cross-entropy, p(x), and the gradient of hidden states, for a head that is not trained.
    fn differentiate_hidden(
        hidden: FloatTensor<Self>,
        head: FloatTensor<Self>,
        targets: IntTensor<Self>,
        present: IntTensor<Self>,
        cross_entropy: FloatTensor<Self>,
        probability: FloatTensor<Self>,
        precision: Precision,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
    /// Cross-entropy, p(x), and the gradient of the logits.
    fn differentiate_logits(
        logits: FloatTensor<Self>,
        targets: IntTensor<Self>,
        present: IntTensor<Self>,
        cross_entropy: FloatTensor<Self>,
        probability: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
    /// New values, new moments, and sums of squares.
    fn update_values(
        values: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        rates: AdamWRates,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
    fn sum_squares(x: FloatTensor<Self>) -> FloatTensor<Self>;
}

impl LossTerms {
    /// [`TrainingOps::differentiate_losses`] of these terms.
    pub(crate) fn differentiate(
        self,
        hidden: DispatchTensor,
        head: DispatchTensor,
        precision: Precision,
    ) -> (DispatchTensor, DispatchTensor, DispatchTensor, DispatchTensor) {
        let Self { targets, present, cross_entropy, probability } = self;
        let (targets, present) = (targets.into_dispatch(), present.into_dispatch());
        let [cross_entropy, probability] = [cross_entropy, probability].map(Tensor::into_dispatch);
        Dispatch::differentiate_losses(hidden, head, targets, present, cross_entropy, probability, precision)
    }

    /// [`TrainingOps::differentiate_hidden`] of these terms.
    pub(crate) fn differentiate_hidden(
        self,
        hidden: DispatchTensor,
        head: DispatchTensor,
        precision: Precision,
    ) -> (DispatchTensor, DispatchTensor, DispatchTensor) {
        let Self { targets, present, cross_entropy, probability } = self;
        let (targets, present) = (targets.into_dispatch(), present.into_dispatch());
        let [cross_entropy, probability] = [cross_entropy, probability].map(Tensor::into_dispatch);
        Dispatch::differentiate_hidden(hidden, head, targets, present, cross_entropy, probability, precision)
    }
}
