//! Checkpoint folders through the binary: fmflow reads what it wrote, and `check` looks where `run` looks.

#![cfg(feature = "cpu")]
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::common::Project;

/// The files of a folder by name, without those in which a store describes an artifact.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let own = ["manifest.json", "summary.json"];
    let read =
        entries.map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()));
    read.filter(|(name, _)| !own.contains(&name.as_str())).collect()
}

/// Copies a folder into the project.
fn copy(project: &Project, from: &Path, to: &str) -> PathBuf {
    let to = project.path().join(to);
    fs::create_dir(&to).unwrap();
    files(from).iter().for_each(|(name, bytes)| fs::write(to.join(name), bytes).unwrap());
    to
}

fn artifact(project: &Project, file: &str, stage: &str) -> PathBuf {
    project.fmflow(&["show", file, stage, "--path"]).ok().stdout.trim_end().into()
}

/// Uses a checkpoint folder in every way: as it is, trained further, measured, sampled, exported.
const USES: &str = r#"pipeline "again" seed=3
fetch "again" from="./released"
dataset "text"  from="tiny/*.txt"  format="text"  held-out="20%"
dataset "tasks" from="tiny/*.jsonl" format="jsonl" held-out="20%" { chat user="question" assistant="answer" group="task" }
rows "text" tokenizer="again" length=64 packing="concat" end-of-document=#true
rows "chat" tokenizer="again" length=64 packing="first-fit" canvas=12
mixture "answer" { dataset "tasks" }
scheduler "linear" kind="linear"
path "masked" source="mask" scheduler="linear"
train "more" from="again" {
    data rows="chat" mixture="answer"
    objective "flow" path="masked" loss="cross-entropy"
    attention "bidirectional"
    batch rows=4
    learning-rate peak=1e-3 final=1e-4 shape="cosine"
    steps 2
}
sampler "parallel" kind="confidence" passes=2 temperature=0
evaluate "likelihood" { checkpoint "again"; held-out dataset="text" rows="text" times=4 }
generate "samples" from="again" sampler="parallel" { chat "first: a b c" }
export "back" from="again" format="huggingface" dtype="DTYPE" shard-size="16KiB"
"#;

#[test]
fn an_export_is_a_checkpoint_again_and_exports_the_same_bytes() {
    for (dtype, conditioning) in [("f32", "\"adaln\" rank=8"), ("bf16", "\"none\"")] {
        let project = Project::tiny();
        project.edit("tiny.kdl", "time-conditioning \"none\"", &format!("time-conditioning {conditioning}"));
        let release =
            "export \"release\" from=\"sft\" format=\"huggingface\" dtype=\"DTYPE\" shard-size=\"16KiB\"\n";
        let text = fs::read_to_string(project.path().join("tiny.kdl")).unwrap();
        project.write("tiny.kdl", &(text + &release.replace("DTYPE", dtype)));
        project.fmflow(&["run", "tiny.kdl"]).ok();
        let release = project.artifact("release");
        assert_eq!(files(&release).contains_key("flow.safetensors"), conditioning.contains("adaln"));
        assert!(files(&release).keys().filter(|name| name.starts_with("model-")).count() > 1);
        copy(&project, &release, "released");

        project.write("again.kdl", &USES.replace("DTYPE", dtype));
        project.fmflow(&["check", "again.kdl"]).ok();
        project.fmflow(&["run", "again.kdl"]).ok();
        let (before, after) = (files(&release), files(&artifact(&project, "again.kdl", "back")));
        assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>());
        before.iter().for_each(|(name, bytes)| assert!(*bytes == after[name], "{dtype}: {name} differs"));
        // What the checkpoint says and does is what it said and did before it was exported.
        let fact = |folder: &Path, name: &str| -> serde_json::Value {
            serde_json::from_slice(&fs::read(folder.join(name)).unwrap()).unwrap()
        };
        let more = fact(&artifact(&project, "again.kdl", "more"), "provenance.json");
        let sft = fact(&project.artifact("sft"), "provenance.json");
        assert_eq!((&more["mask_token"], &more["canvas"]), (&sft["mask_token"], &sft["canvas"]));
        assert_eq!(more["trained_updates"], sft["trained_updates"].as_u64().unwrap() + 2);
        let line = |folder: PathBuf, prompt: &str| {
            let samples = fs::read_to_string(folder.join("samples.jsonl")).unwrap();
            let found = samples.lines().find(|line| line.contains(prompt)).unwrap();
            let sample: serde_json::Value = serde_json::from_str(found).unwrap();
            sample["raw"].clone()
        };
        if dtype == "f32" {
            let again = line(artifact(&project, "again.kdl", "samples"), "first: a b c");
            assert_eq!(again, line(project.artifact("samples"), "first: a b c"));
        }
    }
}

