//! An export for servers of SDAR (Cheng et al., "SDAR: A Synergistic Diffusion-AutoRegression Paradigm for Scalable Sequence Generation", 2025):
//! a Qwen3 that denoises blocks under block-causal attention, each position predicting its own token.
//!
//! The tensors have the same names there. `config.json` names the architecture, the block and the mask; beside it lies what greedy decoding
//! gives, so that whoever starts a server can see whether it computes this model.

use std::path::Path;

use fmflow_engine::error::Failure;
use fmflow_engine::pipeline::config::TimeConditioning;
use fmflow_engine::pipeline::config::{Certainty, Sampler, SamplerCache, SamplerKind};
use fmflow_engine::pipeline::contract::{Attention, Contract, ModelKind};
use fmflow_engine::pipeline::message::Message;
use serde_json::{Map, Value, json};

use super::format_json;
use crate::completion::{Completion, CompletionRequest, complete_requests};
use crate::data::chat;
use crate::data::tokenizer::TokenizerError;
use crate::device::open_device;
use crate::failure::{input_failure, stage_failure};
use crate::model::Model;

/// File of the prompts and what greedy decoding gives.
pub(super) const EXPECTED: &str = "expected_answers.json";

/// Texts to go on from, and a message of a conversation. A choice: short, and none of a benchmark.
const TEXTS: [&str; 3] = ["The river", "def add(a, b):", "1 + 1 ="];
const MESSAGE: &str = "Name three colors.";

/// New tokens of each answer, as far as the context has room.
const NEW_TOKENS: usize = 32;

/// The block of a checkpoint that such servers can run.
///
/// # Errors
/// Why they cannot.
pub(super) fn find_block(contract: &Contract) -> Result<usize, Failure> {
    let refuse = |what: &str, fix: &str| {
        let message = format!("the checkpoint is no model like SDAR: {what}");
        Err(input_failure(message, format!("{fix}, or write `format=\"huggingface\"`")))
    };
    if contract.kind != ModelKind::Flow || contract.mask_token.is_none() {
        return refuse("it is autoregressive and has no mask token", "convert and train it");
    }
    let Attention::BlockCausal { block } = contract.attention else {
        return refuse("its attention is not block-causal", "train it with `attention \"block\"`");
    };
    if contract.shift {
        return refuse(
            "its positions predict the next token, not their own",
            "convert it with `shift #false`",
        );
    }
    if contract.path.as_ref().is_some_and(|path| path.mask_share < 1.0) {
        return refuse("its source is not the mask alone", "train it on a path with `source=\"mask\"`");
    }
    if contract.time_conditioning != TimeConditioning::None {
        return refuse("it is given the time", "convert it with `time-conditioning \"none\"`");
    }
    Ok(block)
}

