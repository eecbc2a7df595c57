//! A training that would start over because something else than its `steps` changed: the plan says what changed and where, and more than
//! an hour of work is not dropped unasked. Trials of `--set` are not asked about.

#![cfg(feature = "cpu")]
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::common::{Project, Ran};
use crate::run::wait_for_checkpoint;

const DECAY: &str = "weight-decay=0.05";
const EDITED: &str = "weight-decay=0.06";

/// Kills a run of `ar` after its first checkpoint, and makes it look as if every update had taken an hour.
pub(crate) fn interrupt(project: &Project, settings: &[&str]) {
    let arguments: Vec<&str> = ["run", "tiny.kdl", "--until", "ar"].iter().chain(settings).copied().collect();
    let mut child = project.spawn(&arguments);
    wait_for_checkpoint(project, "ar");
    child.kill().unwrap();
    child.wait().unwrap();
    let metrics = find_folder(project, "work", "ar").join("metrics.jsonl");
    // The last line may be torn.
    let text = fs::read_to_string(&metrics).unwrap();
    fs::write(&metrics, text.rsplit_once('\n').unwrap().0.to_owned() + "\n").unwrap();
    slow_down(&metrics);
}

fn find_folder(project: &Project, kind: &str, stage: &str) -> PathBuf {
    let all = fs::read_dir(project.path().join(".fmflow").join(kind)).unwrap().flatten();
    let own = all
        .map(|entry| entry.path())
        .find(|path| path.file_name().unwrap().to_string_lossy().starts_with(&format!("{stage}-")));
    own.unwrap()
}

/// Makes metrics tell of updates that took an hour each, without changing the size of the file.
fn slow_down(path: &Path) {
    let slow = |line: &str| {
        let mut value: Value = serde_json::from_str(line).unwrap();
        let fields = value.as_object_mut().unwrap();
        fields.remove("check");
        if fields.contains_key("tokens_per_second") {
            fields.insert("tokens_per_second".into(), 0.05.into());
        }
        let text = value.to_string();
        format!("{{{}{}\n", " ".repeat(line.len() - text.len()), &text[1..])
    };
    let text = fs::read_to_string(path).unwrap();
    fs::write(path, text.lines().map(slow).collect::<String>()).unwrap();
}

/// A project whose `ar` is finished, as if it had taken 40 hours.
fn finished(settings: &[&str]) -> Project {
    let project = Project::tiny();
    run(&project, settings).ok();
    slow_down(&find_folder(&project, "artifacts", "ar").join("metrics.jsonl"));
    project
}

fn run(project: &Project, more: &[&str]) -> Ran {
    let arguments: Vec<&str> = ["run", "tiny.kdl", "--until", "ar"].iter().chain(more).copied().collect();
    project.fmflow(&arguments)
}

fn plan(project: &Project, more: &[&str]) -> String {
    let arguments: Vec<&str> = ["plan", "tiny.kdl", "--until", "ar"].iter().chain(more).copied().collect();
    project.fmflow(&arguments).ok().stdout
}

