//! `fmflow gc`: lists garbage, removes it only with `--yes`, and never what is pinned, current or in use.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;

use crate::common::Project;
use crate::common::pretend::Pretend;
use fmflow_engine::store::garbage;
use serde_json::Value;

const TEXT: &str = r#"pipeline "small" seed=1
dataset "text" from="text/*.txt" format="text" held-out="2%"
tokenizer "bpe" kind="byte-level-bpe" vocabulary=1024 special="qwen3" { dataset "text" }
random-init "tiny" tokenizer="bpe" {
    shape "qwen3" hidden=96 layers=3 heads=3 kv-heads=1 head-dim=32 feed-forward=288 tied=#true
}
convert "flow" from="tiny" { certify tolerance=1e-4 }
"#;

fn small() -> Project {
    Project::of(TEXT)
}

/// Names in a folder of the store, without digests, sorted.
fn names(project: &Project, folder: &str) -> Vec<String> {
    let entries = fs::read_dir(project.path().join(".fmflow").join(folder)).into_iter().flatten();
    let name = |entry: fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
    let mut names: Vec<_> = entries.map(|entry| name(entry.unwrap())).collect();
    names.iter_mut().for_each(|name| name.truncate(name.rfind('-').unwrap_or(name.len())));
    names.sort();
    names
}

/// The output of `gc` with fixed digests, times and sizes.
fn shown(text: &str) -> String {
    let digits = |word: &str| word.len() == 12 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let plain = |word: &str| match word.rsplit_once('-') {
        Some((name, end)) if digits(end) => format!("{name}-0123456789ab"),
        _ if word.len() == 10 && word.starts_with("20") => "2026-11-22".into(),
        _ if word.len() == 5 && word.as_bytes()[2] == b':' => "00:00".into(),
        _ if word.len() == 3 && word.as_bytes()[1] == b'.' => "1.0".into(),
        _ => word.to_owned(),
    };
    let lines = text.lines().map(|line| line.split(' ').map(plain).collect::<Vec<_>>().join(" "));
    lines.map(|line| format!("{line}\n")).collect()
}

#[test]
fn gc_removes_only_garbage_and_only_with_yes() {
    let project = small();
    project.pretend("p.kdl", &Pretend::default()).unwrap();
    project.fmflow(&["gc"]).ok().says("nothing to remove");
    let stopped = Pretend { stops: Some("flow"), ..Pretend::default() };
    project.edit("p.kdl", "tolerance=1e-4", "tolerance=1e-3");
    project.pretend("p.kdl", &stopped).unwrap();
    project.edit("p.kdl", "layers=3", "layers=2");
    project.pretend("p.kdl", &Pretend::default()).unwrap();
    let dry = project.fmflow(&["gc"]).ok();
    insta::assert_snapshot!("gc", shown(&dry.stdout));
    assert_eq!(names(&project, "artifacts"), ["bpe", "flow", "flow", "tiny", "tiny"]);
    assert_eq!(names(&project, "work"), ["flow"]);
    let removed = project.fmflow(&["gc", "--yes"]).ok();
    insta::assert_snapshot!("gc-yes", shown(&removed.stdout));
    assert_eq!(names(&project, "artifacts"), ["bpe", "flow", "tiny"]);
    assert!(names(&project, "work").is_empty() && names(&project, "trash").is_empty());
    project.fmflow(&["plan", "p.kdl", "--check"]).ok();
    project.fmflow(&["gc", "--yes"]).ok().says("nothing to remove");
}

#[test]
fn gc_keeps_results_of_the_last_run_and_of_the_current_text() {
    let project = small();
    project.pretend("p.kdl", &Pretend::default()).unwrap();
    project.edit("p.kdl", "layers=3", "layers=2");
    project.fmflow(&["gc", "--yes"]).ok().says("nothing to remove");
    project.pretend("p.kdl", &Pretend::default()).unwrap();
    project.edit("p.kdl", "layers=2", "layers=3");
    project.fmflow(&["gc", "--yes"]).ok().says("nothing to remove");
    assert_eq!(names(&project, "artifacts").len(), 5);
}

#[test]
fn a_pinned_artifact_is_kept_until_it_is_unpinned() {
    let project = small();
    project.pretend("p.kdl", &Pretend::default()).unwrap();
    let tiny = project.fmflow(&["show", "p.kdl", "tiny", "--path"]).ok().stdout;
    let tiny = tiny.trim().rsplit('/').next().unwrap();
    project.fmflow(&["gc", "--pin", tiny]).ok().says("a pin");
    project.fmflow(&["gc", "--pin", &tiny.replace("tiny", "tinny")]).exits(2).says(tiny);
    project.edit("p.kdl", "layers=3", "layers=2");
    project.pretend("p.kdl", &Pretend::default()).unwrap();
    project.fmflow(&["gc", "--yes"]).ok();
    assert_eq!(names(&project, "artifacts"), ["bpe", "flow", "tiny", "tiny"]);
    project.fmflow(&["gc", "--unpin", tiny]).ok();
    project.fmflow(&["gc", "--unpin", tiny]).exits(2).says("is not pinned");
    project.fmflow(&["gc", "--yes"]).ok();
    assert_eq!(names(&project, "artifacts"), ["bpe", "flow", "tiny"]);
}

