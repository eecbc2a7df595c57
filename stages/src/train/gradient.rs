//! Computes the gradient of an update: micro-batches pass through backbone and loss, and their gradients are summed in a
//! fixed order.
//!
//! The logits of a micro-batch would be the largest tensor of all. So they are computed only for positions that count, a
//! chunk at a time: each chunk is propagated back to the hidden states, and the collected gradient of the hidden states
//! then goes through the backbone once.

use burn_tensor::{Device, Int, Tensor, TensorData, activation::log_softmax};

use super::attention::Anneal;
use super::backward::ForwardPass;
use super::gradient_sums::{FlatGradients, GradientSums, collect_gradients};
use super::metrics::LossSum;
use super::update::{LossTerm, MicroBatch, Update};
use crate::backbone::{Attention, AttentionContext, Backbone, BackboneError, TimeConditioning};
use crate::threads::map_in_parallel;

/// The most logits that exist at once, in values: 256 MiB of f32.
const LOGIT_VALUES: usize = 1 << 26;

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
    let (mut total, mut sum) = (None, LossSum::default());
    // One wave at a time, so that at most one gradient per thread is in memory besides the total.
    for wave in update.micro_batches.chunks(threads.max(1)) {
        for result in
            map_in_parallel(wave, |batch| compute_micro_batch_gradient(model, batch, how, update.divisor))
        {
            let (gradients, part) = result?;
            sum.merge(&part);
            total = Some(match total {
                None => gradients,
                Some(total) => add_gradients(total, gradients),
            });
        }
    }
    Ok((total.expect("an update has at least one row"), sum))
}

type MicroBatchResult = Result<(FlatGradients, LossSum), BackboneError>;

fn add_gradients(total: FlatGradients, part: FlatGradients) -> FlatGradients {
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
    let mut gradients: GradientSums = vec![None; model.parameters().len()];
    let (mut upstream, mut sum) = (Vec::new(), LossSum::default());
    if !batch.terms.is_empty() {
        let selected = pass.at(model, places.clone());
        let chunk = (LOGIT_VALUES / model.config().vocab_size).max(1);
        for (number, terms) in batch.terms.chunks(chunk).enumerate() {
            let part = selected.clone().narrow(0, number * chunk, terms.len());
            upstream.push(compute_chunk_gradient(model, part, terms, divisor, &mut gradients, &mut sum)?);
        }
        pass.backward(model, places, Tensor::cat(upstream, 0), &mut gradients)?;
    }
    let whole = |(gradient, (_, p)): (Option<Tensor<1>>, (_, &crate::backbone::Parameter))| {
        gradient.unwrap_or_else(|| Tensor::zeros([p.count()], &device))
    };
    Ok((gradients.into_iter().zip(model.parameters()).map(whole).collect(), sum))
}

/// Hidden states of a micro-batch.
///
/// # Shapes
/// Returns [B · L, D].
fn compute_hidden_states(
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
    if batch.halves {
        context = context.with_halves();
    }
    if let Some(anneal) = anneal {
        let rows = batch.first..batch.first + batch.rows as u64;
        context = context.with_opened(anneal.opened(rows, batch.length));
    }
    match model.time_conditioning() {
        TimeConditioning::None => context,
        TimeConditioning::AdaLn { .. } => context.with_time(batch.times.clone()),
    }
}

/// Computes the loss of some positions and propagates it back. Adds the gradient of the head to `gradients` and returns the
/// gradient of the hidden states.
///
/// # Shapes
/// `hidden`: [n, D], without autodiff; returns [n, D].
fn compute_chunk_gradient(
    model: &Backbone,
    hidden: Tensor<2>,
    terms: &[LossTerm],
    divisor: f64,
    gradients: &mut GradientSums,
    sum: &mut LossSum,
) -> Result<Tensor<2>, BackboneError> {
    let hidden = hidden.autodiff().require_grad();
    let (loss, cross_entropy, present) = compute_position_losses(model.logits(hidden.clone()), terms);
    let mut found = (loss.sum_dim(0) / divisor as f32).reshape([1]).backward();
    let upstream = hidden.grad_remove(&mut found);
    collect_gradients(model, found, gradients);
    add_to_loss_sum(sum, terms, &to_host_values(cross_entropy)?, &present.map(to_host_values).transpose()?);
    upstream.ok_or_else(|| BackboneError::Device("the loss does not depend on the hidden states".into()))
}

