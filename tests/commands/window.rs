//! Rows that are made while training reads them, through the binary: the same weights as without a window, also after kills.

#![cfg(feature = "cpu")]
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::common::{Project, golden, send_signal};

/// Two datasets, of which the second has a cap.
const DATASETS: &str = r#"pipeline "w" seed=5
dataset "a" from="a/*.txt" format="text" documents="lines" held-out="10%"
dataset "b" from="b/*.txt" format="text" documents="lines" held-out="10%" tokens=30000
"#;

/// A training on two datasets, which reads them through a window.
pub(crate) const TRAINING: &str = r#"
tokenizer "t" kind="byte-level-bpe" vocabulary=320 { dataset "a"; dataset "b" }
rows "r" tokenizer="t" length=64 packing="concat" shard="3000B" { window disk="320KiB" }
mixture "m" { dataset "a" weight=2; dataset "b" weight=1 }
random-init "i" tokenizer="t" { shape "qwen3" hidden=8 layers=1 heads=2 head-dim=4 feed-forward=16 }
recipe "common" {
    data rows="r" mixture="m"
    objective "autoregressive"
    attention "causal"
    batch rows=16
    learning-rate peak=1e-2 final=1e-3 shape="cosine"
}
train "ar" from="i" use="common" { checkpoint every=9; validate every=50 rows=4; steps 180 }
"#;

/// About 64 shards of one dataset in groups of 15 and 40 of the other; more than one pass through both.
static PIPELINE: LazyLock<String> = LazyLock::new(|| format!("{DATASETS}{TRAINING}"));

pub(crate) const WINDOW: &str = r#" { window disk="320KiB" }"#;

fn project(pipeline: &str) -> Project {
    with_texts(pipeline, |folder, number| {
        let line =
            |i: usize| format!("{folder} file {number} says {} and {}.\n", i * 7 % 13, (i + number) % 29);
        // Each file has enough for a shard of its own.
        let lines = (0..200).map(line);
        lines.fold(String::new(), |text, line| if text.len() < 3000 { text + &line } else { text })
    })
}

/// A project with 64 files of `a` and 40 of `b`.
pub(crate) fn with_texts(pipeline: &str, text: impl Fn(&str, usize) -> String) -> Project {
    let project = Project::empty();
    project.write("tiny.kdl", pipeline);
    for (folder, files) in [("a", 64), ("b", 40)] {
        for number in 0..files {
            project.write(&format!("{folder}/{number:02}.txt"), &text(folder, number));
        }
    }
    project
}

fn whole() -> Project {
    project(&PIPELINE.replace(WINDOW, ""))
}

/// The losses of all updates and validations.
fn losses(project: &Project) -> Vec<(Value, Value, Value)> {
    let log = project.fmflow(&["log", "tiny.kdl", "ar", "--json"]).ok().stdout;
    let log: Value = serde_json::from_str(&log).unwrap();
    let lines = log["metrics"].as_array().unwrap().iter();
    lines.map(|line| (line["step"].clone(), line["loss"].clone(), line["held_out_loss"].clone())).collect()
}

fn window_folder(project: &Project, rows: &str) -> PathBuf {
    let artifact = project.artifact(rows);
    artifact.parent().unwrap().parent().unwrap().join("windows").join(artifact.file_name().unwrap())
}

/// Names and sizes of the files in a folder that end so.
fn files(folder: &Path, end: &str) -> BTreeMap<String, u64> {
    let all = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let named = all.map(|entry| (entry.file_name().into_string().unwrap(), entry.metadata().unwrap().len()));
    named.filter(|(name, _)| name.ends_with(end)).collect()
}

