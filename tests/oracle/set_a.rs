//! Set A: checkpoints, forward passes and broken folders, made by Hugging Face transformers.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use fmflow_stages::backbone::{Attention, AttentionContext, Backbone, Qwen3Config};
use fmflow_stages::weights;

use super::harness::{Set, Tensors, close, largest, open_tested_device, wide};

/// Tolerance relative to the largest logit or hidden value: float32 on the CPU against float32 in PyTorch.
const TOLERANCE: f64 = 1e-4;

const EXPECTED: &str = ".expected.safetensors";
const INPUTS: [&str; 7] = [
    "input_ids",
    "input_ids_right",
    "input_ids_left",
    "mask_right",
    "mask_left",
    "segment_ids",
    "position_ids_packed",
];

pub(crate) fn collect(set: &mut Set) {
    for folder in folders(set) {
        match describe_folder(set, &folder) {
            what if what.starts_with("BROKEN") => broken(set, &folder, what),
            what if what.starts_with("VALID") => variant(set, &folder),
            _ => checkpoint(set, &folder),
        }
    }
}

/// The folders of the set; marks their files as used.
fn folders(set: &mut Set) -> Vec<String> {
    let mut found = Vec::new();
    for file in set.files() {
        let Some((folder, name)) = file.split_once('/') else { continue };
        let plain =
            ["config.json", "config.v4.json", "generation_config.json", "model.safetensors.index.json"];
        if plain.contains(&name) || (name.starts_with("model") && name.ends_with(".safetensors")) {
            set.know(&file);
        }
        if found.last().is_none_or(|last| last != folder) {
            found.push(folder.to_owned());
        }
    }
    found
}

/// The description of a folder's files in the manifest.
fn describe_folder(set: &Set, folder: &str) -> String {
    let manifest = set.manifest();
    let files = manifest["files"].as_object().unwrap();
    let of = files.iter().find(|(file, _)| file.starts_with(&format!("{folder}/")));
    of.and_then(|(_, entry)| entry["what"].as_str()).unwrap_or_default().to_owned()
}

pub(crate) fn load(folder: &Path) -> Backbone {
    weights::read_checkpoint(folder).unwrap().into_backbone(&open_tested_device()).unwrap()
}

/// Cases of a checkpoint with expected results: one per tensor, and those of its folder.
fn checkpoint(set: &mut Set, folder: &str) {
    let (expected, path) = (set.tensors(&format!("{folder}{EXPECTED}")), set.path(folder));
    forward(set, folder, &expected, &path);
    let own = path.clone();
    if path.join("config.v4.json").exists() {
        set.case(format!("{folder}/config_v4"), move || configs_agree(&own));
    }
    set.case(format!("{folder}/saved_is_loaded"), move || saved_is_loaded(&path));
}

/// Cases for logits and hidden states.
pub(crate) fn forward(set: &mut Set, label: &str, expected: &Arc<Tensors>, path: &Path) {
    for name in expected.names() {
        let (expected, path, key) = (Arc::clone(expected), path.to_owned(), name.clone());
        let layer = |rest: &str| rest.rsplit_once('_').and_then(|(_, layer)| layer.parse::<usize>().ok());
        match name.split_once('_') {
            _ if INPUTS.contains(&name.as_str()) => {}
            Some(("logits", mask)) if is_mask(mask) => {
                set.case(format!("{label}/{name}"), move || logits(&load(&path), &expected, &key));
            }
            Some(("hidden", rest)) if layer(rest).is_some() => {
                let (mask, layer) = rest.rsplit_once('_').map(|(m, l)| (m.to_owned(), l.to_owned())).unwrap();
                if !is_mask(&mask) {
                    set.unknown(format!("{label}/{name}"));
                    continue;
                }
                let layer = layer.parse().unwrap();
                set.case(format!("{label}/{name}"), move || {
                    hidden(&load(&path), &expected, &key, &mask, layer);
                });
            }
            _ => set.unknown(format!("{label}/{name}")),
        }
    }
}

/// Whether all words of a mask's name are known.
fn is_mask(name: &str) -> bool {
    let words: Vec<&str> = name.split('_').collect();
    let known = ["causal", "bidir", "right", "left", "packed", "reset"];
    words.iter().all(|word| known.contains(word))
}

/// Input ids, attention context and positions to compare, from the name of a mask.
pub(crate) fn case(expected: &Tensors, mask: &str) -> (Vec<u32>, AttentionContext, Vec<bool>) {
    let words: Vec<&str> = mask.split('_').collect();
    let side = ["right", "left"].into_iter().find(|side| words.contains(side));
    let ids = expected.get(&side.map_or("input_ids".to_owned(), |side| format!("input_ids_{side}")));
    let attention = match words.contains(&"causal") {
        true => Attention::Causal,
        false => Attention::Bidirectional,
    };
    let mut context = AttentionContext::new(attention, ids.shape[0], ids.shape[1]);
    if words.contains(&"packed") {
        let segments = expected.get("segment_ids").ids().to_vec();
        context = context.with_segments(segments);
        if words.contains(&"reset") || words.contains(&"causal") {
            context = context.with_positions(expected.get("position_ids_packed").ids());
        }
    }
    let Some(side) = side else { return (ids.ids(), context, vec![true; ids.values.len()]) };
    let valid = expected.get(&format!("mask_{side}")).flags();
    (ids.ids(), context.with_valid(&valid), valid)
}

