//! `convert` of Hugging Face checkpoints through the binary; logits are compared with those of transformers.

#![cfg(feature = "cpu")]
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::path::Path;

use crate::common::Project;
use fmflow_stages::backbone::{Attention, AttentionContext};
use fmflow_stages::{device, weights};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

/// A project that converts `folder`, which has no tokenizer.
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

/// Names of the checkpoints of a set that have expected results.
fn checkpoints(set: &Path) -> Vec<String> {
    let name = |entry: fs::DirEntry| {
        Some(entry.file_name().to_str()?.strip_suffix(".expected.safetensors")?.to_owned())
    };
    let mut names: Vec<String> =
        fs::read_dir(set).unwrap().filter_map(|entry| name(entry.unwrap())).collect();
    names.sort();
    assert!(!names.is_empty());
    names
}

fn floats(file: &SafeTensors<'_>, name: &str) -> Vec<f32> {
    let data = file.tensor(name).unwrap().data();
    data.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

#[test]
fn transformers_checkpoints_convert_and_keep_their_logits() {
    let Some(set) = crate::common::oracle("A_qwen3") else { return };
    for name in checkpoints(&set) {
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
        let model = weights::read_checkpoint(&artifact)
            .unwrap()
            .into_backbone(&device::open_device("cpu").unwrap())
            .unwrap();
        for (case, attention) in
            [("logits_causal", Attention::Causal), ("logits_bidir", Attention::Bidirectional)]
        {
            let hidden = model
                .hidden(model.tokens(&ids, b).unwrap(), &AttentionContext::new(attention, b, l))
                .unwrap();
            let width = model.config().hidden_size;
            let found: Vec<f32> = model.logits(hidden.reshape([b * l, width])).try_into_vec_as().unwrap();
            let wanted = floats(&expected, case);
            let largest = wanted.iter().fold(0f32, |m, x| m.max(x.abs()));
            let worst = found.iter().zip(&wanted).fold(0f32, |m, (a, b)| m.max((a - b).abs()));
            assert_eq!(found.len(), wanted.len());
            assert!(largest > 0.0 && found.iter().chain(&wanted).all(|x| x.is_finite()), "{name} {case}");
            // Decision 11: f32 on the CPU against f32 of PyTorch.
            assert!(worst <= 1e-4 * largest, "{name} {case}: {worst} of {largest}");
        }
    }
}

#[test]
fn broken_checkpoints_are_refused_before_anything_is_written() {
    let Some(set) = crate::common::oracle("A_qwen3") else { return };
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

/// Name, type, shape and bytes of tensors.
type Tensors = Vec<(String, Dtype, Vec<usize>, Vec<u8>)>;

/// The project of [`project`], with a certificate that also compares with `reference.safetensors`.
fn with_reference(folder: &Path) -> Project {
    let project = project(folder);
    let (from, to) =
        ("tokenizer \"none\"", "tokenizer \"none\"\n    certify reference=\"reference.safetensors\"");
    project.edit("tiny.kdl", from, to);
    project
}

/// Writes `reference.safetensors`: the ids and logits of transformers, after `change`.
fn write_reference(project: &Project, expected: &SafeTensors<'_>, change: impl FnOnce(&mut Tensors)) {
    let take = |from: &str, to: &str| {
        let view = expected.tensor(from).unwrap();
        (to.to_owned(), view.dtype(), view.shape().to_vec(), view.data().to_vec())
    };
    let mut tensors = vec![take("input_ids", "input_ids"), take("logits_causal", "logits")];
    change(&mut tensors);
    let views = tensors.iter().map(|(name, dtype, shape, data)| {
        (name.as_str(), TensorView::new(*dtype, shape.clone(), data).unwrap())
    });
    let bytes = safetensors::serialize(views, None).unwrap();
    fs::write(project.path().join("reference.safetensors"), bytes).unwrap();
}

#[test]
fn conversion_compares_with_reference_logits() {
    let Some(set) = crate::common::oracle("A_qwen3") else { return };
    for name in checkpoints(&set) {
        let bytes = fs::read(set.join(format!("{name}.expected.safetensors"))).unwrap();
        let expected = SafeTensors::deserialize(&bytes).unwrap();
        let project = with_reference(&set.join(&name));
        write_reference(&project, &expected, |_| {});
        project.fmflow(&["run", "tiny.kdl"]).ok();
        let certificate = fs::read_to_string(project.artifact("flow").join("certificate.json")).unwrap();
        let certificate: serde_json::Value = serde_json::from_str(&certificate).unwrap();
        let (elsewhere, file) = (&certificate["elsewhere"], project.path().join("reference.safetensors"));
        assert_eq!(elsewhere["holds"], true, "{name}");
        assert_eq!(elsewhere["blake3"], blake3::hash(&fs::read(file).unwrap()).to_hex().as_str(), "{name}");
        assert_eq!(elsewhere["batch"], serde_json::json!(expected.tensor("input_ids").unwrap().shape()));
        // Another program rounds differently: a difference of exactly 0 would mean that we compared with ourselves.
        assert!(elsewhere["difference"].as_f64().unwrap() > 0.0, "{name}");
        project.fmflow(&["show", "tiny.kdl", "flow"]).ok().says("elsewhere   equals logits made elsewhere");
        let folder = project.artifact("flow");
        project.fmflow(&["verify", folder.to_str().unwrap(), "--deep"]).ok().says("64 logits");

        // A changed file makes the stage stale, and one wrong logit is detected.
        write_reference(&project, &expected, |tensors| {
            let largest = floats(&expected, "logits_causal").iter().fold(0f32, |m, x| m.max(x.abs()));
            let (_, _, _, data) = &mut tensors[1];
            let last = data.len() - 4;
            let value = f32::from_le_bytes(data[last..].try_into().unwrap()) + 3e-4 * largest;
            data[last..].copy_from_slice(&value.to_le_bytes());
        });
        project.fmflow(&["plan", "tiny.kdl"]).ok().says("reference");
        project
            .fmflow(&["run", "tiny.kdl"])
            .exits(1)
            .says("elsewhere   DIFFERS from logits made elsewhere")
            .says("parity      equals our own reading of the source");
    }
}

#[test]
fn reference_logits_that_do_not_fit_are_refused_by_file_and_tensor() {
    let Some(set) = crate::common::oracle("A_qwen3") else { return };
    let name = checkpoints(&set).remove(0);
    let bytes = fs::read(set.join(format!("{name}.expected.safetensors"))).unwrap();
    let expected = SafeTensors::deserialize(&bytes).unwrap();
    type Change = fn(&mut Tensors);
    let cases: [(Change, &str); 8] = [
        (|t| drop(t.remove(1)), "tensor `logits` is missing"),
        (
            |t| t.push(("attention_mask".into(), Dtype::U8, vec![1], vec![1])),
            "tensor `attention_mask`: is not expected",
        ),
        (|t| t[0].3[..8].copy_from_slice(&(-1i64).to_le_bytes()), "tensor `input_ids`: holds id -1"),
        (|t| t[0].1 = Dtype::F64, "tensor `input_ids`: is F64"),
        (|t| t[1].2.swap(0, 1), "tensor `logits` has shape"),
        (
            |t| t[1].3[..4].copy_from_slice(&f32::NAN.to_le_bytes()),
            "tensor `logits` has a value that is not finite",
        ),
        (|t| t[1].3.fill(0), "tensor `logits`: the logits are all 0 at position 0, which proves nothing"),
        (
            |t| t[0].3[..8].copy_from_slice(&7i64.to_le_bytes()),
            "holds the mask token 7, whose embedding is new",
        ),
    ];
    for (change, said) in cases {
        let project = with_reference(&set.join(&name));
        project.edit("tiny.kdl", "row=\"keep\"", "row=\"mean\"");
        write_reference(&project, &expected, change);
        let ran = project.fmflow(&["run", "tiny.kdl"]).exits(8).says(said).says("`reference.safetensors`");
        assert!(ran.stderr.contains("under a causal mask"), "{}", ran.stderr);
    }
    let project = with_reference(&set.join(&name));
    project.fmflow(&["check", "tiny.kdl"]).exits(2).says("the reference logits has no files");
}