#[test]
fn a_pin_that_is_no_name_of_an_artifact_is_refused() {
    let project = small();
    project.pretend("p.kdl", &Pretend::default()).unwrap();
    for word in ["..", "/", ""] {
        project.fmflow(&["gc", "--pin", word]).exits(2).says(&format!("the store has no artifact `{word}`"));
        project.fmflow(&["gc", "--unpin", word]).exits(2).says(&format!("`{word}` is not pinned"));
    }
}

#[test]
fn gc_keeps_the_last_run_of_a_deleted_pipeline_and_stops_at_one_with_errors() {
    let project = small();
    project.write("q.kdl", &TEXT.replace("layers=3", "layers=4"));
    project.pretend("q.kdl", &Pretend::default()).unwrap();
    project.pretend("p.kdl", &Pretend::default()).unwrap();
    project.write("q.kdl", "pipeline");
    project.fmflow(&["gc", "--yes"]).exits(2).says("q.kdl has errors").says("fmflow check q.kdl");
    fs::remove_file(project.path().join("q.kdl")).unwrap();
    let removed = project.fmflow(&["gc", "--yes"]).ok().says("nothing to remove");
    assert!(removed.stdout.contains("q.kdl (gone)"), "{}", removed.stdout);
    assert!(
        removed.stderr.contains("q.kdl is gone") && removed.stderr.contains("fmflow gc p.kdl"),
        "{}",
        removed.stderr
    );
    let answer: Value = serde_json::from_str(&project.fmflow(&["gc", "--json"]).ok().stdout).unwrap();
    assert_eq!(answer["gone"], serde_json::json!(["q.kdl"]));
    project.fmflow(&["gc", "p.kdl", "--yes"]).ok().says("removed 2");
    let answer: Value = serde_json::from_str(&project.fmflow(&["gc", "--json"]).ok().stdout).unwrap();
    assert_eq!(answer["gone"], serde_json::json!([]));
    assert_eq!(names(&project, "artifacts"), ["bpe", "flow", "tiny"]);
}

#[test]
fn a_moved_pipeline_loses_no_results() {
    let project = small();
    project.write("q.kdl", &TEXT.replace("layers=3", "layers=4"));
    project.pretend("q.kdl", &Pretend::default()).unwrap();
    let store = fmflow_engine::store::Store::open(&project.path().join(".fmflow")).unwrap().unwrap();
    let record = store.last_run().unwrap().unwrap();
    assert_eq!(store.begin_run(&record).unwrap(), 2);
    project.pretend("p.kdl", &Pretend::default()).unwrap();
    let record = store.last_run().unwrap().unwrap();
    (0..=garbage::KEPT_RUN_RECORDS).for_each(|_| _ = store.begin_run(&record).unwrap());
    let (here, there) = (project.path().join("q.kdl"), project.path().join("away"));
    fs::rename(&here, &there).unwrap();
    // Run 2 of q.kdl computed nothing, but its record is the one that says which results q.kdl uses.
    (0..2).for_each(|_| _ = project.fmflow(&["gc", "--yes"]).ok());
    assert_eq!(names(&project, "artifacts"), ["bpe", "flow", "flow", "tiny", "tiny"]);
    fs::rename(&there, &here).unwrap();
    project.fmflow(&["plan", "q.kdl", "--check"]).ok();
    fs::remove_file(&here).unwrap();
    project.write(".fmflow/runs/2.json", "half");
    project.fmflow(&["gc", "--yes"]).exits(2).says("q.kdl is gone").says("fmflow gc a.kdl");
    assert_eq!(names(&project, "artifacts").len(), 5);
}

#[test]
fn an_unreadable_file_does_not_count_as_deleted() {
    let project = small();
    project.write("sub/text/a.txt", "hello");
    project.write("sub/q.kdl", &TEXT.replace("layers=3", "layers=4"));
    project.pretend("sub/q.kdl", &Pretend::default()).unwrap();
    project.pretend("p.kdl", &Pretend::default()).unwrap();
    fs::remove_dir_all(project.path().join("sub")).unwrap();
    project.write("sub", "a file where a folder was");
    project.fmflow(&["gc", "--yes"]).exits(1).says("q.kdl");
    fs::write(project.path().join(".fmflow/pins"), [0xFF]).unwrap();
    project.fmflow(&["gc", "p.kdl", "--yes"]).exits(4).says("what it pins is unknown").says("write ");
    assert_eq!(names(&project, "artifacts").len(), 5);
}

