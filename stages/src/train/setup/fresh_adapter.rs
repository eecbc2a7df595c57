//! Puts a fresh adapter on the weights that a training starts from, and proves that it changes nothing before the first update.

use fmflow_engine::error::Failure;
use fmflow_engine::pipeline::config::AdapterSettings;

use crate::backbone::{Attention, AttentionContext, Backbone, BackboneError, TimeConditioning};
use crate::failure::{BEYOND_F32, input_failure, stage_failure};

/// Rows and tokens of the pass that is compared.
const SHAPE: [usize; 2] = [2, 16];

/// `model` with a fresh adapter. See [`Backbone::adapted`] for `seed` and `first`.
///
/// # Errors
/// If the settings adapt no projection, the device fails, or a logit is not that of `model`.
pub(super) fn put_adapter(
    model: Backbone,
    settings: &AdapterSettings,
    (seed, first): (u64, u64),
) -> Result<Backbone, Failure> {
    let adapted = model.clone().adapted(settings, seed, first).map_err(stage_failure)?;
    let (before, after) = (compute_logits(&model).map_err(stage_failure)?, compute_logits(&adapted));
    let after = after.map_err(stage_failure)?;
    if !before.iter().all(|logit| logit.is_finite()) {
        return Err(input_failure("the checkpoint yields logits that are not finite", BEYOND_F32));
    }
    match before == after {
        true => Ok(adapted),
        false => Err(stage_failure("a fresh adapter changes the logits of its base")),
    }
}

/// Logits of all positions of a fixed batch under a causal mask.
fn compute_logits(model: &Backbone) -> Result<Vec<f32>, BackboneError> {
    let config = model.config();
    let [rows, length] = [SHAPE[0], SHAPE[1].min(config.max_position_embeddings)];
    let ids: Vec<u32> = (0..rows * length).map(|i| (i * 7 + 3) as u32 % config.vocab_size as u32).collect();
    let context = AttentionContext::new(Attention::Causal, rows, length);
    let context = match model.time_conditioning() {
        TimeConditioning::None => context,
        TimeConditioning::AdaLn { .. } => context.with_time(vec![0.5; rows]),
    };
    let hidden = model.hidden(model.tokens(&ids, rows)?, &context)?;
    let logits = model.logits(hidden.reshape([rows * length, config.hidden_size]));
    logits.try_into_vec_as::<f32>().map_err(|error| BackboneError::Device(error.to_string()))
}
