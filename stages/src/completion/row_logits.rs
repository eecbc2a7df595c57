//! Logits for rows of unequal length, and autoregressive completion, token by token.

use fmflow_engine::pipeline::config::Sampler;

use super::request::{BatchResult, Completion, CompletionRequest};
use crate::backbone::{Attention, AttentionContext, BackboneError, PADDING, TimeConditioning};
use crate::flow::sampler::{LogitFilter, SamplerRules};
use crate::model::Model;
use crate::rng::{RandomPurpose, derive_stream};
use crate::train::gradient::to_int_tensor;

/// Logits at `places` (row, position) of rows of any lengths, flat [places, V]. Shorter rows are padded.
pub(super) fn compute_row_logits(
    model: &Model,
    rows: &[&[u32]],
    places: &[(usize, usize)],
    attention: Attention,
    t: f64,
) -> Result<Vec<f32>, BackboneError> {
    let length = rows.iter().map(|row| row.len()).max().unwrap_or(0);
    let (mut tokens, mut segments) = (Vec::new(), Vec::new());
    for row in rows {
        tokens.extend_from_slice(row);
        tokens.resize(tokens.len() + length - row.len(), 0);
        segments.extend((0..length).map(|i| if i < row.len() { 0 } else { PADDING }));
    }
    let device = model.backbone.device();
    let mut context = AttentionContext::new(attention, rows.len(), length).with_segments(segments);
    if model.backbone.time_conditioning() != TimeConditioning::None {
        context = context.with_time(vec![t as f32; rows.len()]);
    }
    let tokens = to_int_tensor(tokens.into_iter(), &device).reshape([rows.len(), length]);
    let hidden = model.backbone.hidden(tokens, &context)?;
    let [b, l, d] = hidden.dims();
    let wanted = to_int_tensor(places.iter().map(|&(row, i)| (row * l + i) as u32), &device);
    let logits = model.backbone.logits(hidden.reshape([b * l, d]).select(0, wanted));
    let logits = logits.try_into_vec_as::<f32>().map_err(|e| BackboneError::Device(e.to_string()))?;
    if logits.iter().all(|logit| logit.is_finite()) { Ok(logits) } else { Err(BackboneError::NotFinite) }
}

/// Completes token by token under a causal mask, without a key-value cache.
pub(super) fn complete_autoregressively(
    model: &Model,
    batch: &[(u64, &CompletionRequest)],
    sampler: &Sampler,
    rules: &SamplerRules,
) -> BatchResult {
    let filter = LogitFilter::autoregressive(sampler, rules.used);
    let ends = model.ends();
    let mut rows: Vec<Vec<u32>> = batch.iter().map(|(_, request)| request.prefix.clone()).collect();
    let longest = batch.iter().map(|(_, request)| request.length).max().unwrap_or(0);
    let mut passes = 0;
    for step in 0..longest {
        let unfinished = |&i: &usize| {
            let (row, request) = (&rows[i], batch[i].1);
            let new = &row[request.prefix.len()..];
            new.len() < request.length && !new.iter().any(|token| ends.contains(token))
        };
        let active: Vec<usize> = (0..rows.len()).filter(unfinished).collect();
        if active.is_empty() {
            break;
        }
        passes += 1;
        let shown: Vec<&[u32]> = active.iter().map(|&i| rows[i].as_slice()).collect();
        let places: Vec<(usize, usize)> =
            shown.iter().enumerate().map(|(i, row)| (i, row.len() - 1)).collect();
        let mut values = compute_row_logits(model, &shown, &places, Attention::Causal, 1.0)?;
        let width = values.len() / active.len();
        for (&i, logits) in active.iter().zip(values.chunks_exact_mut(width)) {
            let mut random = derive_stream(rules.seed, RandomPurpose::Sample, [batch[i].0, step as u64, 1]);
            rows[i].push(filter.pick(logits, &mut random).token);
        }
    }
    let new = |(row, (_, request)): (Vec<u32>, &(u64, &CompletionRequest))| Completion {
        tokens: row[request.prefix.len()..].to_vec(),
    };
    Ok((rows.into_iter().zip(batch).map(new).collect(), passes))
}