/// Converts the folder `m`.
const CONVERT: &str = "pipeline \"c\" seed=1\nconvert \"flow\" from=\"./m\" { mask-token \"reserved\" }\n";

#[test]
fn a_converted_model_is_never_converted_again_wherever_it_comes_from() {
    let project = Project::tiny();
    let text = fs::read_to_string(project.path().join("tiny.kdl")).unwrap();
    project.write("tiny.kdl", &(text + "export \"release\" from=\"flow\" format=\"huggingface\"\n"));
    project.fmflow(&["run", "tiny.kdl", "--until", "release"]).ok();
    project.write("c.kdl", CONVERT);
    for stage in ["release", "flow"] {
        let folder = copy(&project, &project.artifact(stage), "m");
        for command in ["check", "run"] {
            let ran = project.fmflow(&[command, "c.kdl"]).exits(2);
            assert!(ran.stderr.contains("already-converted"), "{}", ran.stderr);
        }
        // The cure is right.
        let cure = "fetch \"flow\" from=\"./m\"";
        project.fmflow(&["check", "c.kdl"]).exits(2).says(cure);
        project.write("cured.kdl", &format!("pipeline \"c\" seed=1\n{cure}\n"));
        project.fmflow(&["run", "cured.kdl"]).ok();
        // Without its contract, it is known by what conversion and export leave beside it.
        if stage == "flow" {
            fs::remove_file(folder.join("provenance.json")).unwrap();
            project.fmflow(&["run", "c.kdl"]).exits(2).says("but not the `provenance.json`");
        }
        fs::remove_dir_all(folder).unwrap();
    }
    // An autoregressive model is not converted yet, whoever trained it.
    copy(&project, &project.artifact("ar"), "m");
    project.fmflow(&["run", "c.kdl"]).ok();
}

/// A checkpoint in `m`, which `c.kdl` converts.
fn with_checkpoint() -> (Project, PathBuf) {
    let project = Project::tiny();
    project.fmflow(&["run", "tiny.kdl", "--until", "tiny"]).ok();
    let folder = copy(&project, &project.artifact("tiny"), "m");
    project.write("c.kdl", CONVERT);
    project.fmflow(&["check", "c.kdl"]).ok();
    (project, folder)
}

#[test]
fn check_sees_what_run_would_refuse() {
    let (project, folder) = with_checkpoint();
    let refused = |said: &str| {
        project.fmflow(&["check", "c.kdl"]).exits(2).says(said);
        project.fmflow(&["run", "c.kdl"]).exits(8).says(said);
    };
    let whole = fs::read(folder.join("model.safetensors")).unwrap();
    fs::write(folder.join("model.safetensors"), &whole[..whole.len() - 1]).unwrap();
    refused("the file is cut short");
    fs::remove_file(folder.join("model.safetensors")).unwrap();
    fs::write(folder.join("pytorch_model.bin"), "x").unwrap();
    refused("is a pickle file");
    fs::remove_file(folder.join("pytorch_model.bin")).unwrap();
    fs::write(folder.join("model.safetensors"), &whole).unwrap();
    let tokenizer = fs::read(folder.join("tokenizer.json")).unwrap();
    fs::remove_file(folder.join("tokenizer.json")).unwrap();
    fs::write(folder.join("vocab.json"), "{}").unwrap();
    fs::remove_file(folder.join("provenance.json")).unwrap();
    refused("AutoTokenizer.from_pretrained('./m')");
    fs::remove_file(folder.join("vocab.json")).unwrap();
    fs::write(folder.join("tokenizer.json"), tokenizer).unwrap();
    project.edit("m/config.json", "\"vocab_size\": 320", "\"vocab_size\": 319");
    refused("write `\"vocab_size\": 320` in config.json");
    project.edit("m/config.json", "\"vocab_size\": 319", "\"vocab_size\": 320");
    project.fmflow(&["check", "c.kdl"]).ok();
    // Without `./` it is the name of a stage.
    project.edit("c.kdl", "from=\"./m\"", "from=\"m\"");
    project.fmflow(&["check", "c.kdl"]).exits(2).says("write `\"./m\"`");
}

#[test]
fn check_refuses_the_broken_folders_of_other_implementations() {
    let Some(set) = crate::common::oracle("A_qwen3") else { return };
    let folders = fs::read_dir(&set).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir());
    for folder in folders {
        let project = Project::empty();
        let text = format!("pipeline \"c\" seed=1\nfetch \"m\" from=\"{}\"\n", folder.display());
        project.write("c.kdl", &text);
        let ran = project.fmflow(&["check", "c.kdl", "--allow", "unused"]);
        let broken = folder.file_name().unwrap().to_str().unwrap().contains("broken");
        assert_eq!(ran.code, if broken { 2 } else { 0 }, "{}: {}", folder.display(), ran.stderr);
    }
}
