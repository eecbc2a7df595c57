//! Rows without a window that are killed go on behind their last shard, through the binary: the same bytes at whatever instant.

#![cfg(feature = "cpu")]
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::common::{Project, golden, send_signal};

/// Everything that rows remember of documents they have read: copies, words of others, faults, a cap, held-out documents.
const PIPELINE: &str = r#"pipeline "r" seed=5
dataset "a" from="a/*.jsonl" format="jsonl" held-out="5%" tokens=1200000 {
    duplicates "drop" { dataset "b" }
    contamination held-out="b" ngram=5
    on-bad-record "skip" max="10%"
    filter { kind "x" "y" }
}
dataset "b" from="b/*.jsonl" format="jsonl" held-out="5%" { filter { kind "x" "y" } }
dataset "talk" from="talk/*.jsonl" format="jsonl" held-out="5%" { chat user="q" assistant="a" }
tokenizer "t" kind="byte-level-bpe" vocabulary=320 { dataset "b" }
rows "r" tokenizer="t" length=64 packing="concat" shard="24KiB"
rows "c" tokenizer="t" length=64 packing="first-fit" shard="24KiB"
mixture "m" { dataset "a" }
mixture "n" { dataset "talk" }
random-init "i" tokenizer="t" { shape "qwen3" hidden=8 layers=1 heads=2 head-dim=4 feed-forward=16 }
recipe "left" {
    objective "autoregressive"
    attention "causal"
    batch rows=2
    learning-rate peak=1e-3 final=1e-4 shape="cosine"
    steps 1
}
train "ar" from="i" use="left" { data rows="r" mixture="m" }
train "talks" from="i" use="left" { data rows="c" mixture="n" }
"#;

fn project() -> Project {
    let project = Project::empty();
    project.write("tiny.kdl", PIPELINE);
    let word = |k: usize| ["the", "a", "of", "old", "new", "sea", "tree", "says", "runs", "to"][k % 10];
    for file in 0..120 {
        let record = |i: usize| {
            let k = file * 7919 + i * 104_729;
            // Some say what a document of the other dataset says.
            let said = if i % 20 == 3 { file % 4 * 7919 + i * 3 % 120 * 104_729 } else { k };
            let words = (0..40).map(|j| format!("{}{}", word(said + j), said * (j + 3) % 1009));
            let words: Vec<_> = words.collect();
            // Some are at fault, some are filtered out, and some are in several files.
            let kind = ["x", "y", "z"][k % 3];
            match i % 20 {
                10 => json!({ "kind": kind, "text": null }),
                7 => json!({ "kind": kind, "text": format!("number {} is everywhere", k % 97) }),
                _ => json!({ "kind": kind, "text": format!("{k} {}", words.join(" ")) }),
            }
        };
        let text: String = (0..120).map(|i| record(i).to_string() + "\n").collect();
        project.write(&format!("a/{file:03}.jsonl"), &text);
        if file < 4 {
            let sound = |line: &&str| !line.contains("null");
            let text: Vec<_> = text.lines().filter(sound).step_by(3).collect();
            project.write(&format!("b/{file:03}.jsonl"), &text.join("\n"));
        }
        let talk = |i: usize| json!({ "q": format!("{} {} {}?", word(i), file, i), "a": format!("{} {}", word(file), i * i) });
        let text: String = (0..250).map(|i| talk(i).to_string() + "\n").collect();
        project.write(&format!("talk/{file:03}.jsonl"), &text);
    }
    project.fmflow(&["run", "tiny.kdl", "--until", "t"]).ok();
    project
}

/// Digests of the files of an artifact, without what tells of times.
fn digests(folder: &Path) -> BTreeMap<String, String> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let named = files.map(|entry| (entry.file_name().into_string().unwrap(), entry.path()));
    let named = named.filter(|(name, _)| name != "manifest.json");
    named.map(|(name, path)| (name, blake3::hash(&fs::read(path).unwrap()).to_hex().to_string())).collect()
}

