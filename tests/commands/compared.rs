//! Datasets that are compared with each other, through the binary: no training document has words of a held-out one, and none is in
//! another dataset too; with a window as without.

#![cfg(feature = "cpu")]
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use serde_json::{Value, json};

use crate::common::{Project, TINY_TRAINING};
use crate::window::{TRAINING, WINDOW, with_texts};

/// Each dataset is compared with the held-out documents of the other and of itself.
const MUTUAL: &str = r#"pipeline "d" seed=1
dataset "a" from="a.jsonl" format="jsonl" held-out="20%" {
    contamination held-out="b" ngram=5
    contamination "own" held-out="a" ngram=5
}
dataset "b" from="b.jsonl" format="jsonl" {
    contamination held-out="a" ngram=5
}
tokenizer "t" kind="byte-level-bpe" vocabulary=320 { dataset "a" }
rows "r" tokenizer="t" length=64 packing="concat" held-out="30%"
mixture "m" { dataset "a"; dataset "b" }
"#;

/// Document i of a dataset says something of its own, and quotes documents of both datasets.
fn document(dataset: &str, i: usize) -> String {
    let own = |dataset: &str, i: usize| format!("{dataset} number {i} says alpha{i} beta{i}");
    let (other, quoted) = (if dataset == "a" { "b" } else { "a" }, i * 7 % 60);
    format!("{}. It quotes: {}! And {}?", own(dataset, i), own(other, quoted), own(dataset, (i + 1) % 60))
}

fn mutual() -> Project {
    let project = Project::empty();
    for name in ["a", "b"] {
        let lines: Vec<_> = (0..60).map(|i| json!({ "text": document(name, i) }).to_string()).collect();
        project.write(&format!("{name}.jsonl"), &lines.join("\n"));
    }
    project.write("tiny.kdl", &format!("{MUTUAL}{TINY_TRAINING}"));
    project
}

/// The numbers of the documents that are held out.
fn held_out(project: &Project, rows: &str) -> BTreeSet<usize> {
    let dataset = rows.split('/').nth(1).unwrap();
    let shown =
        project.fmflow(&["data", "show", "tiny.kdl", rows, "--held-out", "-n", "1000", "--full"]).ok();
    // The words of a row are cut by its lines: only letters and digits are compared.
    let letters = |text: &str| text.chars().filter(|c| c.is_alphanumeric()).collect::<String>();
    let text = shown.stdout.lines().map(|line| line.split_once('│').map_or("", |(_, text)| text));
    let text = letters(&text.collect::<String>());
    (0..60).filter(|i| text.contains(&letters(&document(dataset, *i)))).collect()
}

/// The lines of a list in an artifact: the line of the file, and the name of what it was compared with.
fn listed(project: &Project, rows: &str, file: &str, name: &str) -> BTreeSet<(usize, String)> {
    let line = |line: Value| {
        let place = line["place"].as_str().unwrap();
        (place.rsplit(':').next().unwrap().parse().unwrap(), line[name].as_str().unwrap().to_owned())
    };
    project.json_lines(rows, file).into_iter().map(line).collect()
}

#[test]
fn training_documents_have_no_words_of_held_out_ones_of_either_dataset() {
    let project = mutual();
    let ran = project.fmflow(&["run", "tiny.kdl"]).ok();
    let held: BTreeMap<&str, BTreeSet<usize>> =
        ["a", "b"].map(|name| (name, held_out(&project, &format!("r/{name}")))).into();
    assert!((4..24).contains(&held["a"].len()) && (8..30).contains(&held["b"].len()), "{held:?}");
    let expect = |own: &str, other: &str, name: &str| -> BTreeSet<(usize, String)> {
        let train = (0..60).filter(|i| !held[own].contains(i));
        let words = |dataset: &str, i: usize| -> Vec<String> {
            let text = document(dataset, i).to_lowercase();
            text.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty()).map(str::to_owned).collect()
        };
        let shares = |i: usize, j: usize| {
            let (mine, theirs) = (words(own, i), words(other, j));
            mine.windows(5).any(|run| theirs.windows(5).any(|other| run == other))
        };
        let dropped = train.filter(|i| held[other].iter().any(|j| shares(*i, *j)));
        dropped.map(|i| (i + 1, name.to_owned())).collect()
    };
    let in_a = &expect("a", "b", "held-out b") | &expect("a", "a", "own");
    assert_eq!(listed(&project, "r/a", "contamination.jsonl", "benchmark"), in_a);
    let in_b = expect("b", "a", "held-out a");
    assert_eq!(listed(&project, "r/b", "contamination.jsonl", "benchmark"), in_b);
    assert!(!in_b.is_empty() && in_a.iter().any(|(_, name)| name == "own"), "{in_a:?}");
    let of = format!("contamination: {} of {} training documents", in_b.len(), 60 - held["b"].len());
    ran.says(&of).says("in common with held-out documents of `a` and are dropped");
    project.fmflow(&["run", "tiny.kdl"]).ok().says("nothing to do");
}

