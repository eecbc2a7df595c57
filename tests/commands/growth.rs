//! Text that grows, from the training that teaches it to the server: the same bytes everywhere.

#![cfg(feature = "cpu")]
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::io::Write;
use std::process::Stdio;
use std::sync::LazyLock;

use crate::common::Project;
use serde_json::Value;

const STAGES: &str = r#"
train "growing" from="flow" use="common" {
    data rows="text" mixture="prose"
    objective "flow" path="masked" loss="cross-entropy" {
        grow merge=0.5 delete=8 expand-token="<|fim_middle|>" delete-token="<|fim_pad|>"
    }
    attention "bidirectional"
    steps 60
}
sampler "sure" kind="threshold" threshold=0.9 temperature=1
generate "grown" from="growing" sampler="sure" {
    infill prefix="The river" suffix=" at 3." length=4 grow=16
    infill prefix="The river" suffix=" at 3." length=12 grow=0
    infill prefix="The river" suffix=" at 3." length=6
}
export "release" from="growing" format="huggingface"
"#;

/// A project that has run once for all tests of this module.
static RAN: LazyLock<Project> = LazyLock::new(|| {
    let project = Project::tiny();
    project.append("tiny.kdl", STAGES);
    for stage in ["sft", "grown", "release"] {
        project.fmflow(&["run", "tiny.kdl", "--until", stage]).ok();
    }
    project
});

const GAP: [&str; 4] = ["--prefix", "The river", "--suffix", " at 3."];

fn read_json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn gaps_grow_and_shrink_within_their_bounds_and_the_command_gives_the_same() {
    let samples = RAN.json_lines("grown", "samples.jsonl");
    let tokens = |at: usize| samples[at]["tokens"].as_u64().unwrap();
    assert!(tokens(0) <= 20 && tokens(1) <= 12 && tokens(2) == 6, "{samples:#?}");
    let mut lengths = std::collections::BTreeSet::new();
    for seed in ["3", "4", "5", "6", "7", "8"] {
        let asked =
            [&["generate", "tiny.kdl", "growing", "--seed", seed, "--no-twin", "--json"][..], &GAP].concat();
        let found =
            RAN.fmflow(&[&asked[..], &["--length", "4", "--grow", "16", "--sampler", "sure"]].concat()).ok();
        let found = read_json(&found.stdout);
        let answer = &found["answers"][0];
        if seed == "3" {
            assert_eq!((&answer["raw"], &answer["passes"]), (&samples[0]["raw"], &samples[0]["passes"]));
        }
        for name in ["fim_middle", "fim_pad"] {
            assert!(!answer["raw"].as_str().unwrap().contains(name), "{answer}");
        }
        let text = answer["text"].as_str().unwrap();
        assert!(text.starts_with("The river") && text.ends_with(" at 3."), "{text}");
        lengths.insert(answer["tokens"].as_u64().unwrap());
    }
    assert!(lengths.iter().any(|tokens| *tokens != 4), "{lengths:?}");
}

#[test]
fn what_was_not_trained_for_it_is_refused_with_its_cure() {
    let ask = |stage: &str, sampler: &[&str]| {
        let asked = [
            &["generate", "tiny.kdl", stage, "--length", "4", "--grow", "8", "--sampler"][..],
            sampler,
            &GAP,
        ]
        .concat();
        RAN.fmflow(&asked)
    };
    ask("sft", &["threshold", "threshold=0.9"]).exits(2).says("was not trained for text that grows");
    ask("growing", &["confidence", "passes=4"]).exits(2).says("kind=\"threshold\" threshold=0.9");
    ask("growing", &["threshold", "threshold=0.9", "block=4"]).exits(2).says("no gap can grow");
    // An export says it as the checkpoint does.
    let folder = RAN.artifact("release");
    let asked =
        [&["generate", folder.to_str().unwrap(), "--length", "4", "--grow", "16", "--seed", "3"][..], &GAP]
            .concat();
    let found = RAN.fmflow(
        &[&asked[..], &["--sampler", "threshold threshold=0.9 temperature=1", "--no-twin", "--json"]]
            .concat(),
    );
    let samples = RAN.json_lines("grown", "samples.jsonl");
    assert_eq!(read_json(&found.ok().stdout)["answers"][0]["raw"], samples[0]["raw"]);
    let config = read_json(&fs::read_to_string(folder.join("config.json")).unwrap());
    let contract = read_json(&fs::read_to_string(folder.join("fmflow.json")).unwrap());
    let growth = &contract["provenance"]["growth"];
    assert!(growth["expand"].is_u64() && growth["delete"].is_u64(), "{contract:#}");
    assert_eq!(
        (&config["expand_token_id"], &config["delete_token_id"]),
        (&growth["expand"], &growth["delete"])
    );
    let readme = fs::read_to_string(folder.join("README.md")).unwrap();
    assert!(readme.contains(&format!("token {} becomes two masks", growth["expand"])), "{readme}");
    let origins = fs::read_to_string(RAN.artifact("growing").join("origins.json")).unwrap();
    assert!(
        read_json(&origins)["facts"]["growth"]["text"].as_str().unwrap().starts_with("grow merge=0.5"),
        "{origins}"
    );
}

