//! Tests of opened checkpoint folders: each fault is found from headers, once, with its own cure.

use std::path::Path;

use serde_json::{Value, json};

use super::*;
use crate::pipeline::contract::{Contract, ModelKind};
use crate::pipeline::export_sidecar::ExportSidecar;

fn config() -> Value {
    json!({"model_type": "qwen3", "vocab_size": 8, "hidden_size": 2, "intermediate_size": 4, "num_hidden_layers": 1,
        "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 2, "rms_norm_eps": 1e-6, "rope_theta": 1e4,
        "max_position_embeddings": 16, "tie_word_embeddings": true})
}

/// Names and shapes of the tensors that a config describes.
fn layout(config: &Value) -> Vec<(String, Vec<usize>)> {
    build_layout(&Qwen3Config::parse(&config.to_string()).unwrap(), TimeConditioning::None)
}

/// A weight file of zeros.
fn weights(layout: &[(String, Vec<usize>)], dtype: &str, bytes: usize) -> Vec<u8> {
    let (mut end, mut header) = (0, serde_json::Map::new());
    for (name, shape) in layout {
        let start = end;
        end += bytes * shape.iter().product::<usize>();
        header.insert(name.clone(), json!({"dtype": dtype, "shape": shape, "data_offsets": [start, end]}));
    }
    let header = Value::Object(header).to_string();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.resize(file.len() + end, 0);
    file
}

/// A sound folder.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "config.json", config().to_string());
    write(folder.path(), SINGLE, weights(&layout(&config()), "BF16", 2));
    write(folder.path(), "tokenizer.json", tokenizer(7));
    folder
}

fn tokenizer(last: u64) -> String {
    json!({"model": {"vocab": {"a": 0}}, "added_tokens": [{"id": last, "content": "<end>"}]}).to_string()
}

fn write(folder: &Path, name: &str, bytes: impl AsRef<[u8]>) {
    std::fs::write(folder.join(name), bytes).unwrap();
}

fn remove(folder: &Path, name: &str) {
    std::fs::remove_file(folder.join(name)).unwrap();
}

fn faults(folder: &Path) -> Vec<FolderFault> {
    CheckpointFolder::open(folder, "./m").find_faults()
}

/// Expects one fault, with these words in its message and its cure.
#[track_caller]
fn assert_fault(folder: &Path, message: &str, cure: &str) {
    let found = faults(folder);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].message.contains(message), "{message:?} in {:#?}", found[0]);
    assert!(found[0].cure.contains(cure), "{cure:?} in {:#?}", found[0]);
}

/// Rewrites the weights with other tensors.
fn with_layout(folder: &Path, change: impl Fn(&mut Vec<(String, Vec<usize>)>)) {
    let mut layout = layout(&config());
    change(&mut layout);
    write(folder, SINGLE, weights(&layout, "BF16", 2));
}

fn with_config(folder: &Path, key: &str, value: Value) {
    let mut config = config();
    config[key] = value;
    write(folder, "config.json", config.to_string());
}

#[test]
fn a_sound_folder_has_no_faults() {
    let folder = folder();
    assert_eq!(faults(folder.path()), []);
    let opened = CheckpointFolder::open(folder.path(), "./m");
    assert_eq!((opened.config().unwrap().vocab_size, opened.weight_files().len()), (8, 1));
    assert_eq!(opened.find_missing_tokenizer(), None);
}

#[test]
fn names_of_wrapped_models_are_told_with_the_command_that_renames_them() {
    let folder = folder();
    let rename = |before: &str| {
        with_layout(folder.path(), |all| {
            all.iter_mut().for_each(|(name, _)| *name = format!("{before}{name}"));
        })
    };
    for (before, cause) in [
        ("_orig_mod.", "torch.compile"),
        ("module.", "DistributedDataParallel"),
        ("module._orig_mod.", "torch.compile"),
        ("_fsdp_wrapped_module.", "FullyShardedDataParallel"),
        ("base_model.model.", "peft"),
    ] {
        rename(before);
        let last = before.split_inclusive('.').next_back().unwrap();
        assert_fault(
            folder.path(),
            cause,
            if before.starts_with("base") { "base_model.model." } else { last },
        );
    }
    with_layout(folder.path(), |all| {
        all.iter_mut().for_each(|(name, _)| *name = name.replacen("layers.0.", "layers.0._orig_mod.", 1));
    });
    assert_fault(
        folder.path(),
        "torch.compile",
        "load_file('./m/model.safetensors'); save_file({k.replace('_orig_mod.', '')",
    );
    with_layout(folder.path(), |all| {
        all.iter_mut().for_each(|(name, _)| *name = name.trim_start_matches("model.").to_owned());
    });
    assert_fault(folder.path(), "without its head", "'model.' + k");
}

