//! `fmflow diff`: two results by their settings and what is upstream, and two runs stage by stage. Scores are compared in `benchmarks`.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use serde_json::Value;

use crate::common::Project;
use crate::common::pretend::Pretend;

const TEXT: &str = r#"pipeline "small" seed=1
dataset "text" from="text/*.txt" format="text" held-out="2%"
tokenizer "bpe" kind="byte-level-bpe" vocabulary=1024 special="qwen3" { dataset "text" }
rows "text" tokenizer="bpe" length=128 packing="concat"
mixture "prose" { dataset "text" weight=1 }
random-init "tiny" tokenizer="bpe" {
    shape "qwen3" hidden=96 layers=3 heads=3 kv-heads=1 head-dim=32 feed-forward=288 tied=#true
}
train "ar" from="tiny" {
    data rows="text" mixture="prose"
    objective "autoregressive"
    attention "causal"
    batch rows=4
    learning-rate peak=1e-3 final=1e-4 warmup=1 shape="cosine"
    steps 6
}
convert "flow" from="ar" { certify tolerance=1e-4 }
"#;

/// Two runs: in the second one the file has a comment, another shape and another peak rate.
fn project() -> Project {
    let project = Project::of(TEXT);
    project.pretend("p.kdl", &Pretend::default()).unwrap();
    project.edit("p.kdl", "pipeline \"small\"", "// A comment.\npipeline \"small\"");
    project.edit("p.kdl", "layers=3", "layers=2");
    project.edit("p.kdl", "peak=1e-3", "peak=3e-3");
    project.pretend("p.kdl", &Pretend::default()).unwrap();
    project
}

/// A text without fingerprints and absolute paths.
fn plain(project: &Project, text: &str) -> String {
    let text = text.replace(&format!("{}/", project.path().canonicalize().unwrap().display()), "");
    let word = |word: &str| {
        let is_hex = word.len() == 12 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_hex { "FINGERPRINT".to_owned() } else { word.to_owned() }
    };
    let line = |line: &str| line.split(' ').map(word).collect::<Vec<_>>().join(" ") + "\n";
    text.lines().map(line).collect()
}

#[test]
fn two_results_differ_by_settings_with_their_places() {
    let project = project();
    let shown = |arguments: &[&str]| plain(&project, &project.fmflow(arguments).ok().stdout);
    insta::assert_snapshot!("diff-upstream", shown(&["diff", "flow@1", "flow"]));
    assert!(shown(&["diff", "ar@2", "ar"]).ends_with("\nnothing that the results depend on differs\n"));
    let folder = |run: &str| {
        let answer = project.fmflow(&["diff", &format!("ar@{run}"), "ar", "--json"]).ok().stdout;
        let answer: Value = serde_json::from_str(&answer).unwrap();
        answer["a"]["folder"].as_str().unwrap().to_owned()
    };
    // A copied artifact says the same; only the store knows where settings were written.
    let (first, second) = (folder("1"), folder("2"));
    let by_folder = shown(&["diff", &first, &second]);
    let by_name = shown(&["diff", "ar@1", "ar"]);
    let body = |text: &str| text.split_once("\n\n").unwrap().1.to_owned();
    assert_eq!(body(&by_folder), body(&by_name));
    assert!(
        body(&by_name).contains("`learning-rate.peak` 0.001 -> 0.003\n    p.kdl:14:24 -> p.kdl:15:24\n"),
        "{by_name}"
    );
    let elsewhere = shown(&["diff", &first, &second, "--store", "none"]);
    assert!(
        elsewhere.contains("`learning-rate.peak` 0.001 -> 0.003\ninput `from`: differs\n"),
        "{elsewhere}"
    );
}

#[test]
fn two_runs_differ_stage_by_stage() {
    let project = project();
    insta::assert_snapshot!("diff-runs", plain(&project, &project.fmflow(&["diff", "1", "2"]).ok().stdout));
    project.fmflow(&["diff", "2", "2"]).ok().says("the same: bpe, ");
    let answer = project.fmflow(&["diff", "1", "2", "--json"]).ok().stdout;
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!((&answer["schema"], &answer["a"]["run"]), (&"fmflow.diff/1".into(), &1.into()));
    let names: Vec<_> = answer["stages"].as_array().unwrap().iter().map(|stage| &stage["stage"]).collect();
    assert_eq!(names, ["tiny", "ar"]);
    let peak = &answer["stages"][1]["differences"][0];
    assert_eq!(
        (&peak["what"], &peak["name"], &peak["a"]),
        (&"field".into(), &"learning-rate.peak".into(), &"0.001".into())
    );
    assert!(peak["place-b"].as_str().unwrap().ends_with("p.kdl:15:24"), "{peak}");
}

#[test]
fn what_names_nothing_is_told_with_a_fix() {
    let project = project();
    let fails = |a: &str, b: &str| project.fmflow(&["diff", a, b]).exits(2);
    fails("aar", "ar").says("the run has no stage `aar`").says("did you mean `ar`?");
    fails("ar@7", "ar").says("no record of run 7").says("fmflow log");
    fails("1", "ar").says("one of the two is a run").says("STAGE@RUN");
    fails("text", "ar").says("text has no manifest");
    fails("ar:x", "ar").says("`ar:x` names a checkpoint of an evaluation, but it is a `train`");
    let empty = Project::empty();
    empty.fmflow(&["diff", "a", "b"]).exits(2).says("`a` is no folder, and nothing was run yet");
    let manifest = walkdir::WalkDir::new(project.path().join(".fmflow/artifacts")).into_iter().flatten();
    let manifest = manifest.map(walkdir::DirEntry::into_path).find(|path| {
        path.ends_with("manifest.json")
            && path.parent().unwrap().file_name().unwrap().to_string_lossy().starts_with("ar-")
    });
    let path = manifest.unwrap();
    let folder = path.parent().unwrap().to_str().unwrap().to_owned();
    std::fs::remove_file(path.parent().unwrap().join("model.safetensors")).unwrap();
    project.fmflow(&["diff", &folder, "ar"]).exits(4);
}
