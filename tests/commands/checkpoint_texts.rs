//! What the small files of a checkpoint folder say, through the binary: every setting is read, refused or told, files agree or are
//! refused, and what the source had travels to the export.

#![cfg(feature = "cpu")]
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::path::Path;

use crate::common::Project;
use serde_json::{Value, json};

const FETCH: &str = "pipeline \"c\" seed=1\nfetch \"m\" from=\"./m\"\nlint { allow \"unused\" }\n";

fn read(file: &Path) -> Value {
    serde_json::from_slice(&fs::read(file).unwrap()).unwrap()
}

/// A checkpoint of another program in `m`, which `c.kdl` fetches.
fn foreign() -> Project {
    let project = Project::tiny();
    project.fmflow(&["run", "tiny.kdl", "--until", "tiny"]).ok();
    let from = project.artifact("tiny");
    fs::create_dir(project.path().join("m")).unwrap();
    for name in ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"] {
        fs::copy(from.join(name), project.path().join("m").join(name)).unwrap();
    }
    project.write("c.kdl", FETCH);
    project.fmflow(&["check", "c.kdl"]).ok();
    project
}

/// Changes a JSON file of the checkpoint; an absent one is an empty object. Returns the bytes before.
fn change(project: &Project, name: &str, change: impl FnOnce(&mut Value)) -> Option<Vec<u8>> {
    let file = project.path().join("m").join(name);
    let before = fs::read(&file).ok();
    let mut value = before.as_ref().map_or(json!({}), |bytes| serde_json::from_slice(bytes).unwrap());
    change(&mut value);
    fs::write(&file, value.to_string()).unwrap();
    before
}

/// As [`change`], until `then` has run.
fn with(project: &Project, name: &str, key: &str, value: &Value, then: impl FnOnce()) {
    let before = change(project, name, |file| file[key] = value.clone());
    then();
    let file = project.path().join("m").join(name);
    match before {
        Some(bytes) => fs::write(file, bytes).unwrap(),
        None => fs::remove_file(file).unwrap(),
    }
}

/// A drawn report with its messages in one line.
fn unwrap_lines(report: &str) -> String {
    report.replace("\n  │ ", " ").replace("\n        ", " ")
}

#[test]
fn a_setting_is_refused_or_told_and_never_passed_over() {
    let project = foreign();
    for (key, value) in [
        ("is_causal", json!(false)),
        ("final_logit_softcapping", json!(30.0)),
        ("partial_rotary_factor", json!(0.5)),
        ("use_bidirectional_attention", json!(true)),
        ("rms_norm_eps", json!(1e300)),
        ("rope_theta", json!(1e-300)),
        ("eos_token_id", json!(1_000_000)),
        ("bos_token_id", json!(-1)),
    ] {
        with(&project, "config.json", key, &value, || {
            for (command, code) in [("check", 2), ("run", 8)] {
                let said = unwrap_lines(&project.fmflow(&[command, "c.kdl"]).exits(code).stderr);
                assert!(said.contains(&format!("`{key}`")) && said.contains("unfit-checkpoint"), "{said}");
            }
        });
    }
    change(&project, "config.json", |config| {
        config["attention_dropout"] = json!(0.25);
        config["rotary_mix"] = json!({"of": "somebody"});
        config["off"] = json!(false);
    });
    let checked = unwrap_lines(&project.fmflow(&["check", "c.kdl"]).ok().stderr);
    assert_eq!(checked.matches("unread-setting\n").count(), 2, "{checked}");
    let told = "config.json: `rotary_mix` = {\"of\":\"somebody\"} is not read";
    assert!(checked.contains(told) && checked.contains("`attention_dropout` = 0.25"), "{checked}");
    project.fmflow(&["check", "c.kdl", "--allow", "unread-setting", "--deny", "unused"]).ok();
    project.write("m/additional_chat_templates/rag.jinja", "{{ 1 }}");
    let left = "the templates in `additional_chat_templates` are left behind";
    assert!(unwrap_lines(&project.fmflow(&["check", "c.kdl"]).ok().stderr).contains(left));
    // A run tells it too, and the artifact keeps it.
    let ran = project.fmflow(&["run", "c.kdl"]).ok();
    assert!(ran.stderr.contains(&format!("note: {told}")), "{}", ran.stderr);
    project.fmflow(&["show", "c.kdl", "m"]).ok().says(told).says(left);
}

#[test]
fn files_that_disagree_are_refused_with_both_places() {
    let project = foreign();
    let vocabulary = read(&project.path().join("m/tokenizer.json"));
    let added = vocabulary["added_tokens"].as_array().unwrap();
    let next = added.iter().map(|token| token["id"].as_u64().unwrap()).max().unwrap() + 1;
    let end = read(&project.path().join("m/config.json"))["pad_token_id"].clone();
    for (name, key, value, other) in [
        ("added_tokens.json", "<|lane|>", json!(next), "`tokenizer.json`"),
        (
            "tokenizer_config.json",
            "added_tokens_decoder",
            json!({next.to_string(): {"content": "<|lane|>"}}),
            "`tokenizer.json`",
        ),
        ("generation_config.json", "eos_token_id", end, "`eos_token_id` in `config.json`"),
        ("special_tokens_map.json", "eos_token", json!("<|endoftext|>"), "`eos_token_id` in `config.json`"),
        ("special_tokens_map.json", "unk_token", json!("<unk>"), "`tokenizer.json`"),
        ("vocab.json", "!", json!(next), "`tokenizer.json`"),
        (
            "chat_template.json",
            "chat_template",
            json!("{{ 1 }}"),
            "`chat_template` in `tokenizer_config.json`",
        ),
    ] {
        with(&project, name, key, &value, || {
            for (command, code) in [("check", 2), ("run", 8)] {
                let said = unwrap_lines(&project.fmflow(&[command, "c.kdl"]).exits(code).stderr);
                assert!(said.contains(&format!("`{name}`")) && said.contains(other), "{name}: {said}");
                assert!(said.contains("help:"), "{said}");
            }
        });
    }
    project.fmflow(&["run", "c.kdl"]).ok();
}

