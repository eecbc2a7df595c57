//! Samplers with an approximate cache: what they write, what is told of it, and that it is never taken for what is exact.

#![cfg(feature = "cpu")]
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::sync::LazyLock;

use crate::common::Project;
use serde_json::{Value, json};

/// The first requests of both stages.
const FIRST: &str = r#"
    prompt "The river" new-tokens=40
    prompt "A stone in the river" new-tokens=40
    chat "first: a b c"
    infill prefix="The " suffix=" end" length=11
    infill prefix="The " suffix=" end" length=9 { gap after=" meets the " length=5 }"#;

/// The same requests with each cache and without one, where `FIRST` stands for the first ones. `sft` has attention in both directions.
const STAGES: &str = r#"
sampler "kept" kind="threshold" threshold=0.3 temperature=1 block=4 cache="prefix"
sampler "around" kind="threshold" threshold=0.3 temperature=1 block=4 cache="dual"
sampler "plain" kind="threshold" threshold=0.3 temperature=1 block=4
generate "frozen" from="sft" sampler="kept" {
    FIRST
    prompt "The river" sampler="around" new-tokens=40
    infill prefix="The " suffix=" end" length="6..9" sampler="around"
    prompt "The river" sampler="plain" new-tokens=40
}
generate "exact" from="sft" sampler="plain" {
    FIRST
    prompt "The river" new-tokens=40
    infill prefix="The " suffix=" end" length="6..9"
    prompt "The river" new-tokens=40
}
evaluate "scored" { checkpoint "sft"; exact-match dataset="tasks" sampler="kept" }
frontier "speed" { checkpoint "sft"; exact-match dataset="tasks" sampler="around" first=4 }
"#;

/// A project that has run once for all tests of this module.
static RAN: LazyLock<Project> = LazyLock::new(|| {
    let project = Project::tiny();
    project.append("tiny.kdl", &STAGES.replace("FIRST", FIRST.trim()));
    for stage in ["frozen", "exact", "scored", "speed"] {
        project.fmflow(&["run", "tiny.kdl", "--until", stage]).ok();
    }
    project
});

fn count(value: &Value, name: &str) -> u64 {
    value["cache_disagreement"][name].as_u64().unwrap()
}

#[test]
fn a_stage_tells_what_its_caches_changed() {
    let (frozen, exact) =
        (RAN.json_lines("frozen", "samples.jsonl"), RAN.json_lines("exact", "samples.jsonl"));
    assert_eq!(frozen.len(), exact.len());
    let mut sums = [[0; 4]; 2];
    for (at, (one, other)) in frozen.iter().zip(&exact).enumerate() {
        assert!(other.get("cache_disagreement").is_none(), "{other}");
        if at == 7 {
            assert!(one.get("cache_disagreement").is_none() && one["raw"] == other["raw"], "{one}");
            continue;
        }
        let dual = at > 4;
        assert_eq!(one["cache_disagreement"]["cache"], if dual { "dual" } else { "prefix" });
        // What stands behind an end is no text.
        let differs = count(one, "differing_texts") == 1;
        assert_eq!(count(one, "differing_tokens") > 0, differs, "{one}\n{other}");
        assert!(differs || one["text"] == other["text"], "{one}\n{other}");
        assert!(!differs || one["raw"] != other["raw"], "{one}\n{other}");
        assert_eq!(count(one, "tokens"), one["tokens"].as_u64().max(other["tokens"].as_u64()).unwrap());
        let own = ["texts", "differing_texts", "tokens", "differing_tokens"].map(|name| count(one, name));
        sums[usize::from(dual)].iter_mut().zip(own).for_each(|(sum, own)| *sum += own);
    }
    let shown = RAN.fmflow(&["show", "tiny.kdl", "frozen", "--json"]).ok();
    let summary = serde_json::from_str::<Value>(&shown.stdout).unwrap()["summary"].clone();
    for (cache, [texts, differing, tokens, changed]) in ["prefix", "dual"].into_iter().zip(sums) {
        let share = |a: u64, b: u64| a as f64 / b as f64;
        let line = format!(
            "the approximate cache `{cache}` changed {:.1} % of {tokens} tokens and {:.1} % of {texts} texts",
            100.0 * share(changed, tokens),
            100.0 * share(differing, texts)
        );
        assert!(summary["lines"].as_array().unwrap().contains(&json!(line)), "{line}\n{summary:#}");
        let metric =
            |what: &str| summary["metrics"][format!("changed_by_cache/{cache}/{what}")].as_f64().unwrap();
        assert_eq!([metric("tokens"), metric("texts")], [share(changed, tokens), share(differing, texts)]);
    }
}

