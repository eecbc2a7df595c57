//! The small files of an exported folder besides the weights and the `README.md`.

use fmflow_engine::pipeline::export_sidecar::ExportSidecar;
use serde_json::{Map, Value, json};

use super::Export;
use crate::data::tokenizer::{END_OF_DOCUMENT, END_OF_TURN};
use crate::weights::Dtype;

/// The name of a type in `config.json`.
pub(super) fn to_torch_name(dtype: Dtype) -> &'static str {
    match dtype {
        Dtype::F32 => "float32",
        Dtype::BF16 => "bfloat16",
        Dtype::F16 => "float16",
    }
}

/// `config.json`: the checkpoint's own, with the exported type.
pub(super) fn render_config(export: &Export<'_>) -> String {
    let name = to_torch_name(export.dtype);
    let mut config = export.checkpoint.config.entries();
    config.extend(find_special_ids(export));
    let more = [("dtype", json!(name)), ("torch_dtype", json!(name)), ("use_cache", json!(true))];
    config.extend(more.map(|(key, value)| (key.to_owned(), value)));
    format_json(&Value::Object(config))
}

/// Special ids from the config, or from the tokenizer if the config has none.
fn find_special_ids(export: &Export<'_>) -> Map<String, Value> {
    let config = &export.checkpoint.config;
    let id = |token: &str| export.text.and_then(|text| text.tokenizer.id(token));
    [
        ("bos_token_id", config.bos_token_id),
        ("eos_token_id", config.eos_token_id.or_else(|| id(END_OF_TURN))),
        ("pad_token_id", config.pad_token_id.or_else(|| id(END_OF_DOCUMENT))),
    ]
    .map(|(key, id)| (key.to_owned(), json!(id)))
    .into_iter()
    .collect()
}

/// `generation_config.json` for a checkpoint that has none.
pub(super) fn render_generation_config(export: &Export<'_>) -> String {
    let mut config = find_special_ids(export);
    config.insert("do_sample".into(), json!(false));
    config.insert("use_cache".into(), json!(true));
    format_json(&Value::Object(config))
}

/// The tokenizer's files, with a plain `tokenizer_config.json` if there is none.
pub(super) fn collect_tokenizer_files(export: &Export<'_>) -> Vec<(String, Vec<u8>)> {
    let Some(text) = export.text else { return Vec::new() };
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
    files
}

/// `fmflow.json`: the contract, and the file of the time conditioning if there is one.
pub(super) fn render_provenance(export: &Export<'_>) -> String {
    ExportSidecar::new(export.contract.clone(), to_torch_name(export.dtype)).to_json()
}

fn format_json(value: &Value) -> String {
    format!("{value:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backbone::{Backbone, TimeConditioning};
    use crate::convert::tests::{config as shape, store};
    use crate::data::tokenizer::train_byte_level_bpe;
    use crate::model::ModelTokenizer;
    use crate::weights;
    use fmflow_engine::pipeline::contract::Contract;

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
        let checkpoint = weights::read_checkpoint(folder.path()).unwrap();
        let text = ModelTokenizer::open(folder.path(), 320).unwrap();
        let (checkpoint, contract) = (&checkpoint, &Contract::autoregressive());
        let export = Export { checkpoint, contract, text: text.as_ref(), dtype: Dtype::BF16, shard_bytes: 1 };
        let own = collect_tokenizer_files(&export);
        let names: Vec<&str> = own.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["tokenizer.json", "tokenizer_config.json"]);
        let plain: Value = serde_json::from_slice(&own[1].1).unwrap();
        assert_eq!(
            (&plain["eos_token"], &plain["pad_token"]),
            (&json!(END_OF_TURN), &json!(END_OF_DOCUMENT))
        );
        let id = |token| json!(text.as_ref().and_then(|text| text.tokenizer.id(token)));
        let config: Value = serde_json::from_str(&render_config(&export)).unwrap();
        let generation: Value = serde_json::from_str(&render_generation_config(&export)).unwrap();
        for (key, value) in [("eos_token_id", id(END_OF_TURN)), ("pad_token_id", id(END_OF_DOCUMENT))] {
            assert!(value.is_u64() && config[key] == value && generation[key] == value, "{key}");
        }
        assert_eq!((&config["dtype"], &config["torch_dtype"]), (&json!("bfloat16"), &json!("bfloat16")));
        assert_eq!(crate::backbone::Qwen3Config::parse(&config.to_string()).unwrap().vocab_size, 320);
    }
}
