//! A checkpoint carries its contract wherever it is copied, and no stage contradicts it.

#![cfg(feature = "cpu")]
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::path::Path;

use crate::common::Project;
use serde_json::Value;

/// Continues training from a flow checkpoint in a folder.
const SECOND: &str = r#"pipeline "second" seed=5
fetch "old" from="elsewhere"
dataset "text"  from="tiny/*.txt"  format="text"  held-out="20%"
rows "text" tokenizer="old" length=64 packing="concat" end-of-document=#true
mixture "prose"  { dataset "text" weight=1 }
scheduler "straight" kind="linear"
path "again" source="mask" scheduler="straight"
train "more" from="old" {
    data rows="text" mixture="prose"
    objective "flow" path="again" loss="elbo" max-weight=20
    attention "bidirectional"
    batch rows=4
    steps 2
    learning-rate peak=1e-3 final=1e-4 shape="cosine"
}
sampler "parallel" kind="confidence" passes=2 temperature=0
evaluate "likelihood" { checkpoint "old" "more"; held-out dataset="text" rows="text" times=4 }
generate "samples" from="old" sampler="parallel" { chat "first: a b c" }
"#;

/// A project with `second.kdl` and a flow checkpoint copied to `elsewhere`.
fn moved() -> Project {
    let project = Project::tiny();
    project.fmflow(&["run", "tiny.kdl", "--until", "sft"]).ok();
    let copy = project.path().join("elsewhere");
    fs::create_dir(&copy).unwrap();
    for entry in fs::read_dir(project.artifact("sft")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
    }
    project.write("second.kdl", SECOND);
    project
}

fn json(folder: &Path, name: &str) -> Value {
    serde_json::from_slice(&fs::read(folder.join(name)).unwrap()).unwrap()
}

fn artifact(project: &Project, stage: &str) -> std::path::PathBuf {
    project.fmflow(&["show", "second.kdl", stage, "--path"]).ok().stdout.trim_end().into()
}

#[test]
fn a_checkpoint_carries_its_contract_and_origins() {
    let project = moved();
    project.fmflow(&["run", "second.kdl"]).ok().says("samples");
    let (old, more) = (artifact(&project, "old"), artifact(&project, "more"));
    for file in ["provenance.json", "origins.json", "certificate.json", "model.safetensors", "tokenizer.json"]
    {
        let of = |folder: &Path| fs::read(folder.join(file)).unwrap();
        assert_eq!(of(&old), of(&project.path().join("elsewhere")), "{file}");
        if ["certificate.json", "tokenizer.json"].contains(&file) {
            assert_eq!(of(&more), of(&old), "{file}");
        }
    }
    let facts = json(&more, "provenance.json");
    for fact in ["time_direction", "kind", "shift", "mask_token", "path", "loss", "attention", "block"] {
        assert!(facts.get(fact).is_some(), "{fact}");
    }
    assert!(facts.get("time_conditioning").is_some() && facts["tokenizer"].is_string(), "{facts}");
    let mut lines = String::new();
    for (fact, origin) in json(&more, "origins.json")["facts"].as_object().unwrap() {
        let part = |key: &str| origin[key].as_str().unwrap().to_owned();
        lines += &format!(
            "{fact}: {} {}:{}{} {}\n",
            part("stage"),
            part("file"),
            origin["line"],
            if origin["default"] == true { " (default)" } else { "" },
            part("text")
        );
    }
    insta::assert_snapshot!("origins", lines);
}

#[test]
fn check_refuses_a_path_that_contradicts_the_checkpoint_with_both_places() {
    let project = moved();
    project.edit("second.kdl", "kind=\"linear\"", "kind=\"cosine\"");
    let ran = project.fmflow(&["check", "second.kdl"]).exits(2);
    insta::assert_snapshot!("contradiction-check", ran.stderr);
    project.fmflow(&["run", "second.kdl"]).exits(2);
}

/// The text with `<digest>` in place of every word of 12 hexadecimal digits.
fn without_digests(text: &str) -> String {
    let digest = |word: &str| word.len() == 12 && word.bytes().all(|b| b.is_ascii_hexdigit());
    let words = text.split_inclusive(|c: char| !c.is_alphanumeric());
    let shown = words.map(|word| {
        let own = word.trim_end_matches(|c: char| !c.is_alphanumeric());
        if digest(own) { word.replace(own, "<digest>") } else { word.to_owned() }
    });
    shown.collect()
}

#[test]
fn rows_of_another_tokenizer_are_refused_before_the_first_update() {
    let project = moved();
    project.edit("second.kdl", "rows \"text\" tokenizer=\"old\"", "rows \"text\" tokenizer=\"new\"");
    let text = fs::read_to_string(project.path().join("second.kdl")).unwrap();
    let tokenizer = "tokenizer \"new\" kind=\"byte-level-bpe\" vocabulary=320 { dataset \"text\" }\n";
    project.write("second.kdl", &(text + tokenizer));
    project.fmflow(&["check", "second.kdl"]).ok();
    let ran = project.fmflow(&["run", "second.kdl"]).exits(8);
    let shown = ran.stderr.find("tokenizer-mismatch").map(|at| without_digests(&ran.stderr[at..]));
    insta::assert_snapshot!("contradiction-run", shown.unwrap());
    let begun = fs::read_dir(project.path().join(".fmflow/artifacts")).unwrap();
    let names = begun.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(!names.into_iter().any(|name| name.starts_with("more")), "nothing was trained");
}
