//! Answers that have to match a regular expression or a JSON Schema: in stages, `generate`, `chat` and `serve`.

#![cfg(feature = "cpu")]
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::sync::LazyLock;

use crate::common::{Project, Ran};
use serde_json::Value;

const SCHEMA: &str = include_str!("../cases/data/order.schema.json");

const STAGE: &str = r#"
sampler "drawn" kind="threshold" threshold=0.3 temperature=1 block=4
sampler "digits" kind="entropy-bound" bound=1 temperature=1 { constraint regex="[0-9]{2,9}" }
sampler "next" kind="autoregressive" temperature=1 { constraint regex="[0-9]{2,9}" }
generate "kept" from="sft" sampler="drawn" {
    prompt "The river" new-tokens=40 { constraint json-schema="order.schema.json" }
    chat "first: a b c" { constraint regex="(?:yes|no|é+)" }
    infill prefix="The " suffix=" end" length=4 { constraint regex="[a-z ]{4,12}" }
    prompt "The river" sampler="digits" new-tokens=12
}
generate "counted" from="ar" sampler="next" { prompt "The river" new-tokens=12 }
"#;

/// A project that has run once for all tests of this module.
static RAN: LazyLock<Project> = LazyLock::new(|| {
    let project = Project::tiny();
    project.append("tiny.kdl", STAGE);
    project.write("order.schema.json", SCHEMA);
    project.fmflow(&["run", "tiny.kdl", "--until", "kept"]).ok();
    project.fmflow(&["run", "tiny.kdl", "--until", "counted"]).ok();
    project
});

fn samples(stage: &str) -> Vec<String> {
    let lines = RAN.json_lines(stage, "samples.jsonl").into_iter();
    lines.map(|line| line["text"].as_str().unwrap().to_owned()).collect()
}

fn generate(arguments: &[&str]) -> Ran {
    RAN.fmflow(&[&["generate", "tiny.kdl"], arguments, &["--json", "--no-twin"]].concat())
}

fn texts(arguments: &[&str]) -> Vec<String> {
    let found: Value = serde_json::from_str(&generate(arguments).ok().stdout).unwrap();
    let answers = found["answers"].as_array().unwrap().iter();
    answers.map(|answer| answer["text"].as_str().unwrap().to_owned()).collect()
}

fn assert_order(text: &str) {
    let value: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    let fields = value.as_object().unwrap();
    assert!(fields["name"].as_str().unwrap().chars().count() <= 5 && fields.len() == 2, "{text}");
    assert!((1..=12).contains(&fields["size"].as_i64().unwrap()), "{text}");
}

fn assert_digits(text: &str) {
    assert!((2..=9).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit()), "{text}");
}

#[test]
fn stages_keep_to_constraints_of_samplers_and_requests() {
    let found = samples("kept");
    assert_order(&found[0]);
    assert!(["yes", "no"].contains(&found[1].as_str()) || found[1].trim_matches('é').is_empty(), "{found:?}");
    let gap = found[2].strip_prefix("The ").and_then(|rest| rest.strip_suffix(" end")).unwrap();
    assert!(
        (4..=12).contains(&gap.len()) && gap.bytes().all(|byte| byte == b' ' || byte.is_ascii_lowercase()),
        "{gap}"
    );
    assert_digits(&found[3]);
    assert_digits(&samples("counted")[0]);
}

#[test]
fn the_command_gives_the_bytes_of_the_stage_and_keeps_to_what_it_is_told() {
    let schema = ["--json-schema", "order.schema.json"];
    let asked = ["sft", "--prompt", "The river", "--new-tokens", "40", "--sampler", "drawn"];
    assert_eq!(texts(&[&asked[..], &schema].concat())[0], samples("kept")[0]);
    for sampler in [
        "confidence passes=3 temp=1",
        "margin passes=40",
        "threshold threshold=0.2 temp=1 block=8",
        "entropy-bound bound=2 temp=1",
        "edit threshold=0.3 revise=0.2 temp=1",
    ] {
        let asked = ["sft", "--prompt", "The river", "--new-tokens", "40", "--sampler", sampler, "-n", "3"];
        texts(&[&asked[..], &schema].concat()).iter().for_each(|text| assert_order(text));
        let asked =
            ["sft", "--prompt", "A", "--new-tokens", "14", "--sampler", sampler, "--regex", "[0-9]{2,9}"];
        texts(&asked).iter().for_each(|text| assert_digits(text));
    }
    for sampler in ["autoregressive temp=1", "next"] {
        let asked = ["ar", "--prompt", "The", "--new-tokens", "14", "--sampler", sampler, "-n", "3"];
        texts(&[&asked[..], &["--regex", "[0-9]{2,9}"]].concat()).iter().for_each(|text| assert_digits(text));
    }
}

