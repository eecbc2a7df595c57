//! A store that comes with somebody else's project, under every command that opens one.

#![cfg(all(feature = "cpu", unix))]
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::common::pretend::Pretend;
use crate::common::{Project, Ran};

const TEXT: &str = r#"pipeline "small" seed=1
dataset "text" from="text/*.txt" format="text" held-out="2%"
tokenizer "bpe" kind="byte-level-bpe" vocabulary=1024 special="qwen3" { dataset "text" }
random-init "tiny" tokenizer="bpe" {
    shape "qwen3" hidden=96 layers=3 heads=3 kv-heads=1 head-dim=32 feed-forward=288 tied=#true
}
"#;

const COMMANDS: &[&[&str]] = &[
    &["run", "p.kdl"],
    &["resume"],
    &["plan", "p.kdl"],
    &["status", "p.kdl"],
    &["why", "p.kdl"],
    &["show", "p.kdl"],
    &["log"],
    &["log", "p.kdl", "tiny"],
    &["gc"],
    &["gc", "--yes"],
    &["gc", "--pin", "bpe"],
    &["doctor"],
];

/// A project whose two stages are finished, and a folder of the user's own beside its store.
fn prepared() -> (Project, PathBuf) {
    let project = Project::of(TEXT);
    project.pretend("p.kdl", &Pretend::default()).unwrap();
    project.write("own/letter", "dear");
    let own = project.path().join("own");
    (project, own)
}

/// Runs a command that must end by itself soon.
fn run_briefly(project: &Project, arguments: &[&str]) -> Ran {
    let mut child = project.command(arguments);
    child.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let child = child.spawn().unwrap();
    let process = child.id().to_string();
    let (send, ended) = std::sync::mpsc::channel();
    // A thread reads both pipes to their ends: a command must not hang because nobody reads what it writes.
    std::thread::spawn(move || send.send(child.wait_with_output()));
    match ended.recv_timeout(Duration::from_secs(60)) {
        Ok(output) => Ran::from(output.unwrap()),
        Err(_) => {
            std::process::Command::new("kill").args(["-KILL", &process]).status().unwrap();
            panic!("{arguments:?} hangs");
        }
    }
}

/// Puts a link to a path, or a pipe if there is none, in the place of something in the store.
fn put(place: &Path, link: Option<&Path>) {
    match fs::symlink_metadata(place) {
        Ok(about) if about.is_dir() => fs::remove_dir_all(place).unwrap(),
        Ok(_) => fs::remove_file(place).unwrap(),
        Err(_) => {}
    }
    match link {
        Some(target) => symlink(target, place).unwrap(),
        None => assert!(Command::new("mkfifo").arg(place).status().unwrap().success()),
    }
}

fn check_untouched(own: &Path) {
    assert_eq!(fs::read_dir(own).unwrap().count(), 1);
    assert_eq!(fs::read_to_string(own.join("letter")).unwrap(), "dear");
}

#[test]
fn every_command_refuses_a_store_with_links_or_pipes_and_touches_nothing() {
    for name in
        ["format", "lock", "digests", "pins", "runs/journal.jsonl", "runs/last.json", "tmp", "trash", "work"]
    {
        for link in [Some("own"), Some("own/letter"), None] {
            let (project, own) = prepared();
            let link = link.map(|target| project.path().join(target));
            put(&project.path().join(".fmflow").join(name), link.as_deref());
            for arguments in COMMANDS {
                let ran = run_briefly(&project, arguments).exits(2);
                let what = if link.is_some() { "is a link" } else { "is a pipe" };
                assert!(ran.stderr.contains(what), "{name} {arguments:?}: {}", ran.stderr);
            }
            check_untouched(&own);
        }
    }
}

#[test]
fn a_linked_store_is_used_only_if_it_is_named() {
    let (project, _) = prepared();
    fs::rename(project.path().join(".fmflow"), project.path().join("elsewhere")).unwrap();
    symlink("elsewhere", project.path().join(".fmflow")).unwrap();
    for arguments in COMMANDS {
        let ran = run_briefly(&project, arguments).exits(2);
        assert!(ran.stderr.contains("/.fmflow is a link"), "{arguments:?}: {}", ran.stderr);
    }
    let plan = project.fmflow(&["plan", "p.kdl"]).exits(2);
    assert!(plan.stderr.contains("help: if you trust it, name it: `--store .fmflow`"), "{}", plan.stderr);
    let status = project.fmflow(&["status", "p.kdl", "--store", ".fmflow"]).ok();
    assert!(status.stdout.contains("finished"), "{}", status.stdout);
    let garbage = project.fmflow(&["log", "--store", ".fmflow"]).ok();
    assert!(
        garbage.stdout.contains("--store .fmflow"),
        "the next command is trusted too: {}",
        garbage.stdout
    );
}

#[test]
fn a_store_of_another_user_is_used_only_if_it_is_named() {
    let (project, _) = prepared();
    // Only root can give a folder away.
    if let Err(error) = std::os::unix::fs::chown(project.path().join(".fmflow"), Some(65_533), None) {
        println!("SKIPPED: the store of another user needs root ({error})");
        return;
    }
    for arguments in COMMANDS {
        let ran = run_briefly(&project, arguments).exits(2);
        assert!(ran.stderr.contains("owned by another user"), "{arguments:?}: {}", ran.stderr);
    }
    project.fmflow(&["status", "p.kdl", "--store", ".fmflow"]).ok();
}
