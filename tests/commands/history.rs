//! What commands know about the past: `why`, `log`, `status`, and the origin of every setting.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use crate::common::Project;
use crate::common::pretend::Pretend;
use fmflow_engine::error::FailureKind;
use serde_json::Value;

const TEXT: &str = r#"pipeline "small" seed=1
dataset "text" from="text/*.txt" format="text" held-out="2%"
tokenizer "bpe" kind="byte-level-bpe" vocabulary=1024 special="qwen3" { dataset "text" }
rows "text" tokenizer="bpe" length=128 packing="concat"
mixture "prose" { dataset "text" weight=1 }
random-init "tiny" tokenizer="bpe" {
    shape "qwen3" hidden=96 layers=3 heads=3 kv-heads=1 head-dim=32 feed-forward=288 tied=#true
}
recipe "common" { batch rows=4; learning-rate peak=1e-3 final=1e-4 warmup=1 shape="cosine" }
train "ar" from="tiny" use="common" {
    data rows="text" mixture="prose"
    objective "autoregressive"
    attention "causal"
    steps 6
}
convert "flow" from="ar" { certify tolerance=1e-4 }
"#;

fn small() -> Project {
    Project::of(TEXT)
}

/// A text without digests and absolute paths.
fn plain(project: &Project, text: &str) -> String {
    let text = text.replace(&format!("{}/", project.path().canonicalize().unwrap().display()), "");
    let word = |word: &str| {
        let hex = word.trim_matches(['"', ',']);
        let is_hex = hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_hex { word.replace(hex, "HASH") } else { word.to_owned() }
    };
    let line = |line: &str| line.split(' ').map(word).collect::<Vec<_>>().join(" ") + "\n";
    text.lines().map(line).collect()
}

#[test]
fn why_shows_the_changed_setting_and_the_affected_stages() {
    let project = small();
    project.pretend("p.kdl", &Pretend::default()).unwrap();
    project.fmflow(&["why", "p.kdl", "ar"]).ok().says("stage `ar`: cached");
    project.edit("p.kdl", "pipeline \"small\"", "// A comment.\npipeline \"small\"");
    project.edit("p.kdl", "peak=1e-3", "peak=3e-3");
    project.edit("p.kdl", "layers=3", "layers=2");
    let why = |arguments: &[&str]| plain(&project, &project.fmflow(arguments).ok().stdout);
    insta::assert_snapshot!("why", why(&["why", "p.kdl", "ar"]));
    insta::assert_snapshot!("why-cascade", why(&["why", "p.kdl", "flow"]));
    insta::assert_snapshot!("why-json", why(&["why", "p.kdl", "tiny", "--json"]));
    let key = why(&["why", "p.kdl", "tiny", "--key"]);
    assert!(key.contains("  field shape.layers 2\n") && key.contains("  input tokenizer HASH\n"), "{key}");
    // Upstream ran again, this stage did not: the cause is still known.
    let stopped = Pretend { stops: Some("ar"), ..Pretend::default() };
    project.pretend("p.kdl", &stopped).unwrap();
    project
        .fmflow(&["why", "p.kdl", "flow"])
        .ok()
        .says("`shape.layers` 3 -> 2")
        .says("was at")
        .says("p.kdl:7:");
}

#[test]
fn why_compares_a_stage_with_an_earlier_run() {
    let project = small();
    project.pretend("p.kdl", &Pretend::default()).unwrap();
    project.edit("p.kdl", "peak=1e-3", "peak=3e-3");
    project.pretend("p.kdl", &Pretend::default()).unwrap();
    project.fmflow(&["why", "p.kdl", "ar"]).ok().says("cached");
    let versus = project.fmflow(&["why", "p.kdl", "ar", "--vs", "1"]).ok();
    versus.says("`learning-rate.peak` 0.001 -> 0.003");
    project.fmflow(&["why", "p.kdl", "ar", "--vs", "2"]).ok().says("nothing changed");
    project
        .fmflow(&["why", "p.kdl", "ar", "--vs", "7"])
        .exits(2)
        .says("no record of run 7")
        .says("fmflow log");
    project
        .fmflow(&["why", "p.kdl", "ar", "--vs", "1", "--store", "none"])
        .exits(2)
        .says("nothing was ever run");
    let set = ["why", "p.kdl", "ar", "--set", "train.ar.steps=9"];
    project.fmflow(&set).ok().says("`steps` 6 -> 9").says("--set");
}

