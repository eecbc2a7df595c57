//! Adapters through the binary: what is trained and what is not, exact resumption, merged weights, both exports, and an adapter that is
//! trained on.

#![cfg(feature = "cpu")]
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use serde_json::Value;

use crate::common::Project;
use crate::run::interrupt_in;

/// A flow that is trained by an adapter, with exports, and one that goes on from it.
fn with_adapters() -> Project {
    let project = Project::tiny();
    project.edit("tiny.kdl", "shift #false", "shift #true");
    let mut text = fs::read_to_string(project.path().join("tiny.kdl")).unwrap();
    text += r#"
recipe "drafting" {
    data rows="text" mixture="prose"
    objective "flow" path="masked" loss="cross-entropy" { clean-loss weight=0.2 }
    attention "causal" { stride 1 until=8; stride 3 }
    batch rows=4 per-device=2
    optimizer "adamw" weight-decay=0.05 clip=1.0
    learning-rate peak=1e-2 final=1e-3 warmup=5 shape="cosine"
    checkpoint every=7 keep=2
}
train "low" from="flow" use="drafting" {
    adapter "lora" rank=4 alpha=8 target="q_proj v_proj feed-forward" norms=#true
    recompute "block"
    steps 30
}
train "on" from="flow" use="drafting" {
    adapter "lora" rank=4 alpha=8 target="feed-forward q_proj v_proj" norms=#true from="low"
    attention "causal" { stride 3 }
    learning-rate peak=1e-3 shape="constant"
    steps 2
}
evaluate "both" { checkpoint "flow" "low"; held-out dataset="text" times=4 }
generate "text" from="low" sampler="three" { prompt "The river" new-tokens=8 }
sampler "three" kind="speculative" stride=3
export "merged" from="low" format="huggingface"
export "alone" from="low" format="peft"
"#;
    project.write("tiny.kdl", &text);
    project
}

type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

fn tensors(file: &Path) -> Tensors {
    let bytes = fs::read(file).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let values =
        |data: &[u8]| data.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
    file.iter().map(|(name, view)| (name.to_owned(), (view.shape().to_vec(), values(view.data())))).collect()
}

fn json(file: &Path) -> Value {
    serde_json::from_slice(&fs::read(file).unwrap()).unwrap()
}

/// W + 2 B A in f64.
fn merge(weight: &[f32], down: &(Vec<usize>, Vec<f32>), up: &(Vec<usize>, Vec<f32>)) -> Vec<f64> {
    let ([rank, inner], [outer, _]) = (down.0[..].try_into().unwrap(), up.0[..].try_into().unwrap());
    let change = |o: usize, i: usize| -> f64 {
        (0..rank).map(|r| f64::from(up.1[o * rank + r]) * f64::from(down.1[r * inner + i])).sum()
    };
    let at = |(place, w): (usize, &f32)| f64::from(*w) + 2.0 * change(place / inner, place % inner);
    assert_eq!(weight.len(), outer * inner);
    weight.iter().enumerate().map(at).collect()
}

