//! One flipped bit: in an artifact, in unfinished work, in the records of a store.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use crate::bench::{Bench, Tally, has_bug, is_part_of, list_files, remove_store};
use crate::common::Ran;

/// The store of a trial.
const STORE: &str = "flipped";

/// The store that it is a copy of.
const TEMPLATE: &str = "template";

/// Commands that read the records of a store.
const READERS: [&[&str]; 5] =
    [&["gc", "tiny.kdl"], &["gc"], &["log"], &["why", "tiny.kdl"], &["status", "tiny.kdl"]];

/// Flips a bit in a file of an artifact: `verify` has to find it.
pub(crate) fn flip_artifacts(bench: &mut Bench, count: u32) -> Tally {
    let mut tally = Tally::default();
    bench.copy_store("whole", STORE);
    let files = list_files(&bench.project.path().join(STORE).join("artifacts"));
    for _ in 0..count {
        let file = bench.pick(&files).clone();
        let before = fs::read(&file).unwrap();
        bench.flip(&file);
        let ran = bench.project.fmflow(&["verify", file.parent().unwrap().to_str().unwrap()]);
        fs::write(&file, before).unwrap();
        tally.add(format!("exit {}", ran.code), ran.code == 4 && !has_bug(&ran), || explain(&file, &ran));
    }
    tally
}

/// Flips a bit in a store with an unfinished stage, then runs: the damage may not reach any other file. What lies beside the
/// checkpoints of unfinished work may not even stop the stage.
pub(crate) fn flip_before_a_run(bench: &mut Bench, count: u32) -> Tally {
    let mut tally = Tally::default();
    stop_halfway(bench);
    let whole = bench.whole.clone();
    for _ in 0..count {
        bench.copy_store(TEMPLATE, STORE);
        let store = bench.project.path().join(STORE);
        let kind = *bench.pick(&["artifacts", "artifacts", "checkpoints", "own"]);
        let file = bench.pick(&list_group(&store, kind)).clone();
        bench.flip(&file);
        let ran = bench.run(&["run", "tiny.kdl", "--until", "sft"], STORE);
        let flipped = file.strip_prefix(&store).unwrap();
        let mut expected = whole.clone();
        // The flipped file itself is what it is; only `verify` and the stages that read it look.
        if kind == "artifacts" {
            expected.remove(flipped);
            fs::remove_file(&file).unwrap();
        }
        let right = is_part_of(&store, &expected);
        let good = right && !has_bug(&ran) && (ran.code == 0 || (ran.code == 4 && kind != "own"));
        let noted =
            ["is skipped", "was damaged", "is left out"].iter().any(|words| ran.stderr.contains(words));
        let noted = if noted { ", noted" } else { "" };
        tally.add(format!("{kind} exit {}{noted}", ran.code), good, || explain(&file, &ran));
    }
    tally
}

/// A store with everything before `sft`, and a part of that.
fn stop_halfway(bench: &Bench) {
    let store = bench.project.path().join(TEMPLATE);
    remove_store(&store);
    bench.run(&["run", "tiny.kdl", "--until", "flow"], TEMPLATE).ok();
    let mut command = bench.project.command(&["run", "tiny.kdl", "--until", "sft", "--store", TEMPLATE]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while list_group(&store, "checkpoints").iter().all(|file| !file.ends_with("00000014/manifest.json")) {
        assert!(child.try_wait().unwrap().is_none(), "`sft` ended before it could be killed");
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!list_group(&store, "own").is_empty(), "there is unfinished work");
}

/// The files of a kind: of artifacts, of checkpoints, or what unfinished work has beside them.
fn list_group(store: &Path, kind: &str) -> Vec<PathBuf> {
    let of = |file: &PathBuf| {
        let inside = file.strip_prefix(store).unwrap();
        match (inside.starts_with("artifacts"), file.iter().any(|part| part == "checkpoints")) {
            (true, _) => kind == "artifacts",
            (false, true) => kind == "checkpoints",
            (false, false) => kind == "own" && inside.starts_with("work"),
        }
    };
    // The run that is being watched renames and removes folders.
    let folders = ["artifacts", "work"].map(|name| store.join(name));
    let entries = folders.iter().flat_map(walkdir::WalkDir::new).filter_map(Result::ok);
    let files =
        entries.filter(|entry| entry.metadata().is_ok_and(|about| about.is_file() && about.len() > 0));
    files.map(walkdir::DirEntry::into_path).filter(of).collect()
}

/// Flips a bit in the records of a store: every command says the same as before, or exits with 4. No run is stopped by it.
pub(crate) fn flip_records(bench: &mut Bench, count: u32) -> Tally {
    let mut tally = Tally::default();
    bench.copy_store("whole", STORE);
    let store = bench.project.path().join(STORE);
    let pinned = fs::read_dir(store.join("artifacts")).unwrap().next().unwrap().unwrap().file_name();
    bench.run(&["gc", "--pin", pinned.to_str().unwrap()], STORE).ok();
    let files = ["runs/1.json", "runs/last.json", "runs/journal.jsonl", "format", "pins"];
    let files = files.map(|name| store.join(name));
    let before: BTreeMap<_, _> =
        READERS.iter().map(|words| (words, bench.run(words, STORE).ok().stdout)).collect();
    for _ in 0..count {
        let file = bench.pick(&files).clone();
        let text = fs::read(&file).unwrap();
        bench.flip(&file);
        let mut codes = Vec::new();
        let mut good = true;
        for (words, expected) in &before {
            let ran = bench.run(words, STORE);
            good &= !has_bug(&ran) && (ran.code == 4 || (ran.code == 0 && ran.stdout == **expected));
            codes.push(ran.code);
        }
        let run = bench.run(&["run", "tiny.kdl"], STORE);
        good &= run.code == if file.ends_with("format") { 4 } else { 0 };
        fs::write(&file, text).unwrap();
        let name = file.file_name().unwrap().to_str().unwrap();
        let end = if codes.contains(&4) { "found" } else { "harmless" };
        tally.add(format!("{name} {end}"), good, || format!("{codes:?}: {}", explain(&file, &run)));
    }
    tally
}

fn explain(file: &Path, ran: &Ran) -> String {
    let errors: Vec<_> =
        ran.stderr.lines().filter(|line| line.contains("error") || line.contains("bug")).collect();
    format!("{}: exit {}: {}", file.display(), ran.code, errors.join(" "))
}
