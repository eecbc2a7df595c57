//! Benchmarks that must not be in a dataset, through the binary.

#![cfg(feature = "cpu")]
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;

use serde_json::{Value, json};

use crate::common::{Project, TINY_TRAINING, gzip};

const PIPELINE: &str = r#"pipeline "d" seed=1
dataset "d" from="d.jsonl" format="jsonl" held-out="20%" {
    contamination "mine" from="bench.jsonl.gz" ngram=6
}
tokenizer "t" kind="byte-level-bpe" vocabulary=320 { dataset "d" }
rows "r" tokenizer="t" length=64 packing="concat"
mixture "m" { dataset "d" }
"#;

/// Forty documents; every tenth quotes the benchmark.
fn project() -> Project {
    let project = Project::empty();
    let line = |i: usize| match i % 10 {
        3 => json!({ "text": format!("number {i}: Write a function, that SORTS the list... and stop") }),
        _ => json!({ "text": format!("number {i}: nothing to see here, write a function that counts") }),
    };
    let lines: Vec<String> = (0..40).map(|i| line(i).to_string()).collect();
    project.write("d.jsonl", &lines.join("\n"));
    write_benchmark(&project, "write a function that sorts the list");
    project.write("tiny.kdl", &format!("{PIPELINE}{TINY_TRAINING}"));
    project
}

fn write_benchmark(project: &Project, prompt: &str) {
    let record = json!({ "task_id": "T/0", "prompt": prompt, "test": "assert it" });
    let packed = gzip(format!("{record}\n").as_bytes());
    fs::write(project.path().join("bench.jsonl.gz"), packed).unwrap();
}

#[test]
fn documents_with_a_benchmark_are_left_out_listed_and_told() {
    let project = project();
    let ran = project.fmflow(&["run", "tiny.kdl", "--until", "r/d"]).ok();
    let told = "contamination: 4 of 40 documents (10.0 %) have 6 consecutive words in common with `mine` and are dropped, \
                the first in d.jsonl:4; `contamination.jsonl` lists them; 2 of its 3 texts are shorter";
    assert!(ran.stderr.contains(told), "{}", ran.stderr);
    let folder = project.artifact("r/d");
    let listed = project.json_lines("r/d", "contamination.jsonl");
    let places: Vec<_> = listed.iter().map(|line| line["place"].as_str().unwrap()).collect();
    assert_eq!(places, ["d.jsonl:4", "d.jsonl:14", "d.jsonl:24", "d.jsonl:34"]);
    assert_eq!(listed[0]["words"], "write a function that sorts the");
    let rows: Value = serde_json::from_slice(&fs::read(folder.join("rows.json")).unwrap()).unwrap();
    let documents = |split: &str| rows[split]["documents"].as_u64().unwrap();
    assert_eq!(documents("train") + documents("held_out"), 36);
    let stats = project.fmflow(&["data", "stats", "tiny.kdl", "r/d"]).ok().stdout;
    assert!(stats.contains("note: contamination: 4 of 40 documents"), "{stats}");
    let shown = project.fmflow(&["data", "show", "tiny.kdl", "r/d", "-n", "1000", "--full"]).ok().stdout;
    assert!(shown.contains("number 4") && !shown.contains("SORTS"), "{shown}");
}

#[test]
fn another_benchmark_makes_the_rows_again_and_no_benchmark_is_no_file() {
    let project = project();
    project.fmflow(&["run", "tiny.kdl", "--until", "r/d"]).ok();
    let before = project.artifact("r/d");
    write_benchmark(&project, "another problem of six words here");
    project.fmflow(&["run", "tiny.kdl", "--until", "r/d"]).ok().says("contamination: 0 of 40 documents");
    assert_ne!(project.artifact("r/d"), before);
    project.edit("tiny.kdl", "ngram=6", "ngram=6 action=\"report\"");
    write_benchmark(&project, "write a function that sorts the list");
    project.fmflow(&["run", "tiny.kdl", "--until", "r/d"]).ok().says("are learned all the same");
    project.edit(
        "tiny.kdl",
        "    contamination \"mine\" from=\"bench.jsonl.gz\" ngram=6 action=\"report\"\n",
        "",
    );
    project.fmflow(&["run", "tiny.kdl", "--until", "r/d"]).ok();
    assert!(!project.artifact("r/d").join("contamination.jsonl").exists());
}

#[test]
fn a_benchmark_that_cannot_be_read_is_refused_by_name() {
    let project = project();
    project.edit("tiny.kdl", "bench.jsonl.gz", "absent.jsonl");
    project.fmflow(&["check", "tiny.kdl"]).exits(2).says("benchmark `mine`").says("absent.jsonl");
    project.write("absent.jsonl", "{\"prompt\": \"a b\"}");
    project.fmflow(&["run", "tiny.kdl"]).exits(8).says("none of its 1 text has 6 consecutive words");
    project.write("absent.jsonl", "not JSON");
    project.fmflow(&["run", "tiny.kdl"]).exits(8).says("benchmark `mine`").says("is no JSON");
}
