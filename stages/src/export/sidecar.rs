//! The small files of an exported folder besides the weights and the `README.md`.

use fmflow_engine::pipeline::export_sidecar::ExportSidecar;
use serde_json::{Map, Value, json};

use fmflow_engine::error::Failure;
use fmflow_engine::pipeline::checkpoint_config::ids_to_json;
use fmflow_engine::pipeline::contract::{Attention, Contract, ModelKind};

use super::mask_token::name_mask_token;
use super::{Export, format_json, sdar};
use crate::data::tokenizer::{END_OF_DOCUMENT, END_OF_TURN};
use crate::failure::input_failure;
use crate::model::{GENERATION, ModelTokenizer};
use crate::weights::Dtype;

/// The name of a type in `config.json`.
pub(super) fn to_torch_name(dtype: Dtype) -> &'static str {
    match dtype {
        Dtype::F32 => "float32",
        Dtype::BF16 => "bfloat16",
        Dtype::F16 => "float16",
    }
}

/// `config.json`: the checkpoint's own, with the exported type and what a flow model needs besides.
pub(super) fn render_config(export: &Export<'_>) -> String {
    let name = to_torch_name(export.dtype);
    let mut config = export.checkpoint.config.entries();
    config.extend(find_special_ids(export));
    config.extend(list_flow_settings(export.contract));
    if export.sdar.is_some() {
        config.extend(sdar::list_settings());
    }
    let more = [("dtype", json!(name)), ("torch_dtype", json!(name)), ("use_cache", json!(true))];
    config.extend(more.map(|(key, value)| (key.to_owned(), value)));
    format_json(&Value::Object(config))
}

/// What a flow model computes differently from an ordinary Qwen3, under the names that other programs use: transformers obeys
/// `is_causal` since version 5.2, and the published diffusion models have a `mask_token_id`. Blocks have no setting that others
/// obey, so the model keeps the causal mask there; `README.md` says so.
fn list_flow_settings(contract: &Contract) -> Map<String, Value> {
    let mut settings = Map::new();
    if contract.kind == ModelKind::Autoregressive {
        return settings;
    }
    if contract.attention == Attention::Bidirectional {
        settings.insert("is_causal".into(), json!(false));
    }
    settings.insert("mask_token_id".into(), json!(contract.mask_token));
    if let Some(block) = contract.block {
        settings.insert("block_size".into(), json!(block));
    }
    if let Some(growth) = contract.growth {
        settings.insert("expand_token_id".into(), json!(growth.expand));
        settings.insert("delete_token_id".into(), json!(growth.delete));
    }
    settings
}