#[test]
fn rows_are_made_again_when_the_held_out_documents_of_another_dataset_change() {
    let project = mutual();
    let rows = |project: &Project| {
        project.fmflow(&["run", "tiny.kdl"]).ok();
        ["r/a", "r/b"].map(|rows| project.artifact(rows))
    };
    let before = rows(&project);
    // Another share of held-out documents, other documents, and another dataset of the same settings.
    project.edit("tiny.kdl", "held-out=\"30%\"", "held-out=\"25%\"");
    let share = rows(&project);
    assert!(before[0] != share[0] && before[1] != share[1]);
    project.fmflow(&["why", "tiny.kdl", "r/a"]).ok();
    let text = fs::read_to_string(project.path().join("b.jsonl")).unwrap();
    project.write("b.jsonl", &(text + "\n{\"text\": \"one more document of some words\"}"));
    let more = rows(&project);
    assert!(share[0] != more[0] && share[1] != more[1]);
    project.edit("tiny.kdl", "\"own\" held-out=\"a\"", "\"own\" held-out=\"b\"");
    let other = rows(&project);
    assert!(more[0] != other[0] && more[1] == other[1]);
    // A name is no result.
    for (from, to) in
        [("dataset \"b\" from", "dataset \"c\" from"), ("; dataset \"b\" }", "; dataset \"c\" }")]
    {
        project.edit("tiny.kdl", from, to);
    }
    let text = fs::read_to_string(project.path().join("tiny.kdl")).unwrap();
    project.write("tiny.kdl", &text.replace("held-out=\"b\"", "held-out=\"c\""));
    project.fmflow(&["plan", "tiny.kdl", "--check"]).ok();
}

#[test]
fn a_dataset_that_holds_nothing_out_is_no_comparison() {
    let project = mutual();
    project.edit("tiny.kdl", " held-out=\"30%\"", "");
    let checked = project.fmflow(&["check", "tiny.kdl"]).exits(2);
    checked.says("dataset `b` holds nothing out").says("write `held-out=\"2%\"` in dataset `b`");
    let project = mutual();
    project.edit("tiny.kdl", "held-out=\"b\" ngram=5", "held-out=\"b\" ngram=100");
    project.fmflow(&["run", "tiny.kdl"]).exits(8).says("held-out documents of `b`: none of its");
}

/// One dataset is in rows that hold out much of its first file, the other one in rows that hold out little.
const APART: &str = r#"pipeline "p" seed=1
dataset "a" from="a/*.jsonl" format="jsonl"
dataset "b" from="b.jsonl" format="jsonl" { contamination held-out="a" ngram=5 }
tokenizer "t" kind="byte-level-bpe" vocabulary=320 { dataset "a" }
rows "p" tokenizer="t" length=64 packing="concat" held-out="40%" shard="50B"
rows "s" tokenizer="t" length=64 packing="concat" held-out="5%"
mixture "ma" { dataset "a" }
mixture "mb" { dataset "b" }
random-init "i" tokenizer="t" { shape "qwen3" hidden=8 layers=1 heads=2 head-dim=4 feed-forward=16 }
recipe "r" {
    objective "autoregressive"
    attention "causal"
    batch rows=2
    learning-rate peak=1e-3 final=1e-4 shape="cosine"
    steps 1
}
train "ar" from="i" use="r" { data rows="p" mixture="ma" }
train "sft" from="ar" use="r" { data rows="s" mixture="mb" }
"#;