#[test]
fn log_lists_runs_with_their_outcomes() {
    let project = small();
    project.fmflow(&["log"]).ok().says("no runs yet");
    project.pretend("p.kdl", &Pretend { stops: Some("ar"), ..Pretend::default() }).unwrap();
    let failing = Pretend { fails: Some(("flow", FailureKind::Diverged)), ..Pretend::default() };
    project.pretend("p.kdl", &failing).unwrap();
    project.write("q.kdl", &TEXT.replace("layers=3", "layers=2"));
    project.pretend("q.kdl", &Pretend::default()).unwrap();
    let log = project.fmflow(&["log"]).ok();
    let dated = |line: &str| match line.find("20") {
        Some(at) if at < 8 => format!("{}2026-11-22 00:00:00{}\n", &line[..at], &line[at + 19..]),
        _ => format!("{line}\n"),
    };
    insta::assert_snapshot!("log", log.stdout.lines().map(dated).collect::<String>());
    let own = project.fmflow(&["log", "q.kdl", "--json"]).ok().stdout;
    let answer: Value = serde_json::from_str(&own).unwrap();
    assert_eq!(answer["schema"], "fmflow.log/1");
    let [run] = answer["runs"].as_array().unwrap().as_slice() else { panic!("{own}") };
    assert_eq!(
        (run["run"].as_u64(), run["exit"].as_u64(), run["end"].as_str()),
        (Some(3), Some(0), Some("ok"))
    );
    project.fmflow(&["log", "p.kdl", "ar"]).ok().says("{\"step\":0,\"loss\":2.5}");
    let metrics = project.fmflow(&["log", "p.kdl", "ar", "--json"]).ok().stdout;
    let metrics: Value = serde_json::from_str(&metrics).unwrap();
    assert_eq!(metrics["metrics"][0]["loss"], 2.5);
}

#[test]
fn resolved_settings_show_their_origin() {
    let project = small();
    let shown = |arguments: &[&str]| project.fmflow(arguments).ok().stdout;
    let stage = shown(&["show", "p.kdl", "ar", "--resolved"]);
    // Only a few of them, so that a new field does not change this snapshot.
    let some = ["ar ", "  field", "  use", "  batch", "  steps", "  learning-rate", "  log"];
    let some = stage.lines().filter(|line| some.iter().any(|start| line.starts_with(start)));
    let some: Vec<_> = some.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    insta::assert_snapshot!("resolved", some.join("\n"));
    let all = shown(&["show", "p.kdl", "--resolved"]);
    assert!(all.starts_with("bpe (tokenizer)\n") && all.contains("\nflow (convert)\n"), "{all}");
    let set = shown(&["show", "p.kdl", "ar", "--resolved", "--json", "--set", "train.ar.steps=9"]);
    let answer: Value = serde_json::from_str(&set).unwrap();
    assert_eq!(answer["schema"], "fmflow.show/1");
    let fields = answer["resolved"][0]["fields"].as_array().unwrap();
    let field = |path: &str| fields.iter().find(|field| field["path"] == path).unwrap();
    assert_eq!((field("steps")["origin"].as_str(), field("steps")["value"].as_u64()), (Some("set"), Some(9)));
    assert_eq!(field("batch.rows")["recipe"], "common");
    assert_eq!(field("batch.rows")["place"], "p.kdl:9:30");
}

#[test]
fn the_json_graph_has_stages_and_roles() {
    let answer: Value =
        serde_json::from_str(&small().fmflow(&["graph", "p.kdl", "--json"]).ok().stdout).unwrap();
    assert_eq!(answer["schema"], "fmflow.graph/1");
    let ar = answer["stages"].as_array().unwrap().iter().find(|stage| stage["name"] == "ar").unwrap();
    assert_eq!(ar["inputs"][0], serde_json::json!({ "role": "from", "stage": "tiny" }));
}

