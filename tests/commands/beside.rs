//! Runs beside each other in one store: each makes stages of its own.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::common::{Project, Ran};

/// `slow` waits for a file, and nothing waits for `quick`.
const TEXT: &str = r#"pipeline "p" seed=1
command "slow" run="while [ ! -e $GO ]; do sleep 0.05; done; echo slow > o" { environment "GO"; output "o"; }
command "after" run="cat inputs/slow/o > o" { input "slow" from="slow"; output "o"; }
command "quick" run="echo quick > o" { output "o"; }
command "other" run="echo other > o" { output "o"; }
"#;

const ALLOWED: &str = "--allow-commands";

fn fmflow(project: &Project, arguments: &[&str]) -> Ran {
    Ran::from(project.command(arguments).env("GO", project.path().join("go")).output().unwrap())
}

fn ends(project: &Project) -> Vec<Value> {
    let log: Value = serde_json::from_str(&project.fmflow(&["log", "--json"]).ok().stdout).unwrap();
    log["runs"].as_array().unwrap().iter().map(|run| run["end"].clone()).collect()
}

#[test]
fn other_stages_run_while_one_is_made() {
    let project = Project::of(TEXT);
    let mut first = project.command(&["run", "p.kdl", ALLOWED, "--jobs", "1"]);
    let first = first.env("GO", project.path().join("go")).stdout(Stdio::piped()).stderr(Stdio::piped());
    let first = first.spawn().unwrap();
    let start = Instant::now();
    while !project.fmflow(&["status", "p.kdl"]).ok().stdout.contains("running") {
        assert!(start.elapsed() < Duration::from_secs(60), "the first run begins");
        std::thread::sleep(Duration::from_millis(20));
    }
    let quick = &["run", "p.kdl", ALLOWED, "--only", "quick"];
    let second = fmflow(&project, quick).ok().says("runs in this store, too; what it makes is left to it");
    assert!(second.stdout.contains("quick"), "{}", second.stdout);
    assert_eq!(ends(&project), ["running", "ok"]);
    // What the first makes, and what it may read, is its own.
    fmflow(&project, &["run", "p.kdl", ALLOWED]).exits(5).says("makes `slow` now").says("--only");
    fmflow(&project, &["run", "p.kdl", ALLOWED, "--only", "quick", "--from", "quick"])
        .exits(5)
        .says("is in use by process");
    project.fmflow(&["gc", "--yes"]).exits(5).says("is in use by process");
    let artifact = project.fmflow(&["show", "p.kdl", "quick", "--path"]).ok().stdout;
    project.fmflow(&["gc", "--pin", artifact.trim()]).ok();
    // The same stage with another setting is another result, which nobody makes.
    let trial = project.fmflow(&["status", "p.kdl", "--set", "command.slow.run=echo 1 > o"]).ok();
    assert!(!trial.stdout.contains("running"), "{}", trial.stdout);
    let status = project.fmflow(&["status", "p.kdl"]).ok();
    assert_eq!(status.stdout.matches("a run is in progress").count(), 1, "{}", status.stdout);
    fs::write(project.path().join("go"), "").unwrap();
    let first = Ran::from(first.wait_with_output().unwrap()).ok();
    assert!(first.stderr.contains("quick: another run has made it meanwhile"), "{}", first.stderr);
    assert_eq!(ends(&project), ["ok", "ok"]);
    fmflow(&project, &["run", "p.kdl", ALLOWED]).ok().says("nothing to do");
    project.fmflow(&["status", "p.kdl"]).ok().says("nothing to do");
}

/// A run that comes to a stage which another makes waits for it: it does not end because of somebody's second terminal.
#[test]
fn a_run_waits_for_a_stage_that_another_one_began() {
    let project = Project::of(
        r#"pipeline "p" seed=1
command "first" run="while [ ! -e $ONE ]; do sleep 0.05; done; echo 1 > o" { environment "ONE"; output "o"; }
command "second" run="while [ ! -e $TWO ]; do sleep 0.05; done; echo 2 > o" { environment "TWO"; output "o"; }
"#,
    );
    let spawn = |rest: &[&str]| {
        let arguments = [&["run", "p.kdl", ALLOWED, "--jobs", "1"], rest].concat();
        let mut command = project.command(&arguments);
        command.env("ONE", project.path().join("one")).env("TWO", project.path().join("two"));
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let wait_until = |what: &str, done: &dyn Fn() -> bool| {
        let start = Instant::now();
        while !done() {
            assert!(start.elapsed() < Duration::from_secs(60), "{what}");
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    let count_running = || {
        let status = project.fmflow(&["status", "p.kdl"]).ok().stdout;
        status.lines().filter(|line| line.ends_with("running")).count()
    };
    let long = spawn(&[]);
    wait_until("the long run begins", &|| count_running() == 1);
    let short = spawn(&["--only", "second"]);
    wait_until("the short run begins", &|| count_running() == 2);
    fs::write(project.path().join("one"), "").unwrap();
    wait_until("the long run finishes its first stage", &|| {
        project.fmflow(&["show", "p.kdl", "first", "--path"]).stderr.is_empty()
    });
    // It comes to the second stage now.
    std::thread::sleep(Duration::from_millis(1000));
    fs::write(project.path().join("two"), "").unwrap();
    Ran::from(short.wait_with_output().unwrap()).ok();
    let long = Ran::from(long.wait_with_output().unwrap()).ok();
    assert!(long.stderr.contains("second waits: process "), "{}", long.stderr);
    assert!(long.stderr.contains("second: another run has made it meanwhile"), "{}", long.stderr);
    assert_eq!(ends(&project), ["ok", "ok"]);
}

#[test]
fn a_resume_without_a_file_names_the_runs_that_it_leaves() {
    let project = Project::of(TEXT);
    project.write(
        "q.kdl",
        &TEXT.replace("pipeline \"p\"", "pipeline \"q\"").replace("echo slow", "echo 'of q'"),
    );
    for run in [&["run", "p.kdl", ALLOWED, "--until", "after"][..], &["run", "q.kdl", ALLOWED]] {
        let mut child = project.command(run);
        let mut child = child.env("GO", project.path().join("go")).stderr(Stdio::null()).spawn().unwrap();
        let start = Instant::now();
        while !project.fmflow(&["status", run[1]]).ok().stdout.contains("running") {
            assert!(start.elapsed() < Duration::from_secs(60), "the run begins");
            std::thread::sleep(Duration::from_millis(20));
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    project.write("go", "");
    let left = "run 1 is unfinished, too: `fmflow resume p.kdl --until after`";
    fmflow(&project, &["resume", ALLOWED]).ok().says("next: fmflow show q.kdl").says(left);
    let ran = fmflow(&project, &["resume", "p.kdl", ALLOWED, "--until", "after"]).ok();
    assert!(!ran.stderr.contains("unfinished"), "{}", ran.stderr);
    let ran = fmflow(&project, &["resume", ALLOWED]).ok();
    assert!(!ran.stderr.contains("unfinished"), "{}", ran.stderr);
}