#[test]
fn an_unfinished_training_does_not_start_over_unasked_after_an_edit() {
    let project = Project::tiny();
    project.edit("tiny.kdl", "steps 40\n}\n\nconvert", "steps 4000\n}\n\nconvert");
    interrupt(&project, &[]);
    project.edit("tiny.kdl", DECAY, EDITED);
    let planned = plan(&project, &[]);
    assert!(planned.contains("`optimizer.weight-decay` 0.05 -> 0.06 at tiny.kdl:29:57\n"), "{planned}");
    assert!(
        planned.contains("starts over from 0: ") && planned.contains(" of work are not used\n"),
        "{planned}"
    );
    assert!(planned.contains("`run` asks before it starts, because it does not use "), "{planned}");
    let answer: Value = serde_json::from_str(&plan(&project, &["--json"])).unwrap();
    let ar = answer["stages"].as_array().unwrap().iter().find(|stage| stage["name"] == "ar").unwrap();
    assert_eq!((&answer["needs-yes"], &ar["unused"]["mistakable"]), (&true.into(), &true.into()));
    assert!(ar["unused"]["updates"].as_u64().unwrap() >= 7, "{ar}");

    let refused = run(&project, &[]).exits(2);
    let refused = refused.says("note:   `optimizer.weight-decay` 0.05 -> 0.06 at tiny.kdl:29:57\n");
    let refused = refused.says("undo the changes to go on with it, or start over all the same: ");
    refused.says("fmflow run tiny.kdl --until ar --yes\n");
    let refused = project.fmflow(&["resume", "tiny.kdl", "--until", "ar"]).exits(2);
    refused
        .says("the configuration changed")
        .says("  ar: `optimizer.weight-decay` 0.05 -> 0.06 at tiny.kdl:29:57\n");
    // A setting may be a wrong way to make it longer.
    project.edit("tiny.kdl", EDITED, DECAY);
    run(&project, &["--set", "train.ar.steps=5000"]).exits(2).says("this run does not use ");
    assert!(plan(&project, &[]).contains("continues after update "));

    project.edit("tiny.kdl", "steps 4000", "steps 20");
    project.edit("tiny.kdl", DECAY, EDITED);
    run(&project, &["--yes"]).ok().says("are not used, which took ");
}

#[test]
fn a_finished_training_does_not_start_over_unasked_after_an_edit() {
    let project = finished(&[]);
    project.edit("tiny.kdl", DECAY, EDITED);
    let planned = plan(&project, &[]);
    assert!(planned.contains("40 updates of work, of a finished training, are not used\n"), "{planned}");
    run(&project, &[])
        .exits(2)
        .says("note: `ar`: 40 updates of work are not used, which took 2d")
        .says("--yes");
    // What it is made of counts, too.
    project.edit("tiny.kdl", EDITED, DECAY);
    project.edit("tiny.kdl", "vocabulary=320", "vocabulary=321");
    run(&project, &[]).exits(2).says("note:   upstream `tiny` changed\n");
}

#[test]
fn a_trial_beside_a_finished_training_is_not_asked_about() {
    let project = finished(&[]);
    for setting in
        ["train.ar.steps=10", "recipe.common.optimizer.weight-decay=0.06", "tokenizer.bpe.vocabulary=321"]
    {
        let ran = run(&project, &["--set", setting]).ok();
        assert!(!ran.stderr.contains("not used"), "{}", ran.stderr);
    }
    // The trials are no former state of the file.
    project.edit("tiny.kdl", "seed=3", "seed=3 // nothing");
    run(&project, &[]).ok().says("nothing to do");
}

#[test]
fn after_a_trial_the_file_itself_is_told_about_it() {
    let project = finished(&["--set", "recipe.common.optimizer.weight-decay=0.06"]);
    let planned = plan(&project, &[]);
    let said = "not used; that run had `--set 'recipe.common.optimizer.weight-decay=0.06'`\n";
    assert!(planned.contains(said) && !planned.contains("asks before"), "{planned}");
    run(&project, &[]).ok().says("not used, which took ").says("; that run had `--set ");

    let unfinished = Project::tiny();
    interrupt(&unfinished, &["--set", "train.ar.steps=4000"]);
    run(&unfinished, &[]).exits(2).says("; that run had `--set 'train.ar.steps=4000'`").says("--yes");
    // The next trial.
    run(&unfinished, &["--set", "train.ar.steps=10"]).ok();
}

#[test]
fn another_file_in_the_same_store_is_another_pipeline() {
    let project = finished(&[]);
    let text = fs::read_to_string(project.path().join("tiny.kdl")).unwrap();
    project.write("other.kdl", &text.replace(DECAY, EDITED));
    let ran = project.fmflow(&["run", "other.kdl", "--until", "ar"]).ok();
    assert!(!ran.stderr.contains("not used"), "{}", ran.stderr);
    // One that was moved is the same.
    let moved = finished(&[]);
    fs::rename(moved.path().join("tiny.kdl"), moved.path().join("moved.kdl")).unwrap();
    moved.edit("moved.kdl", DECAY, EDITED);
    moved.fmflow(&["run", "moved.kdl", "--until", "ar"]).exits(2).says("40 updates of work are not used");
}