#[test]
fn a_changed_schema_is_another_result() {
    let project = Project::tiny();
    project.append("tiny.kdl", STAGE);
    let key = |schema: &str| {
        project.write("order.schema.json", schema);
        let plan: Value =
            serde_json::from_str(&project.fmflow(&["plan", "tiny.kdl", "--json"]).ok().stdout).unwrap();
        let stages = plan["stages"].as_array().unwrap().clone();
        let key =
            |name: &str| stages.iter().find(|stage| stage["name"] == name).unwrap()["fingerprint"].clone();
        (key("kept"), key("counted"))
    };
    let (one, other) = (key(SCHEMA), key(r#"{"type": "object"}"#));
    assert!(one.0.is_string() && one.0 != other.0 && one.1 == other.1, "{one:?} {other:?}");
}

#[test]
fn what_cannot_be_kept_is_refused_with_the_reason() {
    let refused = |code: i32, arguments: &[&str]| {
        generate(&[&["sft", "--prompt", "x"], arguments].concat()).exits(code).stderr
    };
    let said = refused(8, &["--regex", "a(", "--new-tokens", "4"]);
    assert!(
        said.contains("`--regex` is no constraint: the regular expression cannot be read: unclosed group"),
        "{said}"
    );
    RAN.write("odd.schema.json", r#"{"properties": {"a": {"multipleOf": 3}}}"#);
    let said = refused(8, &["--json-schema", "odd.schema.json", "--new-tokens", "4"]);
    assert!(
        said.contains(
            "odd.schema.json is no constraint: the schema at `#/properties/a`: `multipleOf` is not supported"
        ),
        "{said}"
    );
    let said = refused(2, &["--regex", "a", "--sampler", "euler passes=3", "--new-tokens", "4"]);
    assert!(said.contains("rewrites what it has written"), "{said}");
    let said = refused(8, &["--regex", "x{300}", "--new-tokens", "4"]);
    assert!(said.contains("no text of at most 4 tokens matches the constraint"), "{said}");
    let gaps =
        ["tiny.kdl", "sft", "--prefix", "The ", "--suffix", " end", "--length", "2..4", "--regex", "a*"];
    let said = RAN.fmflow(&[&["generate"], &gaps[..]].concat()).exits(2).stderr;
    assert!(said.contains("is kept for one gap of one length"), "{said}");
    let twice = ["generate", "tiny.kdl", "sft", "--file", "-", "--json-schema", "-", "--new-tokens", "4"];
    RAN.fmflow(&twice).exits(2).says("`--file -` and `--json-schema -` would both read stdin");
}

/// A checkpoint may name ordinary tokens that end a text. In a gap at the end of a text they are an end like others, and do not show.
#[test]
fn an_end_that_is_no_special_token_does_not_show_in_a_gap_at_the_end() {
    let folder = RAN.path().join("ends");
    std::fs::create_dir(&folder).unwrap();
    for entry in std::fs::read_dir(RAN.artifact("sft")).unwrap().map(|entry| entry.unwrap()) {
        if entry.file_name() != "manifest.json" {
            std::fs::copy(entry.path(), folder.join(entry.file_name())).unwrap();
        }
    }
    let read =
        |name: &str| -> Value { serde_json::from_slice(&std::fs::read(folder.join(name)).unwrap()).unwrap() };
    let (vocabulary, mut config) = (read("tokenizer.json")["model"]["vocab"].clone(), read("config.json"));
    let letters = ('n'..='z').map(|letter| vocabulary[letter.to_string()].clone());
    let ends: Vec<Value> = letters.chain([config["eos_token_id"].clone()]).collect();
    assert!(ends.iter().all(Value::is_u64), "{ends:?}");
    config["eos_token_id"] = Value::Array(ends.clone());
    RAN.write("ends/config.json", &config.to_string());
    let gap =
        ["ends", "--prefix", "The ", "--suffix", "", "--length", "8", "--regex", "[a-m]{1,3}", "-n", "8"];
    let sampler = ["--sampler", "threshold threshold=0.3 temp=1", "--json", "--no-twin"];
    let ran = RAN.fmflow(&[&["generate"], &gap[..], &sampler].concat()).ok();
    let found: Value = serde_json::from_str(&ran.stdout).unwrap();
    let mut ended = 0;
    for answer in found["answers"].as_array().unwrap() {
        let text = answer["text"].as_str().unwrap().strip_prefix("The ").unwrap();
        assert!((1..=3).contains(&text.len()) && text.bytes().all(|b| (b'a'..=b'm').contains(&b)), "{text}");
        ended += usize::from(answer["ids"].as_array().unwrap().iter().any(|id| ends[..13].contains(id)));
    }
    assert!(ended > 0, "otherwise nothing was tried: {found}");
}
