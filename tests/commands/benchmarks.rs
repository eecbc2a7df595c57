//! Code benchmarks of `evaluate`: a tiny checkpoint writes programs, which are graded; a killed evaluation continues.

#![cfg(all(feature = "cpu", target_os = "linux"))]
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;

use serde_json::Value;

use crate::common::Project;

const EVALUATION: &str = r#"
evaluate "code" {
    checkpoint "sft"
    benchmark "humaneval" from="problems.jsonl" sampler="random" samples=40 new-tokens=8
}
"#;

fn project(evaluation: &str) -> Project {
    let project = Project::tiny();
    project.write("problems.jsonl", include_str!("../cases/data/problems.jsonl"));
    let sampler = "sampler \"random\" kind=\"euler\" steps=4 temperature=1\n";
    let text = fs::read_to_string(project.path().join("tiny.kdl")).unwrap();
    project.write("tiny.kdl", &format!("{text}\n{sampler}{evaluation}"));
    project
}

fn report(project: &Project) -> (String, Value) {
    let folder = project.artifact("code");
    let samples = fs::read_to_string(folder.join("samples.jsonl")).unwrap();
    (samples, serde_json::from_slice(&fs::read(folder.join("report.json")).unwrap()).unwrap())
}

#[test]
fn programs_are_written_graded_and_kept() {
    let project = project(EVALUATION);
    project.fmflow(&["run", "tiny.kdl", "--until", "code"]).ok();
    let (samples, report) = report(&project);
    let found = &report["sft"]["benchmarks"]["humaneval"];
    assert_eq!(
        (&found["total"], &found["sandbox"], &found["prompt"]),
        (&120.into(), &"enforced".into(), &"humaneval-base/1".into())
    );
    let lines: Vec<Value> = samples.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 120);
    let passed = lines.iter().filter(|line| line["outcome"] == "passed").count();
    assert_eq!(found["passed"], passed);
    // The artifact's file is what `grade` reads, with the same verdicts.
    let path = project.artifact("code").join("samples.jsonl");
    let line =
        ["grade", "humaneval", "--problems", "problems.jsonl", "--samples", path.to_str().unwrap(), "--json"];
    let graded: Value = serde_json::from_str(&project.fmflow(&line).ok().stdout).unwrap();
    let outcomes = |all: &[Value]| all.iter().map(|one| one["outcome"].clone()).collect::<Vec<_>>();
    assert_eq!(outcomes(graded["results"].as_array().unwrap()), outcomes(&lines));
    let shown = project.fmflow(&["show", "tiny.kdl", "code"]).ok().stdout;
    assert!(shown.contains("humaneval pass@1") && shown.contains("cut by the length"), "{shown}");
}

#[test]
fn a_killed_evaluation_continues_to_the_same_report() {
    let (whole, killed) = (project(EVALUATION), project(EVALUATION));
    whole.fmflow(&["run", "tiny.kdl", "--until", "code"]).ok();
    killed.fmflow(&["run", "tiny.kdl", "--until", "sft"]).ok();
    let mut child = killed.spawn(&["run", "tiny.kdl", "--until", "code"]);
    let saved = || {
        let folders = walkdir::WalkDir::new(killed.path().join(".fmflow/work")).into_iter().flatten();
        folders.filter(|entry| entry.file_name() == "samples.jsonl").count()
    };
    while saved() == 0 && child.try_wait().unwrap().is_none() {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    killed.fmflow(&["run", "tiny.kdl", "--until", "code"]).ok();
    assert_eq!(report(&killed), report(&whole));
}

#[test]
fn a_benchmark_without_a_file_and_a_score_that_is_not_reached_are_told() {
    let without = project(&EVALUATION.replace(" from=\"problems.jsonl\"", ""));
    let ran = without.fmflow(&["check", "tiny.kdl"]).ok();
    assert!(ran.stderr.contains("code benchmarks without a file"), "{}", ran.stderr);
    assert_eq!(without.fmflow(&["run", "tiny.kdl", "--until", "code"]).code, 2);
    let required =
        project(&EVALUATION.replace("new-tokens=8\n", "new-tokens=8\n    require \"sft\" at-least=1\n"));
    let ran = required.fmflow(&["run", "tiny.kdl", "--until", "code"]);
    assert!(
        ran.code == 1 && ran.stderr.contains("% pass@1 on `humaneval`, but 100.0 % is required"),
        "{}",
        ran.stderr
    );
    let twice = EVALUATION
        .replace("}\n", "    benchmark \"humaneval\" from=\"problems.jsonl\" sampler=\"random\"\n}\n");
    let ran = project(&twice).fmflow(&["check", "tiny.kdl"]);
    assert!(ran.code == 2 && ran.stderr.contains("two `benchmark` called `humaneval`"), "{}", ran.stderr);
}
