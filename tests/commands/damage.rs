//! Damage in the records of a store is an error or told and passed over. It is never another text, and stops no stage.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::path::PathBuf;

use crate::common::Project;
use crate::common::pretend::Pretend;

const TEXT: &str = r#"pipeline "small" seed=1
dataset "text" from="text/*.txt" format="text" held-out="2%"
tokenizer "bpe" kind="byte-level-bpe" vocabulary=1024 special="qwen3" { dataset "text" }
"#;

fn finished() -> Project {
    let project = Project::of(TEXT);
    project.pretend("p.kdl", &Pretend::default()).unwrap();
    project
}

/// Replaces a text in a file of the store; the text must be there.
fn damage(project: &Project, name: &str, from: &str, to: &str) {
    project.edit(&format!(".fmflow/{name}"), from, to);
}

#[test]
fn a_damaged_journal_is_named_and_stops_no_run() {
    let project = finished();
    damage(&project, "runs/journal.jsonl", "\"done\"", "\"dooe\"");
    for command in [&["log"][..], &["status", "p.kdl"], &["gc"]] {
        let ran = project.fmflow(command).exits(4).says("`journal.jsonl`").says("is not what was written");
        ran.says("help: remove that line of ").says("only this part of the history is lost");
    }
    project.edit("p.kdl", "vocabulary=1024", "vocabulary=512");
    assert!(project.pretend("p.kdl", &Pretend::default()).unwrap().error.is_none());
    assert!(project.path().join(".fmflow/runs/2.json").exists(), "the record of run 1 stays");
}

#[test]
fn a_damaged_record_is_named_and_stops_no_run() {
    let project = finished();
    damage(&project, "runs/last.json", "\"cpu\"", "\"cpv\"");
    project.fmflow(&["resume"]).exits(4).says("`last.json`").says("`fmflow run FILE` continues without it");
    damage(&project, "runs/1.json", "\"cpu\"", "\"cpv\"");
    project.fmflow(&["why", "p.kdl", "bpe", "--vs", "1"]).exits(4).says("`1.json`");
    project.edit("p.kdl", "vocabulary=1024", "vocabulary=512");
    assert!(project.pretend("p.kdl", &Pretend::default()).unwrap().error.is_none());
}

#[test]
fn the_folder_of_a_damaged_artifact_is_shown_with_a_warning() {
    let project = finished();
    let shown = project.fmflow(&["show", "p.kdl", "bpe", "--path"]).ok();
    let folder = PathBuf::from(shown.stdout.trim_end());
    assert!(folder.join("manifest.json").is_file() && shown.stderr.is_empty(), "{}", shown.stderr);
    fs::write(folder.join("summary.json"), "{}").unwrap();
    let damaged = project.fmflow(&["show", "p.kdl", "bpe", "--path"]).ok();
    assert_eq!(damaged.stdout, shown.stdout);
    assert!(damaged.stderr.starts_with("warning: `summary.json` in "), "{}", damaged.stderr);
    project.fmflow(&["show", "p.kdl", "bpe"]).exits(4);
    project.fmflow(&["verify", damaged.stdout.trim_end()]).exits(4);
}

#[test]
fn a_damaged_format_is_no_other_version() {
    let project = finished();
    for command in [&["log"][..], &["status", "p.kdl"], &["plan", "p.kdl"], &["run", "p.kdl"]] {
        damage(&project, "format", "store/1", "store/3");
        project.fmflow(command).exits(4).says("`format`").says("help: if this folder is a store, replace ");
        damage(&project, "format", "store/3", "store/1");
    }
    fs::write(project.path().join(".fmflow/format"), "fmflow.store/1\n").unwrap();
    project.fmflow(&["status", "p.kdl"]).ok();
}

#[test]
fn damaged_pins_remove_nothing() {
    let project = finished();
    let name =
        fs::read_dir(project.path().join(".fmflow/artifacts")).unwrap().next().unwrap().unwrap().file_name();
    let name = name.to_str().unwrap();
    project.fmflow(&["gc", "--pin", name]).ok();
    let at = name.rfind('-').unwrap();
    damage(&project, "pins", &name[at..], &name[at..].replace(|letter: char| letter.is_ascii_digit(), "x"));
    project.edit("p.kdl", "vocabulary=1024", "vocabulary=512");
    project.fmflow(&["gc", "--yes"]).exits(4).says("`pins`").says("anew: the names of the artifacts to keep");
}

/// A project whose stage `bpe` stopped after a checkpoint, and the folder of its work.
fn stopped() -> (Project, PathBuf) {
    let project = Project::of(TEXT);
    let stopping = Pretend { stops: Some("bpe"), ..Pretend::default() };
    assert!(project.pretend("p.kdl", &stopping).unwrap().error.is_some());
    let work = fs::read_dir(project.path().join(".fmflow/work")).unwrap().next().unwrap().unwrap().path();
    (project, work)
}

#[test]
fn damage_beside_whole_checkpoints_stops_no_stage() {
    for (name, from, to) in [("manifest.json", "\"kind\"", "\"kjnd\""), ("metrics.jsonl", "2.5", "2.4")] {
        let (project, work) = stopped();
        let file = work.join(name);
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains(from), "{text}");
        fs::remove_file(&file).unwrap();
        fs::write(&file, text.replace(from, to)).unwrap();
        if name == "metrics.jsonl" {
            let log = project.fmflow(&["log", "p.kdl", "bpe"]).ok();
            log.says("note: line 1 of metrics.jsonl is not what was written, and is left out");
        }
        project.fmflow(&["plan", "p.kdl"]).ok().says("continues after update 1");
        assert!(project.pretend("p.kdl", &Pretend::default()).unwrap().error.is_none(), "{name}");
        let metrics = project.fmflow(&["log", "p.kdl", "bpe"]).ok().stdout;
        let expected = if name == "metrics.jsonl" { 1 } else { 2 };
        assert_eq!(metrics.matches("{\"step\":0,\"loss\":2.5}\n").count(), expected, "{metrics}");
    }
}