/// Special ids from the config, or from the tokenizer if the config has none.
fn find_special_ids(export: &Export<'_>) -> Map<String, Value> {
    let config = &export.checkpoint.config;
    let pad = || export.text.and_then(ModelTokenizer::pad_id);
    [
        ("bos_token_id", json!(config.bos_token_id)),
        ("eos_token_id", ids_to_json(&find_end_ids(export))),
        ("pad_token_id", json!(config.pad_token_id.or_else(pad))),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into_iter()
    .collect()
}

/// The ids that end an answer.
pub(super) fn find_end_ids(export: &Export<'_>) -> Vec<u32> {
    let own = &export.checkpoint.config.eos_token_ids;
    let declared = || export.text.and_then(|text| text.declared_id("eos_token")).into_iter().collect();
    add_learned_end(export, if own.is_empty() { declared() } else { own.clone() })
}

/// `ids`, and the end of a turn if there are none or the model was trained here, because conversations end their answers with it.
fn add_learned_end(export: &Export<'_>, mut ids: Vec<u32>) -> Vec<u32> {
    let learned = export.contract.trained_updates > 0 || ids.is_empty();
    let end = find_token_id(export, END_OF_TURN).filter(|end| learned && !ids.contains(end));
    ids.extend(end);
    // SDAR's servers stop at these ids alone, and the answers beside the model stop at the end of a document, too.
    let end =
        find_token_id(export, END_OF_DOCUMENT).filter(|end| export.sdar.is_some() && !ids.contains(end));
    ids.extend(end);
    ids
}

fn find_token_id(export: &Export<'_>, token: &str) -> Option<u32> {
    export.text?.tokenizer.id(token)
}

/// `generation_config.json`: the source's own, with what training added. `own` are its bytes, which stay if nothing was added.
///
/// # Errors
/// If it is not a JSON object.
pub(super) fn render_generation_config(export: &Export<'_>, own: Option<&[u8]>) -> Result<Vec<u8>, Failure> {
    let Some(bytes) = own else {
        let mut config = find_special_ids(export);
        config.extend([("do_sample".to_owned(), json!(false)), ("use_cache".to_owned(), json!(true))]);
        config.extend(find_mask_id(export));
        return Ok(format_json(&Value::Object(config)).into_bytes());
    };
    let malformed = |e: serde_json::Error| input_failure(format!("{GENERATION}: {e}"), "restore the file");
    let before: Map<String, Value> = serde_json::from_slice(bytes).map_err(malformed)?;
    let mut config = before.clone();
    let ends = list_ids("eos_token_id", &before)?;
    // A file without an end leaves it to config.json.
    if !ends.is_empty() {
        config.insert("eos_token_id".into(), ids_to_json(&add_learned_end(export, ends)));
    }
    config.extend(find_mask_id(export));
    Ok(match config == before {
        true => bytes.to_vec(),
        false => format_json(&Value::Object(config)).into_bytes(),
    })
}

/// The mask token of a flow model, as the published diffusion models name it.
fn find_mask_id(export: &Export<'_>) -> Option<(String, Value)> {
    find_mask(export).map(|id| ("mask_token_id".to_owned(), json!(id)))
}

fn find_mask(export: &Export<'_>) -> Option<u32> {
    export.contract.mask_token.filter(|_| export.contract.kind == ModelKind::Flow)
}

/// The ids of a setting of generation: one id, a list, or none.
fn list_ids(key: &str, config: &Map<String, Value>) -> Result<Vec<u32>, Failure> {
    let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    let ids = match config.get(key) {
        None | Some(Value::Null) => Some(Vec::new()),
        Some(Value::Array(list)) => list.iter().map(id).collect(),
        Some(one) => id(one).map(|id| vec![id]),
    };
    ids.ok_or_else(|| {
        input_failure(format!("{GENERATION}: `{key}` is neither an id nor a list of ids"), "restore the file")
    })
}

/// The tokenizer's files, with a plain `tokenizer_config.json` if there is none.
///
/// # Errors
/// If one of them is malformed.
pub(super) fn collect_tokenizer_files(export: &Export<'_>) -> Result<Vec<(String, Vec<u8>)>, Failure> {
    let Some(text) = export.text else { return Ok(Vec::new()) };
    // Other programs do not know `vocabulary.json`; `config.json` already has the number of rows.
    let mut files: Vec<(String, Vec<u8>)> =
        text.files.iter().filter(|(name, _)| name != "vocabulary.json").cloned().collect();
    if !files.iter().any(|(name, _)| name == "tokenizer_config.json") {
        let known = |token: &'static str| text.tokenizer.id(token).map(|_| token);
        let config = json!({
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": null,
            "clean_up_tokenization_spaces": false,
            "eos_token": known(END_OF_TURN),
            "model_max_length": export.checkpoint.config.max_position_embeddings,
            "pad_token": known(END_OF_DOCUMENT),
            "unk_token": null,
        });
        files.push(("tokenizer_config.json".into(), format_json(&config).into_bytes()));
    }
    if let Some(mask) = find_mask(export) {
        name_mask_token(&mut files, &text.tokenizer, mask)?;
    }
    Ok(files)
}

/// `fmflow.json`: the contract, and the file of the time conditioning if there is one.
pub(super) fn render_provenance(export: &Export<'_>) -> String {
    ExportSidecar::new(export.contract.clone(), to_torch_name(export.dtype)).to_json()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::backbone::{Backbone, TimeConditioning};
    use crate::convert::tests::{config as shape, store};
    use crate::data::tokenizer::train_byte_level_bpe;
    use crate::weights::CheckpointReader;

    /// Looks at an export of a small model without a tokenizer.
    pub(crate) fn with_export<T>(contract: &Contract, look: impl FnOnce(&Export<'_>) -> T) -> T {
        let folder = tempfile::tempdir().unwrap();
        let device = crate::device::open_device("cpu").unwrap();
        store(folder.path(), &Backbone::new(&shape(true), TimeConditioning::None, 1, &device).unwrap(), None);
        let checkpoint = &CheckpointReader::open(folder.path()).unwrap();
        let source = folder.path();
        look(&Export {
            source,
            checkpoint,
            contract,
            text: None,
            dtype: Dtype::BF16,
            shard_bytes: 1,
            sdar: None,
        })
    }

    #[test]
    fn a_flow_model_states_its_attention_mask_and_blocks() {
        let flow = Contract {
            kind: ModelKind::Flow,
            mask_token: Some(45),
            attention: Attention::Bidirectional,
            trained_updates: 1,
            ..Contract::autoregressive()
        };
        let blocks =
            Contract { attention: Attention::BlockCausal { block: 4 }, block: Some(4), ..flow.clone() };
        let config = |contract: &Contract| -> Map<String, Value> {
            serde_json::from_str(&with_export(contract, render_config)).unwrap()
        };
        let flow_keys = ["is_causal", "mask_token_id", "block_size"];
        let stated = |contract: &Contract| flow_keys.map(|key| config(contract).get(key).cloned());
        assert_eq!(stated(&flow), [Some(json!(false)), Some(json!(45)), None]);
        assert_eq!(stated(&blocks), [None, Some(json!(45)), Some(json!(4))]);
        assert_eq!(stated(&Contract::autoregressive()), [None, None, None]);
        let own = br#"{"temperature": 0.6, "eos_token_id": [1, 2]}"#;
        let generation = |contract: &Contract| {
            with_export(contract, |export| render_generation_config(export, Some(own)).unwrap())
        };
        assert_eq!(generation(&Contract::autoregressive()), own);
        let added: Value = serde_json::from_slice(&generation(&flow)).unwrap();
        assert_eq!(added, json!({"temperature": 0.6, "eos_token_id": [1, 2], "mask_token_id": 45}));
    }

    #[test]
    fn a_tokenizer_without_config_gets_one_and_the_special_ids_come_from_it() {
        let folder = tempfile::tempdir().unwrap();
        let device = crate::device::open_device("cpu").unwrap();
        let shape = crate::backbone::Qwen3Config { vocab_size: 320, ..shape(true) };
        let model = Backbone::new(&shape, TimeConditioning::None, 1, &device).unwrap();
        store(folder.path(), &model, None);
        let words =
            ["a b", "b c"].map(|text| Ok::<_, crate::data::tokenizer::TokenizerError>(text.to_owned()));
        let files =
            train_byte_level_bpe(words.into_iter(), 320, &std::sync::atomic::AtomicBool::new(false)).unwrap();
        std::fs::write(folder.path().join("tokenizer.json"), files.tokenizer).unwrap();
        std::fs::write(folder.path().join("vocabulary.json"), files.vocabulary).unwrap();
        let checkpoint = &CheckpointReader::open(folder.path()).unwrap();
        let text = ModelTokenizer::open(folder.path(), 320).unwrap();
        let (source, contract) = (folder.path(), &Contract::autoregressive());
        let (text, dtype) = (text.as_ref(), Dtype::BF16);
        let export = Export { source, checkpoint, contract, text, dtype, shard_bytes: 1, sdar: None };
        let own = collect_tokenizer_files(&export).unwrap();
        let names: Vec<&str> = own.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["tokenizer.json", "tokenizer_config.json"]);
        let plain: Value = serde_json::from_slice(&own[1].1).unwrap();
        assert_eq!(
            (&plain["eos_token"], &plain["pad_token"]),
            (&json!(END_OF_TURN), &json!(END_OF_DOCUMENT))
        );
        let id = |token| json!(text.and_then(|text| text.tokenizer.id(token)));
        let config: Value = serde_json::from_str(&render_config(&export)).unwrap();
        let generation: Value =
            serde_json::from_slice(&render_generation_config(&export, None).unwrap()).unwrap();
        for (key, value) in [("eos_token_id", id(END_OF_TURN)), ("pad_token_id", id(END_OF_DOCUMENT))] {
            assert!(value.is_u64() && config[key] == value && generation[key] == value, "{key}");
        }
        assert_eq!((&config["dtype"], &config["torch_dtype"]), (&json!("bfloat16"), &json!("bfloat16")));
        assert_eq!(crate::backbone::Qwen3Config::parse(&config.to_string()).unwrap().vocab_size, 320);
    }
}