fn kill_often(rows: &str) {
    let (whole, killed) = (project(), project());
    let start = Instant::now();
    whole.fmflow(&["run", "tiny.kdl", "--until", rows]).ok();
    let mut duration = start.elapsed();
    let expected = digests(&whole.artifact(rows));
    let (mut kills, mut resumed) = (0, 0);
    for i in 1..=25 {
        let pause = duration.mul_f64(golden(i) * 0.9).max(Duration::from_millis(20));
        let ended = killed.kill_after(&["run", "tiny.kdl", "--until", rows], pause);
        if ended.status.code() == Some(0) {
            // It was quicker than thought: once more, from the beginning.
            let artifact = killed.artifact(rows);
            assert_eq!(digests(&artifact), expected);
            fs::remove_dir_all(artifact).unwrap();
            duration = duration.mul_f64(0.7);
        }
        kills += i32::from(ended.status.signal() == Some(9));
        resumed += i32::from(String::from_utf8_lossy(&ended.stderr).contains("goes on behind"));
    }
    killed.fmflow(&["run", "tiny.kdl", "--until", rows]).ok();
    assert!(kills > 3 && resumed > 1, "{kills} {resumed}");
    assert_eq!(digests(&killed.artifact(rows)), expected);
    killed.fmflow(&["verify", killed.artifact(rows).to_str().unwrap()]).ok();
}

#[test]
fn kills_at_any_instant_change_no_byte_of_rows_of_documents() {
    kill_often("r/a");
}

#[test]
fn kills_at_any_instant_change_no_byte_of_rows_of_conversations() {
    kill_often("c/talk");
}

/// The folder of a stage's unfinished work.
fn work(project: &Project) -> Option<PathBuf> {
    let folders = fs::read_dir(project.path().join(".fmflow/work")).unwrap();
    folders.map(|entry| entry.unwrap().path()).find(|path| path.to_string_lossy().contains("r.a-"))
}

/// A run that has noted a shard, or has ended.
fn spawn_until_a_shard(project: &Project) -> Child {
    let mut child = project.spawn(&["run", "tiny.kdl", "--until", "r/a"]);
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(60) && child.try_wait().unwrap().is_none() {
        if work(project).is_some_and(|folder| folder.join("growing.json").exists()) {
            break;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    child
}

/// Kills a run once it has noted a shard. Whether it came to that.
fn kill_behind_a_shard(project: &Project) -> bool {
    let mut child = spawn_until_a_shard(project);
    child.kill().unwrap();
    child.wait().unwrap().signal() == Some(9)
}

#[test]
fn what_was_kept_is_told_and_damage_of_it_is_no_harm() {
    let whole = project();
    whole.fmflow(&["run", "tiny.kdl", "--until", "r/a"]).ok();
    let expected = digests(&whole.artifact("r/a"));
    type Harm = fn(&Path);
    let harms: [(Harm, bool); 4] = [
        (|_| {}, true),
        (
            |folder| {
                let file = folder.join("growing/rows.bin");
                let mut bytes = fs::read(&file).unwrap();
                bytes[10] ^= 1;
                fs::write(file, bytes).unwrap();
            },
            false,
        ),
        (|folder| fs::write(folder.join("growing/rows.bin"), "").unwrap(), false),
        (
            |folder| {
                let note = folder.join("growing.json");
                let text = fs::read_to_string(&note).unwrap();
                fs::write(note, text.replacen("\"step\": ", "\"step\": 1", 1)).unwrap();
            },
            false,
        ),
    ];
    for (harm, goes_on) in harms {
        let project = project();
        assert!(kill_behind_a_shard(&project));
        let folder = work(&project).unwrap();
        assert!(folder.join("growing.json").exists());
        project.fmflow(&["plan", "tiny.kdl"]).ok().says("continues after shard ");
        harm(&folder);
        let ran = project.fmflow(&["run", "tiny.kdl", "--until", "r/a"]).ok();
        assert_eq!(ran.stderr.contains("goes on behind"), goes_on, "{}", ran.stderr);
        assert_eq!(digests(&project.artifact("r/a")), expected);
        assert!(work(&project).is_none());
    }
}

#[test]
fn a_signal_says_that_rows_go_on() {
    let project = project();
    // A run that was quicker than its signal is asked for again.
    for _ in 0..10 {
        let mut child = spawn_until_a_shard(&project);
        if child.try_wait().unwrap().is_none() {
            send_signal(child.id(), "INT");
        }
        let ended = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        if ended.status.code() == Some(75) {
            assert!(said.contains("goes on behind its last shard"), "{said}");
            return;
        }
        assert_eq!(ended.status.code(), Some(0), "{said}");
        fs::remove_dir_all(project.artifact("r/a")).unwrap();
    }
    panic!("no signal came before the end");
}
