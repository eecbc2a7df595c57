//! Passes a micro-batch through the backbone without a gradient, and moves values between host and device.

use burn_tensor::{Device, Int, Tensor, TensorData};

use super::attention::Anneal;
use super::update::MicroBatch;
use crate::backbone::{Attention, AttentionContext, Backbone, BackboneError, TimeConditioning};

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
