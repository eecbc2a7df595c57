//! The loss and the optimizer as formulas of plain Burn operations.

use burn_tensor::activation::log_softmax;
use burn_tensor::{IndexingUpdateOp, Int, Tensor};

use super::{linear, multiply};
use crate::Precision;
use crate::adamw::{AdamWRates, UpdatedValues};
use crate::loss::{LossGradients, LossTerms, PositionLosses};

/// The most logits that exist at once, in values: 256 MiB of f32.
const LOGIT_VALUES: usize = 1 << 26;

/// Width of the rows whose squares are summed. A sum over a whole tensor has no fixed order on every device; sums along a
/// dimension have.
const SUM_WIDTH: usize = 1024;

impl LossTerms {
    fn narrow(&self, first: usize, count: usize) -> Self {
        Self {
            targets: self.targets.clone().narrow(0, first, count),
            present: self.present.clone().narrow(0, first, count),
            cross_entropy: self.cross_entropy.clone().narrow(0, first, count),
            probability: self.probability.clone().narrow(0, first, count),
        }
    }
}

/// Ranges of positions, (first, count), whose logits fit.
fn split_positions(positions: usize, vocabulary: usize) -> impl Iterator<Item = (usize, usize)> {
    let size = (LOGIT_VALUES / vocabulary).max(1);
    (0..positions).step_by(size).map(move |first| (first, size.min(positions - first)))
}

/// The parts of the loss from log-probabilities [n, V].
fn look_up(log_p: &Tensor<2>, targets: Tensor<1, Int>, present: Tensor<1, Int>) -> PositionLosses {
    let n = log_p.dims()[0];
    let at = |tokens: Tensor<1, Int>| log_p.clone().gather(1, tokens.reshape([n, 1])).reshape([n]);
    PositionLosses { cross_entropy: -at(targets), probability: at(present).exp() }
}

/// As [`crate::measure_losses`].
#[must_use]
pub fn measure_losses(
    hidden: Tensor<2>,
    head: Tensor<2>,
    targets: Tensor<1, Int>,
    present: Tensor<1, Int>,
    precision: Precision,
) -> PositionLosses {
    let parts = split_positions(hidden.dims()[0], head.dims()[0]).map(|(first, count)| {
        let logits = linear(hidden.clone().narrow(0, first, count), head.clone(), precision);
        let narrow = |x: &Tensor<1, Int>| x.clone().narrow(0, first, count);
        look_up(&log_softmax(logits, 1), narrow(&targets), narrow(&present))
    });
    join(parts.collect())
}

fn join(parts: Vec<PositionLosses>) -> PositionLosses {
    let (cross_entropy, probability) = parts.into_iter().map(|p| (p.cross_entropy, p.probability)).unzip();
    PositionLosses { cross_entropy: Tensor::cat(cross_entropy, 0), probability: Tensor::cat(probability, 0) }
}

/// As [`crate::differentiate_losses`].
#[must_use]
pub fn differentiate_losses(
    hidden: Tensor<2>,
    head: Tensor<2>,
    terms: LossTerms,
    precision: Precision,
) -> LossGradients {
    let (mut losses, mut rows, mut sum) = (Vec::new(), Vec::new(), None);
    for (first, count) in split_positions(hidden.dims()[0], head.dims()[0]) {
        let part = hidden.clone().narrow(0, first, count);
        let (found, gradient, own) =
            differentiate_part(part.clone(), &head, terms.narrow(first, count), precision);
        losses.push(found);
        rows.push(own);
        let own = multiply(gradient.transpose(), part, precision);
        sum = Some(match sum {
            Some(sum) => sum + own,
            None => own,
        });
    }
    LossGradients {
        losses: join(losses),
        hidden: Tensor::cat(rows, 0),
        head: sum.unwrap_or_else(|| Tensor::zeros_like(&head)),
    }
}

/// As [`crate::differentiate_hidden`].
#[must_use]
pub fn differentiate_hidden(
    hidden: Tensor<2>,
    head: Tensor<2>,
    terms: LossTerms,
    precision: Precision,
) -> (PositionLosses, Tensor<2>) {
    let parts = split_positions(hidden.dims()[0], head.dims()[0]).map(|(first, count)| {
        let part = hidden.clone().narrow(0, first, count);
        let (found, _, own) = differentiate_part(part, &head, terms.narrow(first, count), precision);
        (found, own)
    });
    let (losses, rows) = parts.unzip();
    (join(losses), Tensor::cat(rows, 0))
}

/// Losses of some positions, and the gradients of their logits and hidden states.
fn differentiate_part(
    hidden: Tensor<2>,
    head: &Tensor<2>,
    terms: LossTerms,
    precision: Precision,
) -> (PositionLosses, Tensor<2>, Tensor<2>) {
    let (found, gradient) = differentiate_logits(linear(hidden, head.clone(), precision), terms);
    let own = multiply(gradient.clone(), head.clone(), precision);
    (found, gradient, own)
}

/// As [`crate::differentiate_logits`].
#[must_use]
pub fn differentiate_logits(logits: Tensor<2>, terms: LossTerms) -> (PositionLosses, Tensor<2>) {
    let n = logits.dims()[0];
    let log_p = log_softmax(logits, 1);
    let losses = look_up(&log_p, terms.targets.clone(), terms.present.clone());
    let column = |x: Tensor<1>| x.reshape([n, 1]);
    let pull = column(terms.probability * losses.probability.clone());
    let own = column(terms.cross_entropy);
    let at = |tokens: Tensor<1, Int>| tokens.reshape([n, 1]);
    let gradient = (log_p.exp() * (own.clone() - pull.clone()))
        .scatter(1, at(terms.targets), -own, IndexingUpdateOp::Add)
        .scatter(1, at(terms.present), pull, IndexingUpdateOp::Add);
    (losses, gradient)
}

/// As [`crate::update_values`].
#[must_use]
pub fn update_values(
    values: Tensor<1>,
    gradient: Tensor<1>,
    [first, second]: [Tensor<1>; 2],
    rates: AdamWRates,
) -> UpdatedValues {
    let g = gradient * rates.scale;
    let first = first * rates.first[0] + g.clone() * rates.first[1];
    let second = second * rates.second[0] + (g.clone() * g) * rates.second[1];
    let step = first.clone() / (second.clone().sqrt() * rates.root + rates.epsilon) * rates.rate;
    let new = values.clone() * rates.keep - step;
    let [change, before] = [new.clone() - values.clone(), values].map(sum_squares);
    let squares = Tensor::stack::<2>(vec![change, before], 1);
    let count = squares.dims().iter().product::<usize>();
    UpdatedValues { values: new, moments: [first, second], squares: squares.reshape([count]) }
}

/// As [`crate::sum_squares`], in rows of the largest power of two up to 1,024 that divides the number of values.
#[must_use]
pub fn sum_squares(x: Tensor<1>) -> Tensor<1> {
    let n = x.dims()[0];
    let width = (1 << n.trailing_zeros().min(SUM_WIDTH.trailing_zeros())).min(n.max(1));
    let rows = n / width;
    let x = x.reshape([rows, width]);
    (x.clone() * x).sum_dim(1).reshape([rows])
}
