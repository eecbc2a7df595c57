//! What a training has forgotten, through the binary: against the checkpoint that was converted, and against one that is named.

#![cfg(feature = "cpu")]
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;

use serde_json::Value;

use crate::common::Project;

/// A flow, and an autoregressive training, that are measured from what they started from.
fn with_teachers() -> Project {
    let project = Project::tiny();
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