#[test]
fn what_other_rows_hold_out_is_looked_for() {
    let project = Project::empty();
    let lines = |dataset: &str, range: std::ops::Range<usize>| -> String {
        range.map(|i| json!({ "text": document(dataset, i) }).to_string() + "\n").collect()
    };
    // Arrays are not divided, so that each file is a shard.
    let array = |range| format!("[{}]\n", lines("a", range).trim_end().replace('\n', ","));
    project.write("a/0.json", &array(0..30));
    project.write("a/1.json", &array(30..60));
    project.write("b.jsonl", &lines("b", 0..60));
    project.write("tiny.kdl", &APART.replace("a/*.jsonl\" format=\"jsonl\"", "a/*.json\" format=\"json\""));
    let planned = project.fmflow(&["plan", "tiny.kdl"]).ok();
    let bytes = array(0..30).len() as f64 / 1024.0;
    planned.says("held-out documents").says(&format!("{bytes:.1} KiB"));
    project.fmflow(&["run", "tiny.kdl"]).ok();
    let held = held_out(&project, "p/a");
    assert!((6..25).contains(&held.len()) && held.iter().all(|i| *i < 30), "{held:?}");
    let learned: BTreeSet<usize> =
        (0..60).collect::<BTreeSet<_>>().difference(&held_out(&project, "s/b")).copied().collect();
    // A document of `b` quotes one of `a`, which shares words with it and with the one that quotes it.
    let shares = |i: usize, j: usize| {
        let words = |text: String| -> Vec<String> {
            let words = text.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty());
            words.map(str::to_lowercase).collect()
        };
        let (mine, theirs) = (words(document("b", i)), words(document("a", j)));
        mine.windows(5).any(|run| theirs.windows(5).any(|other| run == other))
    };
    let expected = learned.iter().filter(|i| held.iter().any(|j| shares(**i, *j)));
    let expected: BTreeSet<_> = expected.map(|i| (i + 1, "held-out a".to_owned())).collect();
    assert_eq!(listed(&project, "s/b", "contamination.jsonl", "benchmark"), expected);
    let before = project.artifact("s/b");
    project.edit("tiny.kdl", "held-out=\"40%\"", "held-out=\"45%\"");
    project.fmflow(&["run", "tiny.kdl"]).ok();
    assert_ne!(before, project.artifact("s/b"), "rows are made again when other rows hold out more");
}

#[test]
fn faults_of_a_compared_dataset_are_counted_in_all_of_it() {
    let project = Project::empty();
    let good = |range: std::ops::Range<usize>| -> String {
        range.map(|i| json!({ "text": document("a", i) }).to_string() + "\n").collect()
    };
    // Of the first of the shards half is at fault, of all less than a tenth.
    project.write("a/0.jsonl", &(good(0..20) + &"{\n".repeat(20)));
    // `check` does not see all of six files.
    for (file, start) in (1..).zip((20..300).step_by(56)) {
        project.write(&format!("a/{file}.jsonl"), &good(start..start + 56));
    }
    project.write("b.jsonl", &(good(5..6) + "{\"text\": \"something else\"}\n"));
    let part = "a\" from=\"a/*.jsonl\" format=\"jsonl\"";
    let own = "{ contamination held-out=\"a\" ngram=5 }";
    let text = APART
        .replace(part, &format!("{part} held-out=\"40%\" {{ on-bad-record \"skip\" max=\"10%\" }}"))
        .replace(
            own,
            "held-out=\"0%\" { contamination held-out=\"a\" ngram=5; duplicates \"drop\" { dataset \"a\" } }",
        )
        .replace("vocabulary=320 { dataset \"a\" }", "vocabulary=320 { dataset \"c\" }")
        .replace("mixture \"ma\"", "dataset \"c\" from=\"a/1.jsonl\" format=\"jsonl\"\nmixture \"ma\"")
        .replace(" held-out=\"5%\"", " shard=\"50B\"")
        .replace(" held-out=\"40%\" shard", " shard");
    project.write("tiny.kdl", &text);
    project.fmflow(&["run", "tiny.kdl", "--until", "s/b"]).ok().says("1 copy of 2 documents");
    project.edit("tiny.kdl", "max=\"10%\"", "max=\"5%\"");
    let ran = project.fmflow(&["run", "tiny.kdl", "--until", "s/b"]);
    ran.says("20 of 320 records (6.250 %)");
}

#[test]
fn datasets_that_drop_each_other_are_found_at_once() {
    let names: Vec<String> = (0..12).map(|i| format!("d{i}")).collect();
    let mut text = APART
        .replace("held-out=\"5%\"", "")
        .replace(" { contamination held-out=\"a\" ngram=5 }", " { duplicates \"drop\" { dataset \"d0\" } }");
    for name in &names {
        let others: Vec<_> =
            names.iter().filter(|other| *other != name).map(|other| format!("dataset \"{other}\"")).collect();
        text += &format!(
            "dataset \"{name}\" from=\"b.jsonl\" format=\"jsonl\" {{ duplicates \"drop\" {{ {} }} }}\n",
            others.join("; ")
        );
    }
    let project = Project::empty();
    for file in ["a/0.jsonl", "b.jsonl"] {
        project.write(file, "{\"text\": \"one document\"}\n");
    }
    project.write("tiny.kdl", &text);
    // No rows are made of those that drop each other, so nothing is wrong.
    project.fmflow(&["check", "tiny.kdl"]).ok();
}

