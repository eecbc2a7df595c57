//! Weighs and sums the losses of micro-batches, without a gradient: for metrics, held-out rows and likelihoods.
//!
//! Losses stay on the device until their list is complete, because each transfer waits for it.

use burn_tensor::Tensor;
use fmflow_ops::{PositionLosses, measure_losses};

use super::forward::{compute_hidden_states, read_values, to_int_tensor};
use super::metrics::LossSum;
use super::update::{LossTerm, MicroBatch};
use crate::backbone::{Attention, Backbone, BackboneError};

/// The weighted loss of a position, before the division.
pub(super) fn weigh(term: &LossTerm, cross_entropy: f64, present: f64) -> f64 {
    let c = term.coefficients;
    // Where the factor is 0, p(x_t) is no part of the loss, whatever it is.
    let probability = if c.present == 0.0 { 0.0 } else { c.present * present };
    c.cross_entropy * cross_entropy + probability + c.constant
}

/// Reads the losses of several lists of terms at once and sums them, list by list.
pub(super) fn sum_losses<'a>(
    terms: impl Iterator<Item = &'a [LossTerm]>,
    losses: Vec<PositionLosses>,
) -> Result<LossSum, BackboneError> {
    let mut total = LossSum::default();
    if losses.is_empty() {
        return Ok(total);
    }
    let (cross_entropy, present) = losses.into_iter().map(|l| (l.cross_entropy, l.probability)).unzip();
    let [cross_entropy, present] = [Tensor::cat(cross_entropy, 0), Tensor::cat(present, 0)].map(read_values);
    let (cross_entropy, present) = (cross_entropy?, present?);
    let mut values = cross_entropy.into_iter().zip(present);
    for terms in terms {
        let mut sum = LossSum::default();
        for (term, (ce, p)) in terms.iter().zip(values.by_ref()) {
            sum.add(term.t, weigh(term, f64::from(ce), f64::from(p)), f64::from(ce));
        }
        total.merge(&sum);
    }
    Ok(total)
}

/// The sums of a micro-batch's loss without gradients, for held-out rows.
///
/// # Errors
/// If the micro-batch contradicts the backbone, or the device fails.
pub(crate) fn compute_loss_sum(
    model: &Backbone,
    batch: &MicroBatch,
    attention: Attention,
) -> Result<LossSum, BackboneError> {
    if batch.terms.is_empty() {
        return Ok(LossSum::default());
    }
    let losses = measure_terms(model, batch, attention)?;
    sum_losses(std::iter::once(batch.terms.as_slice()), vec![losses])
}

/// The negative log-likelihood of a micro-batch's targets by the law without the present token, summed: no sampler ever
/// draws a mask.
///
/// # Errors
/// If the micro-batch contradicts the backbone, or the device fails.
pub(crate) fn sum_unmasked_losses(
    model: &Backbone,
    batch: &MicroBatch,
    attention: Attention,
) -> Result<f64, BackboneError> {
    if batch.terms.is_empty() {
        return Ok(0.0);
    }
    let losses = measure_terms(model, batch, attention)?;
    let [cross_entropy, present] = [losses.cross_entropy, losses.probability].map(read_values);
    let both = cross_entropy?.into_iter().zip(present?);
    Ok(both.map(|(loss, mask)| f64::from(loss) + (-f64::from(mask)).ln_1p()).sum())
}

/// Losses of a micro-batch's terms, which are not none.
fn measure_terms(
    model: &Backbone,
    batch: &MicroBatch,
    attention: Attention,
) -> Result<PositionLosses, BackboneError> {
    let device = model.device();
    let hidden = compute_hidden_states(model, batch, attention, &device)?;
    let selected = hidden.select(0, to_int_tensor(batch.terms.iter().map(|t| t.place), &device));
    let tokens = |f: fn(&LossTerm) -> u32| to_int_tensor(batch.terms.iter().map(f), &device);
    let [targets, present] = [tokens(|t| t.target), tokens(|t| t.present)];
    Ok(measure_losses(selected, model.head(), targets, present, model.precision()))
}
