//! Requests that do not fit into the context are refused before the training, although the pipeline trains its own tokenizer.

#![cfg(feature = "cpu")]

use serde_json::Value;

use crate::common::Project;

/// Letters that a tokenizer of the tiny texts has no words for.
fn long() -> String {
    "qzxjv ".repeat(40).trim_end().to_owned()
}

#[test]
fn a_request_that_does_not_fit_is_refused_before_any_training() {
    let project = Project::tiny();
    project.edit("tiny.kdl", "chat \"first: a b c\"", &format!("prompt \"{}\" new-tokens=4", long()));
    project.fmflow(&["check", "tiny.kdl"]).ok();
    project.fmflow(&["plan", "tiny.kdl"]).ok().says("next: fmflow run tiny.kdl");
    let refused = project.fmflow(&["run", "tiny.kdl"]).exits(8);
    let refused = refused
        .says("a request of `samples` takes 2")
        .says("and its answer 4, but the context of `tiny` is 128");
    let refused = refused.says("tiny.kdl:63:12").says("write a shorter prompt, or ask for fewer new tokens");
    assert!(!refused.stderr.contains("update "), "{}", refused.stderr);
    // Now the tokenizer is there, and nothing begins.
    let planned = project.fmflow(&["plan", "tiny.kdl"]).ok().says("`run` refuses this file:");
    assert!(!planned.stdout.contains("next: "), "{}", planned.stdout);
    let answer: Value = serde_json::from_str(&project.fmflow(&["plan", "tiny.kdl", "--json"]).ok().stdout)
        .expect("one JSON object");
    assert_eq!(answer["long-prompts"].as_array().map(Vec::len), Some(1), "{answer}");
    let refused = project.fmflow(&["run", "tiny.kdl"]).exits(8).says("a request of `samples` takes 2");
    assert!(!refused.stderr.contains("starts"), "{}", refused.stderr);
    // Stages that do not ask it run all the same.
    project.fmflow(&["run", "tiny.kdl", "--until", "ar"]).ok();
}

#[test]
fn what_a_probe_asks_counts_too() {
    let project = Project::tiny();
    let probe = format!("probe every=20 sampler=\"parallel\" {{ chat \"{}\" new-tokens=8 }}\n", long());
    let sft = "attention \"bidirectional\"\n    steps 40\n";
    project.edit("tiny.kdl", sft, &format!("{sft}    {probe}"));
    let refused = project.fmflow(&["run", "tiny.kdl"]).exits(8).says("a request of `sft` takes 2");
    assert!(!refused.stderr.contains("update "), "{}", refused.stderr);
    project.edit("tiny.kdl", &long(), &long()[..12]);
    project.fmflow(&["run", "tiny.kdl", "--until", "ar"]).ok();
}
