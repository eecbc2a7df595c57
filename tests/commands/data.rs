//! Data through the binary: what is wrong with lines and what is left out of them is reported, all at once.

#![cfg(feature = "cpu")]

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, StringArray};
use arrow_ipc::writer::StreamWriter;
use parquet::arrow::ArrowWriter;

use crate::common::{Project, Ran, TINY_TRAINING, gzip};
use serde_json::{Value, json};

const HEAD: &str = r#"pipeline "d" seed=1
tokenizer "t" kind="byte-level-bpe" vocabulary=320 { dataset "d" }
rows "r" tokenizer="t" length=64 packing="first-fit"
mixture "m" { dataset "d" }
"#;

/// A project whose dataset has these lines and these settings.
fn project(lines: impl Iterator<Item = Value>, settings: &str) -> Project {
    let project = Project::empty();
    let lines: Vec<String> = lines.map(|line| line.to_string()).collect();
    project.write("d.jsonl", &lines.join("\n"));
    let dataset = format!("dataset \"d\" from=\"d.jsonl\" format=\"jsonl\" held-out=\"20%\" {settings}\n");
    project.write("p.kdl", &format!("{HEAD}{TINY_TRAINING}{dataset}"));
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

#[test]
fn a_length_that_check_allows_is_made_by_run() {
    let line = |i: usize| json!({ "q": format!("question {i}"), "a": "y" });
    let project = project((0..40).map(line), "{ chat user=\"q\" assistant=\"a\" }");
    project.edit("p.kdl", "length=64", "length=1048576");
    project.edit("p.kdl", "feed-forward=16", "feed-forward=16 context=1048576");
    project.fmflow(&["check", "p.kdl"]).ok();
    make_rows(&project).ok().says("1 row of 1048576");
    project.edit("p.kdl", "length=1048576", "length=1048577");
    project.fmflow(&["check", "p.kdl"]).exits(2).says("1048576");
}

/// The tokens of the rows, and the folder's other files that hold data.
fn rows_bytes(project: &Project) -> Vec<(String, Vec<u8>)> {
    let folder = project.fmflow(&["show", "p.kdl", "r/d", "--path"]).ok().stdout;
    let read = |name: &str| {
        let path = std::path::Path::new(folder.trim_end()).join(name);
        (name.to_owned(), std::fs::read(path).unwrap_or_else(|error| panic!("{name}: {error}")))
    };
    ["rows.bin", "rows.json", "tokenizer.json", "held-out.bin"].map(read).into()
}

fn write_bytes(project: &Project, name: &str, bytes: &[u8]) {
    std::fs::write(project.path().join(name), bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
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

/// A table of texts: one column for each name.
fn table(columns: &[(&str, Vec<String>)]) -> RecordBatch {
    let columns = columns.iter().map(|(name, texts)| {
        let texts: ArrayRef = Arc::new(StringArray::from(texts.clone()));
        (*name, texts)
    });
    RecordBatch::try_from_iter(columns).unwrap_or_else(|error| panic!("{error}"))
}

fn parquet(groups: &[RecordBatch]) -> Vec<u8> {
    let mut writer =
        ArrowWriter::try_new(Vec::new(), groups[0].schema(), None).unwrap_or_else(|e| panic!("{e}"));
    for group in groups {
        writer.write(group).and_then(|()| writer.flush()).unwrap_or_else(|error| panic!("{error}"));
    }
    writer.into_inner().unwrap_or_else(|error| panic!("{error}"))
}

fn arrow_stream(batches: &[RecordBatch]) -> Vec<u8> {
    let writer = StreamWriter::try_new(Vec::new(), &batches[0].schema());
    let mut writer = writer.unwrap_or_else(|error| panic!("{error}"));
    batches.iter().for_each(|batch| writer.write(batch).unwrap_or_else(|error| panic!("{error}")));
    writer.into_inner().unwrap_or_else(|error| panic!("{error}"))
}

/// The lines of [`alpaca`] as a table of two row groups.
fn alpaca_table() -> [RecordBatch; 2] {
    let column =
        |name: &str| alpaca().map(|line| line[name].as_str().unwrap_or_default().to_owned()).collect();
    let whole = table(&["instruction", "input", "output", "system"].map(|name| (name, column(name))));
    [whole.slice(0, 15), whole.slice(15, 25)]
}

#[test]
fn arrays_and_tables_give_the_rows_of_lines() {
    let settings = "{ chat user=\"instruction\" input=\"input\" assistant=\"output\" system=\"system\" }";
    let project = project(alpaca(), settings);
    make_rows(&project).ok();
    let lines = rows_bytes(&project);
    let array = serde_json::to_vec_pretty(&alpaca().collect::<Vec<_>>()).unwrap_or_default();
    let nested: Vec<Value> = alpaca().map(|line| json!({ "data": line })).collect();
    let nested = gzip(Value::from(nested).to_string().as_bytes());
    let mut written = ("d.jsonl".to_owned(), "jsonl");
    for (name, format, bytes) in [
        ("d.json", "json", array),
        ("d.parquet", "parquet", parquet(&alpaca_table())),
        ("d.arrow", "arrow", arrow_stream(&alpaca_table())),
        ("n.json.gz", "json", nested),
    ] {
        write_bytes(&project, name, &bytes);
        let said = |(name, format): (&str, &str)| format!("from=\"{name}\" format=\"{format}\"");
        project.edit("p.kdl", &said((&written.0, written.1)), &said((name, format)));
        written = (name.to_owned(), format);
        if name.starts_with('n') {
            for field in ["instruction", "input", "output", "system"] {
                project.edit("p.kdl", &format!("=\"{field}\""), &format!("=\"data.{field}\""));
            }
        }
        project.fmflow(&["check", "p.kdl", "--deny", "warnings"]).ok();
        make_rows(&project).ok();
        assert!(rows_bytes(&project) == lines, "{name}");
    }
}

#[test]
fn a_line_without_a_field_is_one_fault_wherever_it_is() {
    let whole = || json!({"instruction": "a", "output": "b"});
    let lacking = || json!({"instruction": "c", "outptu": "d"});
    let settings = "{ chat user=\"instruction\" assistant=\"output\"; unread \"outptu\" }";
    for (number, lines) in [(1, [lacking(), whole()]), (2, [whole(), lacking()])] {
        let checked = project(lines.into_iter(), settings).fmflow(&["check", "p.kdl"]).exits(8);
        checked.says("faulty-lines").says(&format!("d.jsonl:{number}: ")).says("`output`");
    }
    // That no line has it is a fault of the setting.
    project([lacking(), lacking()].into_iter(), settings)
        .fmflow(&["check", "p.kdl"])
        .exits(2)
        .says("no-column");
}

#[test]
fn what_is_wrong_with_a_table_is_told_by_check_and_by_rows() {
    let project =
        project(alpaca(), "{ chat user=\"instruction\" assistant=\"output\"; unread \"input\" \"system\" }");
    let [first, second] = alpaca_table();
    write_bytes(&project, "d.parquet", &parquet(&[first.clone(), second.clone()]));
    project.edit("p.kdl", "d.jsonl\" format=\"jsonl\"", "d*.parquet\" format=\"parquet\"");
    project.fmflow(&["check", "p.kdl"]).ok();
    project.edit("p.kdl", "assistant=\"output\"", "assistant=\"outptu\"");
    project.fmflow(&["check", "p.kdl"]).exits(2).says("no-column").says("did you mean `output`?");
    project.edit("p.kdl", "assistant=\"outptu\"", "assistant=\"output\"");
    for name in ["e", "f", "g", "h"] {
        write_bytes(&project, &format!("d{name}.parquet"), &parquet(std::slice::from_ref(&first)));
    }
    // `check` looks at four files, the stage at all.
    write_bytes(&project, "dz.parquet", &parquet(&[table(&[("instruction", vec!["x".into()])])]));
    project.fmflow(&["check", "p.kdl"]).ok();
    make_rows(&project)
        .exits(8)
        .says("dz.parquet")
        .says("it has no column `output`; its columns are `instruction`");
    let blank =
        table(&[("instruction", vec!["x".into(), " ".into()]), ("output", vec!["y".into(), "z".into()])]);
    write_bytes(&project, "dz.parquet", &parquet(&[blank]));
    make_rows(&project).exits(8).says("dz.parquet (row group 0, row 1): field `instruction` is blank");
    let mut damaged = parquet(&[first, second]);
    let middle = damaged.len() / 4;
    damaged[middle..middle + 100].fill(0xee);
    write_bytes(&project, "dz.parquet", &damaged);
    make_rows(&project).exits(8).says("dz.parquet (row group ").says("damaged");
}

#[test]
fn documents_of_text_are_what_the_dataset_says() {
    let project = Project::empty();
    let text: String = (0..60).map(|i| format!("line {i} of the first\nand line {i} more\n\n\n")).collect();
    for file in 0..20 {
        project.write(&format!("t{file}.txt"), &text.replace("first", &format!("file {file}")));
    }
    project.write(
        "p.kdl",
        &format!("{HEAD}{TINY_TRAINING}dataset \"d\" from=\"t*.txt\" format=\"text\" held-out=\"20%\"\n"),
    );
    let documents = |project: &Project| {
        make_rows(project).ok();
        let bytes = rows_bytes(project);
        let summary: Value = serde_json::from_slice(&bytes[1].1).unwrap_or_default();
        let count = |part: &str| summary[part]["documents"].as_u64().unwrap_or_default();
        count("train") + count("held_out")
    };
    project.edit("p.kdl", "packing=\"first-fit\"", "packing=\"concat\"");
    let mut before = "format=\"text\"".to_owned();
    for (setting, count) in [
        ("", None),
        (" documents=\"file\"", Some(20)),
        (" documents=\"lines\"", Some(2400)),
        (" documents=\"blank-line\"", Some(1200)),
    ] {
        let after = format!("format=\"text\"{setting}");
        project.edit("p.kdl", &before, &after);
        before = after;
        let found = documents(&project);
        assert!(count.is_none_or(|count| count == found), "{setting}: {found}");
    }
}

/// Two hundred lines; every tenth is a copy of the one before.
fn rated() -> impl Iterator<Item = Value> {
    (0..200).map(|i| {
        let text = format!("document {} of many, with some more words", if i % 10 == 9 { i - 1 } else { i });
        let license = if i % 2 == 0 { "mit" } else { "gpl" };
        json!({ "text": text, "stars": i % 7, "meta": { "license": license } })
    })
}

#[test]
fn a_dataset_is_filtered_and_freed_of_copies_and_says_so() {
    let project = project(rated(), "");
    project.edit("p.kdl", "packing=\"first-fit\"", "packing=\"concat\"");
    let documents = |project: &Project| {
        let summary: Value = serde_json::from_slice(&rows_bytes(project)[1].1).unwrap_or_default();
        ["train", "held_out"].iter().filter_map(|part| summary[part]["documents"].as_u64()).sum::<u64>()
    };
    make_rows(&project).ok();
    assert_eq!(documents(&project), 200);
    project.edit("p.kdl", "held-out=\"20%\" ", "held-out=\"20%\" { duplicates \"drop\"; }");
    make_rows(&project).ok().says("duplicates: 20 copies of 200 documents (10.0 %) dropped");
    assert_eq!(documents(&project), 180);
    let filter = "{ filter { stars at-least=3 at-most=5; meta.license \"mit\" \"bsd\"; }";
    project.edit("p.kdl", "{ duplicates \"drop\";", filter);
    let expected = rated().filter(|line| (3..=5).contains(&line["stars"].as_u64().unwrap_or(9)));
    let expected = expected.filter(|line| line["meta"]["license"] == "mit").count() as u64;
    make_rows(&project).ok().says(&format!("filter: {} of 200 records", 200 - expected));
    assert_eq!(documents(&project), expected);
    project.edit("p.kdl", "\"mit\" \"bsd\"", "\"agpl\"");
    make_rows(&project).exits(8).says("the filter leaves out all 200 records");
    project.edit("p.kdl", "stars at-least=3 at-most=5", "stars \"3\"");
    make_rows(&project).exits(8).says("field `stars` is a number, which the filter's values are not");
    project.edit("p.kdl", "stars \"3\"", "stars");
    project.fmflow(&["check", "p.kdl"]).exits(2).says("the filter of `stars` says no value");
    project.edit("p.kdl", "format=\"jsonl\"", "format=\"text\"");
    project.fmflow(&["check", "p.kdl"]).exits(2).says("`filter` names fields");
}

#[test]
fn a_few_records_at_fault_are_skipped_if_the_dataset_says_so() {
    let lines = (0..2000).map(|i| match i {
        700 => json!({ "txt": "x" }),
        _ => json!({ "text": format!("document {i} of many") }),
    });
    let project = project(lines, "");
    make_rows(&project).exits(8).says("d.jsonl:701: field `text` is missing");
    project.edit("p.kdl", "held-out=\"20%\" ", "held-out=\"20%\" { on-bad-record \"skip\"; }");
    project.fmflow(&["check", "p.kdl"]).ok();
    make_rows(&project).ok().says("1 of 2000 records (0.050 %) are at fault and skipped, the first: ");
    let shown = project.fmflow(&["show", "p.kdl", "r/d"]).ok();
    assert!(shown.stdout.contains("the first: d.jsonl:701: field `text` is missing"), "{}", shown.stdout);
    project.edit("p.kdl", "\"skip\"", "\"skip\" max=\"0.01%\"");
    make_rows(&project).exits(8).says("1 of 2000 records (0.050 %) are at fault, more than `max` allows");
}

#[test]
fn a_cap_is_met_exactly_and_told() {
    let project = project(rated(), "tokens=1000");
    project.edit("p.kdl", "packing=\"first-fit\"", "packing=\"concat\"");
    make_rows(&project)
        .ok()
        .says("cap: 1000 tokens of 1000 are used; the last document that was read ends in d.jsonl:");
    let summary: Value = serde_json::from_slice(&rows_bytes(&project)[1].1).unwrap_or_default();
    assert_eq!(summary["train"]["tokens"], 1000);
    project.edit("p.kdl", "tokens=1000", "tokens=\"1M\"");
    make_rows(&project).exits(8).says("fewer than `tokens=1000000`").says("`tokens-at-most=`");
    project.edit("p.kdl", "tokens=\"1M\"", "tokens-at-most=\"1M\"");
    make_rows(&project).ok();
}
