//! Event files of TensorBoard beside the metrics: read here by a decoder written from the description of the format (TFRecord with masked
//! CRC-32C; `Event`, `Summary` and `SessionLog` of tensorflow/core), which shares no code with the writer.

#![cfg(feature = "cpu")]
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::common::Project;
use crate::run::wait_for_checkpoint;

/// CRC-32C, bit by bit, with the mask of TFRecord.
fn checksum(bytes: &[u8]) -> u32 {
    let mut sum = u32::MAX;
    for byte in bytes {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = if sum & 1 == 1 { (sum >> 1) ^ 0x82f6_3b78 } else { sum >> 1 };
        }
    }
    let sum = !sum;
    sum.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// The records of a file; a torn last one is left out.
fn records(bytes: &[u8]) -> Vec<Vec<u8>> {
    let (mut found, mut rest) = (Vec::new(), bytes);
    while rest.len() >= 16 {
        let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
        assert_eq!(u32::from_le_bytes(rest[8..12].try_into().unwrap()), checksum(&rest[..8]));
        if rest.len() < length + 16 {
            break;
        }
        let data = &rest[12..12 + length];
        assert_eq!(u32::from_le_bytes(rest[12 + length..16 + length].try_into().unwrap()), checksum(data));
        found.push(data.to_vec());
        rest = &rest[16 + length..];
    }
    found
}

/// A field of a message: a number (also the bits of a float) or bytes.
#[derive(Clone, Debug, PartialEq)]
enum Field {
    Number(u64),
    Bytes(Vec<u8>),
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..).step_by(7) {
        let byte = bytes[0];
        *bytes = &bytes[1..];
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
    }
    value
}

fn message(mut bytes: &[u8]) -> Vec<(u64, Field)> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let mut take = |count: usize| {
            let (taken, rest) = bytes.split_at(count);
            bytes = rest;
            taken.to_vec()
        };
        let field = match key & 7 {
            1 => Field::Number(u64::from_le_bytes(take(8).try_into().unwrap())),
            5 => Field::Number(u64::from(u32::from_le_bytes(take(4).try_into().unwrap()))),
            0 => Field::Number(varint(&mut bytes)),
            2 => {
                let length = varint(&mut bytes) as usize;
                let (taken, rest) = bytes.split_at(length);
                bytes = rest;
                Field::Bytes(taken.to_vec())
            }
            other => panic!("wire type {other}"),
        };
        found.push((key >> 3, field));
    }
    found
}

fn bytes_of(fields: &[(u64, Field)], number: u64) -> Vec<Vec<u8>> {
    let own = fields.iter().filter(|(found, _)| *found == number);
    own.map(|(_, field)| if let Field::Bytes(bytes) = field { bytes.clone() } else { panic!("{field:?}") })
        .collect()
}

fn number_of(fields: &[(u64, Field)], number: u64) -> u64 {
    let found = fields.iter().find(|(found, _)| *found == number);
    found.map_or(0, |(_, field)| if let Field::Number(value) = field { *value } else { panic!("{field:?}") })
}

/// Steps, times and values by tag.
fn read_events(path: &Path) -> BTreeMap<String, Vec<(u64, f64, f32)>> {
    // A file that was just replaced has no events.
    let records = records(&fs::read(path).unwrap_or_default());
    if records.is_empty() {
        return BTreeMap::new();
    }
    let events: Vec<_> = records.iter().map(|record| message(record)).collect();
    assert_eq!(bytes_of(&events[0], 3), [b"brain.Event:2".to_vec()]);
    let session = bytes_of(&events[1], 7);
    assert_eq!(
        (session.as_slice(), number_of(&events[1], 2)),
        (&[vec![8, 1]][..], 0),
        "START, from step 0 on"
    );
    let mut found: BTreeMap<String, Vec<(u64, f64, f32)>> = BTreeMap::new();
    for event in &events[2..] {
        let (time, step) = (f64::from_bits(number_of(event, 1)), number_of(event, 2));
        for summary in bytes_of(event, 5) {
            for value in bytes_of(&message(&summary), 1) {
                let value = message(&value);
                let tag = String::from_utf8(bytes_of(&value, 1).remove(0)).unwrap();
                let number = f32::from_bits(number_of(&value, 2) as u32);
                found.entry(tag).or_default().push((step, time, number));
            }
        }
    }
    found
}

