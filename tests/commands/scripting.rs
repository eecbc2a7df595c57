//! The program as scripts see it: stdout, stderr and exit codes.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

/// A folder with a pipeline of one dataset, and the program run in it.
struct Place(tempfile::TempDir);

const TEXT: &str = r#"pipeline "small" seed=1
dataset "text" from="text/*.txt" format="text" held-out="2%"
tokenizer "bpe" kind="byte-level-bpe" vocabulary=1024 special="qwen3" { dataset "text" }
random-init "tiny" tokenizer="bpe" {
    shape "qwen3" hidden=96 layers=3 heads=3 kv-heads=1 head-dim=32 feed-forward=288 tied=#true
}
"#;

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("text")).unwrap();
        fs::write(folder.path().join("text/a.txt"), "hello").unwrap();
        fs::write(folder.path().join("p.kdl"), TEXT).unwrap();
        Self(folder)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn fmflow(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fmflow"));
        command.args(arguments).current_dir(self.path()).env_remove("NO_COLOR");
        command.output().unwrap()
    }

    #[track_caller]
    fn expect(&self, code: i32, arguments: &[&str]) -> (String, String) {
        let output = self.fmflow(arguments);
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let (out, err) = (text(output.stdout), text(output.stderr));
        assert_eq!(output.status.code(), Some(code), "{arguments:?}\n{out}\n{err}");
        assert!(!err.contains("panicked") && !err.contains("bug:"), "{err}");
        (out, err)
    }
}

#[test]
fn commands_return_their_exit_codes() {
    let place = Place::new();
    place.expect(0, &["check", "p.kdl"]);
    place.expect(0, &["plan", "p.kdl"]);
    place.expect(3, &["plan", "p.kdl", "--check"]);
    place.expect(0, &["status", "p.kdl"]);
    place.expect(0, &["why", "p.kdl", "tiny"]);
    place.expect(1, &["show", "p.kdl", "tiny", "--path"]);
    place.expect(1, &["log", "p.kdl", "tiny"]);
    for drawing in ["text", "dot", "mermaid"] {
        let (out, _) = place.expect(0, &["graph", "p.kdl", "--format", drawing]);
        assert!(out.contains("tiny"), "{out}");
    }
    place.expect(2, &["show", "p.kdl", "tini"]);
    place.expect(2, &["resume"]);
    place.expect(2, &["check", "absent.kdl"]);
    place.expect(2, &["check", "text"]);
    place.expect(2, &["nonsense"]);
    place.expect(2, &["verify", "absent"]);
    place.expect(4, &["verify", "text"]);
    assert!(!place.path().join(".fmflow").exists(), "reading commands create no store");
}

#[test]
fn json_answers_are_one_object_with_a_schema() {
    let place = Place::new();
    fs::write(place.path().join("bad.kdl"), "pipeline \"x\"\nfoo 1\n").unwrap();
    let cases: [(i32, &[&str], &str); 6] = [
        (0, &["check", "p.kdl", "--format", "json"], "fmflow.check/1"),
        (2, &["check", "bad.kdl", "--format", "json"], "fmflow.check/1"),
        (0, &["plan", "p.kdl", "--json"], "fmflow.plan/1"),
        (0, &["status", "p.kdl", "--json"], "fmflow.status/1"),
        (4, &["verify", "text", "--json"], "fmflow.verify/1"),
        (0, &["explain", "--list", "--json"], "fmflow.explain/1"),
    ];
    for (code, arguments, schema) in cases {
        let (out, _) = place.expect(code, arguments);
        let answer: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!(answer["schema"], schema);
    }
    let (out, _) = place.expect(0, &["explain", "--list", "--json"]);
    let answer: serde_json::Value = serde_json::from_str(&out).unwrap();
    for code in answer["codes"].as_array().unwrap() {
        assert!(["code", "severity", "title"].iter().all(|key| code[key].is_string()), "{code}");
        place.expect(0, &["explain", code["code"].as_str().unwrap()]);
    }
}

#[test]
fn a_changed_file_changes_the_fingerprint_even_with_a_store() {
    let place = Place::new();
    let digest = || {
        let (out, _) = place.expect(0, &["plan", "p.kdl", "--json", "--store", "s"]);
        serde_json::from_str::<serde_json::Value>(&out).unwrap()["stages"][0]["fingerprint"].clone()
    };
    let first = digest();
    assert_eq!(digest(), first);
    fs::write(place.path().join("text/a.txt"), "jello").unwrap();
    assert_ne!(digest(), first);
}

