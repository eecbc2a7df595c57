//! Data through the binary: what is wrong with lines and what is left out of them is reported, all at once.

#![cfg(feature = "cpu")]

use std::io::Write as _;

use crate::common::{Project, Ran};
use serde_json::{Value, json};

const HEAD: &str = r#"pipeline "d" seed=1
tokenizer "t" kind="byte-level-bpe" vocabulary=320 { dataset "d" }
rows "r" tokenizer="t" length=64 packing="first-fit"
mixture "m" { dataset "d" }
random-init "i" tokenizer="t" { shape "qwen3" hidden=8 layers=1 heads=2 head-dim=4 feed-forward=16 }
train "ar" from="i" {
    data rows="r" mixture="m"
    objective "autoregressive"
    attention "causal"
    batch rows=4
    learning-rate peak=1e-3 final=1e-4 shape="cosine"
    steps 1
}
"#;

/// A project whose dataset has these lines and these settings.
fn project(lines: impl Iterator<Item = Value>, settings: &str) -> Project {
    let project = Project::empty();
    let lines: Vec<String> = lines.map(|line| line.to_string()).collect();
    project.write("d.jsonl", &lines.join("\n"));
    let dataset = format!("dataset \"d\" from=\"d.jsonl\" format=\"jsonl\" held-out=\"20%\" {settings}\n");
    project.write("p.kdl", &format!("{HEAD}{dataset}"));
    project
}

fn make_rows(project: &Project) -> Ran {
    project.fmflow(&["run", "p.kdl", "--until", "r/d"])
}

/// Lines in the layout of Alpaca; every second one has an input.
fn alpaca() -> impl Iterator<Item = Value> {
    (0..40).map(|i| {
        let input = if i % 2 == 1 { format!("letters {i}") } else { String::new() };
        json!({ "instruction": format!("Sort {i}."), "input": input, "output": "a b", "system": "Be kind." })
    })
}

#[test]
fn fields_that_no_setting_reads_are_told_by_check_and_by_rows() {
    let unread = "no setting reads the content of `input`: 20 of 40 documents (50.0 %), first in ";
    let project = project(alpaca(), "{ chat user=\"instruction\" assistant=\"output\" }");
    let checked = project.fmflow(&["check", "p.kdl", "--format", "concise"]).ok();
    assert!(checked.stdout.contains(&format!("{unread}d.jsonl:2")), "{}", checked.stdout);
    assert!(
        checked.stdout.contains("the content of `system`: 40 of 40 documents (100.0 %)"),
        "{}",
        checked.stdout
    );
    project.fmflow(&["check", "p.kdl", "--deny", "unread-field"]).exits(2);
    make_rows(&project).ok().says(unread).says("write `input=\"input\"` in `chat`");
    let shown = project.fmflow(&["show", "p.kdl", "r/d"]).ok();
    assert!(shown.stdout.contains(unread), "{}", shown.stdout);
    project.edit("p.kdl", "held-out=\"20%\" {", "held-out=\"20%\" strict=#true {");
    project
        .fmflow(&["run", "p.kdl"])
        .exits(8)
        .says("d.jsonl:1: field `system`")
        .says("19 more in lines 3, 5");
}

#[test]
fn an_input_is_learned_and_asked_after_its_question() {
    let settings = "{ chat user=\"instruction\" input=\"input\" assistant=\"output\" system=\"system\" }";
    let project = project(alpaca(), settings);
    let ran = make_rows(&project).ok();
    assert!(!ran.stderr.contains("no setting reads"), "{}", ran.stderr);
    let folder = project.fmflow(&["show", "p.kdl", "r/d", "--path"]).ok().stdout;
    let held_out = std::fs::read_to_string(std::path::Path::new(folder.trim_end()).join("held-out.jsonl"));
    let held_out = held_out.unwrap_or_default();
    assert!(held_out.lines().count() > 2, "{held_out}");
    for line in held_out.lines() {
        let chat: Value = serde_json::from_str(line).unwrap_or_default();
        assert_eq!(chat["before"], json!([{ "role": "system", "content": "Be kind." }]));
        let prompt = chat["prompt"].as_str().unwrap_or_default();
        let number: u32 = prompt[5..prompt.find('.').unwrap_or(5)].parse().unwrap_or_default();
        let input = if number % 2 == 1 { format!("\nletters {number}") } else { String::new() };
        assert_eq!(prompt, format!("Sort {number}.{input}"));
    }
}

#[test]
fn data_that_cannot_be_divided_say_why() {
    let line = |i: usize| json!({ "q": "Sort these.", "i": format!("letters {i}"), "a": "a b" });
    let project = project((0..40).map(line), "{ chat user=\"q\" assistant=\"a\"; }");
    make_rows(&project).exits(8).says("all 40 conversations begin with the same question").says("`input=`");
    project.edit("p.kdl", "assistant=\"a\"", "input=\"i\" assistant=\"a\"");
    make_rows(&project).ok();
}

