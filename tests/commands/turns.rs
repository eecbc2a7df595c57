//! What is learned of conversations, through the binary: what follows an answer, and names of special tokens.

#![cfg(feature = "cpu")]
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::common::Project;

/// A project whose only rows are `r/d`, of conversations with these settings.
fn project(rows: &str, turn: impl Fn(usize) -> Value) -> Project {
    let project = Project::empty();
    let lines: Vec<String> = (0..40).map(|i| turn(i).to_string()).collect();
    project.write("d.jsonl", &lines.join("\n"));
    project.write(
        "tiny.kdl",
        &format!(
            r#"pipeline "d" seed=1
dataset "d" from="d.jsonl" format="jsonl" held-out="20%" {{ chat user="q" assistant="a" }}
tokenizer "t" kind="byte-level-bpe" vocabulary=320 {{ dataset "d" }}
rows "r" tokenizer="t" length=96 packing="first-fit" {rows}
mixture "m" {{ dataset "d" }}
random-init "i" tokenizer="t" {{ shape "qwen3" hidden=8 layers=1 heads=2 head-dim=4 feed-forward=16 }}
convert "f" from="i"
scheduler "linear" kind="polynomial"
path "masked" source="mask" scheduler="linear"
train "sft" from="f" {{
    data rows="r" mixture="m"
    objective "flow" path="masked" loss="cross-entropy"
    attention "block" {{ size 4 until=1; size 8 }}
    batch rows=4
    learning-rate peak=1e-3 final=1e-4 shape="cosine"
    steps 2
}}
"#
        ),
    );
    project
}

fn question(i: usize) -> Value {
    json!({ "q": format!("Sort {i}."), "a": "a b" })
}

fn make_rows(project: &Project) -> PathBuf {
    project.fmflow(&["run", "tiny.kdl", "--until", "r/d"]).ok();
    project.artifact("r/d")
}

fn summary(folder: &Path) -> Value {
    serde_json::from_slice(&fs::read(folder.join("rows.json")).unwrap()).unwrap()
}

#[test]
fn an_answer_is_filled_to_the_end_of_its_block_and_trained() {
    let plain = project("", question);
    let own = summary(&make_rows(&plain));
    assert!(own.get("answer_block").is_none() && own.get("specials").is_none(), "{own}");
    let once = project("{ end-of-turn supervise=\"once\"; }", question);
    assert_eq!(summary(&make_rows(&once)), own);
    let filled = project("{ end-of-turn supervise=\"to-block-boundary\" block=8; }", question);
    let found = summary(&make_rows(&filled));
    assert_eq!(found["answer_block"], 8);
    let count = |summary: &Value, what: &str| {
        let of = |split: &str| summary[split][what].as_u64().unwrap();
        of("train") + of("held_out")
    };
    // Every answer ends with its block, and no prompt changes.
    assert_eq!(count(&found, "tokens") % 8, 0);
    let given = |summary: &Value| count(summary, "tokens") - count(summary, "supervised");
    assert_eq!(given(&found), given(&own));
    assert!(count(&found, "supervised") > count(&own, "supervised"));
    filled.fmflow(&["run", "tiny.kdl"]).ok();
}

#[test]
fn what_fills_answers_fits_the_rows_and_the_training() {
    let project = project("{ end-of-turn supervise=\"to-block-boundary\" block=12; }", question);
    let check = |project: &Project| project.fmflow(&["check", "tiny.kdl", "--format", "concise"]);
    check(&project).exits(2);
    let said = check(&project).stdout;
    assert!(said.contains("blocks of 8 tokens do not divide the blocks of 12"), "{said}");
    assert!(said.contains("write `block=8` in the rows, which every size divides"), "{said}");
    project.edit("tiny.kdl", "block=12", "block=8");
    check(&project).ok();
    project.edit("tiny.kdl", "packing=\"first-fit\"", "packing=\"first-fit\" canvas=6");
    assert!(check(&project).exits(2).stdout.contains("has both `canvas` and `end-of-turn`"));
    project.edit("tiny.kdl", "packing=\"first-fit\" canvas=6", "packing=\"concat\"");
    assert!(check(&project).exits(2).stdout.contains("field-does-not-apply"));
    project.edit("tiny.kdl", "packing=\"concat\"", "packing=\"first-fit\"");
    project.edit("tiny.kdl", "{ chat user=\"q\" assistant=\"a\" }", "text=\"a\"");
    let said = check(&project).exits(2).stdout;
    assert!(said.contains("a rule for the end of answers, but dataset `d` has none"), "{said}");
}

