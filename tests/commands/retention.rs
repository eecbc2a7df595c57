//! What a training has forgotten, through the binary: against the checkpoint that was converted, and against one that is named.

#![cfg(feature = "cpu")]
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::time::Duration;

use serde_json::Value;

use crate::common::Project;
use crate::leading::run_stage_with_kills;

/// A flow, and an autoregressive training, that are measured from what they started from.
fn with_teachers() -> Project {
    let project = Project::tiny();
    // What is learned and what the teacher says are then about the same token.
    project.edit("tiny.kdl", "shift #false", "shift #true");
    let mut text = fs::read_to_string(project.path().join("tiny.kdl")).unwrap();
    text += r#"
train "forgets" from="flow" use="common" {
    data rows="text" mixture="prose"
    objective "flow" path="masked" loss="elbo" max-weight=20
    attention "bidirectional"
    validate every=5 rows=4
    steps 15
    teacher "ar"
}
train "barely" from="flow" use="common" {
    data rows="text" mixture="prose"
    objective "flow" path="masked" loss="elbo" max-weight=20
    attention "bidirectional"
    validate every=40 rows=4
    steps 40
    teacher "ar" weight=1e-9
}
train "remembers" from="flow" use="common" {
    data rows="text" mixture="prose"
    objective "flow" path="masked" loss="elbo" max-weight=20
    attention "bidirectional"
    validate every=40 rows=4
    steps 40
    teacher "ar" weight=10
}
train "again" from="forgets" use="common" {
    data rows="text" mixture="prose"
    objective "flow" path="masked" loss="elbo" max-weight=20
    attention "bidirectional"
    validate every=1 rows=4
    steps 1
    learning-rate peak=1e-9 shape="constant"
    teacher "ar" from="ar"
}
train "more" from="ar" use="common" {
    data rows="text" mixture="prose"
    objective "autoregressive"
    attention "causal"
    validate every=1 rows=4
    steps 1
    learning-rate peak=1e-9 shape="constant"
    teacher "ar"
}
"#;
    project.write("tiny.kdl", &text);
    project
}

fn retention(project: &Project, stage: &str) -> Vec<(u64, f64)> {
    let log = project.fmflow(&["log", "tiny.kdl", stage, "--json"]).ok().stdout;
    let log: Value = serde_json::from_str(&log).unwrap();
    let lines = log["metrics"].as_array().unwrap().iter();
    lines
        .filter_map(|line| Some((line["step"].as_u64()?, line.pointer("/retention_kl/text")?.as_f64()?)))
        .collect()
}

#[test]
fn every_validation_says_what_was_forgotten() {
    let project = with_teachers();
    for stage in ["forgets", "again", "more"] {
        let said = project.fmflow(&["run", "tiny.kdl", "--until", stage]).ok();
        let said = format!("{}{}", said.stdout, said.stderr);
        assert!(said.contains("KL from the teacher: text "), "{said}");
    }
    let curve = retention(&project, "forgets");
    assert_eq!(curve.iter().map(|(step, _)| *step).collect::<Vec<_>>(), [4, 9, 14]);
    // A bidirectional flow moves away from the law that it had.
    assert!(curve[0].1 > 1e-3 && curve[2].1 > curve[0].1, "{curve:?}");
    let summary = fs::read(project.artifact("forgets").join("summary.json")).unwrap();
    let summary: Value = serde_json::from_slice(&summary).unwrap();
    assert_eq!(summary.pointer("/metrics/retention_kl~1text").unwrap().as_f64(), Some(curve[2].1));
    // The next stage goes on from there, against the same teacher; the rate of its only update is next to nothing.
    let again = retention(&project, "again")[0].1;
    assert!((again - curve[2].1).abs() < 1e-3 * again, "{again} {curve:?}");
    let unchanged = retention(&project, "more")[0].1;
    assert!(unchanged < 1e-6, "{unchanged}");
}

/// Numbers of a field of the updates of a stage.
fn updates(project: &Project, stage: &str, field: &str) -> Vec<f64> {
    let log = project.fmflow(&["log", "tiny.kdl", stage, "--json"]).ok().stdout;
    let log: Value = serde_json::from_str(&log).unwrap();
    log["metrics"].as_array().unwrap().iter().filter_map(|line| line.get(field)?.as_f64()).collect()
}

#[test]
fn a_teacher_with_a_weight_is_a_loss() {
    let project = with_teachers();
    for stage in ["barely", "remembers"] {
        project.fmflow(&["run", "tiny.kdl", "--until", stage]).ok();
    }
    let [free, held] = ["barely", "remembers"].map(|stage| updates(&project, stage, "teacher_kl"));
    assert_eq!([free.len(), held.len()], [40; 2]);
    let at_first = held[0];
    // Before the first update only the row of the mask token differs.
    assert!(held[0] < 1e-4, "{held:?}");
    assert!(held[39] < 0.1 * free[39], "{held:?} {free:?}");
    let [free, held] = ["barely", "remembers"].map(|stage| retention(&project, stage)[0].1);
    assert!(held < 0.5 * free, "{held} {free}");
    let [free, held] = ["barely", "remembers"].map(|stage| updates(&project, stage, "loss")[0]);
    assert!((held - free - 10.0 * at_first).abs() < 1e-5, "{held} {free} {at_first}");
}

#[test]
fn a_killed_training_with_a_teacher_in_its_loss_ends_with_the_same_bytes() {
    let weights =
        |project: &Project| fs::read(project.artifact("remembers").join("model.safetensors")).unwrap();
    let [whole, killed] = [with_teachers(), with_teachers()];
    whole.fmflow(&["run", "tiny.kdl", "--until", "remembers"]).ok();
    killed.fmflow(&["run", "tiny.kdl", "--until", "flow"]).ok();
    assert!(run_stage_with_kills(&killed, "remembers", Duration::from_millis(60)) > 0);
    assert_eq!(weights(&whole), weights(&killed));
    let kl = |project: &Project| updates(project, "remembers", "teacher_kl");
    assert_eq!(kl(&whole), kl(&killed));
}
