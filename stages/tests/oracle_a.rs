//! Set A of the oracles: checkpoints, forward passes and broken folders made by Hugging Face transformers.
//!
//! Reads whatever lies in `$FMFLOW_ORACLE` (default: `shared/oracle/dev` beside the repository); names, shapes and cases come
//! from the files.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests stop the test and speak to its reader"
)]

use std::path::{Path, PathBuf};

use fmflow_stages::backbone::{Attention, Backbone, Context, Qwen3Config};
use fmflow_stages::{device, weights};
use indexmap::IndexMap;
use safetensors::{Dtype, SafeTensors};

/// max |difference| <= this times max |logit|: float32 on CPU against float32 of PyTorch.
const TOLERANCE: f32 = 1e-4;

/// The folder of the set, or `None` (said loudly) where it is absent and nobody insists.
fn set() -> Option<PathBuf> {
    let named = std::env::var_os("FMFLOW_ORACLE");
    let default = || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/oracle/dev"));
    let insist = named.is_some() || std::env::var_os("CI").is_some();
    let folder = named.map_or_else(default, PathBuf::from).join("A_qwen3");
    if folder.is_dir() {
        return Some(folder);
    }
    assert!(!insist, "oracle set {} is missing", folder.display());
    println!("SKIPPED: no oracle set at {}", folder.display());
    None
}

/// Integers or floats of an expected file, with their shape.
struct Expected(IndexMap<String, (Vec<usize>, Vec<f64>)>);

impl Expected {
    fn read(file: &Path) -> Self {
        let bytes = std::fs::read(file).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let decode = |dtype: Dtype, data: &[u8]| -> Vec<f64> {
            match dtype {
                Dtype::F32 => {
                    data.chunks(4).map(|b| f64::from(f32::from_le_bytes(b.try_into().unwrap()))).collect()
                }
                Dtype::I64 => {
                    data.chunks(8).map(|b| i64::from_le_bytes(b.try_into().unwrap()) as f64).collect()
                }
                Dtype::U8 => data.iter().map(|b| f64::from(*b)).collect(),
                other => panic!("type {other:?} in an expected file"),
            }
        };
        let tensors = file.iter().map(|(name, view)| {
            (name.to_owned(), (view.shape().to_vec(), decode(view.dtype(), view.data())))
        });
        Self(tensors.collect())
    }

    fn ints(&self, name: &str) -> Vec<u32> {
        self.0[name].1.iter().map(|x| *x as u32).collect()
    }
}

/// The folders of checkpoints that have expected results.
fn checkpoints(set: &Path) -> Vec<(String, Expected)> {
    let mut names: Vec<String> = std::fs::read_dir(set)
        .unwrap()
        .filter_map(|entry| {
            entry.unwrap().file_name().to_string_lossy().strip_suffix(".expected.safetensors").map(Into::into)
        })
        .collect();
    names.sort();
    assert!(!names.is_empty(), "no expected files in {}", set.display());
    names
        .into_iter()
        .map(|n| (n.clone(), Expected::read(&set.join(format!("{n}.expected.safetensors")))))
        .collect()
}

/// The input, context and compared positions of the case whose logits are called `name`.
fn case(expected: &Expected, name: &str) -> (Vec<u32>, Context, Vec<bool>) {
    let words: Vec<&str> = name.split('_').skip(1).collect();
    let side = ["right", "left"].into_iter().find(|side| words.contains(side));
    let ids = side.map_or("input_ids".to_owned(), |side| format!("input_ids_{side}"));
    let shape = &expected.0[&ids].0;
    let attention = match words.contains(&"causal") {
        true => Attention::Causal,
        false => Attention::Bidirectional,
    };
    let mut context = Context::new(attention, shape[0], shape[1]);
    if words.contains(&"packed") {
        context = context.with_segments(expected.ints("segment_ids").iter().map(|s| *s as u16).collect());
        if words.contains(&"reset") || words.contains(&"causal") {
            context = context.with_positions(expected.ints("position_ids_packed"));
        }
    }
    let valid = match side {
        None => vec![true; shape[0] * shape[1]],
        Some(side) => expected.ints(&format!("mask_{side}")).iter().map(|m| *m == 1).collect(),
    };
    if side.is_some() {
        context = context.with_valid(&valid);
    }
    (expected.ints(&ids), context, valid)
}

/// Compares rows of `width` where `valid`, relative to the largest expected value.
fn compare(what: &str, found: &[f32], expected: &[f64], valid: &[bool]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let width = found.len() / valid.len();
    let largest = expected.iter().map(|x| x.abs()).fold(0.0, f64::max);
    let rows = valid.iter().enumerate().filter(|(_, v)| **v).flat_map(|(i, _)| i * width..(i + 1) * width);
    let worst = rows.map(|i| (f64::from(found[i]) - expected[i]).abs()).fold(0.0, f64::max);
    println!("{what}: {:.1e} of the largest value", worst / largest);
    assert!(worst <= f64::from(TOLERANCE) * largest, "{what}: off by {worst} of {largest}");
}

