//! `check --online` with a local hub: what is pinned, what is reported, and where the token is sent.

#![cfg(all(feature = "cpu", feature = "hub"))]
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

pub(crate) mod server;

use std::fs;
use std::path::Path;
use std::process::Command;

use server::Server;

const COMMIT: &str = "70d244cc86ccca08cf5af4e1e306ecf908b1ad5e";
const OTHER: &str = "b04c8d1ceb2f5cd4588862100d08de323dccfbaa";
const CANARY: &str = "hf_canary_that_nobody_may_see";
const CHECKPOINT: &[&str] = &["README.md", "config.json", "model.safetensors", "tokenizer.json"];

const TEXT: &str = r#"pipeline "far" seed=1
secret "HF_TOKEN"
fetch "base" from="hf:o/m" revision="main"
dataset "words" from="hf:o/d" text="body"
mixture "all" { dataset "words" }
rows "short" tokenizer="base" length=8 packing="concat"
train "on" from="base" {
    data rows="short" mixture="all"
    objective "autoregressive"
    attention "causal"
    batch rows=4
    steps 10
    learning-rate peak=1e-3 final=1e-4 shape="cosine"
}
"#;

/// A folder with a pipeline, and a local hub.
struct Place {
    folder: tempfile::TempDir,
    hub: Server,
}

struct Ran {
    code: i32,
    out: String,
    err: String,
}

impl Place {
    /// A hub on which everything that [`TEXT`] names exists and is accessible.
    fn new() -> Self {
        let (folder, hub) = (tempfile::tempdir().unwrap(), Server::start());
        fs::write(folder.path().join("far.kdl"), TEXT).unwrap();
        hub.repository("models/o/m", "main", COMMIT, CHECKPOINT);
        hub.repository("datasets/o/d", "", OTHER, &["data/a.parquet", "data/b.parquet"]);
        hub.columns("o/d", &[("default", &["body", "id"])]);
        Self { folder, hub }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn lock(&self) -> Option<String> {
        fs::read_to_string(self.path().join("far.lock")).ok()
    }

    fn edit(&self, from: &str, to: &str) {
        let text = fs::read_to_string(self.path().join("far.kdl")).unwrap();
        assert!(text.contains(from), "{from}");
        fs::write(self.path().join("far.kdl"), text.replace(from, to)).unwrap();
    }

    /// Runs the program with the hub of this place and the canary as its token.
    #[track_caller]
    fn fmflow(&self, arguments: &[&str]) -> Ran {
        let output = Command::new(env!("CARGO_BIN_EXE_fmflow"))
            .args(arguments)
            .current_dir(self.path())
            .env("HF_ENDPOINT", &self.hub.address)
            .env("HF_DATASETS_SERVER", &self.hub.address)
            .env("HF_TOKEN", CANARY)
            .env("NO_PROXY", "127.0.0.1")
            .output()
            .unwrap();
        let text =
            |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().replace(&self.hub.address, "http://hub");
        let ran = Ran {
            code: output.status.code().unwrap_or(-1),
            out: text(output.stdout),
            err: text(output.stderr),
        };
        let said = [&ran.out, &ran.err, &self.lock().unwrap_or_default()].map(String::as_str).concat();
        assert!(!said.contains("canary"), "the token leaked: {said}");
        ran
    }

    #[track_caller]
    fn expect(&self, code: i32, arguments: &[&str]) -> Ran {
        let ran = self.fmflow(arguments);
        assert_eq!(ran.code, code, "{arguments:?}\n{}\n{}", ran.out, ran.err);
        ran
    }

    /// The output on the lock file, without the line of the check before it.
    #[track_caller]
    fn pinned(&self, file: &str) -> String {
        let ran = self.expect(0, &["check", file, "--online"]);
        ran.out.split_once('\n').unwrap().1.to_owned()
    }

    /// The findings of a check that fails, one line each, without unsupported features.
    #[track_caller]
    fn refused(&self) -> String {
        let ran = self.expect(2, &["check", "far.kdl", "--online", "--format", "concise"]);
        assert_eq!(self.lock(), None, "no lock file beside an error");
        let lines = ran.out.lines().filter(|line| !line.contains("[not-supported-yet]"));
        lines.map(|line| format!("{line}\n")).collect()
    }
}

#[test]
fn the_lock_file_is_written_kept_and_updated() {
    let place = Place::new();
    insta::assert_snapshot!("first", place.pinned("far.kdl"));
    insta::assert_snapshot!("lock", place.lock().unwrap());
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 2, "no temporary file is left");
    let quiet = place.expect(0, &["check", "far.kdl", "--format", "concise"]);
    assert!(!quiet.out.contains("unpinned-revision"), "{}", quiet.out);

