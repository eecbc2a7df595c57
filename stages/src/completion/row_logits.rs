//! Hidden states and logits for rows of unequal length.

use burn_tensor::Tensor;

use crate::backbone::{Attention, AttentionContext, Backbone, BackboneError, PADDING};
use crate::train::forward::to_int_tensor;

/// Hidden states of rows of any lengths, [B, L, D]. Shorter rows are padded at their end.
pub(super) fn compute_row_hidden(
    backbone: &Backbone,
    rows: &[&[u32]],
    attention: Attention,
    times: Option<Vec<f32>>,
) -> Result<Tensor<3>, BackboneError> {
    let length = rows.iter().map(|row| row.len()).max().unwrap_or(0);
    let (mut tokens, mut segments) = (Vec::new(), Vec::new());
    for row in rows {
        tokens.extend_from_slice(row);
        tokens.resize(tokens.len() + length - row.len(), 0);
        segments.extend((0..length).map(|i| if i < row.len() { 0 } else { PADDING }));
    }
    let mut context = AttentionContext::new(attention, rows.len(), length).with_segments(segments);
    context.time = times;
    let tokens = to_int_tensor(tokens.into_iter(), &backbone.device()).reshape([rows.len(), length]);
    backbone.hidden(tokens, &context)
}

/// All tokens of [B, L, D] as [B L, D].
pub(super) fn flatten(hidden: Tensor<3>) -> Tensor<2> {
    let [b, l, d] = hidden.dims();
    hidden.reshape([b * l, d])
}

/// Logits of hidden states [places, D], flat [places, V]; `numbers` says whose each place is.
///
/// # Errors
/// If a logit is not finite, which names the first such number; or the device fails.
pub(super) fn read_logits(
    backbone: &Backbone,
    hidden: Tensor<2>,
    numbers: &[u64],
) -> Result<Vec<f32>, BackboneError> {
    let logits = backbone.logits(hidden);
    let logits = logits.try_into_vec_as::<f32>().map_err(|e| BackboneError::Device(e.to_string()))?;
    let rows = numbers.iter().zip(logits.chunks_exact(logits.len() / numbers.len()));
    match rows.into_iter().find(|(_, row)| !row.iter().all(|logit| logit.is_finite())) {
        Some((number, _)) => Err(BackboneError::NotFiniteIn(*number)),
        None => Ok(logits),
    }
}