/// Asserts that the events say what the metrics say, each step of a tag once.
fn assert_same(events: &BTreeMap<String, Vec<(u64, f64, f32)>>, metrics: &str) {
    for (tag, points) in events {
        assert!(points.windows(2).all(|pair| pair[0].0 < pair[1].0), "{tag}: no step twice");
        assert!(points.windows(2).all(|pair| pair[0].1 <= pair[1].1), "{tag}: time goes on");
    }
    let lines: Vec<Value> = metrics.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let series = |pick: &dyn Fn(&Value) -> Option<f64>| -> Vec<(u64, f32)> {
        lines.iter().filter_map(|line| Some((line["step"].as_u64()?, pick(line)? as f32))).collect()
    };
    let own = |tag: &str| -> Vec<(u64, f32)> {
        events[tag].iter().map(|(step, _, value)| (*step, *value)).collect()
    };
    assert_eq!(own("train/loss"), series(&|line| line["loss"].as_f64()));
    assert_eq!(own("train/loss_unweighted"), series(&|line| line["loss_unweighted"].as_f64()));
    assert_eq!(own("train/loss_t3"), series(&|line| line["loss_by_time"][3].as_f64()));
    assert_eq!(own("optim/lr"), series(&|line| line["learning_rate"].as_f64()));
    assert_eq!(own("optim/grad_norm"), series(&|line| line["grad_norm"].as_f64()));
    assert_eq!(
        own("optim/grad_norm/embedding"),
        series(&|line| line["grad_norm_by_group"]["embedding"].as_f64())
    );
    assert_eq!(own("perf/tok_s"), series(&|line| line["tokens_per_second"].as_f64()));
    assert_eq!(own("mem/max_gib"), series(&|line| line["peak_memory_gib"].as_f64()));
    assert!(!events.contains_key("perf/mfu") && !metrics.contains("mfu"), "a processor has no known peak");
    assert_eq!(own("data/tokens/text"), series(&|line| line["tokens_by_dataset"]["text"].as_f64()));
    let epochs = |line: &Value| line["epochs_by_dataset"]["text"].as_f64();
    assert_eq!(own("data/text/epoch"), series(&epochs));
    assert_eq!(own("eval/loss/text"), series(&|line| line["held_out_loss"]["text"].as_f64()));
}

/// The event files of the unfinished `ar`.
fn unfinished(project: &Project) -> Vec<PathBuf> {
    let work = fs::read_dir(project.path().join(".fmflow/work")).into_iter().flatten().flatten();
    let files = work
        .flat_map(|entry| fs::read_dir(entry.path()).into_iter().flatten().flatten())
        .map(|entry| entry.path());
    files.filter(|path| path.to_string_lossy().contains("tfevents")).collect()
}

/// Waits until the unfinished `ar` has one file of events, of this number, with a loss.
fn wait_for_events(project: &Project, number: u64) {
    for _ in 0..6000 {
        if let [file] = unfinished(project).as_slice()
            && file.to_string_lossy().ends_with(&format!("tfevents.{number:06}"))
            && read_events(file).contains_key("train/loss")
        {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("no events {number} within a minute: {:?}", unfinished(project));
}

#[test]
fn events_are_the_metrics_also_after_a_kill() {
    let project = Project::tiny();
    project.edit("tiny.kdl", "    steps 40\n}\n\nconvert", "    steps 400\n}\n\nconvert");
    for number in 1..=2 {
        let mut child = project.spawn(&["run", "tiny.kdl", "--until", "ar"]);
        // A reader that has the old file open goes on with the new one, because its name is later.
        wait_for_events(&project, number);
        wait_for_checkpoint(&project, "ar");
        child.kill().unwrap();
        child.wait().unwrap();
    }
    project.fmflow(&["run", "tiny.kdl", "--until", "ar"]).ok();
    let folder = project.artifact("ar");
    let metrics = fs::read_to_string(folder.join("metrics.jsonl")).unwrap();
    let events = read_events(&folder.join("events.out.tfevents"));
    assert_eq!(events["train/loss"].len(), 400);
    assert_same(&events, &metrics);
    let wait = &events["perf/data_wait_pct"];
    assert!(wait.iter().all(|(_, _, share)| (0.0..=100.0).contains(share)), "{wait:?}");
    assert!(unfinished(&project).is_empty());
    project.fmflow(&["verify", folder.to_str().unwrap()]).ok();
}
