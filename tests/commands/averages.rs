//! Averages of permanent checkpoints.

#![cfg(feature = "cpu")]
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::path::Path;

use safetensors::SafeTensors;

use crate::common::Project;
use crate::leading::permanent;

const AVERAGE: &str = r#"
average "soup" of="ar" last=3
evaluate "both" { checkpoint "ar" "soup"; held-out dataset="text" }
"#;

fn project(average: &str) -> Project {
    let project = Project::tiny();
    project.edit("tiny.kdl", "checkpoint every=7 keep=2", "checkpoint every=7 keep=2 { permanent every=10 }");
    let text = fs::read_to_string(project.path().join("tiny.kdl")).unwrap();
    project.write("tiny.kdl", &format!("{text}{average}"));
    project
}

/// The values of all tensors, by name.
fn values(folder: &Path) -> Vec<(String, Vec<f32>)> {
    let bytes = fs::read(folder.join("model.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let read =
        |data: &[u8]| data.chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect();
    let mut all: Vec<(String, Vec<f32>)> =
        tensors.iter().map(|(name, tensor)| (name.to_owned(), read(tensor.data()))).collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

#[test]
fn every_weight_is_the_mean_of_the_last_checkpoints() {
    let project = project(AVERAGE);
    project
        .fmflow(&["run", "tiny.kdl", "--until", "both"])
        .ok()
        .says("mean of 3 checkpoints, after update 20, 30, 40");
    let kept = permanent(&project);
    assert_eq!(kept.len(), 4);
    let last: Vec<_> = kept[1..].iter().map(|folder| values(folder)).collect();
    let soup = values(&project.artifact("soup"));
    assert_eq!(soup.len(), last[0].len());
    for (at, (name, means)) in soup.iter().enumerate() {
        for (place, mean) in means.iter().enumerate() {
            let of = |checkpoint: &Vec<(String, Vec<f32>)>| {
                assert_eq!(checkpoint[at].0, *name);
                f64::from(checkpoint[at].1[place])
            };
            let expected = (last.iter().map(of).sum::<f64>() / 3.0) as f32;
            assert_eq!(mean.to_bits(), expected.to_bits(), "{name} {place}");
        }
    }
    // What is not a weight is the training's.
    for file in ["config.json", "provenance.json", "tokenizer.json"] {
        let read = |stage: &str| fs::read(project.artifact(stage).join(file)).unwrap();
        assert!(read("soup") == read("ar"), "{file}");
    }
    let report: serde_json::Value =
        serde_json::from_slice(&fs::read(project.artifact("both").join("report.json")).unwrap()).unwrap();
    assert!(report["soup"]["held_out"]["text"].as_f64().unwrap() > 0.0);
    project.fmflow(&["verify", project.artifact("soup").to_str().unwrap()]).ok();
    project.fmflow(&["run", "tiny.kdl", "--until", "both"]).ok().says("nothing to do");
    // Other checkpoints are another average.
    project.edit("tiny.kdl", "last=3", "last=2");
    project.fmflow(&["plan", "tiny.kdl", "--until", "soup", "--check"]).exits(3);
    project.fmflow(&["run", "tiny.kdl", "--until", "soup"]).ok().says("after update 30, 40");
    // Neither the training nor the average itself is written differently, but other checkpoints are the last two.
    project.edit("tiny.kdl", "permanent every=10", "permanent every=20");
    project.fmflow(&["plan", "tiny.kdl", "--until", "ar", "--check"]).ok();
    project.fmflow(&["plan", "tiny.kdl", "--until", "soup", "--check"]).exits(3).says("updates");
    project.fmflow(&["run", "tiny.kdl", "--until", "soup"]).ok().says("after update 20, 40");
}

#[test]
fn checkpoints_that_are_not_kept_are_not_averaged() {
    let refused = |from: &str, to: &str| {
        let project = project(AVERAGE);
        project.edit("tiny.kdl", from, to);
        project.fmflow(&["check", "tiny.kdl"]).exits(2)
    };
    refused("last=3", "last=5")
        .says("`ar` keeps 4 permanent checkpoints, and 5 are to be averaged")
        .says("write `last=4`");
    refused(" { permanent every=10 }", "").says("`ar` keeps no permanent checkpoints");
    refused("of=\"ar\"", "of=\"flow\"").says("`flow`");
    refused("permanent every=10", "permanent every=30").says("lower `permanent every=`");
    // They were kept once, and are gone.
    let project = project(AVERAGE);
    project.fmflow(&["run", "tiny.kdl", "--until", "ar"]).ok();
    fs::remove_dir_all(&permanent(&project)[2]).unwrap();
    project
        .fmflow(&["run", "tiny.kdl", "--until", "soup"])
        .exits(8)
        .says("`soup` needs the checkpoint after update 30 of `ar`")
        .says("it has those after update 10, 20, 40");
}

#[test]
fn an_average_runs_in_a_smoke_run_and_with_an_extended_training() {
    let smoked = project(AVERAGE);
    smoked.fmflow(&["run", "--smoke", "tiny.kdl", "--until", "both"]).ok().says("mean of 2 checkpoints");
    // The older checkpoints of a training that goes on are taken over.
    let extended = project("average \"soup\" of=\"ar\" last=2\n");
    extended.edit(
        "tiny.kdl",
        "peak=2e-3 final=2e-4 warmup=5 shape=\"cosine\"",
        "peak=2e-3 warmup=5 shape=\"constant\"",
    );
    extended.fmflow(&["run", "tiny.kdl", "--until", "soup"]).ok();
    extended.edit("tiny.kdl", "attention \"causal\"\n    steps 40", "attention \"causal\"\n    steps 60");
    extended.edit("tiny.kdl", "last=2", "last=5");
    extended.fmflow(&["run", "tiny.kdl", "--until", "soup"]).ok().says("after update 20, 30, 40, 50, 60");
}
