//! `fmflow data`: rows as people and programs see them.

#![cfg(feature = "cpu")]
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use serde_json::Value;

use crate::common::Project;

/// The tiny project with its rows `chat/tasks` made.
fn made() -> Project {
    let project = Project::tiny();
    project.fmflow(&["run", "tiny.kdl", "--until", "chat/tasks"]).ok();
    project
}

fn answer(project: &Project, arguments: &[&str]) -> Value {
    let all = [arguments, &["--json"]].concat();
    let answer: Value = serde_json::from_str(&project.fmflow(&all).ok().stdout).unwrap();
    assert_eq!(answer["schema"], "fmflow.data/1");
    answer
}

/// All parts of all pieces of the rows in an answer, each with the role of its piece.
fn parts(answer: &Value) -> Vec<(String, Value)> {
    let pieces = answer["rows"].as_array().unwrap().iter().flat_map(|row| row["pieces"].as_array().unwrap());
    let parts = pieces.flat_map(|piece| {
        let role = piece["role"].as_str().unwrap().to_owned();
        piece["parts"].as_array().unwrap().iter().map(move |part| (role.clone(), part.clone()))
    });
    parts.collect()
}

#[test]
fn rows_are_shown_as_text_with_their_roles() {
    let project = made();
    let shown = project.fmflow(&["data", "show", "tiny.kdl", "chat/tasks", "-n", "1"]).ok();
    assert_eq!(shown.stderr, "");
    assert!(!shown.stdout.contains('\u{1b}'), "{}", shown.stdout);
    insta::assert_snapshot!("data-show", shown.stdout);
    let colored = project.fmflow(&["--color", "always", "data", "show", "tiny.kdl", "chat/tasks", "-n", "1"]);
    let colored = colored.ok().stdout;
    assert!(colored.contains("\u{1b}[32m") && colored.contains("\u{1b}[36m"), "{colored}");
    let plain = ["\u{1b}[32m", "\u{1b}[36m", "\u{1b}[33m", "\u{1b}[2m", "\u{1b}[0m"];
    let plain = plain.iter().fold(colored, |text, code| text.replace(code, ""));
    let lines = |text: &str| text.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>();
    assert_eq!(lines(&plain), lines(&shown.stdout));
    let held_out = project.fmflow(&["data", "show", "tiny.kdl", "chat/tasks", "--held-out"]).ok();
    assert_ne!(held_out.stdout, shown.stdout);
}

#[test]
fn noise_takes_what_is_learned_and_nothing_else() {
    let project = made();
    let at = |t: &str| {
        let answer = answer(&project, &["data", "show", "tiny.kdl", "chat/tasks", "--row", "1", "--at", t]);
        assert_eq!(answer["rows"].as_array().unwrap().len(), 1);
        let tokens: u64 = parts(&answer).iter().map(|(_, part)| part["tokens"].as_u64().unwrap()).sum();
        assert_eq!(Some(tokens), answer["length"].as_u64());
        parts(&answer)
    };
    let is_noise = |part: &Value| part["corrupted"] == true;
    assert!(at("1").iter().all(|(_, part)| !is_noise(part)));
    assert!(at("0").iter().all(|(role, part)| is_noise(part) == (role == "learned")));
    assert_eq!(at("0.5"), at("0.5"));
    assert!(at("0.5").iter().all(|(role, part)| !is_noise(part) || role == "learned"));
    let text = project.fmflow(&["data", "show", "tiny.kdl", "chat/tasks", "--at", "0"]).ok().stdout;
    assert!(
        text.contains("░ is a token that noise takes at t = 0") && text.contains("learned │ ░"),
        "{text}"
    );
}

#[test]
fn statistics_agree_with_the_rows() {
    let project = made();
    let rows = std::fs::read(project.artifact("chat/tasks").join("rows.json")).unwrap();
    let rows: Value = serde_json::from_slice(&rows).unwrap();
    let answer = answer(&project, &["data", "stats", "tiny.kdl", "chat/tasks"]);
    let found = &answer["rows"][0];
    for (part, split) in [("train", "train"), ("held-out", "held_out")] {
        for (name, field) in [("documents", "documents"), ("rows", "rows"), ("learned", "supervised")] {
            assert_eq!(found[part][name], rows[split][field], "{part} {name}");
        }
    }
    let sum = |split: &str, field: &str| rows[split][field].as_u64().unwrap();
    let kept = |split| sum(split, "documents") - sum(split, "too_long") - sum(split, "beyond_canvas");
    let lengths = found["lengths"].as_array().unwrap().iter();
    let counted: u64 = lengths.map(|range| range["documents"].as_u64().unwrap()).sum();
    assert_eq!(counted, kept("train") + kept("held_out"));
    assert_eq!(found["rows-read"].as_u64(), Some(sum("train", "rows") + sum("held_out", "rows")));
    let text = project.fmflow(&["data", "stats", "tiny.kdl", "chat/tasks"]).ok().stdout;
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    insta::assert_snapshot!("data-stats", text);
    let all = project.fmflow(&["data", "stats", "tiny.kdl"]).ok().stdout;
    assert!(all.contains("chat/tasks") && !all.contains("text/text"), "{all}");
}

#[test]
fn what_cannot_be_shown_says_why() {
    let project = made();
    let data = |rest: &[&str]| project.fmflow(&[&["data", "show", "tiny.kdl"], rest].concat());
    data(&["chat/tasks", "--row", "999999"]).exits(8).says("there is no row 999999").says("choose a smaller");
    data(&["chat/tasks", "--at", "1.5"]).exits(2).says("not a time from 0 to 1");
    data(&["chat/tasks", "-n", "0"]).exits(2);
    data(&["bpe"]).exits(2).says("makes no rows: it is of the kind `tokenizer`").says("`chat/tasks`");
    data(&["chat/task"]).exits(2).says("did you mean `chat/tasks`?");
    project.edit("tiny.kdl", "packing=\"first-fit\"", "packing=\"first-fit\" end-of-document=#true");
    data(&["chat/tasks"]).exits(1).says("it is not finished");
    project.fmflow(&["data", "stats", "tiny.kdl"]).exits(1).says("it is not finished");
}
