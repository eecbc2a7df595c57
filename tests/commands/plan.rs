//! Plans of the pipelines in this repository, with an empty store.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::path::Path;

use crate::common::Project;

use fmflow_engine::check::{CheckOptions, check_path};
use fmflow_engine::pipeline::Pipeline;
use fmflow_engine::plan::{Plan, SourceDigests, json, text};
use fmflow_engine::store::StoreListing;

fn planned(name: &str) -> (Pipeline, Plan) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines").join(name);
    let pipeline = check_path(&path, &CheckOptions::default()).pipeline.unwrap();
    let facts = SourceDigests::read(&pipeline, None).unwrap();
    let plan = Plan::for_pipeline(&pipeline, &facts, &StoreListing::default());
    (pipeline, plan)
}

#[test]
fn every_pipeline_has_a_plan() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines");
    let mut names: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    for name in names.iter().filter_map(|name| name.to_str()).filter(|name| name.ends_with(".kdl")) {
        let (pipeline, plan) = planned(name);
        insta::assert_snapshot!(
            name.replace('.', "-"),
            text::render_plan_text(
                &pipeline,
                &plan,
                &text::PlannedCommands { next: format!("fmflow run pipelines/{name}"), ..Default::default() }
            )
        );
    }
}

#[test]
fn the_json_plan_is_one_object() {
    let (pipeline, plan) = planned("full.kdl");
    let answer = json::render_plan_json(&pipeline, &plan);
    assert_eq!(answer["schema"], "fmflow.plan/1");
    let stages = answer["stages"].as_array().unwrap();
    assert_eq!(stages.len(), pipeline.stages.len());
    let pretrain = stages.iter().find(|stage| stage["name"] == "pretrain").unwrap();
    let training = &pretrain["training"];
    let per_token = training["flops"].as_f64().unwrap() / training["tokens"].as_f64().unwrap();
    assert_eq!((per_token / 1e7).round() / 100.0, 24.42, "GFLOP per token of Qwen3-1.7B at 8192, in blocks");
}

#[test]
fn the_json_plan_has_the_shares_of_every_phase() {
    let project = Project::tiny();
    project.edit(
        "tiny.kdl",
        "mixture \"prose\"  { dataset \"text\" weight=1 }",
        "mixture \"prose\" { dataset \"text\" { weight 3 until=30; weight 0 }; mixture \"answer\" weight=1 }",
    );
    let answer = project.fmflow(&["plan", "tiny.kdl", "--json"]).ok().stdout;
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    let stages = answer["stages"].as_array().unwrap();
    let mixture = |name: &str| &stages.iter().find(|stage| stage["name"] == name).unwrap()["mixture"];
    let expected = serde_json::json!([
        { "from-update": 0, "shares": { "text": 0.75, "tasks": 0.25 } },
        { "from-update": 30, "shares": { "text": 0.0, "tasks": 1.0 } },
    ]);
    assert_eq!(*mixture("ar"), expected);
    assert_eq!(*mixture("sft"), serde_json::json!([{ "from-update": 0, "shares": { "tasks": 1.0 } }]));
    assert!(mixture("bpe").is_null());
}

/// The tiny pipeline, with rows of an update and of a micro-batch, for a card of 1 GB.
fn on_small_card(rows: usize, per_device: usize) -> Project {
    let project = Project::tiny();
    project.edit(
        "tiny.kdl",
        "pipeline \"tiny\" seed=3",
        "pipeline \"tiny\" seed=3 { machine gpu=\"1xA100-1GB\" }",
    );
    let batch = format!("batch rows={rows} per-device={per_device}");
    project.edit("tiny.kdl", "batch rows=4 per-device=2", &batch);
    project
}

#[test]
fn training_that_does_not_fit_the_card_is_an_error_of_the_plan_that_says_what_fits() {
    on_small_card(4096, 1024).fmflow(&["plan", "tiny.kdl"]).ok().says("stage  memory");
    let project = on_small_card(4096, 4096);
    let ran = project.fmflow(&["plan", "tiny.kdl"]).exits(2);
    // What 262,144 tokens keep takes 1.5 GiB, and at most 2^26 logits exist, four times: 1 GiB.
    ran.says("stage `ar` needs about 2.5 GiB")
        .says("`machine gpu=\"1xA100-1GB\"` has 954 MiB")
        .says("help: write `per-device=1024` in its `batch`");
    // On the CPU the card is only what estimates assume.
    if cfg!(feature = "cpu") {
        project.fmflow(&["run", "tiny.kdl", "--until", "tiny"]).ok();
    }
}