#[test]
fn all_faults_are_told_in_one_run_and_in_one_check() {
    let line = |i: usize| match i {
        3 => json!({ "q": "x" }),
        7 => json!({ "q": "x", "a": 7 }),
        1100.. => json!({ "q": "", "a": "y" }),
        _ => json!({ "q": format!("question {i}"), "a": "y" }),
    };
    let project = project((0..1130).map(line), "{ chat user=\"q\" assistant=\"a\" }");
    let checked = project.fmflow(&["check", "p.kdl"]).exits(8);
    checked.says("d.jsonl:4: field `a` is missing").says("d.jsonl:8: field `a` is not a string but a number");
    project.fmflow(&["run", "p.kdl"]).exits(8).says("d.jsonl:4").says("d.jsonl:8");
    project.fmflow(&["status", "p.kdl"]).ok();
    let lines = std::fs::read_to_string(project.path().join("d.jsonl")).unwrap_or_default();
    let mut lines: Vec<&str> = lines.lines().collect();
    (lines[3], lines[7]) = (lines[0], lines[0]);
    project.write("d.jsonl", &lines.join("\n"));
    project.fmflow(&["check", "p.kdl"]).ok();
    let ran = project.fmflow(&["run", "p.kdl"]).exits(8);
    ran.says("the data have 30 faults").says("d.jsonl:1101: field `q` is empty").says("and 10 more");
}

/// The tokens of the rows, and the folder's other files that hold data.
fn rows_bytes(project: &Project) -> Vec<(String, Vec<u8>)> {
    let folder = project.fmflow(&["show", "p.kdl", "r/d", "--path"]).ok().stdout;
    let read = |name: &str| {
        let path = std::path::Path::new(folder.trim_end()).join(name);
        (name.to_owned(), std::fs::read(path).unwrap_or_else(|error| panic!("{name}: {error}")))
    };
    ["rows.bin", "rows.json", "tokenizer.json"].map(read).into()
}

fn write_bytes(project: &Project, name: &str, bytes: &[u8]) {
    std::fs::write(project.path().join(name), bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    packer.write_all(bytes).and_then(|()| packer.finish()).unwrap_or_else(|error| panic!("{error}"))
}

fn zstandard(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 3).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn compressed_files_and_cr_lf_give_the_rows_of_plain_ones() {
    let settings = "{ chat user=\"instruction\" input=\"input\" assistant=\"output\" system=\"system\" }";
    let project = project(alpaca(), settings);
    make_rows(&project).ok();
    let (plain, text) =
        (rows_bytes(&project), std::fs::read(project.path().join("d.jsonl")).unwrap_or_default());
    let crlf = String::from_utf8_lossy(&text).replace('\n', "\r\n").into_bytes();
    let mut named = "d.jsonl".to_owned();
    for (name, bytes) in [("e.jsonl.gz", gzip(&text)), ("e.jsonl.zst", zstandard(&text)), ("e.jsonl", crlf)] {
        write_bytes(&project, name, &bytes);
        project.edit("p.kdl", &format!("from=\"{named}\""), &format!("from=\"{name}\""));
        named = name.to_owned();
        project.fmflow(&["check", "p.kdl", "--deny", "warnings"]).ok();
        make_rows(&project).ok();
        assert!(rows_bytes(&project) == plain, "{name}");
    }
}

#[test]
fn a_compressed_file_that_is_cut_or_misnamed_is_an_error_with_its_place() {
    let settings = "{ chat user=\"instruction\" assistant=\"output\"; unread \"input\" \"system\" }";
    let many = (0..20_000).map(|i| json!({ "instruction": format!("Sort {}.", i * 7919), "output": "a b" }));
    let project = project(many, settings);
    let text = std::fs::read(project.path().join("d.jsonl")).unwrap_or_default();
    let packed = gzip(&text);
    let half = packed.len() / 2;
    write_bytes(&project, "d.jsonl.gz", &packed[..half]);
    project.edit("p.kdl", "d.jsonl\"", "d.jsonl.gz\"");
    project.fmflow(&["check", "p.kdl"]).ok();
    make_rows(&project).exits(8).says("d.jsonl.gz").says(&format!("cut off at byte {half}"));
    write_bytes(&project, "d.jsonl.gz", &packed[..60]);
    project.fmflow(&["check", "p.kdl"]).exits(2).says("cut off at byte 60");
    write_bytes(&project, "d.jsonl.gz", &zstandard(&text));
    project.fmflow(&["check", "p.kdl"]).exits(2).says("its name says gzip, but its content is Zstandard");
}