const TRAVEL: &str = r#"pipeline "travel" seed=1
fetch "m" from="./m"
dataset "tasks" from="tiny/*.jsonl" format="jsonl" held-out="20%" { chat user="question" assistant="answer" group="task" }
rows "chat" tokenizer="m" length=64 packing="first-fit"
mixture "answer" { dataset "tasks" }
scheduler "linear" kind="linear"
path "masked" source="mask" scheduler="linear"
convert "flow" from="m" { mask-token "reserved" }
train "sft" from="flow" {
    data rows="chat" mixture="answer"
    objective "flow" path="masked" loss="cross-entropy"
    attention "bidirectional"
    batch rows=2
    learning-rate peak=1e-3 shape="constant"
    steps 1
}
export "converted" from="flow" format="huggingface"
export "trained" from="sft" format="huggingface"
"#;

#[test]
fn what_the_source_had_travels_and_what_training_changed_is_written() {
    let project = foreign();
    project.write("travel.kdl", TRAVEL);
    let m = project.path().join("m");
    let tokenizer = read(&m.join("tokenizer.json"));
    let id = |content: &str| {
        let tokens = tokenizer["added_tokens"].as_array().unwrap();
        tokens.iter().find(|token| token["content"] == content).unwrap()["id"].clone()
    };
    let (document, turn) = (id("<|endoftext|>"), id("<|im_end|>"));
    // A base model: it ends documents and no turns.
    change(&project, "config.json", |config| config["eos_token_id"] = document.clone());
    change(&project, "tokenizer_config.json", |config| config["eos_token"] = json!("<|endoftext|>"));
    change(&project, "generation_config.json", |config| {
        *config = json!({"eos_token_id": [document], "temperature": 0.6, "top_k": 20});
    });
    change(&project, "added_tokens.json", |map| map["<|im_end|>"] = turn.clone());
    change(&project, "special_tokens_map.json", |map| map["eos_token"] = json!("<|endoftext|>"));
    let template = read(&m.join("tokenizer_config.json"))["chat_template"].as_str().unwrap().to_owned();
    project.write("m/chat_template.jinja", &template);
    project.fmflow(&["run", "travel.kdl"]).ok();

    let folder = |stage: &str| {
        let shown = project.fmflow(&["show", "travel.kdl", stage, "--path"]).ok().stdout;
        Path::new(shown.trim_end()).to_owned()
    };
    for stage in ["flow", "sft"] {
        for file in
            ["generation_config.json", "added_tokens.json", "special_tokens_map.json", "tokenizer.json"]
        {
            assert_eq!(
                fs::read(folder(stage).join(file)).unwrap(),
                fs::read(m.join(file)).unwrap(),
                "{stage} {file}"
            );
        }
    }
    let mask = read(&folder("sft").join("provenance.json"))["mask_token"].clone();
    for (stage, ends) in [("converted", json!(document)), ("trained", json!([document, turn]))] {
        let release = folder(stage);
        let json = |file: &str| read(&release.join(file));
        let config = json("config.json");
        assert_eq!((&config["eos_token_id"], &config["is_causal"]), (&ends, &json!(false)), "{stage}");
        assert_eq!(config["mask_token_id"], mask);
        let generation = json("generation_config.json");
        assert_eq!((&generation["temperature"], &generation["top_k"]), (&json!(0.6), &json!(20)));
        assert_eq!((&generation["eos_token_id"], &generation["mask_token_id"]), (&ends, &mask), "{stage}");
        assert_eq!(fs::read_to_string(release.join("chat_template.jinja")).unwrap(), template);
        // The mask token is where programs look for it, and nothing else of the tokenizer has changed.
        let mut own = json("tokenizer.json");
        let last = own["added_tokens"].as_array_mut().unwrap().pop().unwrap();
        assert_eq!(
            (&last["id"], &last["content"], &last["special"]),
            (&mask, &json!("<|mask|>"), &json!(true))
        );
        assert_eq!(own, tokenizer);
        assert_eq!(json("tokenizer_config.json")["mask_token"], "<|mask|>");
        assert_eq!(
            json("tokenizer_config.json")["added_tokens_decoder"][mask.to_string()]["content"],
            "<|mask|>"
        );
        assert_eq!(
            json("special_tokens_map.json"),
            json!({"eos_token": "<|endoftext|>", "mask_token": "<|mask|>"})
        );
        assert_eq!(json("added_tokens.json"), json!({"<|im_end|>": turn, "<|mask|>": mask}));
        let readme = fs::read_to_string(release.join("README.md")).unwrap();
        for words in
            ["`is_causal: false`", "| rotary base | 1000000,", "| epsilon of the RMS norms | 0.000001 |"]
        {
            assert!(readme.contains(words), "{words:?} in\n{readme}");
        }
    }
}
