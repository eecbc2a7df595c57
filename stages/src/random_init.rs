//! The `random-init` stage: creates a model with random weights.

use fmflow_engine::error::Failure;
use fmflow_engine::pipeline::config::{RandomInitConfig, TimeConditioning};
use fmflow_engine::pipeline::contract::Contract;
use fmflow_engine::pipeline::origins::Origins;
use fmflow_engine::pipeline::role::InputRole;
use fmflow_engine::run::execute::Job;
use fmflow_engine::store::Summary;
use indexmap::IndexMap;

use crate::backbone::{Backbone, Qwen3Config};
use crate::failure::input_failure;
use crate::job::find_input_folder;
use crate::model::{Model, ModelTokenizer, describe_parameters, open_tokenizer};

/// Creates a model with random weights for the tokenizer's vocabulary.
///
/// # Errors
/// If the shape is inconsistent.
pub(crate) fn run_random_init(job: &Job<'_>, config: &RandomInitConfig) -> Result<Summary, Failure> {
    let beside = find_input_folder(job, &InputRole::Tokenizer)?;
    let rows = open_tokenizer(beside)?.rows() as usize;
    let text = ModelTokenizer::open(beside, rows)?;
    let shape = Qwen3Config {
        vocab_size: rows,
        hidden_size: config.hidden,
        intermediate_size: config.feed_forward,
        num_hidden_layers: config.layers,
        num_attention_heads: config.heads,
        num_key_value_heads: config.kv_heads,
        head_dim: config.head_dim,
        rms_norm_eps: config.norm_epsilon,
        rope_theta: config.rope_theta,
        tie_word_embeddings: config.tied,
        max_position_embeddings: config.context,
        initializer_range: config.initializer_range,
        bos_token_id: None,
        eos_token_ids: text.iter().filter_map(ModelTokenizer::end_id).collect(),
        pad_token_id: text.as_ref().and_then(ModelTokenizer::pad_id),
    };
    let device = crate::device::open_device(job.device)
        .map_err(|e| input_failure(e, "choose a device that this build has"))?;
    let backbone = Backbone::new(&shape, TimeConditioning::None, job.seed, &device)
        .map_err(|e| input_failure(e, "fix the numbers of `shape`"))?;
    let parameters = backbone.parameters().map(|(_, p)| p.count()).sum();
    let tokenizer = text.as_ref().map(|t| t.tokenizer.digest());
    let contract = Contract { tokenizer, ..Contract::autoregressive() };
    let summary =
        describe_parameters(format!("{:.2} M parameters", parameters as f64 / 1e6), parameters, Vec::new());
    let mut writer = job.slot.artifact()?;
    let origins = Origins::for_stage(job.stage);
    Model { backbone, contract, text, generation: None, certificate: None, origins }.write(&mut writer)?;
    writer.publish(&summary, &IndexMap::new())?;
    Ok(summary)
}