#[test]
fn only_the_adapter_is_trained_and_it_resumes_exactly() {
    let whole = with_adapters();
    whole.fmflow(&["run", "tiny.kdl"]).ok();
    let (base, low) = (whole.artifact("flow"), whole.artifact("low"));
    let merged = whole.artifact("merged").join("model.safetensors");
    let (before, after) = (tensors(&base.join("model.safetensors")), tensors(&merged));
    let adapter = tensors(&low.join("adapter.safetensors"));
    assert!(before.keys().eq(after.keys()));
    let mut changed = 0;
    for (name, (_, old)) in &before {
        let (new, stem) = (&after[name].1, format!("base_model.model.{}", name.trim_end_matches(".weight")));
        match (adapter.get(&format!("{stem}.lora_A.weight")), adapter.get(&format!("{stem}.weight"))) {
            (Some(down), None) => {
                changed += 1;
                let merged = merge(old, down, &adapter[&format!("{stem}.lora_B.weight")]);
                let apart = new.iter().zip(&merged).fold(0f64, |m, (a, b)| m.max((f64::from(*a) - b).abs()));
                assert!(apart < 1e-6 && new != old, "{name}: {apart}");
            }
            (None, Some((_, norm))) => assert!(name.contains("norm") && norm == new && new != old, "{name}"),
            (None, None) => assert!(new == old, "{name} was trained"),
            both => panic!("{name}: {both:?}"),
        }
    }
    assert_eq!((changed, adapter.len()), (2 * 5, 2 * 2 * 5 + 2 * 4 + 1));
    let facts = json(&low.join("adapter.json"));
    let digest = blake3::hash(&fs::read(base.join("model.safetensors")).unwrap()).to_hex().to_string();
    assert_eq!(facts["base"]["model.safetensors"], digest.as_str());
    check_exports(&whole, &adapter);
    check_shared_weights(&whole, &after);
    let scores = json(&whole.artifact("both").join("report.json"));
    assert!(scores["low"]["held_out"]["text"].as_f64().unwrap() > 0.0);
    whole.fmflow(&["verify", low.to_str().unwrap(), "--deep"]).ok().says("logits finite");
    whole.fmflow(&["show", "tiny.kdl", "low"]).ok().says("at zero, the adapter changed no logit of its base");

    let project = with_adapters();
    interrupt_in(&project, "low");
    let saved = walkdir::WalkDir::new(project.path().join(".fmflow/work")).into_iter().flatten();
    let saved: Vec<String> = saved.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    // The weights are those of `flow`, so that a checkpoint has none.
    assert!(saved.iter().any(|name| name == "adapter.safetensors"), "{saved:?}");
    assert!(!saved.iter().any(|name| name == "model.safetensors"), "{saved:?}");
    project.fmflow(&["resume", "tiny.kdl"]).ok();
    for file in ["adapter.safetensors", "base-model.safetensors", "adapter.json"] {
        let read = |project: &Project| fs::read(project.artifact("low").join(file)).unwrap();
        assert!(read(&project) == read(&whole), "a stop changed {file}");
    }
}

/// The weights under the adapter are stored once, and whoever reads the folder gets them with its changes.
fn check_shared_weights(project: &Project, merged: &Tensors) {
    let (base, low) = (project.artifact("flow"), project.artifact("low"));
    let inode = |file: PathBuf| fs::metadata(file).unwrap().ino();
    assert_eq!(inode(base.join("model.safetensors")), inode(low.join("base-model.safetensors")));
    assert!(!low.join("model.safetensors").exists());
    let copy = project.path().join("copy");
    fs::create_dir(&copy).unwrap();
    for file in fs::read_dir(&low).unwrap().flatten() {
        fs::copy(file.path(), copy.join(file.file_name())).unwrap();
    }
    let text = "pipeline \"other\" seed=1\nfetch \"copied\" from=\"./copy\"\n";
    project.write("other.kdl", text);
    project.fmflow(&["run", "other.kdl"]).ok();
    let fetched = project.fmflow(&["show", "other.kdl", "copied", "--path"]).ok().stdout;
    let fetched = Path::new(fetched.trim());
    assert_eq!(&tensors(&fetched.join("model.safetensors")), merged);
    assert!(!fetched.join("adapter.safetensors").exists());
    // A part of it is not taken for the whole, nor other weights for its base.
    let adapter = copy.join("adapter.safetensors");
    let replace = |file: &Path, bytes: &[u8]| {
        fs::remove_file(file).unwrap();
        fs::write(file, bytes).unwrap();
    };
    let whole = fs::read(&adapter).unwrap();
    replace(&adapter, b"\x02\0\0\0\0\0\0\0{}");
    project.fmflow(&["generate", "copy", "--prompt", "x"]).exits(8).says("it has no tensor for");
    replace(&adapter, &whole);
    let base = copy.join("base-model.safetensors");
    let mut other = fs::read(&base).unwrap();
    let last = other.len() - 2;
    other[last] ^= 1;
    replace(&base, &other);
    project.fmflow(&["run", "other.kdl"]).exits(8).says("not the weights that the adapter was trained on");
    fs::remove_file(&adapter).unwrap();
    project.fmflow(&["generate", "copy", "--prompt", "x"]).exits(8).says("adapter.safetensors");
}