    place.hub.repository("models/o/m", "main", OTHER, CHECKPOINT);
    place.hub.repository("models/o/m", COMMIT, COMMIT, CHECKPOINT);
    let before = place.lock();
    insta::assert_snapshot!("kept", place.pinned("far.kdl"));
    assert_eq!(place.lock(), before);
    let moved = place.expect(0, &["check", "far.kdl", "--lock", "--update", "--format", "json"]);
    let answer: serde_json::Value = serde_json::from_str(&moved.out).unwrap();
    insta::assert_snapshot!("moved", serde_json::to_string_pretty(&answer["lock"]).unwrap());
    assert_ne!(place.lock(), before);
}

#[test]
fn the_pinned_commit_is_planned_and_counts_for_the_fingerprint() {
    let place = Place::new();
    let fingerprint = || {
        let ran = place.expect(0, &["plan", "far.kdl", "--json"]);
        let answer: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
        let of = |name: &str| {
            let stages = answer["stages"].as_array().unwrap();
            stages.iter().find(|stage| stage["name"] == name).unwrap()["fingerprint"].clone()
        };
        (of("base"), of("short/words"), answer["pins"].clone())
    };
    let unpinned = fingerprint();
    assert_eq!(unpinned.2, serde_json::json!([]));
    place.expect(0, &["check", "far.kdl", "--online"]);
    let pinned = fingerprint();
    assert!(unpinned.0 != pinned.0 && unpinned.1 != pinned.1);
    assert_eq!(pinned.2[0]["commit"], COMMIT);
    let plan = place.expect(0, &["plan", "far.kdl"]).out;
    assert!(plan.contains(COMMIT) && plan.contains(OTHER), "{plan}");
    let resolved = place.expect(0, &["show", "far.kdl", "base", "--resolved"]).out;
    assert!(resolved.contains("far.kdl:3:37, lock file"), "{resolved}");
    // A commit has the same fingerprint as a branch that is pinned to it.
    place.edit("revision=\"main\"", &format!("revision=\"{COMMIT}\""));
    place.hub.repository("models/o/m", COMMIT, COMMIT, CHECKPOINT);
    place.expect(0, &["check", "far.kdl", "--online"]);
    assert_eq!(fingerprint().0, pinned.0);
}

#[test]
fn the_token_is_sent_where_it_is_declared_and_nowhere_else() {
    let place = Place::new();
    place.expect(0, &["check", "far.kdl", "--online"]);
    let bearer = Some(format!("Bearer {CANARY}"));
    assert!(place.hub.asked().iter().all(|(_, token)| *token == bearer), "{:?}", place.hub.asked());
    let place = Place::new();
    place.edit("secret \"HF_TOKEN\"\n", "");
    place.expect(0, &["check", "far.kdl", "--online"]);
    assert!(place.hub.asked().iter().all(|(_, token)| token.is_none()), "an undeclared secret is not sent");
}