#[test]
fn status_follows_a_live_run_until_it_ends() {
    let project = small();
    project.pretend("p.kdl", &Pretend { stops: Some("ar"), ..Pretend::default() }).unwrap();
    project.fmflow(&["status", "p.kdl", "--follow"]).ok().says("unfinished").says("next: fmflow run p.kdl");
    let store = fmflow_engine::store::Store::create(&project.path().join(".fmflow")).unwrap();
    let lock = store.lock().unwrap();
    let mut record = store.last_run().unwrap().unwrap();
    record.file = project.path().canonicalize().unwrap().join("p.kdl");
    let number = store.begin_run(&record).unwrap();
    for stage in ["ar", "flow"] {
        let why: Value =
            serde_json::from_str(&project.fmflow(&["why", "p.kdl", stage, "--json"]).ok().stdout).unwrap();
        let begin =
            serde_json::json!({ "event": "begin", "stage": stage, "fingerprint": why["fingerprint"] });
        store.record_event(number, &begin).unwrap();
    }
    let status: Value =
        serde_json::from_str(&project.fmflow(&["status", "p.kdl", "--json"]).ok().stdout).unwrap();
    let of = |name: &str| status["stages"].as_array().unwrap().iter().find(|stage| stage["name"] == name);
    let ar = of("ar").unwrap();
    assert_eq!(of("flow").unwrap()["state"], "running", "several stages may run at a time");
    assert_eq!((ar["state"].as_str(), ar["step"].as_u64()), (Some("running"), Some(1)), "{status}");
    assert_eq!(ar["result"], "update 1/6  loss 2.500");
    assert!(status["running"].as_str().unwrap().starts_with("process "), "{status}");
    let following = project.spawn(&["status", "p.kdl", "--follow"]);
    std::thread::sleep(std::time::Duration::from_millis(1500));
    drop(lock);
    let ran = crate::common::Ran::from(following.wait_with_output().unwrap()).ok();
    let (live, after) = ran.stdout.split_once("a run is in progress").unwrap();
    assert!(live.contains("running") && after.contains("next: fmflow run"), "{live}{after}");
}

#[test]
fn equivalent_schedulers_share_their_results() {
    let project = Project::tiny();
    project.pretend("tiny.kdl", &Pretend::default()).unwrap();
    project.edit("tiny.kdl", "kind=\"polynomial\" exponent=1", "kind=\"linear\"");
    project.fmflow(&["plan", "tiny.kdl", "--check"]).ok();
    project.fmflow(&["show", "tiny.kdl", "sft", "--resolved"]).ok().says("\"linear\"");
    project.edit("tiny.kdl", "kind=\"linear\"", "kind=\"polynomial\"");
    project.fmflow(&["plan", "tiny.kdl", "--check"]).ok();
    project.edit("tiny.kdl", "kind=\"polynomial\"", "kind=\"polynomial\" exponent=2");
    project.fmflow(&["plan", "tiny.kdl", "--check"]).exits(3).says("exponent");
}

#[test]
fn status_shows_a_failure_until_the_stage_runs_again() {
    let project = small();
    let fails =
        Pretend { fails: Some(("ar", fmflow_engine::error::FailureKind::Diverged)), ..Pretend::default() };
    assert_eq!(project.pretend("p.kdl", &fails).unwrap().error.unwrap().exit_code(), 7);
    let said = project.fmflow(&["status", "p.kdl"]).ok().says("failed: it was told to fail");
    said.says("next: change `ar`, which would diverge again");
    project.pretend("p.kdl", &Pretend::default()).unwrap();
    assert!(!project.fmflow(&["status", "p.kdl"]).ok().stdout.contains("failed"));
}

#[test]
fn why_and_show_without_a_stage_cover_all_stages() {
    let project = small();
    project.fmflow(&["show", "p.kdl"]).exits(1).says("it is not finished: never run");
    project.pretend("p.kdl", &Pretend::default()).unwrap();
    project.fmflow(&["why", "p.kdl"]).ok().says("nothing would run: every stage is cached");
    let shown = project.fmflow(&["show", "p.kdl"]).ok().says("ar is fine").says("flow is fine");
    assert!(shown.stdout.contains("ar, .fmflow/artifacts/ar-"), "{}", shown.stdout);
    project.edit("p.kdl", "peak=1e-3", "peak=3e-3");
    let why = project.fmflow(&["why", "p.kdl"]).ok().says("stage `ar`: run").says("also runs: flow");
    assert!(!why.stdout.contains("stage `flow`"), "dependents are not repeated: {}", why.stdout);
    let json =
        |words: &[&str]| -> Value { serde_json::from_str(&project.fmflow(words).ok().stdout).unwrap() };
    assert_eq!(json(&["why", "p.kdl", "--json"])["stages"][0]["stage"], "ar");
    let all = json(&["show", "p.kdl", "--json"]);
    assert!(all["stages"].as_array().unwrap().iter().any(|stage| stage["stage"] == "tiny"), "{all}");
    project.fmflow(&["show", "p.kdl", "--path"]).exits(2);
}
