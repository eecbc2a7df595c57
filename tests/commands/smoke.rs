//! `run --smoke`: a file with everything that is not at hand runs to its end, and nothing is left but its own store.

#![cfg(feature = "cpu")]
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::common::{Project, Ran};

/// Copies a folder of the repository into a project, without the store that a run leaves in it.
pub(crate) fn copy_folder(project: &Project, folder: &str) {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    for entry in fs::read_dir(&from).unwrap() {
        let path = entry.unwrap().path();
        let name = format!("{folder}/{}", path.file_name().unwrap().to_string_lossy());
        if name.contains("/.fmflow") {
            continue;
        }
        match path.is_dir() {
            true => copy_folder(project, &name),
            false => project.write(&name, &fs::read_to_string(&path).unwrap()),
        }
    }
}

/// Runs a shipped pipeline in a folder of its own.
fn smoke(project: &Project, file: &str) -> Ran {
    let mut command = project.command(&["run", "--smoke", file]);
    // A test must not reach a hub, even if the one who runs it has an account there.
    command.env_remove("HF_TOKEN").env("HF_ENDPOINT", "http://127.0.0.1:9");
    Ran::from(command.output().unwrap())
}

/// The lines that say what was replaced.
fn replaced(ran: &Ran) -> String {
    let lines = ran.stderr.lines().filter(|line| line.starts_with("smoke: "));
    lines.map(|line| format!("{line}\n")).collect()
}