/// Losses of positions, before the division: (weighted loss, cross-entropy, p(x_t) if the loss needs it).
///
/// # Shapes
/// `logits`: [n, V], one row per term; returns [n, 1] each.
fn compute_position_losses(
    logits: Tensor<2>,
    terms: &[LossTerm],
) -> (Tensor<2>, Tensor<2>, Option<Tensor<2>>) {
    let (n, device) = (terms.len(), logits.device());
    let column = |f: fn(&LossTerm) -> f64| {
        let values: Vec<f32> = terms.iter().map(|t| f(t) as f32).collect();
        Tensor::<2>::from_data(TensorData::new(values, [n, 1]), &device)
    };
    let at = |f: fn(&LossTerm) -> u32| to_int_tensor(terms.iter().map(f), &device).reshape([n, 1]);
    let log_p = log_softmax(logits, 1);
    let cross_entropy = -log_p.clone().gather(1, at(|t| t.target));
    let loss = cross_entropy.clone() * column(|t| t.coefficients.cross_entropy);
    if terms.iter().all(|t| t.coefficients.present == 0.0) {
        return (loss, cross_entropy, None);
    }
    let present = log_p.gather(1, at(|t| t.present)).exp();
    let loss =
        loss + present.clone() * column(|t| t.coefficients.present) + column(|t| t.coefficients.constant);
    (loss, cross_entropy, Some(present))
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
    let shape = [logits.len() / vocabulary, vocabulary];
    if terms.is_empty() {
        return Ok((Vec::new(), vec![0.0; logits.len()]));
    }
    let device = device.clone().autodiff();
    let logits = Tensor::<2>::from_data(TensorData::new(logits, shape), &device).require_grad();
    let rows = logits.clone().select(0, to_int_tensor(terms.iter().map(|t| t.place), &device));
    let (loss, ..) = compute_position_losses(rows, terms);
    let gradients = (loss.clone().sum_dim(0) / divisor as f32).reshape([1]).backward();
    let gradient = logits.grad(&gradients).ok_or_else(|| BackboneError::Device("no gradient".into()))?;
    Ok((to_host_values(loss)?, to_host_values(gradient)?))
}

fn add_to_loss_sum(sum: &mut LossSum, terms: &[LossTerm], cross_entropy: &[f32], present: &Option<Vec<f32>>) {
    for (i, term) in terms.iter().enumerate() {
        let (c, ce) = (term.coefficients, f64::from(cross_entropy[i]));
        let p = present.as_ref().map_or(0.0, |p| f64::from(p[i]));
        sum.add(term.t, c.cross_entropy * ce + c.present * p + c.constant, ce);
    }
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
    let device = model.device();
    let hidden = compute_hidden_states(model, batch, attention, &device)?;
    let selected = hidden.select(0, to_int_tensor(batch.terms.iter().map(|t| t.place), &device));
    let chunk = (LOGIT_VALUES / model.config().vocab_size).max(1);
    let mut sum = LossSum::default();
    for (number, terms) in batch.terms.chunks(chunk).enumerate() {
        let part = selected.clone().narrow(0, number * chunk, terms.len());
        let (_, cross_entropy, present) = compute_position_losses(model.logits(part), terms);
        add_to_loss_sum(
            &mut sum,
            terms,
            &to_host_values(cross_entropy)?,
            &present.map(to_host_values).transpose()?,
        );
    }
    Ok(sum)
}

/// Copies token ids or places to the device as a tensor `[n]`.
pub(crate) fn to_int_tensor(values: impl Iterator<Item = u32>, device: &Device) -> Tensor<1, Int> {
    let values: Vec<i32> = values.map(|v| v as i32).collect();
    let n = values.len();
    Tensor::from_data(TensorData::new(values, [n]), device)
}

fn to_host_values(x: Tensor<2>) -> Result<Vec<f32>, BackboneError> {
    x.inner().try_into_vec_as::<f32>().map_err(|e| BackboneError::Device(e.to_string()))
}