#[test]
fn offline_check_sends_no_request() {
    let place = Place::new();
    place.expect(0, &["check", "far.kdl"]);
    place.expect(0, &["check", "far.kdl", "--offline"]);
    place.expect(0, &["plan", "far.kdl"]);
    assert!(place.hub.asked().is_empty() && place.lock().is_none());
    place.expect(2, &["check", "far.kdl", "--offline", "--online"]);
    place.expect(2, &["check", "far.kdl", "--update"]);
    assert!(place.hub.asked().is_empty());
}

#[test]
fn a_paginated_file_list_is_read_completely() {
    let place = Place::new();
    place.edit("text=\"body\"", "text=\"body\" files=\"data/z.parquet\"");
    assert!(place.refused().contains("error[no-files]: `data/z.parquet` matches none of the 2 files"));
    let next = format!("link: <{}/more>; rel=\"next\"\r\n", place.hub.address);
    let page = r#"[{"type":"file","path":"data/a.parquet","size":1}]"#;
    place.hub.answer(&format!("/api/datasets/o/d/tree/{OTHER}?recursive=true"), 200, &next, page);
    place.hub.answer("/more", 200, "", r#"[{"type":"file","path":"data/z.parquet","size":1}]"#);
    place.expect(0, &["check", "far.kdl", "--online"]);
}

#[test]
fn what_the_hub_refuses_is_told_with_a_cure() {
    let mut reports = String::new();
    let mut case = |name: &str, answer: &dyn Fn(&Place)| {
        let place = Place::new();
        answer(&place);
        reports += &format!("=== {name}\n{}\n", place.refused());
    };
    let main = "/api/models/o/m/revision/main";
    let check = "/api/models/o/m/auth-check";
    case("misspelt", &|place| place.edit("hf:o/m", "hf:o/n"));
    case("misspelt, a stranger asks", &|place| {
        place.edit("secret \"HF_TOKEN\"\n", "");
        place.hub.answer(main, 401, "", r#"{"error":"Invalid username or password."}"#);
    });
    case("a model is read as a dataset", &|place| {
        place.edit("hf:o/d", "hf:o/e");
        place.hub.repository("models/o/e", "", COMMIT, CHECKPOINT);
    });
    case("branch", &|place| {
        place.hub.answer(
            main,
            404,
            "x-error-code: RevisionNotFound\r\n",
            r#"{"error":"Invalid rev id: main"}"#,
        );
    });
    case("gated", &|place| {
        place.hub.answer(check, 403, "x-error-code: GatedRepo\r\n", r#"{"error":"Access is restricted"}"#);
    });
    case("gated, a stranger asks", &|place| {
        place.edit("secret \"HF_TOKEN\"\n", "");
        place.hub.answer(check, 401, "x-error-code: GatedRepo\r\n", r#"{"error":"Access is restricted"}"#);
    });
    case("gated, on a mirror", &|place| {
        place.edit("secret \"HF_TOKEN\"\n", "");
        place.hub.answer(main, 200, "", &format!(r#"{{"sha":"{COMMIT}","gated":"manual"}}"#));
        place.hub.answer(check, 404, "", "");
    });
    case("token", &|place| {
        let message = "x-error-message: Invalid credentials in Authorization header\r\n";
        place.hub.answer(main, 401, message, "");
    });
    case("disabled", &|place| {
        place.hub.answer(main, 403, "", r#"{"error":"Access to this resource is disabled."}"#);
    });
    case("nonsense", &|place| place.hub.answer(main, 200, "", "<html>a login page</html>"));
    case("no commit", &|place| place.hub.answer(main, 200, "", r#"{"sha":"main"}"#));
    case("column", &|place| place.edit("text=\"body\"", "text=\"bodi\""));
    case("subset", &|place| place.edit("text=\"body\"", "subset=\"en\""));
    insta::assert_snapshot!(reports);
}

#[test]
fn columns_that_stay_unknown_are_told_and_do_not_stop() {
    let place = Place::new();
    let error = r#"{"error":"The dataset viewer is not available for this dataset."}"#;
    place.hub.answer("/info?dataset=o%2Fd", 501, "x-error-code: DatasetTooBig\r\n", error);
    let ran = place.expect(0, &["check", "far.kdl", "--online", "--format", "concise"]);
    let line = ran.out.lines().find(|line| line.contains("columns-unresolved")).unwrap().to_owned();
    insta::assert_snapshot!(line);
    assert!(place.lock().is_some());
}

#[test]
fn a_hub_that_is_down_is_one_error() {
    let place = Place::new();
    place.hub.answer("/api/models/o/m/revision/main", 502, "", "");
    insta::assert_snapshot!(place.refused());
    let asked = place.hub.asked();
    assert!(asked.len() == 4 && asked.iter().all(|(path, _)| path.contains("/models/")), "{asked:?}");
}

/// Name, files, and columns by subset.
type Dataset<'a> = (&'a str, &'a [&'a str], &'a [(&'a str, &'a [&'a str])]);

#[test]
fn the_full_pipeline_is_pinned_in_one_go() {
    let place = Place::new();
    let full = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines/full.kdl");
    fs::copy(full, place.path().join("full.kdl")).unwrap();
    place.hub.repository("models/Qwen/Qwen3-1.7B", "main", COMMIT, CHECKPOINT);
    let stack: Vec<String> =
        ["python", "javascript", "java", "cpp"].map(|language| format!("data/{language}/0.parquet")).into();
    let stack: Vec<&str> = stack.iter().map(String::as_str).collect();
    let datasets: [Dataset<'_>; 10] = [
        ("mlfoundations/dclm-baseline-1.0", &["a.jsonl.zst"], &[("default", &["text"])]),
        ("open-web-math/open-web-math", &["a.parquet"], &[("default", &["text", "url"])]),
        (
            "ccdv/arxiv-summarization",
            &["document/train-0.parquet", "document/test-0.parquet", "section/train-0.parquet"],
            &[("document", &["article"]), ("section", &["article"])],
        ),
        (
            "wikimedia/wikipedia",
            &["20231101.en/train-0.parquet", "20231101.de/train-0.parquet"],
            &[("20231101.en", &["text"]), ("20231101.de", &["text"])],
        ),
        ("zwhe99/mathpile-text", &["a.parquet"], &[("default", &["text"])]),
        ("bigcode/the-stack-dedup", &stack, &[("default", &["content", "lang"])]),
        (
            "OpenCoder-LLM/opc-sft-stage1",
            &["realuser_instruct/train-0.parquet", "filtered_infinity_instruct/train-0.parquet"],
            &[("realuser_instruct", &["instruction", "output"])],
        ),
        (
            "openai/openai_humaneval",
            &["openai_humaneval/test-0.parquet"],
            &[("openai_humaneval", &["task_id", "prompt", "canonical_solution", "test", "entry_point"])],
        ),
        (
            "google-research-datasets/mbpp",
            &["full/test-0.parquet", "sanitized/test-0.parquet", "sanitized/train-0.parquet"],
            &[
                ("full", &["task_id", "text"]),
                ("sanitized", &["task_id", "prompt", "code", "test_imports", "test_list"]),
            ],
        ),
        ("unused/other", &[], &[]),
    ];
    for (name, files, columns) in datasets {
        place.hub.repository(&format!("datasets/{name}"), "", OTHER, files);
        place.hub.columns(name, columns);
    }
    let ran = place.expect(0, &["check", "full.kdl", "--lock"]);
    assert!(!ran.err.contains("columns-unresolved") && !ran.err.contains("unpinned-revision"), "{}", ran.err);
    fs::remove_file(place.path().join("full.lock")).unwrap();
    insta::assert_snapshot!(place.pinned("full.kdl"));
    let lock = fs::read_to_string(place.path().join("full.lock")).unwrap();
    assert_eq!(lock.matches(OTHER).count() + lock.matches(COMMIT).count(), 10, "{lock}");
}