/// What was tried with `--set` is kept until the file is run otherwise.
#[test]
fn trials_are_released_once_the_file_is_run_otherwise() {
    let project = Project::of("pipeline \"p\"\ncommand \"a\" run=\"echo 1 > o\" { output \"o\"; }\n");
    let run = |setting: &str| {
        let trial = ["--set", setting];
        let rest = if setting.is_empty() { &[][..] } else { &trial };
        project.fmflow(&[&["run", "p.kdl", "--allow-commands"], rest].concat()).ok();
    };
    run("");
    run("command.a.run=echo 2 > o");
    run("command.a.run=echo 3 > o");
    let kept = || {
        project.fmflow(&["gc", "--yes"]).ok();
        let texts = fs::read_dir(project.path().join(".fmflow/artifacts")).unwrap();
        let texts = texts.map(|entry| fs::read_to_string(entry.unwrap().path().join("o")).unwrap());
        let mut texts: Vec<String> = texts.map(|text| text.trim().to_owned()).collect();
        texts.sort();
        texts
    };
    assert_eq!(kept(), ["1", "3"], "the text, and the last run");
    run("command.a.run=echo 4 > o");
    assert_eq!(kept(), ["1", "4"]);
    // There is nothing to do, but the last run is no trial any more.
    run("");
    assert_eq!(kept(), ["1"]);
    project.edit("p.kdl", "echo 1", "echo 5");
    run("");
    assert_eq!(kept(), ["5"]);
}

#[test]
fn gc_does_not_touch_a_live_run() {
    let project = small();
    project.pretend("p.kdl", &Pretend::default()).unwrap();
    let store = fmflow_engine::store::Store::create(&project.path().join(".fmflow")).unwrap();
    let lock = store.lock().unwrap();
    project.write(".fmflow/tmp/ar.1.1/part", "half");
    project.fmflow(&["gc"]).ok().says("a run is in progress (process").says("nothing to remove");
    project.fmflow(&["gc", "--yes"]).exits(5);
    drop(lock);
    project.fmflow(&["gc"]).ok().says("leftover");
    project.fmflow(&["gc", "--yes"]).ok().says("removed 1");
    assert!(names(&project, "tmp").is_empty());
}

#[test]
fn old_run_records_are_removed_unless_their_results_are_kept() {
    let project = small();
    // The tokenizer of run 1 is kept, its model is not; run 2 makes another model; later runs do nothing.
    project.pretend("p.kdl", &Pretend::default()).unwrap();
    project.edit("p.kdl", "layers=3", "layers=2");
    project.pretend("p.kdl", &Pretend::default()).unwrap();
    let store = fmflow_engine::store::Store::open(&project.path().join(".fmflow")).unwrap().unwrap();
    let record = store.last_run().unwrap().unwrap();
    project.fmflow(&["gc", "--yes"]).ok().says("removed 2");
    (0..=garbage::KEPT_RUN_RECORDS).for_each(|_| _ = store.begin_run(&record).unwrap());
    project.fmflow(&["gc"]).ok().says("runs/3.json").says("record").says("1 to remove");
    project.fmflow(&["why", "p.kdl", "tiny", "--vs", "1"]).ok().says("`shape.layers` 3 -> 2");
    project.edit("p.kdl", "vocabulary=1024", "vocabulary=2048");
    project.pretend("p.kdl", &Pretend::default()).unwrap();
    let removed = project.fmflow(&["gc", "--yes"]).ok();
    for number in 1..=4 {
        assert!(removed.stdout.contains(&format!("runs/{number}.json")), "{}", removed.stdout);
    }
    assert_eq!(
        names(&project, "runs").len(),
        garbage::KEPT_RUN_RECORDS + "last.json journal.jsonl".split(' ').count()
    );
    project.fmflow(&["why", "p.kdl", "tiny", "--vs", "1"]).exits(2).says("`fmflow gc` removes old ones");
    project.fmflow(&["log"]).ok().says("104");
    project.fmflow(&["gc", "--yes"]).ok().says("nothing to remove");
}

#[test]
fn gc_answers_in_json() {
    let project = small();
    project.fmflow(&["gc", "--json"]).exits(2).says("fmflow.error/1");
    project.pretend("p.kdl", &Pretend::default()).unwrap();
    project.edit("p.kdl", "layers=3", "layers=2");
    project.pretend("p.kdl", &Pretend::default()).unwrap();
    let answer: Value = serde_json::from_str(&project.fmflow(&["gc", "--json"]).ok().stdout).unwrap();
    assert_eq!((answer["schema"].as_str(), answer["removed"].as_bool()), (Some("fmflow.gc/1"), Some(false)));
    let stages = |key: &str| {
        let items = answer[key].as_array().unwrap();
        items.iter().map(|item| item["stage"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let sorted = |mut names: Vec<String>| {
        names.sort();
        names
    };
    assert_eq!(sorted(stages("garbage")), ["flow", "tiny"]);
    assert_eq!(sorted(stages("kept")), ["bpe", "flow", "tiny"]);
    assert_eq!(answer["kept"][0]["users"], serde_json::json!(["p.kdl", "the last run"]));
}
