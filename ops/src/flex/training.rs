//! The loss and the optimizer on tensors of the CPU.

use burn_backend::TensorMetadata;
use burn_backend::tensor::{FloatTensor, IntTensor};
use burn_flex::{Flex, FlexTensor};
use pulp::Arch;

use super::{TensorShape, Values, view, wrap};
use crate::Precision;
use crate::adamw::AdamWRates;
use crate::extension::TrainingOps;
use crate::kernels::{adamw, loss};

/// Token ids as u32, whatever integers the tensor holds.
fn read_tokens(tokens: &FlexTensor) -> Vec<u32> {
    tokens.clone().into_data().iter::<u32>().collect()
}

fn wrap_vector(values: Vec<f32>) -> FlexTensor {
    let count = TensorShape::from([values.len()]);
    wrap(values, count)
}

/// Tokens and factors as slices.
struct TermSlices {
    targets: Vec<u32>,
    present: Vec<u32>,
    cross_entropy: Values,
    probability: Values,
}

impl TermSlices {
    fn new([targets, present]: [&FlexTensor; 2], [cross_entropy, probability]: [&FlexTensor; 2]) -> Self {
        Self {
            targets: read_tokens(targets),
            present: read_tokens(present),
            cross_entropy: Values::new(cross_entropy),
            probability: Values::new(probability),
        }
    }

    fn terms(&self) -> loss::Terms<'_> {
        loss::Terms {
            targets: &self.targets,
            present: &self.present,
            cross_entropy: self.cross_entropy.slice(),
            probability: self.probability.slice(),
        }
    }

    fn differentiate(
        &self,
        [hidden, head]: [&FlexTensor; 2],
        precision: Precision,
        trained: bool,
    ) -> loss::LossDerivatives {
        let (shapes, a, b) = ([hidden.shape(), head.shape()], Values::new(hidden), Values::new(head));
        let [rows, weights] = [view(&a, &shapes[0]), view(&b, &shapes[1])].map(|x| x.rounded(precision));
        loss::differentiate(Arch::new(), rows, weights, self.terms(), trained)
    }
}

/// The tensor with its values in order and for itself, so that they can be changed.
fn own(x: FlexTensor) -> FlexTensor {
    let whole = x.layout().start_offset() == 0 && x.layout().num_elements() == x.storage::<f32>().len();
    if whole && x.is_contiguous() {
        return x;
    }
    let shape = x.shape();
    wrap(Values::new(&x).slice().to_vec(), shape)
}

impl TrainingOps for Flex {
    fn measure_losses(
        hidden: FloatTensor<Self>,
        head: FloatTensor<Self>,
        targets: IntTensor<Self>,
        present: IntTensor<Self>,
        precision: Precision,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let (a, b) = (Values::new(&hidden), Values::new(&head));
        let [targets, present] = [&targets, &present].map(read_tokens);
        let [hidden, head] =
            [view(&a, &hidden.shape()), view(&b, &head.shape())].map(|x| x.rounded(precision));
        let found = loss::measure(Arch::new(), hidden, head, &targets, &present);
        (wrap_vector(found.cross_entropy), wrap_vector(found.probability))
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
        let slices = TermSlices::new([&targets, &present], [&cross_entropy, &probability]);
        let found = slices.differentiate([&hidden, &head], precision, true);
        (
            wrap_vector(found.losses.cross_entropy),
            wrap_vector(found.losses.probability),
            wrap(found.hidden, hidden.shape()),
            wrap(found.head, head.shape()),
        )
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
        let slices = TermSlices::new([&targets, &present], [&cross_entropy, &probability]);
        let found = slices.differentiate([&hidden, &head], precision, false);
        let losses = [found.losses.cross_entropy, found.losses.probability].map(wrap_vector);
        let [cross_entropy, probability] = losses;
        (cross_entropy, probability, wrap(found.hidden, hidden.shape()))
    }

    fn differentiate_logits(
        logits: FloatTensor<Self>,
        targets: IntTensor<Self>,
        present: IntTensor<Self>,
        cross_entropy: FloatTensor<Self>,
        probability: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let (shape, logits) = (logits.shape(), Values::new(&logits));
        let slices = TermSlices::new([&targets, &present], [&cross_entropy, &probability]);
        let (losses, gradient) = loss::differentiate_logits(logits.slice(), slices.terms());
        (wrap_vector(losses.cross_entropy), wrap_vector(losses.probability), wrap(gradient, shape))
    }

    fn update_values(
        values: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        rates: AdamWRates,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let [mut values, mut first, mut second] = [values, first, second].map(own);
        let gradient = Values::new(&gradient);
        let updated = adamw::Updated {
            values: values.storage_mut(),
            first: first.storage_mut(),
            second: second.storage_mut(),
        };
        let squares = adamw::update(updated, gradient.slice(), &rates);
        (values, first, second, wrap_vector(squares))
    }

    fn sum_squares(x: FloatTensor<Self>) -> FloatTensor<Self> {
        wrap_vector(adamw::sum_squares(Values::new(&x).slice()))
    }
}
