//! The output of every kind of stage on a fixture, with the revision of its code.
//!
//! A fingerprint contains the revision of a kind's code, not the code itself. So a code change that changes a result has to
//! raise the revision in `engine/src/pipeline/code_revision.rs`; otherwise artifacts of the old code would pass for results of the
//! new. If this snapshot changes and no revision did, raise the revision.

#![cfg(feature = "cpu")]
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::path::Path;

use crate::common::Project;
use fmflow_engine::check::{CheckOptions, check_path};
use fmflow_engine::pipeline::code_revision::find_stage_revision;

/// Digest of a file whose bytes do not depend on the machine, because it comes from integers and host arithmetic.
fn digest(folder: &Path, file: &str) -> String {
    blake3::hash(&fs::read(folder.join(file)).unwrap()).to_hex()[..16].to_owned()
}

/// Metrics of the summary to three digits, because kernels differ between processors in the last bits.
fn numbers(folder: &Path, keep: impl Fn(&str) -> bool) -> String {
    let summary: serde_json::Value =
        serde_json::from_slice(&fs::read(folder.join("summary.json")).unwrap()).unwrap();
    let metrics = summary["metrics"].as_object().unwrap();
    let shown = metrics.iter().filter(|(name, _)| keep(name));
    shown
        .map(|(name, value)| format!("{name} {:.2e}", value.as_f64().unwrap()))
        .collect::<Vec<_>>()
        .join(", ")
}

#[test]
fn every_kind_gives_what_its_revision_gave() {
    let project = Project::tiny();
    project.edit("tiny.kdl", "checkpoint every=7 keep=2", "checkpoint every=7 keep=2 { permanent every=20 }");
    let more = "average \"soup\" of=\"ar\" last=2\nevaluate \"soups\" { checkpoint \"soup\"; held-out dataset=\"text\" }\n";
    project.append("tiny.kdl", more);
    project.fmflow(&["run", "tiny.kdl"]).ok();
    let checked = check_path(&project.path().join("tiny.kdl"), &CheckOptions::default());
    let pipeline = checked.pipeline.unwrap();
    let revision = |kind: &str| {
        let stage = pipeline.stages.iter().find(|stage| stage.config.kind() == kind).unwrap();
        find_stage_revision(stage)
    };
    let mut lines = Vec::new();
    let mut note =
        |kind: &str, what: String| lines.push(format!("{kind} revision {}: {what}", revision(kind)));
    note("tokenizer", digest(&project.artifact("bpe"), "tokenizer.json"));
    note("rows", digest(&project.artifact("chat/tasks"), "rows.bin"));
    note("random-init", digest(&project.artifact("tiny"), "model.safetensors"));
    note("train", numbers(&project.artifact("ar"), |_| true));
    note("average", numbers(&project.artifact("soups"), |_| true));
    note("convert", numbers(&project.artifact("flow"), |name| name == "parameters"));
    note("train", numbers(&project.artifact("sft"), |_| true));
    note("evaluate", numbers(&project.artifact("likelihood"), |_| true));
    let samples = fs::read_to_string(project.artifact("samples").join("samples.jsonl")).unwrap();
    let raw = samples.lines().map(|line| {
        let sample: serde_json::Value = serde_json::from_str(line).unwrap();
        sample["raw"].as_str().unwrap().to_owned()
    });
    note("generate", format!("{:?}", raw.collect::<Vec<_>>()));
    insta::assert_snapshot!(lines.join("\n"));
}