#[test]
fn a_strangers_names_do_not_become_part_of_a_command() {
    let folder = folder();
    remove(folder.path(), SINGLE);
    let renamed: Vec<_> =
        layout(&config()).into_iter().map(|(name, shape)| (format!("module.{name}"), shape)).collect();
    let file = "'); print('.safetensors";
    write(folder.path(), file, weights(&renamed, "BF16", 2));
    let map: serde_json::Map<_, _> = renamed.iter().map(|(name, _)| (name.clone(), json!(file))).collect();
    write(folder.path(), INDEX, json!({"weight_map": map}).to_string());
    assert_fault(folder.path(), "is not a name of the model", "t = load_file('FILE')");
    remove(folder.path(), "config.json");
    std::fs::create_dir(folder.path().join("a\"b")).unwrap();
    with_config(&folder.path().join("a\"b"), "vocab_size", json!(8));
    assert!(faults(folder.path()).iter().all(|fault| !fault.cure.contains("a\"b")));
}

/// Makes other tensors of those of the model.
type Change = fn(&mut Vec<(String, Vec<usize>)>);

#[test]
fn tensors_that_are_not_those_of_the_config_are_told_with_their_own_cures() {
    let folder = folder();
    let shapes: [(Change, &str, &str); 5] = [
        (|all| drop(all.pop()), "tensor `model.norm.weight` is missing", "config.json that was saved"),
        (|all| all.truncate(3), "(and 9 more like it)", "all of their files"),
        (|all| all[1].1 = vec![3], "has shape [3], expected [2]", "config.json that was saved"),
        (|all| all[0].1 = vec![9, 2], "has shape [9, 2], expected [8, 2]", "`\"vocab_size\": 9`"),
        (
            |all| all.push(("model.layers.0.self_attn.rotary_emb.inv_freq".into(), vec![1])),
            "is not part of the model",
            "not k.endswith('inv_freq')",
        ),
    ];
    for (change, message, cure) in shapes {
        with_layout(folder.path(), change);
        assert_fault(folder.path(), message, cure);
    }
}

#[test]
fn a_head_and_its_flag_must_agree() {
    let folder = folder();
    with_config(folder.path(), "tie_word_embeddings", json!(false));
    assert_fault(folder.path(), "`lm_head.weight` is missing", "`\"tie_word_embeddings\": true`");
    with_config(folder.path(), "tie_word_embeddings", json!(true));
    with_layout(folder.path(), |all| all.push((HEAD.into(), vec![8, 2])));
    // Only the values tell whether it is a copy of the embedding.
    assert_fault(folder.path(), "`lm_head.weight` beside", "`\"tie_word_embeddings\": false`");
    assert_eq!(faults(folder.path())[0].kind, FaultKind::Doubtful);
    with_layout(folder.path(), |all| all.push((HEAD.into(), vec![9, 2])));
    let found = faults(folder.path());
    assert!(found[0].message.contains("shape [9, 2]") && found[0].is_certain(), "{found:#?}");
}

#[test]
fn adapters_and_other_formats_are_told_by_what_they_are() {
    let folder = folder();
    write(folder.path(), "adapter_model.safetensors", "");
    assert_fault(folder.path(), "beside the weights lies an adapter", "move the files `adapter_*` away");
    write(folder.path(), "adapter_config.json", "{}");
    remove(folder.path(), "config.json");
    assert_fault(
        folder.path(),
        "and not the model that it adapts",
        "from_pretrained('./m').merge_and_unload()",
    );
    for name in ["adapter_config.json", "adapter_model.safetensors", SINGLE] {
        remove(folder.path(), name);
    }
    with_config(folder.path(), "tie_word_embeddings", json!(true));
    assert_fault(folder.path(), "has neither `model.safetensors`", "copy the weights");
    for (name, message, cure) in [
        (
            "model-00001-of-00002.safetensors",
            "but `model-00001-of-00002.safetensors`",
            "copy `model.safetensors.index.json`",
        ),
        (
            "weights.safetensors",
            "but `weights.safetensors`",
            "rename `weights.safetensors` to `model.safetensors`",
        ),
        ("pytorch_model.bin", "is a pickle file", "from_pretrained(F).save_pretrained(F)"),
        ("model.gguf", "llama.cpp", "that it was made from"),
        ("tf_model.h5", "TensorFlow", "from_tf=True"),
    ] {
        write(folder.path(), name, "");
        assert_fault(folder.path(), message, cure);
        remove(folder.path(), name);
    }
}

