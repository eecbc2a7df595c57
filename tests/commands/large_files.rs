//! Files that are larger than a shard are divided, through the binary: rows, windows, errors and revisions.

#![cfg(feature = "cpu")]
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fmt::Write as _;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_array::{ArrayRef, RecordBatch, StringArray};
use fmflow_engine::check::{CheckOptions, check_path};
use fmflow_engine::pipeline::code_revision::find_stage_revision;
use parquet::arrow::ArrowWriter;
use serde_json::{Value, json};

use super::window::{TRAINING, WINDOW};
use crate::common::{Project, golden, gzip};

/// One file of lines, and one of JSON lines with a cap, copies and words of others.
const DATASETS: &str = r#"pipeline "w" seed=5
dataset "a" from="a.txt" format="text" documents="lines" held-out="10%"
dataset "b" from="b.jsonl" format="jsonl" held-out="10%" tokens=10000 {
    duplicates "drop" { dataset "a" }
    contamination held-out="a" ngram=6
    on-bad-record "skip" max="5%"
}
"#;

fn line(name: &str, number: usize) -> String {
    let say = |k: usize| ["sea", "tree", "moon", "old", "new", "house", "runs", "sings"][k % 8];
    let words = (0..number % 9).map(|k| say(number * (k + 3) / 2 + k));
    format!("{name} {number} says {}", words.collect::<Vec<_>>().join(" "))
}

fn text(name: &str, bytes: usize) -> String {
    let mut text = String::new();
    for number in 0.. {
        if text.len() >= bytes {
            break;
        }
        // Blank lines, and lines of both ends, are read as in a file that is not divided.
        let end = if number % 11 == 0 { "\r\n\n" } else { "\n" };
        write!(text, "{}{end}", line(name, number)).unwrap();
    }
    text
}

fn records(bytes: usize) -> String {
    let mut text = String::new();
    for number in 0.. {
        if text.len() >= bytes {
            break;
        }
        let record = match number % 40 {
            7 => "{\"text\": null}".to_owned(),
            11 => json!({ "text": line("b", number % 400) }).to_string(),
            13 => json!({ "text": line("a", number) }).to_string(),
            _ => json!({ "text": line("b", number) }).to_string(),
        };
        writeln!(text, "{record}").unwrap();
    }
    text
}

fn of(pipeline: &str) -> Project {
    let project = Project::empty();
    project.write("tiny.kdl", pipeline);
    project
}

fn project(pipeline: &str) -> Project {
    let project = of(pipeline);
    project.write("a.txt", &text("a", 192_000));
    project.write("b.jsonl", &records(120_000));
    project
}

fn pipeline() -> String {
    format!("{DATASETS}{TRAINING}")
}

#[test]
fn a_window_of_large_files_changes_no_weight() {
    let (whole, window) = (project(&pipeline().replace(WINDOW, "")), project(&pipeline()));
    whole.fmflow(&["run", "tiny.kdl"]).ok();
    window.fmflow(&["run", "tiny.kdl"]).ok().says("a window on 64 shards");
    assert_eq!(window.digest_of("ar"), whole.digest_of("ar"));
    for rows in ["r/a", "r/b"] {
        let read = |project: &Project, file| fs::read(project.artifact(rows).join(file)).unwrap();
        assert_eq!(read(&window, "held-out.bin"), read(&whole, "held-out.bin"), "{rows}");
    }
    let stats = whole.fmflow(&["data", "stats", "tiny.kdl", "r/b"]).ok().stdout;
    assert!(stats.contains("skipped") && stats.contains("duplicates: "), "{stats}");
}

#[test]
fn kills_at_any_instant_change_no_weight() {
    let (whole, window) = (project(&pipeline().replace(WINDOW, "")), project(&pipeline()));
    whole.fmflow(&["run", "tiny.kdl", "--until", "i"]).ok();
    let start = Instant::now();
    whole.fmflow(&["run", "tiny.kdl"]).ok();
    let duration = start.elapsed();
    for project in [&window, &project(&pipeline().replace(WINDOW, ""))] {
        let mut killed = 0;
        for i in 1..=10 {
            let pause = duration.mul_f64(golden(i) / 3.0).max(Duration::from_millis(20));
            killed += i32::from(project.kill_after(&["run", "tiny.kdl"], pause).status.signal() == Some(9));
        }
        assert!(killed > 3, "{killed}");
        project.fmflow(&["run", "tiny.kdl"]).ok();
        assert_eq!(project.digest_of("ar"), whole.digest_of("ar"));
    }
}

/// The same documents in files that this test cut by the rule of docs/data.md.
#[test]
fn rows_of_a_divided_file_are_those_of_its_parts() {
    let rows = TRAINING.replace(WINDOW, "");
    let only = |from: &str, shard: &str| {
        let dataset = "pipeline \"w\" seed=5\ndataset \"b\" from=\"other.txt\" format=\"text\" documents=\"lines\" held-out=\"10%\"\n";
        let dataset = format!(
            "{dataset}dataset \"a\" from=\"{from}\" format=\"text\" documents=\"lines\" held-out=\"10%\"\n"
        );
        of(&format!("{dataset}{}", rows.replace("3000B", shard)))
    };
    let (whole, cut) = (only("a.txt", "3000B"), only("parts/*.txt", "2000B"));
    let text = text("a", 192_000);
    let count = text.len() / 3000;
    let mut parts = vec![String::new(); count];
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let part = (0..count).rfind(|part| text.len() * part / count <= at).unwrap();
        parts[part].push_str(line);
        at += line.len();
    }
    for project in [&whole, &cut] {
        project.write("other.txt", "one\ntwo\nthree\nfour\nfive\nsix\n");
    }
    whole.write("a.txt", &text);
    for (number, part) in parts.iter().enumerate() {
        cut.write(&format!("parts/{number:03}.txt"), part);
    }
    for project in [&whole, &cut] {
        project.fmflow(&["run", "tiny.kdl", "--until", "r/a"]).ok();
    }
    let read = |project: &Project| fs::read(project.artifact("r/a").join("rows.bin")).unwrap();
    assert!(read(&whole) == read(&cut));
    let shards = |project: &Project| {
        let summary = fs::read(project.artifact("r/a").join("rows.json")).unwrap();
        serde_json::from_slice::<Value>(&summary).unwrap()["shards"]["rows"].clone()
    };
    assert_eq!(shards(&whole), shards(&cut));
    assert_eq!(shards(&whole).as_array().unwrap().len(), count);
}