#[test]
fn a_folder_that_is_not_a_store_and_another_store_version_are_refused() {
    let place = Place::new();
    let (_, err) = place.expect(2, &["--store", "text", "plan", "p.kdl"]);
    assert!(err.contains("is not a store"), "{err}");
    fs::create_dir(place.path().join(".fmflow")).unwrap();
    fs::write(place.path().join(".fmflow/format"), "fmflow.store/99\n").unwrap();
    let (_, err) = place.expect(2, &["status", "p.kdl"]);
    assert!(err.contains("fmflow.store/99"), "{err}");
}

#[test]
fn colors_follow_the_flag() {
    let place = Place::new();
    let (_, plain) = place.expect(2, &["resume"]);
    let (_, color) = place.expect(2, &["resume", "--color", "always"]);
    assert!(!plain.contains('\x1b') && color.contains('\x1b'));
}

#[test]
fn a_closed_pipe_is_not_a_failure() {
    let place = Place::new();
    let line = format!("'{}' explain --list | true; exit ${{PIPESTATUS[0]}}", env!("CARGO_BIN_EXE_fmflow"));
    let output = Command::new("bash").args(["-c", &line]).current_dir(place.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_full_stdout_is_a_failure() {
    let place = Place::new();
    let pages =
        ["--help", "--version", "run --help", "help run", "explain train", "completions bash", "schema"];
    let run = |line: String| {
        let line = line.replace("fmflow", &format!("'{}'", env!("CARGO_BIN_EXE_fmflow")));
        let output = Command::new("bash").args(["-c", &line]).current_dir(place.path()).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    for page in pages {
        let (code, err) = run(format!("fmflow {page} > /dev/full"));
        assert_eq!(code, Some(6), "{page}: {err}");
        assert!(err.starts_with("error: cannot write stdout: "), "{page}: {err}");
        let gone = run(format!("fmflow {page} | true; exit ${{PIPESTATUS[0]}}"));
        assert_eq!(gone, (Some(0), String::new()), "{page}");
    }
}

#[test]
fn suggested_commands_name_the_store() {
    let place = Place::new();
    let (out, _) = place.expect(0, &["plan", "p.kdl", "--store", "s"]);
    assert!(out.contains("next: fmflow run p.kdl --store s"), "{out}");
    let (_, err) = place.expect(1, &["show", "p.kdl", "tiny", "--store", "s"]);
    assert!(err.contains("help: fmflow run p.kdl --store s"), "{err}");
}

#[test]
fn wrong_arguments_are_refused_before_anything_is_created() {
    let place = Place::new();
    let (_, err) = place.expect(2, &["run", "p.kdl", "--device", "gpu"]);
    assert!(err.contains("cuda:0"), "{err}");
    let (_, err) = place.expect(2, &["run", "p.kdl", "--jobs", "0"]);
    assert!(err.contains("write a whole number, 1 or more"), "{err}");
    let (_, err) = place.expect(2, &["explain"]);
    assert!(err.contains("`train`") && err.contains("--list"), "{err}");
    let (_, err) = place.expect(4, &["verify", "."]);
    assert!(!err.contains("remove"), "{err}");
    let hub = "fetch \"a\" from=\"hf:x/y\"\nfetch \"b\" from=\"hf:x/z\"\n";
    fs::write(place.path().join("hub.kdl"), format!("pipeline \"hub\"\n{hub}")).unwrap();
    let (_, err) = place.expect(2, &["run", "hub.kdl"]);
    for line in ["`hf:x/y` is not pinned: run `fmflow check hub.kdl --online` (a)", "`hf:x/z` is not pinned"]
    {
        assert!(err.contains(line), "all reasons are listed: {err}");
    }
    assert!(!place.path().join(".fmflow").exists());
}

/// A build without the hub reports that, instead of silently checking offline.
#[cfg(not(all(feature = "hub", any(feature = "cpu", feature = "cuda"))))]
#[test]
fn a_build_without_a_hub_refuses_to_ask_one() {
    let place = Place::new();
    let (_, err) = place.expect(2, &["check", "p.kdl", "--online"]);
    assert!(err.contains("built without access to a hub") && err.contains("--features hub"), "{err}");
}