#[test]
fn files_that_are_cut_or_of_another_type_are_told() {
    let folder = folder();
    let layout = layout(&config());
    let whole = weights(&layout, "BF16", 2);
    for (bytes, message, cure) in [
        (whole[..whole.len() - 1].to_vec(), "the file is cut short", "copy or download the file again"),
        (whole[..4].to_vec(), "shorter than a safetensors header", "copy or download"),
        (whole[..100].to_vec(), "the header claims", "copy or download"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n".to_vec(),
            "pointer of Git LFS",
            "`git lfs pull`",
        ),
        (weights(&layout, "F64", 8), "type `F64` is not supported", "model.float()"),
        (weights(&layout, "F8_E4M3", 1), "type `F8_E4M3` is not supported", "before it was quantized"),
    ] {
        write(folder.path(), SINGLE, bytes);
        assert_fault(folder.path(), message, cure);
    }
}

#[test]
fn an_index_must_name_what_is_there() {
    let folder = folder();
    let layout = layout(&config());
    let (first, second) = layout.split_at(4);
    let files = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
    write(folder.path(), files[0], weights(first, "F32", 4));
    write(folder.path(), files[1], weights(second, "F32", 4));
    let index = |more: Option<&str>, metadata: Value| {
        let of = |part: &[(String, Vec<usize>)], file: &str| {
            part.iter().map(|(name, _)| (name.clone(), json!(file))).collect::<Vec<_>>()
        };
        let mut map: serde_json::Map<_, _> =
            of(first, files[0]).into_iter().chain(of(second, files[1])).collect();
        map.extend(more.map(|name| (name.to_owned(), json!(files[1]))));
        write(folder.path(), INDEX, json!({"metadata": metadata, "weight_map": map}).to_string());
    };
    index(None, json!({"total_size": -1}));
    assert_fault(folder.path(), "has both", "left over");
    remove(folder.path(), SINGLE);
    assert_eq!(faults(folder.path()), []);
    index(Some(HEAD), json!({}));
    assert_fault(
        folder.path(),
        "tensor `lm_head.weight`: the tensor is missing",
        "remove `lm_head.weight` from `weight_map`",
    );
    index(None, json!(null));
    remove(folder.path(), files[1]);
    assert_fault(
        folder.path(),
        "the file is missing, but",
        "copy `model-00002-of-00002.safetensors` into the folder",
    );
    let many: serde_json::Map<_, _> =
        (0..1001).map(|i| (i.to_string(), json!(format!("{i}.safetensors")))).collect();
    (0..1001).for_each(|i| write(folder.path(), &format!("{i}.safetensors"), ""));
    write(folder.path(), INDEX, json!({"weight_map": many}).to_string());
    assert_fault(folder.path(), "it names 1001 files, more than 1000", "again");
    write(folder.path(), INDEX, "{");
    assert_fault(
        folder.path(),
        "`model.safetensors.index.json`: EOF",
        "copy `model.safetensors.index.json` again",
    );
}

#[test]
fn other_architectures_and_broken_configs_are_told() {
    let folder = folder();
    for (key, value, message, cure) in [
        (
            "architectures",
            json!(["Qwen3Model"]),
            "`architectures`",
            "`\"architectures\": [\"Qwen3ForCausalLM\"]`",
        ),
        ("model_type", json!("llama"), "`model_type` = \"llama\"", "Qwen/Qwen3-0.6B-Base"),
        (
            "hidden_size",
            json!(1_u64 << 63),
            "`hidden_size` is 9223372036854775808",
            "saved with these weights",
        ),
        ("hidden_size", json!(null), "has no `hidden_size`", "as transformers writes it"),
        ("quantization_config", json!({"bits": 4}), "only unquantized weights", "before it was quantized"),
    ] {
        with_config(folder.path(), key, value);
        assert_fault(folder.path(), message, cure);
    }
    remove(folder.path(), "config.json");
    assert_fault(folder.path(), "has no config.json", "name the folder of a Hugging Face checkpoint");
    remove(folder.path(), SINGLE);
    assert_fault(
        folder.path(),
        "neither config.json nor weights",
        "`tokenizer \"mine\" from=\"./m/tokenizer.json\"`",
    );
    remove(folder.path(), "tokenizer.json");
    assert_fault(folder.path(), "neither config.json nor weights", "name the folder of a Hugging Face");
    std::fs::create_dir(folder.path().join("checkpoint-500")).unwrap();
    with_config(&folder.path().join("checkpoint-500"), "vocab_size", json!(8));
    assert_fault(folder.path(), "its folder `checkpoint-500` has one", "write `\"./m/checkpoint-500\"`");
}

