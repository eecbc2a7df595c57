//! A second run on a store of 100 GiB reads little of it, through the binary. The files are sparse.

#![cfg(feature = "cpu")]
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Child;
use std::time::Duration;

use serde_json::{Value, json};

use crate::common::{Project, TINY_TRAINING};

const PIPELINE: &str = r#"pipeline "w" seed=5
dataset "a" from="a.txt" format="text" documents="lines" held-out="10%"
tokenizer "t" kind="byte-level-bpe" vocabulary=320 { dataset "a" }
rows "r" tokenizer="t" length=64 packing="concat"
mixture "m" { dataset "a" }
"#;

const MEASURED: &str = "evaluate \"e\" { checkpoint \"ar\"; held-out dataset=\"a\" }\n";

const CHUNK: u64 = 16 << 20;

fn write(path: &Path, bytes: &[u8]) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(path, bytes).unwrap();
}

/// Lets an artifact of rows have so many more bytes of rows, which are holes, with everything that says so.
fn grow(folder: &Path, bytes: u64) {
    let rows = folder.join("rows.bin");
    let about = folder.join("rows.json");
    let mut summary: Value = serde_json::from_slice(&fs::read(&about).unwrap()).unwrap();
    let before = fs::metadata(&rows).unwrap().len();
    let record = before / summary["train"]["rows"].as_u64().unwrap();
    let count = (before + bytes) / record;
    let size = count * record;
    fs::set_permissions(&rows, fs::Permissions::from_mode(0o644)).unwrap();
    fs::File::options().write(true).open(&rows).unwrap().set_len(size).unwrap();
    summary["train"]["rows"] = count.into();
    summary["shards"]["rows"] = json!([count]);
    let text = serde_json::to_vec_pretty(&summary).unwrap();
    write(&about, &text);
    let digest = |bytes: &[u8]| blake3::hash(bytes).to_hex().to_string();
    let mut first = Vec::new();
    fs::File::open(&rows).unwrap().take(CHUNK).read_to_end(&mut first).unwrap();
    let hole = digest(&vec![0; CHUNK as usize]);
    let mut chunks = vec![hole; (size / CHUNK) as usize];
    chunks[0] = digest(&first);
    chunks.push(digest(&vec![0; (size % CHUNK) as usize]));
    let path = folder.join("manifest.json");
    let mut manifest: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    for file in manifest["files"].as_array_mut().unwrap() {
        match file["name"].as_str().unwrap() {
            // Nobody reads the digest of the whole but `verify`.
            "rows.bin" => (file["size"], file["chunks"]) = (size.into(), json!(chunks)),
            "rows.json" => {
                let digest = digest(&text);
                (file["size"], file["chunks"]) = (text.len().into(), json!([digest]));
                file["blake3"] = digest.into();
            }
            _ => {}
        }
    }
    manifest["root"] = "".into();
    let unsigned = serde_json::to_string_pretty(&manifest).unwrap();
    let body = unsigned.strip_suffix("\"\"\n}").expect("the root comes last");
    write(&path, format!("{body}\"{}\"\n}}\n", digest(body.as_bytes())).as_bytes());
}

/// Bytes that a program has read until its end, from files and otherwise.
fn count_read_bytes(mut child: Child) -> u64 {
    let folder = format!("/proc/{}", child.id());
    loop {
        let stat = fs::read_to_string(format!("{folder}/stat")).unwrap();
        if stat.rsplit_once(')').unwrap().1.trim_start().starts_with('Z') {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let io = fs::read_to_string(format!("{folder}/io")).unwrap();
    let read = io.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap().parse().unwrap();
    assert!(child.wait().unwrap().success());
    read
}

/// A project with so many lines of text.
fn project(lines: usize, pipeline: &str) -> Project {
    let project = Project::empty();
    let line = |i: usize| format!("line {i} of this text says {} and {}\n", i * 7 % 13, i * i % 29);
    project.write("a.txt", &(0..lines).map(line).collect::<String>());
    project.write("tiny.kdl", pipeline);
    project
}

#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "reads /proc")]
fn a_second_run_on_a_store_of_100_gib_reads_little_of_it() {
    let project = project(600, &format!("{PIPELINE}{TINY_TRAINING}"));
    project.fmflow(&["run", "tiny.kdl"]).ok();
    grow(&project.artifact("r/a"), 100 << 30);
    let most = 64 << 20;
    // Nothing to do, and a stage that reads held-out rows beside the large file.
    let read = count_read_bytes(project.spawn(&["run", "tiny.kdl"]));
    assert!(read < most, "{read}");
    project.append("tiny.kdl", MEASURED);
    let read = count_read_bytes(project.spawn(&["run", "tiny.kdl"]));
    assert!(read < most, "{read}");
    project.fmflow(&["run", "tiny.kdl"]).ok().says("nothing to do");
    for command in ["plan", "status", "why"] {
        let read = count_read_bytes(project.spawn(&[command, "tiny.kdl"]));
        assert!(read < most, "{command}: {read}");
    }
}

#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "reads /proc")]
fn a_model_that_was_compared_before_is_read_only_to_be_used() {
    let large =
        TINY_TRAINING.replace("hidden=8 ", "hidden=64 ").replace("feed-forward=16", "feed-forward=32768");
    let text = format!("{PIPELINE}{large}");
    let project = project(100, &text);
    project.fmflow(&["run", "tiny.kdl"]).ok();
    let size = fs::metadata(project.artifact("ar").join("model.safetensors")).unwrap().len();
    assert!(size > 20 << 20, "{size}");
    // A file that could still change without a new time is not remembered.
    std::thread::sleep(Duration::from_millis(3100));
    let mut read = Vec::new();
    for first in [1, 2] {
        let measured = MEASURED.replace("dataset=\"a\"", &format!("dataset=\"a\" first={first}"));
        project.write("tiny.kdl", &format!("{text}{measured}"));
        read.push(count_read_bytes(project.spawn(&["run", "tiny.kdl"])));
    }
    assert!(read[0] > 2 * size && read[1] > size && read[1] < 2 * size, "{read:?}, {size}");
}
