//! Export and deep verification through the binary: tensors are exported unchanged, other programs can read them, and the
//! certificate's numbers are recomputed.

#![cfg(feature = "cpu")]
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::Project;
use fmflow_stages::weights;
use safetensors::{SafeTensors, tensor::TensorView};
use serde_json::Value;

fn json(file: &Path) -> Value {
    serde_json::from_slice(&fs::read(file).unwrap()).unwrap()
}

/// Name, type, shape and bytes of every tensor of a folder, sorted.
fn tensors(folder: &Path) -> Vec<(String, String, Vec<usize>, Vec<u8>)> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let is_weights = |p: &PathBuf| {
        p.file_name().unwrap().to_str().unwrap().starts_with("model")
            && p.extension().unwrap() == "safetensors"
    };
    let mut all = Vec::new();
    for file in names.filter(is_weights) {
        let bytes = fs::read(file).unwrap();
        let read = |(name, view): (&str, TensorView<'_>)| {
            (name.to_owned(), format!("{:?}", view.dtype()), view.shape().to_vec(), view.data().to_vec())
        };
        all.extend(SafeTensors::deserialize(&bytes).unwrap().iter().map(read));
    }
    all.sort();
    all
}

#[test]
fn a_converted_model_exports_the_same_bytes_as_its_source() {
    let Some(set) = crate::common::oracle("A_qwen3") else { return };
    for entry in fs::read_dir(&set).unwrap() {
        let source = entry.unwrap().path();
        if !source.with_extension("expected.safetensors").exists() || !source.is_dir() {
            continue;
        }
        let dtype = if json(&source.join("config.json"))["dtype"] == "bfloat16" { "bf16" } else { "f32" };
        let project = Project::empty();
        let (folder, name) = (source.display(), source.file_name().unwrap().to_str().unwrap());
        project.write(
            "tiny.kdl",
            &format!(
                "pipeline \"c\" seed=1\nconvert \"flow\" from=\"{folder}\" {{\n    mask-token 7 row=\"keep\"\n    \
                 tokenizer \"none\"\n}}\nexport \"release\" from=\"flow\" format=\"huggingface\" dtype=\"{dtype}\" shard-size=\"64KiB\"\n"
            ),
        );
        project.fmflow(&["run", "tiny.kdl"]).ok().says("every value exact");
        let release = project.artifact("release");
        let found = tensors(&release);
        assert!(!found.is_empty() && found == tensors(&source), "{name}");
        let index = json(&release.join("model.safetensors.index.json"));
        assert_eq!(index["weight_map"].as_object().unwrap().len(), found.len(), "{name}");
        let bytes: usize = found.iter().map(|(.., bytes)| bytes.len()).sum();
        assert_eq!(index["metadata"]["total_size"], bytes, "{name}");
        // The keys from which transformers 4 and 5 build the model have the source's values.
        let (own, theirs) = (json(&release.join("config.json")), json(&source.join("config.json")));
        for (key, value) in theirs.as_object().unwrap() {
            let free = ["layer_types", "max_window_layers", "transformers_version", "use_cache"];
            assert!(free.contains(&key.as_str()) || own[key] == *value, "{name} {key}: {} {value}", own[key]);
        }
        assert_eq!(
            (&own["dtype"], &own["rope_theta"]),
            (&own["torch_dtype"], &own["rope_parameters"]["rope_theta"])
        );
        assert_eq!(
            weights::read_checkpoint(&release).unwrap().config,
            weights::read_checkpoint(&source).unwrap().config,
            "{name}"
        );
        let readme = fs::read_to_string(release.join("README.md")).unwrap();
        assert!(
            readme.contains("mask token 7")
                && readme.contains("Nobody has trained it since it was converted"),
            "{readme}"
        );
        deep(&project, "flow").ok().says("64 logits under a causal mask").says("without any difference");
        deep(&project, "release").ok().says("logits finite");
        let folder = project.artifact("flow");
        let reference = ["verify", folder.to_str().unwrap(), "--deep", "--ops", "reference"];
        project.fmflow(&reference).ok().says("64 logits").says(", by the reference of every operation");
    }
}

fn deep(project: &Project, stage: &str) -> crate::common::Ran {
    let folder = project.artifact(stage);
    project.fmflow(&["verify", folder.to_str().unwrap(), "--deep"])
}