#[test]
fn a_fault_deep_in_a_large_file_is_told_with_its_line() {
    let faulty = |pipeline: &str| {
        let project = project(&pipeline.replace("    on-bad-record \"skip\" max=\"5%\"\n", ""));
        let records = records(120_000);
        let mut lines: Vec<&str> = records.lines().filter(|line| !line.contains("null")).collect();
        let (deep, number) = ("{\"text\": 5}", lines.len() - 200);
        lines.insert(number, deep);
        project.write("b.jsonl", &(lines.join("\n") + "\n"));
        (project, format!("b.jsonl:{}: field `text` is not a string but a number", number + 1))
    };
    let uncapped =
        pipeline().replace(" tokens=10000", "").replace("dataset \"a\"; dataset \"b\" }", "dataset \"a\" }");
    let (whole, place) = faulty(&uncapped.replace(WINDOW, ""));
    whole.fmflow(&["run", "tiny.kdl"]).exits(8).says(&place);
    // The plan of the window reads all documents to find copies; without them only the shard with the fault sees it.
    let (window, place) = faulty(&uncapped.replace("    duplicates \"drop\" { dataset \"a\" }\n", ""));
    window.fmflow(&["run", "tiny.kdl"]).exits(8).says(&place);
}

#[test]
fn tables_are_divided_by_their_row_groups_and_compressed_files_are_not() {
    let table = |groups: usize| {
        let batch = |group: usize| {
            let texts = (0..40).map(|row| line("table", group * 40 + row)).collect::<Vec<_>>();
            RecordBatch::try_from_iter([("text", Arc::new(StringArray::from(texts)) as ArrayRef)]).unwrap()
        };
        let mut writer = ArrowWriter::try_new(Vec::new(), batch(0).schema(), None).unwrap();
        for group in 0..groups {
            writer.write(&batch(group)).unwrap();
            writer.flush().unwrap();
        }
        writer.into_inner().unwrap()
    };
    let datasets = "pipeline \"w\" seed=5\n\
        dataset \"a\" from=\"a.parquet\" format=\"parquet\" held-out=\"10%\"\n\
        dataset \"b\" from=\"packed\" format=\"text\" documents=\"lines\" held-out=\"10%\"\n";
    let pipeline = format!("{datasets}{TRAINING}").replace("steps 180", "steps 40").replace("320KiB", "1MiB");
    let make = |pipeline: &str| {
        let project = of(pipeline);
        fs::write(project.path().join("a.parquet"), table(60)).unwrap();
        // Its name does not say that it is compressed.
        fs::write(project.path().join("packed"), gzip(text("b", 90_000).as_bytes())).unwrap();
        project
    };
    let (whole, window) = (make(&pipeline.replace(" { window disk=\"1MiB\" }", "")), make(&pipeline));
    whole.fmflow(&["run", "tiny.kdl"]).ok();
    window.fmflow(&["run", "tiny.kdl"]).ok();
    assert_eq!(window.digest_of("ar"), whole.digest_of("ar"));
    let summary = |rows: &str| -> Value {
        serde_json::from_slice(&fs::read(whole.artifact(rows).join("rows.json")).unwrap()).unwrap()
    };
    let counts = |rows: &str| -> Vec<u64> {
        summary(rows)["shards"]["rows"]
            .as_array()
            .unwrap()
            .iter()
            .map(|rows| rows.as_u64().unwrap())
            .collect()
    };
    let documents = |rows: &str| {
        let summary = summary(rows);
        let later = summary["shards"]["held_out_later"].as_u64().unwrap();
        summary["train"]["documents"].as_u64().unwrap()
            + summary["held_out"]["documents"].as_u64().unwrap()
            + later
    };
    assert_eq!(documents("r/a"), 60 * 40);
    assert!(counts("r/a").iter().filter(|rows| **rows > 0).count() > 3, "{:?}", counts("r/a"));
    // All of a compressed file is in its first part.
    let packed = counts("r/b");
    assert!(packed.len() > 1 && packed[0] > 0 && packed[1..].iter().all(|rows| *rows == 0), "{packed:?}");
    assert_eq!(documents("r/b") as usize, text("b", 90_000).lines().filter(|line| !line.is_empty()).count());
}

#[test]
fn only_rows_of_divided_files_have_a_revision_of_their_own() {
    let revision = |project: &Project| {
        let checked = check_path(&project.path().join("tiny.kdl"), &CheckOptions::default());
        let pipeline = checked.pipeline.unwrap();
        find_stage_revision(pipeline.stages.iter().find(|stage| stage.name == "r/a").unwrap())
    };
    let large = project(&pipeline());
    assert_eq!(revision(&large), 7);
    large.edit("tiny.kdl", "3000B", "100KiB");
    assert_eq!(revision(&large), 6);
    large.edit("tiny.kdl", "documents=\"lines\"", "documents=\"file\"");
    large.edit("tiny.kdl", "100KiB", "3000B");
    assert_eq!(revision(&large), 6);
}