/// Two datasets that have many documents in common, and each some of them twice.
const COPIES: &str = r#"pipeline "w" seed=5
dataset "a" from="a/*.txt" format="text" documents="lines" held-out="10%" { duplicates "drop" { dataset "b" }; contamination held-out="b" ngram=5 }
dataset "b" from="b/*.txt" format="text" documents="lines" held-out="10%" { duplicates "drop"; contamination held-out="a" ngram=5 }
"#;

/// The lines of each file of both datasets.
fn lines(folder: &str, file: usize) -> Vec<String> {
    let (start, range) = if folder == "a" { (0, 4001) } else { (3500, 2501) };
    let number = |i: usize| start + (file * 61 + i * 17) % range;
    (0..75).map(number).map(|k| format!("note {k} says {} and {} in all", k % 13, k % 29)).collect()
}

fn copies(datasets: &str, training: &str) -> Project {
    let training = training.replace("validate every=50 rows=4; steps 180", "steps 100");
    with_texts(&format!("{datasets}{training}"), |folder, file| lines(folder, file).join("\n") + "\n")
}

#[test]
fn copies_within_and_across_datasets_are_dropped_with_and_without_a_window() {
    let unwindowed = TRAINING.replace(WINDOW, "");
    let (whole, window) = (copies(COPIES, &unwindowed), copies(COPIES, TRAINING));
    let ran = whole.fmflow(&["run", "tiny.kdl"]).ok();
    // Counted here by comparing texts.
    let of_b: BTreeSet<String> = (0..40).flat_map(|file| lines("b", file)).collect();
    let (mut seen, mut expected, mut dropped) = (BTreeSet::new(), BTreeSet::new(), 0);
    for file in 0..64 {
        for (at, line) in lines("a", file).into_iter().enumerate() {
            let other = of_b.contains(&line);
            if other {
                expected.insert((format!("{file:02}.txt:{}", at + 1), "b".to_owned()));
            }
            dropped += usize::from(other || !seen.insert(line));
        }
    }
    assert!(expected.len() > 100 && dropped > expected.len() + 100, "{} {dropped}", expected.len());
    let told = format!("duplicates: {dropped} copies of 4800 documents");
    ran.says(&told).says(&format!("dropped, {} of them from `b`", expected.len()));
    let pair = |line: Value| {
        let text = |name: &str| line[name].as_str().unwrap().to_owned();
        (text("place"), text("dataset"))
    };
    let listed: BTreeSet<(String, String)> =
        whole.json_lines("r/a", "duplicates.jsonl").into_iter().map(pair).collect();
    assert_eq!(listed, expected);
    assert!(!whole.artifact("r/b").join("duplicates.jsonl").exists());

    let planned = window.fmflow(&["plan", "tiny.kdl"]).ok();
    for line in ["held-out documents", "copies, because the shards of a window are made alone"] {
        assert!(planned.stdout.contains(line), "{line}: {}", planned.stdout);
    }
    let ran = window.fmflow(&["run", "tiny.kdl"]).ok();
    ran.says(&told).says("all documents are read first, to find copies");
    assert_eq!(window.digest_of("ar"), whole.digest_of("ar"), "other weights with a window");
    let list = |project: &Project| fs::read(project.artifact("r/a").join("duplicates.jsonl")).unwrap();
    assert_eq!(list(&whole), list(&window));
    window.fmflow(&["run", "tiny.kdl"]).ok().says("nothing to do");
}

#[test]
fn what_cannot_be_compared_is_refused() {
    let circle =
        copies(&COPIES.replace("duplicates \"drop\";", "duplicates \"drop\" { dataset \"a\" };"), TRAINING);
    let checked = circle.fmflow(&["check", "tiny.kdl"]).exits(2);
    checked.says("drop documents that are in each other, so that neither would keep them");
    let capped = copies(&COPIES.replace("dataset \"b\" from", "dataset \"b\" tokens=100 from"), TRAINING);
    let checked = capped.fmflow(&["check", "tiny.kdl"]).exits(2);
    let checked = checked.says("which documents of `b` are in its rows is known only once they are made");
    checked.says("let dataset `b` drop what is in `a`, or remove its cap");
}