#[test]
fn tokenizers_that_do_not_fit_or_are_missing_are_told() {
    let folder = folder();
    write(folder.path(), "tokenizer.json", tokenizer(8));
    assert_fault(
        folder.path(),
        "token `<end>` has the id 8, but the vocabulary of the model has 8 entries",
        "made for",
    );
    write(folder.path(), "tokenizer.json", "version https://git-lfs.github.com/spec/v1\n");
    assert_fault(folder.path(), "pointer of Git LFS", "git lfs pull");
    remove(folder.path(), "tokenizer.json");
    // A model without text needs none.
    assert_eq!(faults(folder.path()), []);
    let missing = || CheckpointFolder::open(folder.path(), "./m").find_missing_tokenizer().unwrap();
    assert!(missing().cure.contains("copy tokenizer.json"), "{:?}", missing());
    write(folder.path(), "vocab.json", "{}");
    assert!(missing().message.contains("(`vocab.json`)"), "{:?}", missing());
    assert!(missing().cure.contains("AutoTokenizer.from_pretrained('./m').save_pretrained('./m')"));
}

#[test]
fn a_contract_is_found_in_either_file_and_its_loss_is_told() {
    let folder = folder();
    let (path, mut flow) = (folder.path(), Contract::autoregressive());
    (flow.kind, flow.mask_token) = (ModelKind::Flow, Some(7));
    let kind = || CheckpointFolder::open(path, "./m").contract().map(|contract| contract.kind);
    assert_eq!(kind(), None);
    write(path, "fmflow.json", ExportSidecar::new(flow.clone(), "float32").to_json());
    assert_eq!((kind(), faults(path)), (Some(ModelKind::Flow), Vec::new()));
    write(path, "provenance.json", flow.to_json());
    assert_eq!((kind(), faults(path)), (Some(ModelKind::Flow), Vec::new()));
    write(path, "provenance.json", Contract::autoregressive().to_json());
    assert_fault(path, "say different things", "restore");
    remove(path, "provenance.json");
    flow.mask_token = Some(8);
    write(path, "fmflow.json", ExportSidecar::new(flow.clone(), "float32").to_json());
    assert_fault(path, "`mask_token` is `8`", "restore");
    for (mask, tokenizer, said) in [
        (5, None, None),
        (7, None, Some("fmflow.json: `mask_token` is 7, which is the token `<end>`")),
        (5, Some("0".repeat(64)), Some("the tokenizer differs")),
    ] {
        flow.mask_token = Some(mask);
        flow.tokenizer = tokenizer.or_else(|| CheckpointFolder::open(path, "./m").hash_tokenizer());
        write(path, "fmflow.json", ExportSidecar::new(flow.clone(), "float32").to_json());
        match said {
            Some(said) => assert_fault(path, said, "restore"),
            None => assert_eq!(faults(path), []),
        }
    }
    remove(path, "fmflow.json");
    write(path, "certificate.json", "{}");
    assert_fault(path, "but not the `provenance.json`", "copy `provenance.json`");
    write(path, "flow.safetensors", "");
    assert_fault(path, "but not the `fmflow.json`", "copy `fmflow.json`");
}

#[test]
fn origins_that_cannot_be_read_are_found_by_a_check() {
    let folder = folder();
    write(folder.path(), "origins.json", r#"{"schema": "fmflow.origins/1", "facts": {}}"#);
    assert!(faults(folder.path()).is_empty());
    for (text, said) in [("{", "EOF"), (r#"{"schema": "fmflow.origins/9", "facts": {}}"#, "fmflow.origins/9")]
    {
        write(folder.path(), "origins.json", text);
        assert_fault(folder.path(), said, "restore origins.json");
    }
    write(folder.path(), "origins.json", [0xff]);
    assert_fault(folder.path(), "not UTF-8", "or remove it");
}
