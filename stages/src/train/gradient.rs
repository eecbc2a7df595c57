//! Computes the gradient of an update: micro-batches pass through backbone and loss, and their gradients are summed in a
//! fixed order.
//!
//! The head is not part of the graph: its loss brings the gradients of the hidden states and of the head in closed form, and
//! the gradient of the hidden states then goes through the backbone once. Losses stay on the device until the end of the
//! update, because each transfer waits for it.

use burn_tensor::{Device, Tensor, TensorData};
use fmflow_ops::{
    LossTerms, PositionLosses, differentiate_hidden, differentiate_logits, differentiate_losses,
};

use super::attention::Anneal;
use super::backward::ForwardPass;
use super::forward::{build_context, read_values, to_int_tensor};
use super::gradient_sums::{FlatGradients, GradientSums};
use super::losses::{sum_losses, weigh};
use super::metrics::LossSum;
use super::update::{LossTerm, MicroBatch, Update};
use crate::backbone::{Attention, Backbone, BackboneError};
use crate::threads::map_in_parallel;

/// How micro-batches pass through the backbone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ForwardOptions {
    /// The attention pattern.
    pub attention: Attention,
    /// Opens some later positions to causal attention.
    pub anneal: Option<Anneal>,
    /// Whether blocks are recomputed in the backward pass.
    pub recompute: bool,
}

/// The gradient of the loss of a whole update, and the sums of its loss.
///
/// Micro-batches run on `threads` threads. f32 addition is not associative, so gradients are always added in the order of
/// rows, and the number of threads changes no bit.
///
/// # Errors
/// If a micro-batch contradicts the backbone, or the device fails.
pub fn compute_update_gradient(
    model: &Backbone,
    update: &Update,
    how: ForwardOptions,
    threads: usize,
) -> Result<(FlatGradients, LossSum), BackboneError> {
    let (mut total, mut losses) = (None, Vec::new());
    // One wave at a time, so that at most one gradient per thread is in memory besides the total.
    for wave in update.micro_batches.chunks(threads.max(1)) {
        for result in
            map_in_parallel(wave, |batch| compute_micro_batch_gradient(model, batch, how, update.divisor))
        {
            let (gradients, found) = result?;
            losses.extend(found);
            total = Some(match total {
                None => gradients,
                Some(total) => add_gradients(total, gradients),
            });
        }
    }
    let terms = update.micro_batches.iter().map(|batch| batch.terms.as_slice());
    let sum = sum_losses(terms.filter(|terms| !terms.is_empty()), losses)?;
    Ok((total.expect("an update has at least one row"), sum))
}

/// Gradients, and the losses of the positions that count, if any do.
type MicroBatchResult = Result<(FlatGradients, Option<PositionLosses>), BackboneError>;

/// The sum of two gradients.
pub(super) fn add_gradients(total: FlatGradients, part: FlatGradients) -> FlatGradients {
    total.into_iter().zip(part).map(|(a, b)| a + b).collect()
}

/// The gradient of one micro-batch's share of the loss.
///
/// Every call creates its own autodiff leaves: burn-autodiff 0.22.1 puts graphs that share a leaf under one lock, and two
/// threads that go backward through such graphs deadlock (one holds the graph and waits for the table of graphs, the other
/// the reverse).
fn compute_micro_batch_gradient(
    model: &Backbone,
    batch: &MicroBatch,
    how: ForwardOptions,
    divisor: f64,
) -> MicroBatchResult {
    let (model, device) = (&model.clone().trainable()?, model.device());
    let tokens = to_int_tensor(batch.tokens.iter().copied(), &device).reshape([batch.rows, batch.length]);
    let pass = ForwardPass::forward(
        model,
        tokens,
        build_context(model, batch, how.attention, how.anneal),
        how.recompute,
    )?;
    let places = to_int_tensor(batch.terms.iter().map(|t| t.place), &device);
    let mut gradients: GradientSums = vec![None; model.trained().count()];
    let mut losses = None;
    if !batch.terms.is_empty() {
        let terms = build_loss_terms(&batch.terms, divisor, &device);
        let states = pass.at(model, places.clone());
        let (own, hidden) = differentiate_head(model, states, terms, &mut gradients);
        losses = Some(own);
        pass.backward(model, places, hidden, &mut gradients)?;
    }
    let whole = |(gradient, (_, p)): (Option<Tensor<1>>, (_, &crate::backbone::Parameter))| {
        gradient.unwrap_or_else(|| Tensor::zeros([p.count()], &device))
    };
    Ok((gradients.into_iter().zip(model.trained()).map(whole).collect(), losses))
}

/// Losses of hidden states [n, D] and their gradient; that of the head goes into `gradients` if it is trained.
fn differentiate_head(
    model: &Backbone,
    states: Tensor<2>,
    terms: LossTerms,
    gradients: &mut GradientSums,
) -> (PositionLosses, Tensor<2>) {
    let (head, precision) = (model.head(), model.precision());
    let Some(at) = model.find_trained_head() else {
        return differentiate_hidden(states, head, terms, precision);
    };
    let found = differentiate_losses(states, head, terms, precision);
    gradients[at] = Some(found.head.flatten(0, 1));
    (found.losses, found.hidden)
}

/// Tokens and factors of terms on the device. The factors are divided by `divisor`.
fn build_loss_terms(terms: &[LossTerm], divisor: f64, device: &Device) -> LossTerms {
    let factor = |f: fn(&LossTerm) -> f64| {
        let values: Vec<f32> = terms.iter().map(|t| (f(t) / divisor) as f32).collect();
        Tensor::from_data(TensorData::new(values, [terms.len()]), device)
    };
    LossTerms {
        targets: to_int_tensor(terms.iter().map(|t| t.target), device),
        present: to_int_tensor(terms.iter().map(|t| t.present), device),
        cross_entropy: factor(|t| t.coefficients.cross_entropy),
        probability: factor(|t| t.coefficients.present),
    }
}

/// Loss and gradient for given logits. This is what a micro-batch computes after the head, exposed for comparison with other
/// implementations of a loss.
///
/// Returns the weighted loss of each term, before the division, and the gradient of their sum divided by `divisor`.
///
/// # Shapes
/// `logits`: row-major [rows, `vocabulary`], on the host; `terms[i].place` is a row; the gradient has the same shape.
///
/// # Errors
/// If the device fails.
pub fn compute_logits_gradient(
    logits: Vec<f32>,
    vocabulary: usize,
    terms: &[LossTerm],
    divisor: f64,
    device: &Device,
) -> Result<(Vec<f32>, Vec<f32>), BackboneError> {
    let mut whole = vec![0.0; logits.len()];
    if terms.is_empty() {
        return Ok((Vec::new(), whole));
    }
    let shape = [logits.len() / vocabulary, vocabulary];
    let logits = Tensor::<2>::from_data(TensorData::new(logits, shape), device);
    let rows = logits.select(0, to_int_tensor(terms.iter().map(|t| t.place), device));
    let (losses, gradient) = differentiate_logits(rows, build_loss_terms(terms, divisor, device));
    for (term, gradient) in terms.iter().zip(read_values(gradient)?.chunks_exact(vocabulary)) {
        let row = &mut whole[term.place as usize * vocabulary..][..vocabulary];
        row.iter_mut().zip(gradient).for_each(|(sum, part)| *sum += part);
    }
    let read = [read_values(losses.cross_entropy)?, read_values(losses.probability)?];
    let weighted = terms.iter().zip(&read[0]).zip(&read[1]);
    Ok((weighted.map(|((term, ce), p)| weigh(term, f64::from(*ce), f64::from(*p)) as f32).collect(), whole))
}