/// Compares the valid rows, relative to the largest expected value.
fn compare(what: &str, found: &[f32], expected: &[f64], valid: &[bool]) {
    let width = found.len() / valid.len();
    let rows = |values: &[f64]| -> Vec<f64> {
        let rows = values.chunks(width).zip(valid).filter(|(_, valid)| **valid);
        rows.flat_map(|(row, _)| row.to_vec()).collect()
    };
    assert_eq!(found.len(), expected.len(), "{what}");
    let limit = TOLERANCE * largest(&rows(expected));
    close(what, &rows(&wide(found)), &rows(expected), |_| limit);
}

pub(crate) fn logits(model: &Backbone, expected: &Tensors, key: &str) {
    let (ids, context, valid) = case(expected, key.strip_prefix("logits_").unwrap());
    let hidden = model.hidden(model.tokens(&ids, context.batch).unwrap(), &context).unwrap();
    let rows = context.batch * context.length;
    let logits = model.logits(hidden.reshape([rows, model.config().hidden_size]));
    compare(key, &logits.try_into_vec_as::<f32>().unwrap(), expected.values(key), &valid);
}

fn hidden(model: &Backbone, expected: &Tensors, key: &str, mask: &str, layer: usize) {
    let (ids, context, valid) = case(expected, mask);
    let states = model.hidden_states(model.tokens(&ids, context.batch).unwrap(), &context).unwrap();
    let state = states[layer].clone().try_into_vec_as::<f32>().unwrap();
    compare(key, &state, expected.values(key), &valid);
}

fn configs_agree(folder: &Path) {
    let parse =
        |file: &str| Qwen3Config::parse(&std::fs::read_to_string(folder.join(file)).unwrap()).unwrap();
    let new = parse("config.json");
    assert_eq!(parse("config.v4.json"), new);
    assert_eq!(Qwen3Config::parse(&new.to_json()).unwrap(), new);
}

fn saved_is_loaded(folder: &Path) {
    let source = weights::read_checkpoint(folder).unwrap();
    let copy = tempfile::tempdir().unwrap();
    std::fs::write(copy.path().join("config.json"), source.config.to_json()).unwrap();
    let mut bytes = Vec::new();
    weights::save_backbone(&mut bytes, &load(folder)).unwrap();
    std::fs::write(copy.path().join("model.safetensors"), &bytes).unwrap();
    let again = weights::read_checkpoint(copy.path()).unwrap();
    assert_eq!(again.tensors.len(), source.tensors.len());
    for (tensor, values) in &source.tensors {
        assert_eq!(values.values, again.tensors[tensor].values, "{tensor}");
    }
}

/// Cases of a folder that must load with the results of the checkpoint that it was made from. That is the one with the longest
/// name that this folder's name starts with.
fn variant(set: &mut Set, folder: &str) {
    let files = set.files();
    let bases = files.iter().filter_map(|file| file.strip_suffix(EXPECTED));
    let base = bases.filter(|base| folder.starts_with(*base)).max_by_key(|base| base.len());
    let Some(base) = base.map(str::to_owned) else { return set.unknown(folder) };
    let (expected, path) = (set.tensors(&format!("{base}{EXPECTED}")), set.path(folder));
    forward(set, folder, &expected, &path);
    set.case(format!("{folder}/different_head_is_refused"), move || different_head(&path));
}

/// Changes one byte in the redundant head of a tied checkpoint; loading must fail and name the tensor.
fn different_head(folder: &Path) {
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let mut bytes = std::fs::read(entry.path()).unwrap();
        if entry.file_name() == "model.safetensors" {
            let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
            let header: serde_json::Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
            let start = header["lm_head.weight"]["data_offsets"][0].as_u64().expect("a redundant head");
            bytes[8 + length + start as usize] ^= 1;
        }
        std::fs::write(copy.path().join(entry.file_name()), bytes).unwrap();
    }
    let error = weights::read_checkpoint(copy.path()).unwrap_err().to_string();
    assert!(error.contains("lm_head.weight"), "{error}");
}

/// The case of a folder that must be refused, with a tensor or file that the manifest names.
fn broken(set: &mut Set, folder: &str, what: String) {
    let path: PathBuf = set.path(folder);
    set.case(format!("{folder}/is_refused"), move || {
        let error =
            weights::read_checkpoint(&path).err().unwrap_or_else(|| panic!("accepted; {what}")).to_string();
        let words = what.split([' ', ';', ',']);
        let mut named = words.filter(|w| w.contains(".weight") || w.ends_with(".safetensors"));
        assert!(named.any(|word| error.contains(word)), "{what}\nbut: {error}");
        assert!(error.contains("tensor `") && error.contains(".safetensors"), "{error}");
    });
}