#[test]
fn tokens_that_the_tokenizer_does_not_have_are_refused() {
    let project = Project::tiny();
    for (token, why) in [
        ("<|expand|>", "the tokenizer has no special token of this name"),
        ("e", "the tokenizer has no special token of this name"),
        ("<|im_end|>", "it ends an answer"),
    ] {
        let text = include_str!("../cases/data/tiny.kdl").to_owned() + STAGES;
        project.write("tiny.kdl", &text.replace("<|fim_middle|>", token));
        project.fmflow(&["run", "tiny.kdl", "--until", "growing"]).exits(8).says(why);
    }
}

#[test]
fn a_chat_shows_places_that_come_and_go() {
    let mut command = RAN.command(&[
        "chat",
        "tiny.kdl",
        "growing",
        "--sampler",
        "sure",
        "--trace",
        "--new-tokens",
        "4",
        "--seed",
        "3",
    ]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let typed = "/grow 16\n/infill The river[...] at 3.\n/grow x\n/grow\n/infill The river[...] at 3.\n";
    child.stdin.take().unwrap().write_all(typed.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let (told, shown) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    let samples = RAN.json_lines("grown", "samples.jsonl");
    assert!(told.starts_with(samples[0]["text"].as_str().unwrap()), "{told}\n{shown}");
    assert!(shown.contains("`/grow` takes a whole number"), "{shown}");
    // The last drawing of the first answer is the answer.
    let before = shown.split("tok/s]").next().unwrap();
    let last = before.lines().rfind(|line| line.starts_with("pass ")).unwrap();
    let written = last.split_once(": ").unwrap().1;
    let text = samples[0]["text"].as_str().unwrap();
    let gap = text.strip_prefix("The river").unwrap().strip_suffix(" at 3.").unwrap();
    assert!(!written.contains('·'), "nothing is open at the end: {shown}");
    if gap.is_ascii() {
        assert_eq!(written, gap.escape_debug().to_string(), "{shown}");
    }
    assert!(shown.contains("4 tokens in"), "without a budget it keeps its length: {shown}");
}

#[cfg(feature = "serve")]
#[test]
fn a_server_writes_the_bytes_of_the_command() {
    use crate::serve::{Server, generate_in, texts};
    use serde_json::json;
    let server = Server::start_in(&RAN, &["tiny.kdl", "growing", "--sampler", "sure"]);
    let body = |seed: u64| json!({"prompt": "The river", "suffix": " at 3.", "gap_tokens": 4, "gap_growth": 16, "seed": seed, "n": 3});
    std::thread::scope(|scope| {
        for seed in 1..5 {
            let server = &server;
            scope.spawn(move || {
                let (seed_word, count) = (seed.to_string(), ["-n", "3"]);
                let asked = [
                    &["tiny.kdl", "growing", "--seed", &seed_word, "--length", "4", "--grow", "16"][..],
                    &GAP,
                    &count,
                    &["--sampler", "sure"],
                ]
                .concat();
                let own = |text: &String| {
                    text.strip_prefix("The river").unwrap().strip_suffix(" at 3.").unwrap().to_owned()
                };
                let expected: Vec<String> = generate_in(&RAN, &asked).iter().map(own).collect();
                assert_eq!(texts(server, "/v1/completions", &body(seed)), expected);
            });
        }
    });
    let told = server
        .refuse("/v1/completions", &json!({"prompt": "a", "suffix": "b", "gap_tokens": 4, "gap_growth": -1}));
    assert!(told.contains("`gap_growth` must be a whole number"), "{told}");
    let told = server.refuse(
        "/v1/completions",
        &json!({"prompt": "a", "suffix": "b", "gap_tokens": "2..4", "gap_growth": 1}),
    );
    assert!(told.contains("not a range"), "{told}");
    let told = server.refuse("/v1/completions", &json!({"prompt": "a", "gap_growth": 1}));
    assert!(told.contains("gap_growth"), "{told}");
    let steps = server.stream(
        "/watch",
        json!({"prompt": "The river", "suffix": " at 3.", "gap_tokens": 4, "gap_growth": 16, "seed": 3}),
    );
    let mut shown: Vec<Option<String>> = Vec::new();
    for step in steps.iter().filter(|step| step["type"] == "step") {
        for written in step["written"].as_array().unwrap() {
            let place = written["place"].as_u64().unwrap() as usize;
            shown.resize(shown.len().max(place + 1), None);
            shown[place] = written["id"].is_u64().then(|| written["text"].as_str().unwrap().to_owned());
        }
        if let Some(places) = step["places"].as_u64() {
            shown.resize(places as usize, None);
        }
    }
    let samples = RAN.json_lines("grown", "samples.jsonl");
    assert_eq!(shown.len() as u64, samples[0]["tokens"].as_u64().unwrap(), "{shown:?}");
    let text: String = shown.into_iter().map(Option::unwrap).collect();
    // A token alone is not always a letter.
    if !text.contains('\u{fffd}') {
        assert_eq!(format!("The river{text} at 3."), samples[0]["text"].as_str().unwrap());
    }
}