#[test]
fn a_window_changes_no_weight_and_stays_within_its_disk_space() {
    let (whole, window) = (whole(), project(&PIPELINE));
    whole.fmflow(&["run", "tiny.kdl"]).ok();
    let ran = window.fmflow(&["run", "tiny.kdl"]).ok();
    assert_eq!(window.digest_of("ar"), whole.digest_of("ar"));
    assert_eq!(losses(&window), losses(&whole));
    for said in [
        "for the first rows of r/a",
        "a window on 64 shards",
        "of them again)",
        "training waited",
        "window: read 15 of 64 shards",
    ] {
        assert!(
            ran.stderr.contains(said) || ran.stdout.contains(said),
            "{said:?} in\n{}{}",
            ran.stdout,
            ran.stderr
        );
    }
    for rows in ["r/a", "r/b"] {
        let folder = window_folder(&window, rows);
        let there: u64 = files(&folder, ".rows").values().sum();
        assert!((1..=160 << 10).contains(&there), "{there}");
        assert!(!window.artifact(rows).join("rows.bin").exists());
        assert_eq!(
            fs::read(window.artifact(rows).join("held-out.bin")).unwrap(),
            fs::read(whole.artifact(rows).join("held-out.bin")).unwrap()
        );
    }
    // More rows were read than the window has room for.
    assert_eq!(files(&window_folder(&window, "r/a"), ".json").len(), 64);
    let all = fs::metadata(whole.artifact("r/a").join("rows.bin")).unwrap().len();
    assert!(all > 165 << 10, "{all}");
    window.fmflow(&["run", "tiny.kdl"]).ok().says("nothing to do");
}

#[test]
fn twenty_kills_at_any_instant_change_no_weight() {
    let (whole, window) = (whole(), project(&PIPELINE));
    whole.fmflow(&["run", "tiny.kdl"]).ok();
    let timed = project(&PIPELINE);
    timed.fmflow(&["run", "tiny.kdl", "--until", "i"]).ok();
    timed.fmflow(&["run", "tiny.kdl", "--until", "r/b"]).ok();
    let start = Instant::now();
    timed.fmflow(&["run", "tiny.kdl"]).ok();
    let duration = start.elapsed();
    window.fmflow(&["run", "tiny.kdl", "--until", "i"]).ok();
    let mut killed = 0;
    for i in 1..=20 {
        let pause = duration.mul_f64(golden(i) / 3.0).max(Duration::from_millis(20));
        killed += i32::from(window.kill_after(&["run", "tiny.kdl"], pause).status.signal() == Some(9));
    }
    assert!(killed > 5, "{killed}");
    window.fmflow(&["run", "tiny.kdl"]).ok();
    assert_eq!(window.digest_of("ar"), whole.digest_of("ar"));
    assert_eq!(losses(&window), losses(&whole));
    window.fmflow(&["verify", window.artifact("r/a").to_str().unwrap()]).ok().says("shards of its window");
}

#[test]
fn a_signal_stops_training_that_waits_for_rows() {
    let window = project(&PIPELINE);
    window.fmflow(&["run", "tiny.kdl", "--until", "r/b"]).ok();
    window.edit("tiny.kdl", "steps 180", "steps 18_000");
    let child = window.spawn(&["run", "tiny.kdl"]);
    let start = Instant::now();
    let windows = window.path().join(".fmflow/windows");
    let made = || {
        fs::read_dir(&windows).is_ok_and(|mut folders| {
            folders.any(|folder| !files(&folder.unwrap().path(), ".rows").is_empty())
        })
    };
    while !made() {
        assert!(start.elapsed() < Duration::from_secs(60), "a shard is made");
        std::thread::sleep(Duration::from_millis(2));
    }
    send_signal(child.id(), "INT");
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(75), "{ended:?}");
}

