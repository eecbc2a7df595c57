//! The tokens by which text grows.

use fmflow_engine::error::Failure;
use fmflow_engine::pipeline::config::{GrowthSettings, GrowthTokens};

use crate::failure::input_failure;
use crate::model::Model;
use crate::train::task::{Growth, TrainingTask};

/// How the text of a training grows from `parent`.
///
/// # Errors
/// If its tokenizer has no such tokens, or they mean something else.
pub(super) fn find_growth(settings: &GrowthSettings, parent: &Model) -> Result<Growth, Failure> {
    let expand = find_token(parent, &settings.expand_token)?;
    let delete = find_token(parent, &settings.delete_token)?;
    Ok(Growth { merge: settings.merge, delete: settings.delete, tokens: GrowthTokens { expand, delete } })
}

fn find_token(parent: &Model, name: &str) -> Result<u32, Failure> {
    let refuse = |what: &str| {
        let cure = "name a special token of the tokenizer that no text holds, such as `<|fim_middle|>` or `<|fim_pad|>`, or add one to tokenizer.json";
        Err(input_failure(format!("text cannot grow by the token `{name}`: {what}"), cure))
    };
    match parent.tokenizer()?.added_id(name) {
        None => refuse("the tokenizer has no special token of this name"),
        Some(id) if parent.contract.mask_token == Some(id) => refuse("it is the mask"),
        Some(id) if parent.ends().contains(&id) => refuse("it ends an answer"),
        Some(id) => Ok(id),
    }
}

/// The tokens by which the text of a task grows, if it does.
pub(super) fn find_growth_tokens(task: &TrainingTask) -> Option<GrowthTokens> {
    match task {
        TrainingTask::Flow(flow) => flow.growth.map(|growth| growth.tokens),
        TrainingTask::Autoregressive | TrainingTask::Strided(_) => None,
    }
}
