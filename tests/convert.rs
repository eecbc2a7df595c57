//! A Hugging Face folder as the source of `convert`, through the binary; logits against those of transformers.

#![cfg(feature = "cpu")]
#![expect(clippy::unwrap_used, reason = "a failed test is told by a panic")]

mod common;

use std::fs;
use std::path::Path;

use common::Project;
use fmflow_stages::backbone::{Attention, Context};
use fmflow_stages::{device, weights};
use safetensors::SafeTensors;

/// A pipeline that converts `folder`, which has no tokenizer.
fn project(folder: &Path) -> Project {
    let project = Project::empty();
    let folder = folder.display();
    project.write(
        "tiny.kdl",
        &format!(
            "pipeline \"c\" seed=1\nconvert \"flow\" from=\"{folder}\" {{\n    mask-token 7 row=\"keep\"\n    tokenizer \"none\"\n}}\n"
        ),
    );
    project
}

fn floats(file: &SafeTensors<'_>, name: &str) -> Vec<f32> {
    let data = file.tensor(name).unwrap().data();
    data.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

#[test]
fn folders_of_transformers_convert_and_keep_their_logits() {
    let Some(set) = common::oracle("A_qwen3") else { return };
    let mut names: Vec<String> = fs::read_dir(&set)
        .unwrap()
        .filter_map(|entry| {
            entry.unwrap().file_name().to_str()?.strip_suffix(".expected.safetensors").map(str::to_owned)
        })
        .collect();
    names.sort();
    assert!(!names.is_empty());
    for name in names {
        let project = project(&set.join(&name));
        project.fmflow(&["run", "tiny.kdl"]).ok().says("parity");
        let artifact = project.artifact("flow");
        let certificate = fs::read_to_string(artifact.join("certificate.json")).unwrap();
        assert!(certificate.contains("\"holds\": true"), "{certificate}");

        let bytes = fs::read(set.join(format!("{name}.expected.safetensors"))).unwrap();
        let expected = SafeTensors::deserialize(&bytes).unwrap();
        let ids = expected.tensor("input_ids").unwrap();
        let [b, l] = ids.shape().try_into().unwrap();
        let ids: Vec<u32> =
            ids.data().chunks_exact(8).map(|x| i64::from_le_bytes(x.try_into().unwrap()) as u32).collect();
        let model = weights::read(&artifact).unwrap().into_backbone(&device::open("cpu").unwrap()).unwrap();
        for (case, attention) in
            [("logits_causal", Attention::Causal), ("logits_bidir", Attention::Bidirectional)]
        {
            let hidden =
                model.hidden(model.tokens(&ids, b).unwrap(), &Context::new(attention, b, l)).unwrap();
            let width = model.config().hidden_size;
            let found: Vec<f32> = model.logits(hidden.reshape([b * l, width])).try_into_vec_as().unwrap();
            let wanted = floats(&expected, case);
            let largest = wanted.iter().fold(0f32, |m, x| m.max(x.abs()));
            let worst = found.iter().zip(&wanted).fold(0f32, |m, (a, b)| m.max((a - b).abs()));
            assert_eq!(found.len(), wanted.len());
            // Decision 11: f32 on the CPU against f32 of PyTorch.
            assert!(worst <= 1e-4 * largest, "{name} {case}: {worst} of {largest}");
        }
    }
}

#[test]
fn broken_folders_are_refused_by_name_before_anything_is_written() {
    let Some(set) = common::oracle("A_qwen3") else { return };
    let mut seen = 0;
    for entry in fs::read_dir(&set).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if !name.contains("broken") {
            continue;
        }
        seen += 1;
        let project = project(&entry.path());
        let ran = project.fmflow(&["run", "tiny.kdl"]).exits(8);
        let named =
            ran.stderr.contains("model.") || ran.stderr.contains("lm_head") || ran.stderr.contains("model-");
        assert!(named, "{name}: {}", ran.stderr);
        let artifacts = fs::read_dir(project.path().join(".fmflow/artifacts")).into_iter().flatten();
        assert_eq!(artifacts.count(), 0, "{name}");
    }
    assert!(seen >= 5, "{seen} broken variants");
}