#[test]
fn lost_shards_are_made_again_and_other_ones_are_refused() {
    let (whole, window) = (whole(), project(&PIPELINE));
    whole.fmflow(&["run", "tiny.kdl"]).ok();
    let short = |project: &Project| project.edit("tiny.kdl", "steps 180", "steps 60");
    short(&window);
    window.fmflow(&["run", "tiny.kdl"]).ok();
    let folder = window_folder(&window, "r/a");
    // Of the shards that are there, one is gone, one is damaged, and of one nobody knows what it has.
    let there: Vec<String> = files(&folder, ".rows").into_keys().collect();
    assert!(there.len() > 4, "{there:?}");
    fs::remove_file(folder.join(&there[0])).unwrap();
    let mut bytes = fs::read(folder.join(&there[1])).unwrap();
    bytes[40] ^= 1;
    fs::write(folder.join(&there[1]), bytes).unwrap();
    let about = folder.join(there[2].replace(".rows", ".json"));
    fs::write(&about, "{}").unwrap();
    let artifact = window.artifact("r/a");
    let verified = window.fmflow(&["verify", artifact.to_str().unwrap()]).exits(4);
    verified.says("not what was written");
    window.edit("tiny.kdl", "steps 60", "steps 180");
    window.fmflow(&["run", "tiny.kdl"]).ok();
    assert_eq!(window.digest_of("ar"), whole.digest_of("ar"));
    // An entry that says something else is not the shard that training would read.
    for (name, _) in files(&folder, ".rows") {
        fs::remove_file(folder.join(name)).unwrap();
    }
    for (name, _) in files(&folder, ".json") {
        let path = folder.join(name);
        let line = fs::read_to_string(&path).unwrap();
        let body = line.rsplit_once(r#","check":""#).unwrap().0;
        let mut entry: Value = serde_json::from_str(&format!("{body}}}")).unwrap();
        entry["blake3"] = "0".repeat(64).into();
        // Without a checksum, as an earlier version would have written it.
        fs::write(&path, entry.to_string()).unwrap();
    }
    window.edit("tiny.kdl", "peak=1e-2", "peak=2e-2");
    window.fmflow(&["run", "tiny.kdl"]).exits(4).says("made again and is not what it was");
}

#[test]
fn a_window_that_is_too_small_or_a_dataset_that_ends_early_is_told() {
    let small = project(&PIPELINE.replace("320KiB", "100KiB"));
    let ran = small.fmflow(&["run", "tiny.kdl"]).exits(8);
    let ran =
        ran.says("the window leaves 50 KiB for `r/a`, but 15 shards that are shuffled together take about");
    ran.says("raise `window disk=`");
    let early = project(&PIPELINE.replace("tokens=30000", "tokens=5000000"));
    early.fmflow(&["run", "tiny.kdl"]).exits(8).says("fewer than `tokens=5000000`").says("tokens-at-most=");
}

#[test]
fn rows_of_a_window_are_shown_as_those_without_one() {
    let (whole, window) = (whole(), project(&PIPELINE));
    let show = |project: &Project| -> Value {
        project.fmflow(&["run", "tiny.kdl"]).ok();
        let shown = project.fmflow(&["data", "show", "tiny.kdl", "r/a", "-n", "1000", "--json"]).ok();
        serde_json::from_str(&shown.stdout).unwrap()
    };
    let (all, seen) = (show(&whole), show(&window));
    let summary = fs::read(whole.artifact("r/a").join("rows.json")).unwrap();
    let summary: Value = serde_json::from_slice(&summary).unwrap();
    let rows: Vec<u64> =
        summary["shards"]["rows"].as_array().unwrap().iter().map(|rows| rows.as_u64().unwrap()).collect();
    let there = seen["window"]["there"].as_array().unwrap();
    let total: u64 = there.iter().map(|shard| rows[shard.as_u64().unwrap() as usize]).sum();
    assert_eq!(seen["total"], total);
    let mut compared = 0;
    for row in seen["rows"].as_array().unwrap() {
        let [shard, number] = [0, 1].map(|at| row["shard"][at].as_u64().unwrap());
        let before: u64 = rows[..shard as usize].iter().sum();
        if let Some(same) = all["rows"].get((before + number) as usize) {
            assert_eq!(row["pieces"], same["pieces"], "shard {shard}, row {number}");
            compared += 1;
        }
    }
    assert!(compared > 100 && all["window"].is_null(), "{compared}");
}

#[test]
fn what_people_are_told_of_a_window() {
    let window = project(&PIPELINE);
    let plan = window.fmflow(&["plan", "tiny.kdl"]).ok();
    assert!(plan.stdout.contains("r/a"), "{}", plan.stdout);
    window.fmflow(&["run", "tiny.kdl", "--until", "r/a"]).ok();
    let status = window.fmflow(&["status", "tiny.kdl"]).ok();
    assert!(status.stdout.contains("a window on 64 shards, rows of 64"), "{}", status.stdout);
    assert!(
        status.stdout.contains("0 shards made so far, 0 of them there: 0 B of 160 KiB"),
        "{}",
        status.stdout
    );
    let none = window.fmflow(&["data", "show", "tiny.kdl", "r/a"]).exits(8);
    none.says("no shard of these rows is there").says("no training has read them yet").says("--held-out");
    window.fmflow(&["run", "tiny.kdl"]).ok();
    let why = window.fmflow(&["why", "tiny.kdl", "r/a"]).ok();
    why.says("the plan of the window is finished, and training makes its rows: 64 shards made so far");
    let shown = window.fmflow(&["data", "show", "tiny.kdl", "r/a"]).ok();
    let there = files(&window_folder(&window, "r/a"), ".rows").len();
    let said = format!("in the {there} of 64 shards that are there now; {} were dropped", 64 - there);
    assert!(shown.stdout.contains(&said) && shown.stdout.contains("row 0 (shard "), "{}", shown.stdout);
    window.fmflow(&["data", "show", "tiny.kdl", "r/a", "--held-out", "-n", "1"]).ok();
    let stats = window.fmflow(&["data", "stats", "tiny.kdl", "r/a"]).ok();
    assert!(stats.stdout.contains("rows of 64 tokens"), "{}", stats.stdout);
    let folder = window_folder(&window, "r/a");
    window.fmflow(&["gc", "tiny.kdl"]).ok().says("windows/r.a-");
    // The size of a window changes nothing; without one the rows are others.
    window.edit("tiny.kdl", "320KiB", "400KiB");
    window.fmflow(&["run", "tiny.kdl"]).ok().says("nothing to do");
    window.edit("tiny.kdl", " { window disk=\"400KiB\" }", "");
    window.fmflow(&["why", "tiny.kdl", "r/a"]).ok().says("window");
    window.fmflow(&["run", "tiny.kdl"]).ok();
    window.fmflow(&["gc", "tiny.kdl", "--yes"]).ok();
    assert!(!folder.exists());
}

/// Two more trainings: one that goes on behind the first, and one that starts over while that runs.
const MORE: &str = r#"
train "next" from="ar" use="common" { steps 30 }
train "other" from="i" use="common" { batch rows=8; steps 50 }
"#;

#[test]
fn several_trainings_share_a_window() {
    let pipeline = PIPELINE.replace("steps 180", "steps 70") + MORE;
    let (whole, window) = (project(&pipeline.replace(WINDOW, "")), project(&pipeline));
    whole.fmflow(&["run", "tiny.kdl"]).ok();
    window.fmflow(&["run", "tiny.kdl", "--jobs", "2"]).ok();
    for stage in ["ar", "next", "other"] {
        assert_eq!(window.digest_of(stage), whole.digest_of(stage), "{stage}");
    }
    // A stage that begins behind shards that nobody made counts them first.
    let folder = window_folder(&window, "r/a");
    fs::remove_dir_all(folder).unwrap();
    window.edit("tiny.kdl", "steps 30", "steps 31");
    whole.edit("tiny.kdl", "steps 30", "steps 31");
    window.fmflow(&["run", "tiny.kdl"]).ok();
    whole.fmflow(&["run", "tiny.kdl"]).ok();
    assert_eq!(window.digest_of("next"), whole.digest_of("next"));
}

#[test]
fn copies_of_contents_in_s3_have_no_window() {
    let far = r#" format="jsonl" held-out="10%" { duplicates "drop"; contents from="s3://bucket/{id}" }"#;
    let near = r#" format="text" documents="lines" held-out="10%" tokens=30000"#;
    let window = project(&PIPELINE.replace(near, far));
    window.write("b/00.txt", "{\"id\": \"x\"}\n");
    window.edit("tiny.kdl", "b/*.txt", "b/00.txt");
    let checked = window.fmflow(&["check", "tiny.kdl"]).ok();
    let checked =
        checked.says("not supported yet: a window on a dataset that drops copies of contents in S3");
    checked.says("write `duplicates \"keep\"`, or remove `window`");
    window.fmflow(&["run", "tiny.kdl"]).exits(2).says("drops copies of contents in S3");
}
