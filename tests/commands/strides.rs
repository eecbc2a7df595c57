//! Causal [x_t, x_0] through the binary: strides, a clean loss, what the checkpoint then is, and bf16 beside it.

#![cfg(feature = "cpu")]
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;

use serde_json::{Value, json};

use crate::common::Project;
use crate::run::interrupt_in;
use crate::serve::{Server, generate_in, texts as served_texts};

/// A project whose flow predicts the next token, with a stage of growing strides in bf16.
fn with_strides() -> Project {
    let project = Project::tiny();
    project.edit("tiny.kdl", "shift #false", "shift #true");
    let more = r#"
train "drafts" from="flow" use="common" {
    data rows="text" mixture="prose"
    objective "flow" path="masked" loss="cross-entropy" { clean-loss weight=0.2 }
    attention "causal" { stride 1 until=8; stride 3 }
    precision compute="bf16"
    steps 30
}
evaluate "both" { checkpoint "ar" "drafts"; held-out dataset="text" times=4 }
generate "greedy" from="drafts" sampler="next" { prompt "The river" new-tokens=20; prompt "A" new-tokens=20 }
generate "drafted" from="drafts" sampler="three" { prompt "The river" new-tokens=20; prompt "A" new-tokens=20 }
generate "uncached" from="drafts" sampler="plain" { prompt "The river" new-tokens=20; prompt "A" new-tokens=20 }
sampler "next" kind="autoregressive"
sampler "three" kind="speculative" stride=3
sampler "plain" kind="speculative" stride=2 cache="none"
"#;
    project.append("tiny.kdl", more);
    project
}

fn read_json(project: &Project, stage: &str, file: &str) -> Value {
    serde_json::from_slice(&fs::read(project.artifact(stage).join(file)).unwrap()).unwrap()
}

/// Drafted text is served and streamed as `generate` writes it, at a temperature too.
fn check_served_drafts(project: &Project) {
    let server = Server::start_in(project, &["tiny.kdl", "drafts"]);
    for (temperature, seed) in [("0", "1"), ("1", "5")] {
        let sampler = ["speculative", "stride=3", &format!("temperature={temperature}")].join(" ");
        let asked = ["tiny.kdl", "drafts", "--prompt", "The river", "--new-tokens", "12", "-n", "2"];
        let expected = generate_in(project, &[&asked[..], &["--seed", seed, "--sampler", &sampler]].concat());
        let (temperature, seed): (f64, u64) = (temperature.parse().unwrap(), seed.parse().unwrap());
        let body = json!({"model": "drafts", "prompt": "The river", "max_tokens": 12, "n": 2, "seed": seed,
            "sampler": "speculative", "stride": 3, "temperature": temperature});
        assert_eq!(served_texts(&server, "/v1/completions", &body), expected, "{sampler}");
    }
}

#[test]
fn a_model_trained_with_strides_keeps_its_autoregressive_law_and_resumes_exactly() {
    let whole = with_strides();
    whole.fmflow(&["run", "tiny.kdl"]).ok();
    let contract = read_json(&whole, "drafts", "provenance.json");
    assert_eq!((&contract["attention"], &contract["stride"]), (&"causal".into(), &3.into()));
    let log = whole.fmflow(&["log", "tiny.kdl", "drafts", "--json"]).ok().stdout;
    let log: Value = serde_json::from_str(&log).unwrap();
    let updates: Vec<&Value> =
        log["metrics"].as_array().unwrap().iter().filter(|line| !line["loss"].is_null()).collect();
    assert_eq!(updates.len(), 30);
    for line in updates {
        let number = |pointer: &str| line.pointer(pointer).and_then(Value::as_f64).unwrap();
        // The noisy half is t = 0, the clean half t = 1, with the same pairs: the loss is CE_noisy + 0.2 CE_clean.
        assert_eq!(number("/count_by_time/0"), number("/count_by_time/3"));
        assert!(number("/count_by_time/0") > 0.0);
        let loss = number("/loss_by_time/0") + 0.2 * number("/loss_by_time/3");
        assert!((number("/loss") - loss).abs() < 1e-6 * loss, "{} {loss}", number("/loss"));
    }
    // The clean half is the model that `ar` was, trained on. Its likelihood is exact, so both are in the same unit.
    let report = read_json(&whole, "both", "report.json");
    let [before, after] = ["ar", "drafts"].map(|name| report[name]["held_out"]["text"].as_f64().unwrap());
    assert!((after - before).abs() < 0.2 * before, "{before} {after}");
    // Greedy text is the same however it is drafted.
    let texts = |stage: &str| {
        let lines = whole.json_lines(stage, "samples.jsonl").into_iter();
        lines.map(|line| line["text"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(texts("drafted"), texts("greedy"));
    assert_eq!(texts("uncached"), texts("greedy"));
    check_served_drafts(&whole);
    let project = with_strides();
    interrupt_in(&project, "drafts");
    project.fmflow(&["resume", "tiny.kdl"]).ok();
    let weights = |project: &Project| fs::read(project.artifact("drafts").join("model.safetensors")).unwrap();
    assert!(weights(&project) == weights(&whole), "a stop changed the weights");
}