fn logits(model: &Backbone, ids: &[u32], context: &Context) -> Vec<f32> {
    let hidden = model.hidden(model.tokens(ids, context.batch).unwrap(), context).unwrap();
    let rows = context.batch * context.length;
    model.logits(hidden.reshape([rows, model.config().hidden_size])).try_into_vec_as().unwrap()
}

#[test]
fn logits_equal_those_of_hugging_face_under_every_mask() {
    let Some(set) = set() else { return };
    for (name, expected) in checkpoints(&set) {
        let model =
            weights::read(&set.join(&name)).unwrap().into_backbone(&device::open("cpu").unwrap()).unwrap();
        let cases: Vec<&String> = expected.0.keys().filter(|k| k.starts_with("logits_")).collect();
        assert!(!cases.is_empty(), "{name}");
        for key in cases {
            let (ids, context, valid) = case(&expected, key);
            compare(&format!("{name} {key}"), &logits(&model, &ids, &context), &expected.0[key].1, &valid);
        }
    }
}

#[test]
fn hidden_states_equal_those_of_hugging_face_after_every_layer() {
    let Some(set) = set() else { return };
    for (name, expected) in checkpoints(&set) {
        let model =
            weights::read(&set.join(&name)).unwrap().into_backbone(&device::open("cpu").unwrap()).unwrap();
        let (ids, context, valid) = case(&expected, "logits_bidir");
        let states = model.hidden_states(model.tokens(&ids, context.batch).unwrap(), &context).unwrap();
        for (i, state) in states.into_iter().enumerate() {
            let key = format!("hidden_bidir_{i}");
            compare(
                &format!("{name} {key}"),
                &state.try_into_vec_as::<f32>().unwrap(),
                &expected.0[&key].1,
                &valid,
            );
        }
    }
}

#[test]
fn configs_of_transformers_4_and_5_say_the_same() {
    let Some(set) = set() else { return };
    for (name, _) in checkpoints(&set) {
        let parse = |file: &str| {
            let file = set.join(&name).join(file);
            file.exists().then(|| Qwen3Config::parse(&std::fs::read_to_string(file).unwrap()).unwrap())
        };
        let new = parse("config.json").unwrap();
        assert!(parse("config.v4.json").is_none_or(|old| old == new), "{name}");
        assert_eq!(Qwen3Config::parse(&new.to_json()).unwrap(), new);
    }
}

#[test]
fn what_is_saved_is_what_was_loaded() {
    let Some(set) = set() else { return };
    for (name, _) in checkpoints(&set) {
        let source = weights::read(&set.join(&name)).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("config.json"), source.config.to_json()).unwrap();
        let model = source.clone().into_backbone(&device::open("cpu").unwrap()).unwrap();
        let mut bytes = Vec::new();
        let count = weights::save(&mut bytes, &model).unwrap();
        assert_eq!(count, bytes.len() as u64);
        // The reference implementation of the format reads it too.
        assert_eq!(SafeTensors::deserialize(&bytes).unwrap().len(), source.tensors.len());
        std::fs::write(folder.path().join("model.safetensors"), &bytes).unwrap();
        let again = weights::read(folder.path()).unwrap();
        for (tensor, values) in &source.tensors {
            assert_eq!(values.values, again.tensors[tensor].values, "{name} {tensor}");
        }
    }
}

/// Every folder that is marked broken is refused, naming the tensor or file that the manifest names; valid variants load.
#[test]
fn broken_folders_are_refused_by_name() {
    let Some(set) = set() else { return };
    let manifest: serde_json::Value =
        serde_json::from_slice(&std::fs::read(set.join("manifest.json")).unwrap()).unwrap();
    let files = manifest["files"].as_object().unwrap();
    let mut folders: Vec<PathBuf> = std::fs::read_dir(&set).unwrap().map(|e| e.unwrap().path()).collect();
    folders.retain(|folder| folder.is_dir());
    folders.sort();
    for folder in folders {
        let name = folder.file_name().unwrap().to_str().unwrap();
        let what = files.iter().filter(|(file, _)| file.starts_with(&format!("{name}/")));
        let broken =
            what.filter_map(|(_, entry)| entry["what"].as_str()).find(|what| what.starts_with("BROKEN"));
        match (weights::read(&folder), broken) {
            (Ok(_), None) => println!("{name}: accepted"),
            (Ok(_), Some(what)) => panic!("{name} was accepted; {what}"),
            (Err(error), None) => panic!("{name} was refused: {error}"),
            (Err(error), Some(what)) => {
                println!("{name}: {error}");
                let error = error.to_string();
                let named = what
                    .split([' ', ';', ','])
                    .filter(|w| w.contains(".weight") || w.ends_with(".safetensors"));
                assert!(named.into_iter().any(|word| error.contains(word)), "{what}\nbut: {error}");
                assert!(error.contains("tensor `"), "{error}");
            }
        }
    }
}