#[test]
fn a_trained_model_is_exported_with_its_flow_matching_settings() {
    let project = Project::tiny();
    project.edit("tiny.kdl", "time-conditioning \"none\"", "time-conditioning \"adaln\" rank=8");
    let mut text = fs::read_to_string(project.path().join("tiny.kdl")).unwrap();
    text.push_str("export \"release\" from=\"sft\" format=\"huggingface\" dtype=\"bf16\"\n");
    text.push_str("export \"base\" from=\"ar\" format=\"huggingface\"\n");
    project.write("tiny.kdl", &text);
    project.fmflow(&["run", "tiny.kdl", "--until", "release"]).ok();
    let (sft, release) = (project.artifact("sft"), project.artifact("release"));

    // The certificate of the conversion is passed on, and still describes the converted weights only.
    let certificate = |stage| fs::read(project.artifact(stage).join("certificate.json")).unwrap();
    assert_eq!(certificate("flow"), certificate("sft"));
    deep(&project, "flow").ok().says("64 logits");
    deep(&project, "sft").ok().says("trained since");
    deep(&project, "text/text").ok().says("no forward pass");

    // The backbone keeps its tensor names and has an index, so that no program takes the other file for a shard.
    let backbone = tensors(&release);
    assert!(backbone.iter().all(|(name, dtype, ..)| !name.starts_with("time.") && dtype == "BF16"));
    assert!(!release.join("model.safetensors").exists());
    let index = json(&release.join("model.safetensors.index.json"));
    assert!(
        index["weight_map"]
            .as_object()
            .unwrap()
            .values()
            .all(|file| file == "model-00001-of-00001.safetensors")
    );
    let flow = fs::read(release.join("flow.safetensors")).unwrap();
    let flow = SafeTensors::deserialize(&flow).unwrap();
    let source = fs::read(sft.join("model.safetensors")).unwrap();
    let source = SafeTensors::deserialize(&source).unwrap();
    assert_eq!(backbone.len() + flow.len(), source.len());
    for (name, view) in flow.iter() {
        assert!(name.starts_with("time."), "{name}");
        assert_eq!(view.data(), source.tensor(name).unwrap().data(), "{name}");
    }

    let facts = json(&release.join("fmflow.json"));
    assert_eq!(facts["conditioning"], "flow.safetensors");
    assert_eq!(facts["provenance"], json(&sft.join("provenance.json")));
    // Except for the mask token, which has a name now, the tokenizer is the checkpoint's own.
    let mask = &facts["provenance"]["mask_token"];
    let (mut own, mut config) =
        (json(&release.join("tokenizer.json")), json(&release.join("tokenizer_config.json")));
    let named = own["added_tokens"].as_array_mut().unwrap().pop().unwrap();
    assert_eq!((&named["id"], &named["content"]), (mask, &Value::from("<|mask|>")));
    assert_eq!(own, json(&sft.join("tokenizer.json")));
    assert_eq!(config.as_object_mut().unwrap().shift_remove("mask_token"), Some("<|mask|>".into()));
    let decoder = config["added_tokens_decoder"].as_object_mut().unwrap();
    assert_eq!(decoder.shift_remove(&mask.to_string()).unwrap()["content"], "<|mask|>");
    assert_eq!(config, json(&sft.join("tokenizer_config.json")));
    let generation = json(&release.join("generation_config.json"));
    assert_eq!(generation["eos_token_id"], json(&release.join("config.json"))["eos_token_id"]);
    assert!(generation["eos_token_id"].is_u64());
    let readme = fs::read_to_string(release.join("README.md")).unwrap();
    for words in
        ["bidirectional attention", "the mask token; kappa(t) = t^1", "give nonsense", "`flow.safetensors`"]
    {
        assert!(readme.contains(words), "{words:?} in\n{readme}");
    }

    project.fmflow(&["run", "tiny.kdl", "--until", "base"]).ok();
    let base = project.artifact("base");
    assert_eq!(tensors(&base), tensors(&project.artifact("ar")));
    assert!(!base.join("flow.safetensors").exists());
    assert!(fs::read_to_string(base.join("README.md")).unwrap().contains("an autoregressive model"));
}

#[test]
fn an_artifact_that_computes_other_numbers_than_certified_is_corrupt() {
    let project = Project::tiny();
    project.fmflow(&["run", "tiny.kdl", "--until", "flow"]).ok();
    let flow = project.artifact("flow");
    for name in
        ["model.safetensors", "config.json", "provenance.json", "tokenizer.json", "tokenizer_config.json"]
    {
        let to = project.path().join("lie").join(name);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(flow.join(name), to).unwrap();
    }
    let mut certificate = json(&flow.join("certificate.json"));
    let value = certificate["reference"]["logits"][5]["value"].as_f64().unwrap();
    let largest = certificate["parity"]["largest"].as_f64().unwrap();
    certificate["reference"]["logits"][5]["value"] = (value + 0.01 * largest).into();
    project.write("lie/certificate.json", &certificate.to_string());
    project.write("tiny.kdl", "pipeline \"lie\" seed=1\nfetch \"lie\" from=\"lie\"\n");
    project.fmflow(&["run", "tiny.kdl"]).ok();
    // Every byte is what was fetched, but the model computes other numbers than the certificate says.
    let folder = project.artifact("lie");
    project.fmflow(&["verify", folder.to_str().unwrap()]).ok();
    let ran = deep(&project, "lie").exits(4).says("run the stage again");
    // Relative to the largest logit of its position, which is at most that of all.
    let said = format!("{}{}", ran.stdout, ran.stderr);
    let ratio = said.split("differ from the source's by at most ").nth(1).unwrap();
    let ratio: f64 = ratio.split(' ').next().unwrap().parse().unwrap();
    assert!((0.01..1.0).contains(&ratio), "{said}");
}

