//! `check` says what `run` refuses, and `run` refuses it: before any work, and with the same list.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use serde_json::Value;

use crate::common::Project;

/// One stage.
const BARE: &str = "dataset \"text\" from=\"text/*.txt\" format=\"text\"
tokenizer \"tiny\" kind=\"byte-level-bpe\" vocabulary=320 { dataset \"text\" }
";

/// Checks that `check`, `check --runnable` and `run` agree that `p.kdl` cannot run for these reasons.
#[track_caller]
fn assert_refused(project: &Project, count: usize, reason: &str) {
    let things = if count == 1 { "1 thing".to_owned() } else { format!("{count} things") };
    project.fmflow(&["check", "p.kdl"]).ok().says(&format!("is valid, but `run` refuses {things}: "));
    project.fmflow(&["check", "p.kdl", "--runnable"]).exits(3).says(reason);
    let answer = project.fmflow(&["check", "p.kdl", "--runnable", "--format", "json"]).exits(3).stdout;
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!((answer["ok"].as_bool(), answer["refused"].as_array().unwrap().len()), (Some(true), count));
    project.fmflow(&["plan", "p.kdl"]).ok().says("`run` refuses this file:").says(reason);
    project.fmflow(&["run", "p.kdl"]).exits(2).says("this pipeline cannot run:").says(reason);
    assert!(!project.path().join(".fmflow").exists(), "refused before any work");
}

#[test]
fn a_file_that_runs_is_called_valid_without_a_but() {
    let project = Project::tiny();
    let ran = project.fmflow(&["check", "tiny.kdl", "--runnable"]).ok().says("is valid: ");
    assert!(!ran.stdout.contains("refuses"), "{}", ran.stdout);
    project.write("bad.kdl", "pipeline \"p\"\nfoo 1\n");
    project.fmflow(&["check", "bad.kdl", "--runnable"]).exits(2);
}

#[cfg(feature = "cpu")]
#[test]
fn several_devices_are_refused_where_something_trains() {
    let project = Project::tiny();
    let text = include_str!("../cases/data/tiny.kdl");
    let machine = "pipeline \"tiny\" seed=3 { machine gpu=\"2xH100-80GB\" }";
    project.write("p.kdl", &text.replace("pipeline \"tiny\" seed=3", machine));
    assert_refused(&project, 1, "not supported yet: training on several devices (ar, sft");
    project.fmflow(&["run", "p.kdl", "--until", "ar"]).exits(2).says("training on several devices");
    project.fmflow(&["run", "p.kdl", "--until", "bpe"]).ok();
    let one = Project::of(&format!("{}\n{BARE}", machine.replace("2x", "1x")));
    one.fmflow(&["check", "p.kdl", "--runnable"]).ok();
}

#[test]
fn an_executor_is_refused_for_every_kind_of_stage() {
    let profile = "profile \"here\" { executor \"slurm\" partition=\"gpu\" }\n";
    let project = Project::of(&format!("pipeline \"p\" seed=1\n{BARE}{profile}"));
    assert_refused(&project, 1, "not supported yet: profiles with the executor `slurm` (tiny)");
    project.fmflow(&["run", "p.kdl", "--until", "tiny"]).exits(2).says("profiles with the executor `slurm`");
    let tiny = Project::tiny();
    tiny.write("p.kdl", &format!("{}{profile}", include_str!("../cases/data/tiny.kdl")));
    assert_refused(&tiny, 1, "not supported yet: profiles with the executor `slurm` (every stage)");
}

#[test]
fn an_allowed_warning_is_refused_all_the_same() {
    let profile = "profile \"here\" { executor \"slurm\" }\nlint { allow \"not-supported-yet\" }\n";
    let project = Project::of(&format!("pipeline \"p\" seed=1\n{BARE}{profile}"));
    assert_refused(&project, 1, "profiles with the executor `slurm`");
}

#[test]
fn a_secret_that_is_not_set_is_refused() {
    let project = Project::of(&format!("pipeline \"p\" seed=1\n{BARE}secret \"FMFLOW_TEST_ABSENT\"\n"));
    assert_refused(&project, 1, "the environment variable `FMFLOW_TEST_ABSENT` is not set");
    let mut command = project.command(&["check", "p.kdl", "--runnable"]);
    assert!(command.env("FMFLOW_TEST_ABSENT", "x").status().unwrap().success());
}

#[test]
fn the_full_pipeline_says_how_much_is_refused() {
    let full = concat!(env!("CARGO_MANIFEST_DIR"), "/pipelines/full.kdl");
    let project = Project::empty();
    let said = project.fmflow(&["check", full]).ok().stdout;
    let count: usize = said.split("refuses ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    let answer = project.fmflow(&["check", full, "--runnable", "--format", "json"]).exits(3).stdout;
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert!(count > 10 && answer["refused"].as_array().unwrap().len() == count, "{said}{answer}");
}

#[test]
fn commands_of_other_tools_say_what_to_use() {
    let project = Project::empty();
    for (typed, use_) in [
        ("sample", "`generate "),
        ("infer", "`fmflow chat CHECKPOINT`"),
        ("predict", "`fmflow explain generate`"),
        ("dataset", "`fmflow explain dataset`"),
        ("submit", "`fmflow run FILE`"),
        ("logs", "`fmflow log FILE STAGE`"),
        ("clean", "`fmflow gc`"),
        ("train", "`fmflow run FILE --until STAGE`"),
        ("eval", "`fmflow explain evaluate`"),
    ] {
        project.fmflow(&[typed]).exits(2).says(use_);
        let ran = project.fmflow(&[typed, "p.kdl", "--json"]).exits(2).says(use_);
        let answer: Value = serde_json::from_str(&ran.stdout).unwrap();
        assert!(answer["help"].as_str().unwrap().contains(use_), "{answer}");
    }
    project.fmflow(&["chekc"]).exits(2).says("'check'");
}