#[test]
fn the_command_gives_the_same_and_tells_it() {
    let samples = RAN.json_lines("frozen", "samples.jsonl");
    let asked = [
        "generate",
        "tiny.kdl",
        "sft",
        "--prompt",
        "The river",
        "--new-tokens",
        "40",
        "--no-twin",
        "--sampler",
    ];
    let folder = RAN.artifact("sft");
    let described = "threshold threshold=0.3 temperature=1 block=4 cache=prefix";
    let own =
        ["generate", folder.to_str().unwrap(), "--seed", "3", "--prompt", "The river", "--new-tokens", "40"];
    for arguments in [
        [&asked[..], &["kept", "--json"]].concat(),
        [&own[..], &["--sampler", described, "--no-twin", "--json"]].concat(),
    ] {
        let found: Value = serde_json::from_str(&RAN.fmflow(&arguments).ok().stdout).unwrap();
        assert_eq!(found["answers"][0]["raw"], samples[0]["raw"]);
        assert_eq!(found["cache_disagreement"], samples[0]["cache_disagreement"]);
        assert_eq!(found["cache"], "prefix");
    }
    let told = format!("the approximate cache `dual` changed {:.1} % of", {
        100.0 * count(&samples[5], "differing_tokens") as f64 / count(&samples[5], "tokens") as f64
    });
    let whole = RAN.fmflow(&[&asked[..], &["around"]].concat()).ok();
    assert!(whole.stderr.contains(&told), "{told}\n{}", whole.stderr);
    let silent = RAN.fmflow(&[&asked[..], &["around", "--no-disagreement"]].concat()).ok();
    assert_eq!(silent.stdout, whole.stdout);
    silent.says("the cache `dual` is approximate; what it changed was not measured");
    let plain = RAN.fmflow(&[&asked[..], &["plain"]].concat()).ok();
    assert!(!plain.stderr.contains("approximate"), "{}", plain.stderr);
    // Of many answers the first are compared.
    RAN.fmflow(&[&asked[..], &["kept", "-n", "70"]].concat()).ok().says(" of 64 texts, the first of 70");
}

/// The tokens of answers, counted by hand: of 70 answers the first 64 are compared.
#[test]
fn what_a_cache_changed_is_what_differs_between_two_runs() {
    let ask = |cache: &str| {
        let text =
            ["--prefix", "The ", "--suffix", " end", "--length", "60", "-n", "70", "--no-twin", "--json"];
        let sampler = ["--sampler", "confidence passes=4 temperature=1 block=8", cache];
        let asked = ["generate", "tiny.kdl", "sft"];
        let ran = RAN.fmflow(&[&asked[..], &text, &sampler].concat()).ok();
        serde_json::from_str::<Value>(&ran.stdout).unwrap()
    };
    let ids = |found: &Value| -> Vec<Vec<u64>> {
        let ids = |answer: &Value| {
            answer["ids"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap()).collect()
        };
        found["answers"].as_array().unwrap().iter().map(ids).collect()
    };
    let plain = ids(&ask("cache=none"));
    for cache in ["prefix", "dual"] {
        let found = ask(&format!("cache={cache}"));
        let pairs: Vec<_> = ids(&found).into_iter().zip(&plain).take(64).collect();
        let changed = |(a, b): &(Vec<u64>, &Vec<u64>)| a.iter().zip(*b).filter(|(a, b)| a != b).count();
        let texts = pairs.iter().filter(|pair| changed(pair) > 0).count();
        let tokens: usize = pairs.iter().map(changed).sum();
        assert!(texts > 0, "a cache that changes nothing proves nothing");
        let expected = json!({
            "cache": cache, "texts": 64, "differing_texts": texts, "tokens": 64 * 60, "differing_tokens": tokens,
        });
        assert_eq!(found["cache_disagreement"], expected);
    }
}

#[test]
fn a_table_has_what_a_cache_changed_in_a_column_of_its_own() {
    RAN.write("asked.jsonl", "{\"question\": \"first: a b c\", \"answer\": \"a\"}\n{\"question\": \"last: a b c d\", \"answer\": \"d\"}\n");
    let bench = |more: &[&str]| {
        let asked =
            ["bench", "generate", "tiny.kdl", "sft", "--questions", "asked.jsonl", "--new-tokens", "24"];
        RAN.fmflow(&[&asked, more].concat()).ok().stdout
    };
    let samplers = ["--sampler", "confidence passes=3 block=4 cache=prefix,dual,none"];
    let found: Value = serde_json::from_str(&bench(&[&samplers[..], &["--json"]].concat())).unwrap();
    let rows = found["samplers"].as_array().unwrap();
    assert_eq!(rows[2]["cache_disagreement"], Value::Null);
    for (row, cache) in rows.iter().zip(["prefix", "dual"]) {
        assert_eq!(row["cache_disagreement"]["cache"], cache);
        assert_eq!(count(row, "texts"), 2);
    }
    let table = bench(&samplers);
    assert!(table.contains("changed by the cache") && table.contains("`dual`: "), "{table}");
    assert!(
        !bench(&["--sampler", "confidence passes=3 block=4"]).contains("changed by"),
        "only where there is one"
    );
}