#[test]
fn the_full_pipeline_runs_to_its_end_without_network_secrets_and_pins() {
    let project = Project::empty();
    copy_folder(&project, "pipelines");
    let ran = smoke(&project, "pipelines/full.kdl").ok();
    insta::assert_snapshot!("smoke-full", replaced(&ran));
    let rows = ran.stdout.lines().filter(|line| line.contains(" done ")).count();
    assert_eq!(rows, 21, "20 stages, and the tokenizer of the random backbone: {}", ran.stdout);
    let mut made: Vec<PathBuf> =
        fs::read_dir(project.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    made.sort();
    let names: Vec<_> = made.iter().map(|path| path.file_name().unwrap().to_string_lossy()).collect();
    assert_eq!(names, ["pipelines"]);
    let is_there = |name: &str| project.path().join("pipelines").join(name).exists();
    assert!(is_there(".fmflow-smoke") && !is_there(".fmflow"), "a smoke run has a store of its own");
    assert!(!project.path().join("pipelines/full.lock").exists());
    let again = smoke(&project, "pipelines/full.kdl").ok();
    assert!(!again.stdout.contains(" done "), "what was made is kept: {}", again.stdout);
}

#[test]
fn the_other_shipped_pipelines_run_to_their_ends() {
    let project = Project::empty();
    copy_folder(&project, "pipelines");
    copy_folder(&project, "examples/quickstart");
    for file in ["quickstart", "laptop", "i-dlm"] {
        let ran = smoke(&project, &format!("pipelines/{file}.kdl")).ok();
        ran.says("next: fmflow plan pipelines/").says("samples");
    }
    smoke(&project, "pipelines/ablation.kdl").ok().says("next: fmflow plan pipelines/");
}

/// Names files of every format that are nowhere, and asks for everything that a small run has to shrink.
const ABSENT: &str = r#"pipeline "absent" seed=1 { machine gpu="8xH100-80GB"; budget days=1 disk="1MiB" }
secret "FMFLOW_TEST_ABSENT"
fetch "base" from="gone/checkpoint"
tokenizer "own" from="gone/tokenizer.json"
dataset "files" from="gone/texts/*.txt" format="text" documents="file" held-out="1%"
dataset "lines" from="gone/lines.jsonl" format="jsonl" text="page.body" held-out="1%" tokens="3B" {
    filter { column "meta.license" "mit" "apache-2.0"; stars at-least=5; fork #false }
    duplicates "drop" { dataset "files" }
    contamination "exam" from="gone/exam.jsonl" ngram=8
    contamination held-out="files" ngram=8
}
dataset "pairs" from="gone/pairs.parquet" format="parquet" held-out="1%" strict=#true {
    chat user="q" input="context" assistant="a" system="rules" group="kind"
}
dataset "talks" from="gone/talks.json" format="json" held-out="1%" { chat messages="turns" system="rules" }
rows "text" tokenizer="own" length=2048 packing="concat"
rows "chat" tokenizer="base" length=1920 packing="first-fit" { end-of-turn supervise="to-block-boundary" block=48 }
rows "canvas" tokenizer="base" length=1024 packing="first-fit" canvas=256
mixture "texts" {
    dataset "files" { weight 1 until=20; weight 2 until=50; weight 0 }
    dataset "lines"
}
mixture "chats" { dataset "pairs"; dataset "talks" weight=3 }
scheduler "curve" kind="cosine"
path "mixed" scheduler="curve" { source "mask" weight=3; source "uniform" weight=1 }
sampler "blocks" kind="euler" passes=64 block=48
sampler "jumps" kind="euler" passes=256
convert "flow" from="base" {
    mask-token 151669
    time-conditioning "adaln" rank=64
    certify reference="gone/logits.safetensors"
}
recipe "common" {
    objective "flow" path="mixed" loss="gkl" max-weight=20
    optimizer "adamw"
    batch rows=256 per-device=16
    checkpoint every="20min" keep=2 { permanent every=40 }
    validate every=50 rows=64
}
train "wide" from="flow" use="common" {
    data rows="text" mixture="texts"
    attention "bidirectional" { anneal until=60 }
    steps 100
    learning-rate peak=1e-3 final=0 warmup=10 shape="warmup-stable-decay" decay=30
    probe every=40 sampler="jumps" { prompt "x"; benchmark "mbpp+" from="gone/mbpp.jsonl" }
}
train "branch" from="wide" at=80 carry="optimizer" use="common" {
    data rows="chat" mixture="chats"
    attention "block" { size 24 until=30; size 48 }
    steps 100
    learning-rate peak=1e-3 final=0 warmup=10 shape="linear"
}
train "answers" from="wide" use="common" {
    data rows="canvas" mixture="chats"
    attention "bidirectional"
    steps 50
    learning-rate peak=1e-3 final=0 warmup=10 shape="linear"
}
evaluate "scores" {
    checkpoint "branch" "answers"
    held-out dataset="pairs" rows="chat"
    benchmark "humaneval+" from="gone/humaneval.jsonl" sampler="blocks" samples=20
    require "branch" at-least=0.5
}
benchmark "questions" from="gone/questions.jsonl" kind="exact"
benchmark "programs" from="gone/programs.jsonl" kind="code"
benchmark "gaps" from="gone/gaps.jsonl" kind="infill"
benchmark "picks" from="gone/picks.jsonl" kind="choice" draws=8
evaluate "mine" {
    checkpoint "answers"
    benchmark "questions" sampler="jumps"
    benchmark "programs" sampler="jumps"
    benchmark "gaps" sampler="jumps" length="8..64"
    benchmark "picks"
}
evaluate "exact" { checkpoint "answers"; exact-match dataset="pairs" rows="canvas" sampler="jumps" }
generate "samples" from="branch" sampler="blocks" { prompt "def f():" new-tokens=480; chat "hello" new-tokens=40 }
profile "cluster" { executor "slurm" partition="gpu" }
"#;

#[test]
fn files_that_are_nowhere_are_generated_in_their_formats() {
    let project = Project::empty();
    project.write("p.kdl", ABSENT);
    project.fmflow(&["check", "p.kdl"]).exits(2);
    let ran = smoke(&project, "p.kdl").ok();
    insta::assert_snapshot!("smoke-absent", replaced(&ran));
    for stage in ["branch", "answers", "scores", "mine", "exact", "samples"] {
        assert!(ran.stderr.contains(&format!("{stage:<15}  done in ")), "{}", ran.stderr);
    }
    assert!(!ran.stderr.contains("it failed, and the training goes on"), "probes work: {}", ran.stderr);
}

#[test]
fn files_on_disk_are_read_as_they_are() {
    let project = Project::tiny();
    let ran = smoke(&project, "tiny.kdl").ok();
    assert!(!ran.stderr.contains("generated documents"), "{}", ran.stderr);
    project.edit("tiny/tasks.jsonl", "\"answer\"", "\"reply\"");
    smoke(&project, "tiny.kdl").exits(2).says("`answer`");
}

#[test]
fn a_smoke_run_leaves_results_of_the_pipeline_alone() {
    let project = Project::tiny();
    project.fmflow(&["run", "tiny.kdl", "--until", "bpe"]).ok();
    let ran = project.fmflow(&["run", "tiny.kdl", "--smoke", "--until", "ar", "--json"]).ok();
    let answer: Value = serde_json::from_str(&ran.stdout).unwrap();
    let stages = answer["stages"].as_array().unwrap();
    assert!(stages.iter().all(|stage| stage["state"] == "done"), "{answer}");
    let in_own = |stage: &Value| stage["artifact"].as_str().unwrap().contains(".fmflow-smoke/artifacts/");
    assert!(stages.iter().all(in_own), "{answer}");
    assert!(
        answer["replaced"].as_array().unwrap().iter().any(|line| line.as_str().unwrap().contains("steps 2"))
    );
    let plan = project.fmflow(&["plan", "tiny.kdl", "--until", "ar", "--json"]).ok().stdout;
    let plan: Value = serde_json::from_str(&plan).unwrap();
    let cached = plan["stages"].as_array().unwrap().iter().filter(|stage| stage["state"] == "cached").count();
    assert_eq!(cached, 1, "only what was run for real: {plan}");
}

#[test]
fn a_mistake_in_the_file_is_told_before_anything_is_made() {
    let project = Project::tiny();
    project.edit("tiny.kdl", "attention \"causal\"", "attention \"casual\"");
    smoke(&project, "tiny.kdl").exits(2).says("casual");
    assert!(!project.path().join(".fmflow-smoke").exists());
    project.fmflow(&["run", "--smoke", "--device", "cuda", "tiny.kdl"]).exits(2).says("--device");
}