fn check_exports(project: &Project, adapter: &Tensors) {
    let alone = project.artifact("alone");
    assert_eq!(&tensors(&alone.join("adapter_model.safetensors")), adapter);
    let settings = json(&alone.join("adapter_config.json"));
    for (key, expected) in [
        ("peft_type", serde_json::json!("LORA")),
        ("task_type", serde_json::json!("CAUSAL_LM")),
        ("r", serde_json::json!(4)),
        ("lora_alpha", serde_json::json!(8)),
        ("target_modules", serde_json::json!(["q_proj", "v_proj", "gate_proj", "up_proj", "down_proj"])),
        ("bias", serde_json::json!("none")),
        (
            "modules_to_save",
            serde_json::json!(["input_layernorm", "post_attention_layernorm", "q_norm", "k_norm", "norm"]),
        ),
    ] {
        assert_eq!(settings[key], expected, "{key}");
    }
    assert!(!alone.join("config.json").exists());
}

#[test]
fn recomputed_blocks_change_no_bit_of_an_adapter() {
    let mut files = Vec::new();
    for recompute in ["block", "none"] {
        let project = with_adapters();
        project.edit("tiny.kdl", "recompute \"block\"", &format!("recompute \"{recompute}\""));
        project.fmflow(&["run", "tiny.kdl", "--until", "low"]).ok();
        files.push(fs::read(project.artifact("low").join("adapter.safetensors")).unwrap());
    }
    assert!(files[0] == files[1]);
}

#[test]
fn a_stage_of_an_adapter_is_a_parent_like_any_other() {
    let project = with_adapters();
    let mut text = fs::read_to_string(project.path().join("tiny.kdl")).unwrap();
    text = text.replace(
        "checkpoint every=7 keep=2\n}\ntrain \"low\"",
        "checkpoint every=7 keep=2 { permanent every=10 }\n}\ntrain \"low\"",
    );
    text += r#"
recipe "short" {
    data rows="text" mixture="prose"
    objective "flow" path="masked" loss="cross-entropy"
    attention "causal" { stride 3 }
    batch rows=4
    learning-rate peak=1e-3 shape="constant"
    steps 1
}
train "branch" from="low" at=20 use="short"
train "second" from="low" use="short" { adapter "lora" rank=2 alpha=2 }
"#;
    project.write("tiny.kdl", &text);
    for stage in ["on", "branch", "second"] {
        project.fmflow(&["run", "tiny.kdl", "--until", stage]).ok();
    }
    // A small step from the adapter of `low`, not from zero.
    let read = |stage: &str| tensors(&project.artifact(stage).join("adapter.safetensors"));
    let (low, on) = (read("low"), read("on"));
    let moved = |a: &Tensors, b: &Tensors| {
        let pairs = a.iter().flat_map(|(name, (_, values))| values.iter().zip(&b[name].1));
        pairs.map(|(x, y)| f64::from(x - y).powi(2)).sum::<f64>().sqrt()
    };
    let size = low.values().flat_map(|(_, values)| values).map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
    assert!(moved(&low, &on) > 0.0 && moved(&low, &on) < 0.2 * size);
    assert!(!project.artifact("branch").join("adapter.json").exists());
    // On an adapter's result, the merged weights are written: an adapter lies beside weights alone.
    let second = project.artifact("second");
    assert!(second.join("model.safetensors").exists() && !second.join("base-model.safetensors").exists());
    let base = &json(&second.join("adapter.json"))["base"];
    for file in ["base-model.safetensors", "adapter.safetensors"] {
        let bytes = fs::read(project.artifact("low").join(file)).unwrap();
        assert_eq!(base[file], blake3::hash(&bytes).to_hex().to_string().as_str(), "{file}");
    }
}

#[test]
fn the_laptop_fits_its_memory() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines/laptop.kdl");
    let plan = Project::empty().fmflow(&["plan", file.to_str().unwrap()]).ok().stdout;
    let table = plan.lines().skip_while(|line| !line.contains("activations"));
    let drafts =
        table.map(|line| line.split_whitespace().collect::<Vec<_>>()).find(|words| words[0] == "drafts");
    let words = drafts.unwrap();
    // Two micro-batches at most are computed side by side, whatever the machine.
    let gibibytes: f64 = words[1].parse().unwrap();
    assert!(words[2] == "GiB" && (5.0..14.0).contains(&gibibytes), "{plan}");
}
