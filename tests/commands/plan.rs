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
    // What 262,144 tokens keep takes 1.5 GiB, 2^25 scores 512 MiB, and 262,144 x 320 logits with their gradient 640 MiB.
    ran.says("stage `ar` needs about 2.7 GiB")
        .says("`machine gpu=\"1xA100-1GB\"` has 954 MiB")
        .says("help: write `per-device=1024` in its `batch`");
    // On the CPU the card is only what estimates assume.
    if cfg!(feature = "cpu") {
        project.fmflow(&["run", "tiny.kdl", "--until", "tiny"]).ok();
    }
}

/// The seconds of every update but the first, from the metrics of a training.
#[cfg(feature = "cpu")]
fn list_seconds(metrics: &str) -> Vec<f64> {
    let lines = metrics.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let updates =
        lines.filter_map(|line| Some((line["tokens"].as_f64()?, line["tokens_per_second"].as_f64()?)));
    let updates: Vec<(f64, f64)> = updates.collect();
    updates.windows(2).map(|pair| (pair[1].0 - pair[0].0) / pair[1].1).collect()
}

#[cfg(feature = "cpu")]
#[test]
fn measured_times_are_those_of_the_same_shape() {
    let project = Project::tiny();
    let times = |project: &Project| -> serde_json::Value {
        let text = project.fmflow(&["plan", "tiny.kdl", "--measured", "--json"]).ok().stdout;
        serde_json::from_str::<serde_json::Value>(&text).unwrap()["times"].clone()
    };
    let unknown = times(&project);
    assert!(unknown["ar"]["seconds"].is_null() && unknown["ar"]["measured"] == false, "{unknown}");
    project.fmflow(&["plan", "tiny.kdl", "--measured"]).ok().says("all trainings: unknown");
    project.fmflow(&["run", "tiny.kdl", "--until", "ar"]).ok();
    assert!(times(&project).get("ar").is_none(), "a finished training has no time left");
    let mut seconds =
        list_seconds(&std::fs::read_to_string(project.artifact("ar").join("metrics.jsonl")).unwrap());
    seconds.sort_by(f64::total_cmp);
    // Another seed is another training of the same speed; another row of an update takes its own time.
    project.edit("tiny.kdl", "seed=3", "seed=4 { machine gpu=\"1xH100-80GB\" mfu=0.4; budget time=\"1s\" }");
    project.edit("tiny.kdl", "batch rows=4 per-device=2", "batch rows=8 per-device=2");
    let found = times(&project);
    assert_eq!(found["ar"]["from"], "measured: `ar` on cpu");
    let expected = seconds[seconds.len() / 2] * 2.0 * 40.0;
    let time = found["ar"]["seconds"].as_f64().unwrap();
    assert!((time / expected - 1.0).abs() < 1e-9, "{time} {expected}");
    assert_eq!(found["sft"]["from"], "assumed: `machine gpu=\"1xH100-80GB\" mfu=0.4`");
    assert!(found["sft"]["measured"] == false && found["sft"]["seconds"].as_f64().unwrap() > 0.0, "{found}");
    project.edit("tiny.kdl", "length=64 packing=\"concat\"", "length=32 packing=\"concat\"");
    assert_eq!(times(&project)["ar"]["measured"], false, "rows of another length have another speed");
}