/// What `config.json` says otherwise than that of a Qwen3. The code that it names is SDAR's and is not written.
pub(super) fn list_settings() -> Map<String, Value> {
    let own = [
        ("architectures", json!(["SDARForCausalLM"])),
        (
            "auto_map",
            json!({
                "AutoConfig": "configuration_sdar.SDARConfig",
                "AutoModel": "modeling_sdar.SDARModel",
                "AutoModelForCausalLM": "modeling_sdar.SDARForCausalLM",
            }),
        ),
        ("fuse_cross_entropy", json!(false)),
        ("model_type", json!("sdar")),
    ];
    own.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

/// How the expected answers are decoded.
fn choose_sampler(block: usize) -> Sampler {
    let kind = SamplerKind::Reveal { passes: block, by: Certainty::Confidence };
    let (block, cache) = (Some(block), SamplerCache::Exact);
    Sampler { temperature: 0.0, block, cache, ..Sampler::new("sdar", kind) }
}

/// The text of [`EXPECTED`]: what the exported folder writes on `device`, computed in float32. `None` if it has no tokenizer, or
/// if no prompt fits its context.
///
/// # Errors
/// If the folder cannot be read, or the device fails.
pub(super) fn render_expected(folder: &Path, device: &str, block: usize) -> Result<Option<String>, Failure> {
    let model = Model::open(folder, &open_device(device).map_err(stage_failure)?)?.for_text();
    if model.text.is_none() {
        return Ok(None);
    }
    let asked = list_prompts(&model)?;
    if asked.is_empty() {
        return Ok(None);
    }
    let requests: Vec<CompletionRequest> = asked.iter().map(|(_, request)| request.clone()).collect();
    let found = complete_requests(&model, &requests, &choose_sampler(block), 0, 1)?;
    let answers: Vec<Value> = asked
        .iter()
        .zip(&found.completions)
        .map(|(asked, found)| render_answer(&model, asked, found))
        .collect();
    let settings = json!({
        "block_length": block,
        "denoising_steps": block,
        "remasking_strategy": "low_confidence_static",
        "token": "the most probable one",
        "confidence": "its probability at temperature 1",
        "mask_token_id": model.contract.mask_token,
        "stop_token_ids": model.ends(),
        "computed_in": "float32",
    });
    let whole = json!({ "schema": "fmflow.expected-answers/1", "settings": settings, "answers": answers });
    Ok(Some(format_json(&whole)))
}

/// The prompts that fit the checkpoint, each with its request.
fn list_prompts(model: &Model) -> Result<Vec<(Value, CompletionRequest)>, Failure> {
    let tokenizer = model.tokenizer()?;
    let mut prompts = Vec::new();
    for text in TEXTS {
        prompts.push((json!({ "prompt": text }), tokenizer.encode_plain(text).map_err(stage_failure)?));
    }
    match chat::encode_prompt(tokenizer, &[Message::user(MESSAGE)]) {
        Ok(tokens) => prompts.push((json!({ "messages": [{ "role": "user", "content": MESSAGE }] }), tokens)),
        // A tokenizer need not know conversations.
        Err(TokenizerError::NoSpecial(_)) => {}
        Err(error) => return Err(stage_failure(error)),
    }
    let context = model.backbone.config().max_position_embeddings;
    let request = |(asked, prefix): (Value, Vec<u32>)| {
        let length = NEW_TOKENS.min(context.saturating_sub(prefix.len()));
        (length > 0 && !prefix.is_empty())
            .then(|| (asked, CompletionRequest { prefix, length, ..CompletionRequest::default() }))
    };
    Ok(prompts.into_iter().filter_map(request).collect())
}

fn render_answer(model: &Model, (asked, request): &(Value, CompletionRequest), found: &Completion) -> Value {
    let mut answer = asked.clone();
    answer["prompt_token_ids"] = json!(request.prefix);
    answer["new_tokens"] = json!(request.length);
    // Behind the first end other programs may write what they like.
    answer["token_ids"] = json!(&found.tokens[..found.generated(&model.ends())]);
    answer["passes"] = json!(found.passes);
    answer
}

/// What the `README.md` says besides.
pub(super) fn render_readme(block: usize, mask: u32, expected: bool) -> String {
    let mut text = format!(
        "\n## As SDAR\n\n`config.json` names the architecture `SDARForCausalLM` with blocks of {block} tokens and mask token {mask}. Servers that know SDAR\n\
         load the weights as they are. Programs that run the model's own code need three files of its repository\n\
         (github.com/JetAstra/SDAR, below `training/model`) in this folder: `configuration_sdar.py`, `modeling_sdar.py` and\n\
         `fused_linear_diffusion_cross_entropy.py`; no code lies here. Give the server the block and the mask where it has settings\n\
         for them: it may expect 4 and 151669.\n"
    );
    if expected {
        text.push_str(&format!(
            "\n`{EXPECTED}` has prompts and the tokens that greedy decoding gives, one token in each pass, from these weights in\n\
             float32. A server that computes in another type may differ where two tokens are nearly as probable.\n"
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use fmflow_engine::pipeline::config::train::{ProbabilityPath, Scheduler};

    use super::*;

    #[test]
    fn only_block_causal_models_of_masks_that_predict_in_place_are_taken() {
        let path = |mask_share| Some(ProbabilityPath { mask_share, scheduler: Scheduler::Cosine });
        let fits = Contract {
            kind: ModelKind::Flow,
            shift: false,
            mask_token: Some(9),
            attention: Attention::BlockCausal { block: 4 },
            block: Some(4),
            path: path(1.0),
            ..Contract::autoregressive()
        };
        assert_eq!(find_block(&fits).unwrap(), 4);
        for (contract, said) in [
            (Contract::autoregressive(), "autoregressive"),
            (Contract { attention: Attention::Bidirectional, ..fits.clone() }, "not block-causal"),
            (Contract { attention: Attention::Causal, ..fits.clone() }, "not block-causal"),
            (Contract { shift: true, ..fits.clone() }, "predict the next token"),
            (Contract { path: path(0.5), ..fits.clone() }, "not the mask alone"),
            (Contract { time_conditioning: TimeConditioning::AdaLn { rank: 2 }, ..fits.clone() }, "the time"),
        ] {
            let failure = find_block(&contract).unwrap_err();
            assert!(failure.message.contains(said), "{failure:?}");
            assert!(failure.help.unwrap().ends_with("or write `format=\"huggingface\"`"));
        }
    }
}
