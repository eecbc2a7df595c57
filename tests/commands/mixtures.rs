//! Mixtures through the binary: which data a composed mixture yields, phase by phase, and what `plan` shows of it.

#![cfg(feature = "cpu")]
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use crate::common::Project;
use serde_json::Value;

/// Tokens read from each dataset up to every update of `ar`: `[text, tasks]`.
fn tokens(project: &Project) -> Vec<[u64; 2]> {
    let log = project.fmflow(&["log", "tiny.kdl", "ar", "--json"]).ok().stdout;
    let log: Value = serde_json::from_str(&log).unwrap();
    let updates = log["metrics"].as_array().unwrap().iter().filter(|line| !line["loss"].is_null());
    let count = |line: &Value, name: &str| line["tokens_by_dataset"][name].as_u64().unwrap();
    updates.map(|line| [count(line, "text"), count(line, "tasks")]).collect()
}

#[test]
fn datasets_appear_and_disappear_with_their_phases() {
    let project = Project::tiny();
    project.edit(
        "tiny.kdl",
        "mixture \"prose\"  { dataset \"text\" weight=1 }",
        "mixture \"prose\" { dataset \"text\" { weight 1 until=30; weight 0 }; mixture \"answer\" { weight 0 until=10; weight 1 } }",
    );
    let plan = project.fmflow(&["plan", "tiny.kdl"]).ok();
    for words in ["mixture of `ar`", "from update 0    100.0 %  0.0 %", "from update 30   0.0 %    100.0 %"] {
        assert!(plan.stdout.contains(words), "{words:?} in\n{}", plan.stdout);
    }
    project.fmflow(&["run", "tiny.kdl", "--until", "ar"]).ok();
    let tokens = tokens(&project);
    assert_eq!(tokens.len(), 40);
    let given = |from: usize, to: usize| {
        [0, 1].map(|at| tokens[to - 1][at] - if from == 0 { 0 } else { tokens[from - 1][at] })
    };
    let ([first, none], [half, other], [gone, last]) = (given(0, 10), given(10, 30), given(30, 40));
    assert!(first > 0 && none == 0, "{first} {none}");
    assert!(gone == 0 && last > 0, "{gone} {last}");
    // Rows are dealt in proportion, not drawn at random: 80 rows of at most 64 tokens are within one row of their shares.
    assert!(half.abs_diff(other) <= 2 * 64, "{half} {other}");
    project.fmflow(&["show", "tiny.kdl", "ar"]).ok().says("dataset text: 50.").says("50.0 % declared");
}

#[test]
fn epochs_are_tokens_seen_by_tokens_that_there_are() {
    let project = Project::tiny();
    project.fmflow(&["run", "tiny.kdl", "--until", "ar"]).ok();
    let rows = std::fs::read_to_string(project.artifact("text/text").join("rows.json")).unwrap();
    let rows: Value = serde_json::from_str(&rows).unwrap();
    let all = rows["train"]["tokens"].as_f64().unwrap();
    let lines = project.json_lines("ar", "metrics.jsonl");
    let updates: Vec<_> = lines.iter().filter(|line| line["loss"].is_number()).collect();
    assert_eq!(updates.len(), 40);
    for line in updates {
        let seen = line["tokens_by_dataset"]["text"].as_f64().unwrap();
        assert_eq!(line["epochs_by_dataset"]["text"].as_f64(), Some(seen / all), "{line}");
    }
}
