//! What somebody sees who watches: tables fit the terminal, bars tell how long a stage works, and a run in progress is shown with the
//! `--set` that it was started with.

#![cfg(feature = "cpu")]
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::BTreeSet;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::common::{Project, Ran};
use crate::run::wait_for_checkpoint;
use crate::smoke::copy_folder;

/// Keeps messages from the terminal.
const ALONE: &str = "2> /dev/null";

/// What a command prints on a terminal with so many columns. `stderr` says where its messages go, if not there.
fn on_terminal(project: &Project, columns: usize, arguments: &[&str], stderr: &str) -> String {
    let words: Vec<String> = arguments.iter().map(|word| format!("'{word}'")).collect();
    let (program, words) = (env!("CARGO_BIN_EXE_fmflow"), words.join(" "));
    let line = format!("stty cols {columns} rows 50 && '{program}' {words} {stderr}");
    // `script` of util-linux gives a command a terminal.
    let mut command = Command::new("script");
    command.args(["-qec", &line, "/dev/null"]).current_dir(project.path()).stdin(Stdio::null());
    let ran = command
        .env("NO_COLOR", "1")
        .env("TERM", "xterm")
        .env_remove("HF_TOKEN")
        .output()
        .expect("`script` is installed");
    assert!(ran.status.success(), "{ran:?}");
    String::from_utf8(ran.stdout).unwrap().replace('\r', "")
}

fn words(text: &str) -> BTreeSet<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

/// Asserts that every table of a command fits, and that it says all words whole that it says to a program, but for shortened paths.
#[track_caller]
fn assert_fits(project: &Project, arguments: &[&str]) {
    let piped = Ran::from(project.command(arguments).env_remove("HF_TOKEN").output().unwrap()).stdout;
    for columns in [80, 100] {
        let shown = on_terminal(project, columns, arguments, ALONE);
        for line in shown.lines().filter(|line| line.trim().contains("  ")) {
            assert!(line.chars().count() <= columns, "{columns} columns:\n{shown}");
        }
        let (shown_words, piped_words) = (words(&shown), words(&piped));
        let new: Vec<_> = shown_words.difference(&piped_words).collect();
        assert!(new.iter().all(|word| word.contains("/…/") || word.starts_with("…/")), "{new:?} in\n{shown}");
        let gone: Vec<_> = piped_words.difference(&shown_words).collect();
        assert!(gone.iter().all(|word| word.contains('/')), "{gone:?} is not in\n{shown}");
    }
}

#[test]
fn tables_fit_the_terminal() {
    let plans = Project::empty();
    copy_folder(&plans, "pipelines");
    copy_folder(&plans, "examples/quickstart");
    for name in ["full", "quickstart"] {
        let file = format!("pipelines/{name}.kdl");
        let columns = [80, 100].map(|columns| on_terminal(&plans, columns, &["plan", &file], ALONE));
        insta::assert_snapshot!(format!("plan-of-{name}-on-80-columns"), columns[0]);
        insta::assert_snapshot!(format!("plan-of-{name}-on-100-columns"), columns[1]);
        assert_fits(&plans, &["plan", &file]);
    }
    let project = Project::tiny();
    project.fmflow(&["run", "tiny.kdl"]).ok();
    let trial = "recipe.common.optimizer.weight-decay=0.06";
    project.fmflow(&["run", "tiny.kdl", "--until", "ar", "--set", trial]).ok();
    for arguments in [
        &["status", "tiny.kdl"][..],
        &["log"],
        &["show", "tiny.kdl", "sft", "--resolved"],
        &["gc"],
        &["plan", "tiny.kdl", "--from", "sft"],
        &["plan", "tiny.kdl", "--set", "train.ar.steps=50", "--measured"],
        &["plan", "tiny.kdl", "--set", "train.ar.steps=50"],
    ] {
        assert_fits(&project, arguments);
    }
    let plan = project.fmflow(&["plan", "tiny.kdl", "--set", "train.ar.steps=50"]).ok();
    plan.says("\ntime left of all trainings: ")
        .says(", as measured in this store; `plan --measured` has each of them\n");
    let plan = project.fmflow(&["plan", "tiny.kdl", "--store", "new"]).ok().stdout;
    assert!(!plan.contains("time left"), "nothing was measured there: {plan}");
}

#[test]
fn what_stages_say_fits_the_terminal() {
    let project = Project::tiny();
    let shown = on_terminal(&project, 80, &["run", "tiny.kdl", "--until", "flow"], "");
    assert!(shown.contains("supervised") && shown.contains("held-out loss after update"), "{shown}");
    // Lines that move the cursor belong to bars.
    for line in shown.lines().filter(|line| !line.contains('\x1b')) {
        assert!(line.chars().count() <= 80, "{line:?} in\n{shown}");
    }
}

#[test]
fn bars_on_a_terminal_say_how_long_a_stage_works() {
    let project = Project::tiny();
    let shown = on_terminal(&project, 100, &["run", "tiny.kdl", "--until", "tiny"], "");
    assert!(shown.contains("  00:00:00 "), "{shown}");
}

#[test]
fn a_run_in_progress_is_shown_with_its_settings() {
    let project = Project::tiny();
    let setting = "train.ar.steps=4000";
    let mut child = project.spawn(&["run", "tiny.kdl", "--until", "ar", "--set", setting]);
    wait_for_checkpoint(&project, "ar");
    let status = project.fmflow(&["status", "tiny.kdl"]).ok().stdout;
    let answer = project.fmflow(&["status", "tiny.kdl", "--json"]).ok().stdout;
    let log = project.fmflow(&["log", "tiny.kdl", "ar"]).ok();
    let own = project.fmflow(&["status", "tiny.kdl", "--set", "train.ar.steps=30"]).ok().stdout;
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(status.contains("running") && status.contains("/4000  loss"), "{status}");
    assert!(status.contains("this is the run in progress, with `--set train.ar.steps=4000`\n"), "{status}");
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer["settings"], serde_json::json!([setting]));
    log.says("note: this is the run in progress, with `--set train.ar.steps=4000`\n");
    assert!(!own.contains("running") && own.contains("never run"), "{own}");
    let other = "another run of the file is in progress: fmflow status tiny.kdl --set train.ar.steps=4000\n";
    assert!(own.contains(other), "{own}");
    // A run that was killed is no run in progress.
    let status = project.fmflow(&["status", "tiny.kdl"]).ok().stdout;
    assert!(!status.contains("in progress"), "{status}");
}