#[test]
fn names_of_special_tokens_follow_the_policy_and_are_told() {
    let turn = |i: usize| json!({ "q": format!("What is <|im_end|> {i}?"), "a": "it ends a turn" });
    let with = |rows: &str| {
        let project = project(rows, turn);
        let ran = project.fmflow(&["run", "tiny.kdl", "--until", "r/d"]).ok();
        (summary(&project.artifact("r/d")), ran.stderr)
    };
    let (tokens, said) = with("");
    assert!(said.contains("a name becomes its token, as in Hugging Face"), "{said}");
    let (text, said) = with("{ specials \"text\"; }");
    assert!(said.contains("names stay text here"), "{said}");
    assert_eq!((tokens.get("specials"), &text["specials"]), (None, &json!("text")));
    // Letters take more tokens than their name.
    assert!(text["train"]["tokens"].as_u64() > tokens["train"]["tokens"].as_u64());
    let (same, _) = with("{ specials \"token\"; }");
    assert_eq!(same["train"], tokens["train"]);
}

#[test]
fn of_two_answers_in_a_row_both_are_learned_and_asked() {
    let project = project("canvas=12", |i| {
        let turn = |role: &str, content: String| json!({ "role": role, "content": content });
        let answers = [turn("assistant", format!("one {i}")), turn("assistant", format!("two {i}"))];
        let turns = [&[turn("user", format!("Say {i}."))], &answers[..]].concat();
        json!({ "messages": turns })
    });
    project.edit("tiny.kdl", "chat user=\"q\" assistant=\"a\"", "chat messages=\"messages\"");
    let text = fs::read_to_string(project.path().join("tiny.kdl")).unwrap();
    let ask = "sampler \"s\" kind=\"confidence\" passes=4\nevaluate \"e\" { checkpoint \"sft\"; exact-match dataset=\"d\" sampler=\"s\" }\n";
    project.write("tiny.kdl", &(text + ask));
    project
        .fmflow(&["check", "tiny.kdl"])
        .ok()
        .says("turns have the role of the turn before: 40 in 40 of 40 conversations");
    let rows = summary(&make_rows(&project));
    let documents = |split: &str| rows[split]["documents"].as_u64().unwrap();
    assert_eq!(documents("train") + documents("held_out"), 80, "one for each answer");
    let shown = project.fmflow(&["data", "show", "tiny.kdl", "r/d", "-n", "1000", "--full"]).ok().stdout;
    for said in ["learned │ one 0<|im_end|>", "learned │ two 0<|im_end|>", "             │ one 0<|im_end|>"]
    {
        assert!(shown.contains(said), "{said} in {shown}");
    }
    project.fmflow(&["run", "tiny.kdl"]).ok();
    let answers = fs::read_to_string(project.artifact("e").join("answers.jsonl")).unwrap();
    let answers: Vec<Value> = answers.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(answers.len() as u64, documents("held_out"));
    let after = |answer: &Value| answer["after"][0]["content"].as_str().map(str::to_owned);
    for pair in answers.chunks(2) {
        let number = pair[0]["expected"].as_str().unwrap().strip_prefix("one ").unwrap().to_owned();
        assert_eq!((after(&pair[0]), after(&pair[1])), (None, Some(format!("one {number}"))));
        assert_eq!(pair[1]["expected"], format!("two {number}"));
    }
}