#[test]
fn scores_name_the_cache_that_they_were_reached_with() {
    let report = fs::read(RAN.artifact("scored").join("report.json")).unwrap();
    let report: Value = serde_json::from_slice(&report).unwrap();
    assert_eq!(report["sft"]["exact_match"]["tasks"]["cache"], "prefix", "{report:#}");
    let scored = &report["sft"]["exact_match"]["tasks"]["cache_disagreement"];
    assert_eq!(
        (&scored["cache"], &scored["texts"]),
        (&json!("prefix"), &report["sft"]["exact_match"]["tasks"]["total"])
    );
    RAN.fmflow(&["show", "tiny.kdl", "scored"]).ok().says("the approximate cache `prefix` changed ");
    let frontier = fs::read(RAN.artifact("speed").join("frontier.json")).unwrap();
    let frontier: Value = serde_json::from_slice(&frontier).unwrap();
    assert_eq!(frontier["samplers"][0]["cache"], "dual", "{frontier:#}");
    let measured = &frontier["samplers"][0];
    assert_eq!(count(measured, "texts"), 4);
    assert!(count(measured, "tokens") >= measured["tokens"].as_u64().unwrap());
    let told = RAN.fmflow(&["show", "tiny.kdl", "speed", "--json"]).ok().stdout;
    let told: Value = serde_json::from_str(&told).unwrap();
    let share = &told["summary"]["metrics"]["frontier/tasks/around/changed_by_cache/tokens"];
    let expected = count(measured, "differing_tokens") as f64 / count(measured, "tokens") as f64;
    assert_eq!(share.as_f64().unwrap(), expected, "{told:#}");
    RAN.fmflow(&["show", "tiny.kdl", "speed"]).ok().says("the approximate cache `dual` changed ");
}

#[test]
fn a_plan_names_such_caches_and_they_alone_change_results() {
    RAN.fmflow(&["plan", "tiny.kdl"]).ok().says(
        "`frozen`: approximate cache of `kept` (`prefix`), `around` (`dual`): text may differ from that without one",
    );
    let text = fs::read_to_string(RAN.path().join("tiny.kdl")).unwrap();
    let plan = |cache: &str| {
        RAN.write("other.kdl", &text.replace("block=4 cache=\"prefix\"", &format!("block=4{cache}")));
        let planned: Value =
            serde_json::from_str(&RAN.fmflow(&["plan", "other.kdl", "--json"]).ok().stdout).unwrap();
        let stages = planned["stages"].as_array().unwrap();
        let stage = stages.iter().find(|stage| stage["name"] == "scored").unwrap().clone();
        (stage["fingerprint"].as_str().unwrap().to_owned(), stage["approximate-caches"].clone())
    };
    let (none, auto) = (plan(" cache=\"none\""), plan(""));
    assert_eq!(none, auto);
    assert_eq!(none.1, json!({}));
    let (prefix, dual) = (plan(" cache=\"prefix\""), plan(" cache=\"dual\""));
    assert_eq!((&prefix.1, &dual.1), (&json!({"kept": "prefix"}), &json!({"kept": "dual"})));
    assert!(prefix.0 != none.0 && dual.0 != none.0 && prefix.0 != dual.0);
}

#[test]
fn what_cannot_work_is_refused_with_its_cure() {
    let ask = |stage: &str, sampler: &[&str]| {
        let asked = ["generate", "tiny.kdl", stage, "--prompt", "The", "--new-tokens", "8", "--sampler"];
        RAN.fmflow(&[&asked[..], sampler].concat())
    };
    ask("sft", &["threshold", "threshold=0.9", "cache=prefix"]).exits(2).says("add `block=32`");
    ask("ar", &["autoregressive", "cache=dual"]).exits(2).says("write `cache=\"exact\"`");
    ask("sft", &["threshold", "threshold=0.9", "cache=exact"])
        .exits(2)
        .says("with `block`, `prefix` and `dual` approximate it");
}

#[test]
fn answers_are_the_same_in_all_batches() {
    let folder = RAN.artifact("sft");
    let told = RAN.fmflow(&["verify", folder.to_str().unwrap(), "--batches"]).ok();
    told.says("without a cache and, each by itself, with `prefix` and `dual`");
}

#[cfg(feature = "serve")]
#[test]
fn a_server_writes_the_bytes_of_the_command() {
    use crate::serve::{Server, generate_in, texts};
    let server = Server::start_in(&RAN, &["tiny.kdl", "sft"]);
    let expected: Vec<Vec<String>> = ["kept", "around", "plain"]
        .map(|sampler| {
            let asked = [
                "tiny.kdl",
                "sft",
                "--prompt",
                "The river",
                "--new-tokens",
                "40",
                "-n",
                "3",
                "--sampler",
                sampler,
            ];
            generate_in(&RAN, &asked)
        })
        .into();
    std::thread::scope(|scope| {
        for round in 0..9 {
            let (server, expected) = (&server, &expected);
            scope.spawn(move || {
                let sampler = ["kept", "around", "plain"][round % 3];
                let body = json!({"prompt": "The river", "max_tokens": 40, "n": 3, "sampler": sampler});
                assert_eq!(texts(server, "/v1/completions", &body), expected[round % 3], "{sampler}");
            });
        }
    });
}