/// A project whose flow was trained in blocks of four.
fn in_blocks() -> Project {
    let project = Project::tiny();
    project.edit("tiny.kdl", "attention \"bidirectional\"", "attention \"block\" { size 4 }");
    project
}

#[test]
fn a_model_of_blocks_is_exported_for_servers_of_sdar_with_answers_to_compare() {
    let project = in_blocks();
    let exports = "export \"served\" from=\"sft\" format=\"sdar\" dtype=\"bf16\"\nexport \"plain\" from=\"sft\" format=\"huggingface\" dtype=\"bf16\"\n";
    project.append("tiny.kdl", exports);
    for stage in ["served", "plain"] {
        project.fmflow(&["run", "tiny.kdl", "--until", stage]).ok();
    }
    let (served, plain) = (project.artifact("served"), project.artifact("plain"));
    assert_eq!(tensors(&served), tensors(&plain));
    let (config, own) = (json(&served.join("config.json")), json(&plain.join("config.json")));
    assert_eq!(
        (&config["model_type"], &config["architectures"]),
        (&"sdar".into(), &vec!["SDARForCausalLM"].into())
    );
    assert_eq!(config["auto_map"]["AutoModelForCausalLM"], "modeling_sdar.SDARForCausalLM");
    assert_eq!((&config["block_size"], &config["mask_token_id"]), (&4.into(), &own["mask_token_id"]));
    let readme = fs::read_to_string(served.join("README.md")).unwrap();
    assert!(
        readme.contains("`SDARForCausalLM` with blocks of 4 tokens") && !readme.contains("Causal use"),
        "{readme}"
    );
    // The folder is a checkpoint again, and writes what it says.
    let expected = json(&served.join("expected_answers.json"));
    assert_eq!(
        (&expected["settings"]["block_length"], &expected["settings"]["denoising_steps"]),
        (&4.into(), &4.into())
    );
    // Servers know the ends from these files alone.
    let sorted = |ends: &Value| {
        let mut ends = ends.as_array().unwrap().clone();
        ends.sort_by_key(Value::as_u64);
        ends.dedup();
        ends
    };
    let stops = sorted(&expected["settings"]["stop_token_ids"]);
    assert_eq!(stops.len(), 2, "{expected}");
    for file in [&config, &json(&served.join("generation_config.json"))] {
        assert_eq!(sorted(&file["eos_token_id"]), stops);
    }
    let answers = expected["answers"].as_array().unwrap();
    assert_eq!(answers.len(), 4, "{expected}");
    for answer in answers {
        let told = |key: &str| answer[key].as_array().unwrap().clone();
        let task = match answer["prompt"].as_str() {
            Some(text) => vec!["--prompt", text],
            None => vec!["--chat", "--prompt", answer["messages"][0]["content"].as_str().unwrap()],
        };
        let folder = served.to_str().unwrap();
        // Alone, without a cache, in other words: the same tokens.
        let how =
            ["--sampler", "confidence passes=4 block=4 temperature=0 cache=none", "--json", "--no-twin"];
        let length = answer["new_tokens"].to_string();
        let ran = project
            .fmflow(&[&["generate", folder, "--new-tokens", length.as_str()], &task[..], &how].concat())
            .ok();
        let found: Value = serde_json::from_str(&ran.stdout).unwrap();
        let (ids, tokens) = (found["answers"][0]["ids"].as_array().unwrap(), told("token_ids"));
        assert!(!tokens.is_empty() && ids.starts_with(&tokens), "{answer}\n{found}");
        assert_eq!(found["answers"][0]["tokens"], tokens.len());
        assert!(!told("prompt_token_ids").is_empty());
    }
}

#[test]
fn what_servers_of_sdar_cannot_run_is_refused_with_the_reason() {
    let project = Project::tiny();
    project.append("tiny.kdl", "export \"served\" from=\"sft\" format=\"sdar\"\n");
    project
        .fmflow(&["run", "tiny.kdl", "--until", "served"])
        .exits(8)
        .says("the checkpoint is no model like SDAR: its attention is not block-causal")
        .says("train it with `attention \"block\"`, or write `format=\"huggingface\"`");
}
