//! Likelihoods of one checkpoint side by side, through the binary.

#![cfg(feature = "cpu")]
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;

use serde_json::Value;

use crate::common::Project;

/// A block model of blocks of one token, a bidirectional one, and a causal one with strides.
fn project() -> Project {
    let project = Project::tiny();
    let mut text = fs::read_to_string(project.path().join("tiny.kdl")).unwrap();
    for (name, objective, attention) in [
        (
            "ones",
            r#"objective "flow" path="masked" loss="elbo" max-weight=20"#,
            r#"attention "block" { size 1 }"#,
        ),
        (
            "both",
            r#"objective "flow" path="masked" loss="elbo" max-weight=20"#,
            r#"attention "bidirectional""#,
        ),
        (
            "strides",
            r#"objective "flow" path="masked" loss="cross-entropy" { clean-loss weight=0.2 }"#,
            r#"attention "causal" { stride 2 }"#,
        ),
    ] {
        let from = if name == "strides" { "shifted" } else { "flow" };
        text += &format!(
            "train \"{name}\" from=\"{from}\" use=\"common\" {{\n    data rows=\"text\" mixture=\"prose\"\n    {objective}\n    {attention}\n    steps 5\n}}\n"
        );
    }
    text += r#"
convert "shifted" from="ar" {
    mask-token "reserved" row="mean"
    time-conditioning "none"
    shift #true
    certify tolerance=1e-4
}
evaluate "side-by-side" {
    checkpoint "ar" "ones" "both" "strides"
    held-out dataset="text" times=4 draws=3 first=4 {
        beside "elbo" "discrete-elbo" "left-to-right" "autoregressive"
    }
}
"#;
    project.write("tiny.kdl", &text);
    project
}

#[test]
fn likelihoods_stand_side_by_side_each_exact_or_a_bound() {
    let project = project();
    let ran = project.fmflow(&["run", "tiny.kdl", "--until", "side-by-side"]).ok();
    let report = fs::read(project.artifact("side-by-side").join("report.json")).unwrap();
    let report: Value = serde_json::from_slice(&report).unwrap();
    let found = |checkpoint: &str| {
        let list = report[checkpoint]["likelihoods"]["text"].as_array().unwrap().iter();
        list.map(|one| format!("{} {}", one["estimator"].as_str().unwrap(), one["kind"].as_str().unwrap()))
            .collect::<Vec<_>>()
    };
    let bounds = ["elbo upper bound", "discrete-elbo upper bound", "left-to-right exact"];
    assert_eq!(found("ar"), ["autoregressive exact"]);
    assert_eq!(found("ones"), bounds);
    assert_eq!(found("both"), bounds);
    assert_eq!(found("strides"), ["autoregressive exact", "discrete-elbo upper bound"]);
    let number = |checkpoint: &str, at: usize, name: &str| {
        report[checkpoint]["likelihoods"]["text"][at][name].as_f64().unwrap_or(f64::NAN)
    };
    for checkpoint in ["ones", "both"] {
        let usual = report[checkpoint]["held_out"]["text"].as_f64().unwrap();
        assert_eq!(usual, number(checkpoint, 0, "nats_per_token"));
        assert!(
            number(checkpoint, 0, "standard_error") > 0.0 && number(checkpoint, 2, "standard_error").is_nan()
        );
        assert_eq!(number(checkpoint, 2, "draws"), 1.0);
        // They measure one law, or laws near each other.
        let exact = number(checkpoint, 2, "nats_per_token");
        for bound in [0, 1] {
            let value = number(checkpoint, bound, "nats_per_token");
            assert!((value - exact).abs() < 0.1 * exact, "{checkpoint} {bound}: {value} {exact}");
        }
        // Every token is predicted once.
        assert_eq!(number(checkpoint, 2, "tokens"), number(checkpoint, 0, "tokens"));
    }
    ran.says("ones: held-out loss on text")
        .says(" (exact) · ones ")
        .says(" (upper bound) · both ")
        .says("nats per token (left-to-right, exact; 4 rows, ")
        .says("nats per token (elbo, upper bound; 4 rows at 4 times, 3 draws, ")
        .says("both: no autoregressive likelihood on text: it was not trained to predict the next token")
        .says("ar: no left-to-right likelihood on text: it is no flow model");
}
