//! Computes the gradient of an update: micro-batches pass through backbone and loss, and their gradients are summed in a
//! fixed order.
//!
//! The head is not part of the graph: its loss brings the gradients of the hidden states and of the head in closed form, and
//! the gradient of the hidden states then goes through the backbone once. Losses stay on the device until the end of the
//! update, because each transfer waits for it.

use burn_tensor::{Device, Int, Tensor, TensorData};
use fmflow_ops::{
    LossTerms, PositionLosses, differentiate_hidden, differentiate_logits, differentiate_losses,
    measure_losses,
};

use super::attention::Anneal;
use super::backward::ForwardPass;
use super::gradient_sums::{FlatGradients, GradientSums};
use super::metrics::LossSum;
use super::update::{LossTerm, MicroBatch, Update};
use crate::backbone::{Attention, AttentionContext, Backbone, BackboneError, TimeConditioning};
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

/// Hidden states of a micro-batch.
///
/// # Shapes
/// Returns [B · L, D].
pub(super) fn compute_hidden_states(
    model: &Backbone,
    batch: &MicroBatch,
    attention: Attention,
    device: &Device,
) -> Result<Tensor<2>, BackboneError> {
    let tokens = to_int_tensor(batch.tokens.iter().copied(), device).reshape([batch.rows, batch.length]);
    let hidden = model.hidden(tokens, &build_context(model, batch, attention, None))?;
    let [b, l, d] = hidden.dims();
    Ok(hidden.reshape([b * l, d]))
}

/// The attention context of a micro-batch.
#[must_use]
pub(crate) fn build_context(
    model: &Backbone,
    batch: &MicroBatch,
    attention: Attention,
    anneal: Option<Anneal>,
) -> AttentionContext {
    let mut context = AttentionContext::new(attention, batch.rows, batch.length)
        .with_positions(batch.positions.clone())
        .with_segments(batch.segments.clone());
    context = match batch.stride {
        Some(stride) => context.with_stride(stride),
        None if batch.halves => context.with_halves(),
        None => context,
    };
    if let Some(anneal) = anneal {
        let rows = batch.first..batch.first + batch.rows as u64;
        context = context.with_opened(anneal.opened(rows, batch.length));
    }
    match model.time_conditioning() {
        TimeConditioning::None => context,
        TimeConditioning::AdaLn { .. } => context.with_time(batch.times.clone()),
    }
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

/// The weighted loss of a position, before the division.
fn weigh(term: &LossTerm, cross_entropy: f64, present: f64) -> f64 {
    let c = term.coefficients;
    // Where the factor is 0, p(x_t) is no part of the loss, whatever it is.
    let probability = if c.present == 0.0 { 0.0 } else { c.present * present };
    c.cross_entropy * cross_entropy + probability + c.constant
}

/// Reads the losses of several lists of terms at once and sums them, list by list.
fn sum_losses<'a>(
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
/// As [`compute_update_gradient`].
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

/// The negative log-likelihood of a micro-batch's targets by the law without the present token, summed: no sampler ever draws a mask.
///
/// # Errors
/// As [`compute_update_gradient`].
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

/// Copies token ids or places to the device as a tensor `[n]`.
pub(crate) fn to_int_tensor(values: impl Iterator<Item = u32>, device: &Device) -> Tensor<1, Int> {
    let values: Vec<i32> = values.map(|v| v as i32).collect();
    let n = values.len();
    Tensor::from_data(TensorData::new(values, [n]), device)
}

/// Copies values to the host.
pub(super) fn read_values<const D: usize>(x: Tensor<D>) -> Result<Vec<f32>, BackboneError> {
    x.try_into_vec_as::<f32>().map_err(|e| BackboneError::Device(e.to_string()))
}
