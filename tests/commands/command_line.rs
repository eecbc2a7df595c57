//! All commands: their table in the docs, their help pages, JSON answers and exit codes.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::path::Path;

use crate::common::Project;
use crate::common::pretend::Pretend;
use fmflow_engine::error::EXIT_CODES;
use fmflow_engine::error::{FailureKind, Shortage};
use serde_json::Value;

const TEXT: &str = r#"pipeline "small" seed=1
dataset "text" from="text/*.txt" format="text" held-out="2%"
tokenizer "bpe" kind="byte-level-bpe" vocabulary=1024 special="qwen3" { dataset "text" }
random-init "tiny" tokenizer="bpe" {
    shape "qwen3" hidden=96 layers=3 heads=3 kv-heads=1 head-dim=32 feed-forward=288 tied=#true
}
"#;

/// A folder with a pipeline of two stages, `p.kdl`.
fn small() -> Project {
    Project::of(TEXT)
}

/// Cells of the first table after `heading` in `docs/commands.md`, row by row.
fn rows(heading: &str) -> Vec<Vec<String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/commands.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (_, after) = text.split_once(heading).unwrap();
    let table = after.lines().skip_while(|line| !line.starts_with('|'));
    let table = table.take_while(|line| line.starts_with('|')).skip(2);
    table.map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()).collect()
}

/// Commands with their descriptions, as `--help` lists them.
fn commands() -> Vec<(String, String)> {
    let help = Project::empty().fmflow(&["--help"]).ok().stdout;
    let (_, list) = help.split_once("Commands:\n").unwrap();
    let lines = list.lines().take_while(|line| !line.is_empty());
    let pairs = lines.filter_map(|line| line.trim().split_once(' '));
    let own = pairs.filter(|(name, _)| *name != "help");
    own.map(|(name, about)| (name.to_owned(), about.trim().to_owned())).collect()
}

#[test]
fn the_docs_list_the_commands_of_the_program() {
    let found: Vec<_> =
        commands().into_iter().map(|(name, about)| vec![format!("`{name}`"), about]).collect();
    assert_eq!(rows("# Commands"), found);
}

#[test]
fn the_docs_list_the_exit_codes_of_the_program() {
    let found: Vec<_> =
        EXIT_CODES.iter().map(|(code, text)| vec![code.to_string(), (*text).to_owned()]).collect();
    assert_eq!(rows("## Exit codes"), found);
}

#[test]
fn help_starts_with_examples() {
    let project = Project::empty();
    let page = |arguments: &[&str]| project.fmflow(arguments).ok().stdout;
    insta::assert_snapshot!("help", page(&["--help"]));
    for (name, _) in commands() {
        let page = page(&[&name, "--help"]);
        let (before, _) = page.split_once("Usage:").unwrap();
        assert!(before.contains("Examples:\n  "), "{page}");
        insta::assert_snapshot!(format!("help-{name}"), page);
    }
}

#[test]
fn a_failure_is_json_on_stdout_and_text_on_stderr() {
    let project = small();
    project.write("bad.kdl", "pipeline \"x\"\nfoo 1\n");
    let cases: [(i32, &str, &[&str]); 7] = [
        (1, "stage-failed", &["show", "p.kdl", "tiny"]),
        (2, "usage", &["show", "p.kdl", "tinny"]),
        (2, "usage", &["plan", "p.kdl", "--nonsense"]),
        (2, "usage", &["plna", "p.kdl"]),
        (2, "configuration", &["plan", "bad.kdl"]),
        (2, "usage", &["verify", "absent"]),
        (2, "usage", &["resume"]),
    ];
    for (exit, code, arguments) in cases {
        let arguments: Vec<_> = arguments.iter().copied().chain(["--json"]).collect();
        let ran = project.fmflow(&arguments).exits(exit);
        let answer: Value = serde_json::from_str(&ran.stdout).unwrap();
        assert_eq!(answer["schema"], "fmflow.error/1", "{answer}");
        assert_eq!(
            (answer["code"].as_str(), answer["exit"].as_i64()),
            (Some(code), Some(exit.into())),
            "{answer}"
        );
        assert!(!answer["message"].as_str().unwrap().is_empty() && !ran.stderr.is_empty(), "{answer}");
    }
    let ran = project.fmflow(&["show", "p.kdl", "tinny", "--json"]).exits(2);
    insta::assert_snapshot!("error-json", ran.stdout);
    let ran = project.fmflow(&["run", "bad.kdl", "--json"]).exits(2);
    let answer: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert!(answer["diagnostics"][0]["code"].is_string(), "{answer}");
}

#[test]
fn a_failure_after_an_answer_prints_no_second_object() {
    let ran = small().fmflow(&["plan", "p.kdl", "--check", "--json"]).exits(3);
    let answer: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(answer["schema"], "fmflow.plan/1");
}

#[test]
fn schema_prints_the_language_in_three_forms() {
    let project = Project::empty();
    let markdown = project.fmflow(&["schema"]).ok().stdout;
    assert_eq!(markdown, project.fmflow(&["schema", "--md"]).ok().stdout);
    assert!(markdown.contains("## `train`"), "{markdown}");
    let answer: Value = serde_json::from_str(&project.fmflow(&["schema", "--json"]).ok().stdout).unwrap();
    assert_eq!(answer["schema"], "fmflow.schema/1");
    let scheduler =
        answer["nodes"].as_array().unwrap().iter().find(|node| node["name"] == "scheduler").unwrap();
    insta::assert_snapshot!("schema-json", serde_json::to_string_pretty(scheduler).unwrap());
    let kdl = project.fmflow(&["schema", "--kdl-schema"]).ok().stdout;
    let start = kdl.find("    node scheduler ").unwrap();
    let end = kdl[start..].find("    node path ").unwrap();
    insta::assert_snapshot!("schema-kdl", &kdl[start..start + end]);
    project.fmflow(&["schema", "--json", "--md"]).exits(2);
}

#[test]
fn completions_work_in_every_shell() {
    let project = Project::empty();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        project.fmflow(&["completions", shell]).ok().says("fmflow").says("plan");
    }
    project.write("c.bash", &project.fmflow(&["completions", "bash"]).ok().stdout);
    let line = "source c.bash && COMP_WORDS=(fmflow pl) COMP_CWORD=1 && _fmflow fmflow pl fmflow && echo ${COMPREPLY[@]}";
    let shell =
        std::process::Command::new("bash").args(["-c", line]).current_dir(project.path()).output().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&shell.stdout).trim(),
        "plan",
        "{}",
        String::from_utf8_lossy(&shell.stderr)
    );
}

#[test]
fn init_writes_a_valid_project_and_overwrites_nothing() {
    let project = Project::empty();
    let wrote = project.fmflow(&["init"]).ok();
    insta::assert_snapshot!("init", wrote.stdout);
    project.fmflow(&["check", "pipeline.kdl"]).ok().says("9 stages, 0 errors, 0 warnings");
    project.fmflow(&["plan", "pipeline.kdl"]).ok().says("next: fmflow run pipeline.kdl");
    project.write("pipeline.kdl", "mine");
    project.fmflow(&["init"]).exits(2).says("pipeline.kdl").says("nothing is overwritten");
    assert_eq!(std::fs::read_to_string(project.path().join("pipeline.kdl")).unwrap(), "mine");
    project
        .fmflow(&["init", "a/b", "--store", "s"])
        .ok()
        .says("next: fmflow check a/b/pipeline.kdl --store s");
    project.fmflow(&["check", "a/b/pipeline.kdl"]).ok();
    let spaced = project.fmflow(&["init", "a b", "--store", "a store"]).ok().stdout;
    assert!(spaced.contains("fmflow run 'a b/pipeline.kdl' --store 'a store'\n"), "{spaced}");
    let plan = project.fmflow(&["plan", "a b/pipeline.kdl"]).ok().stdout;
    assert!(plan.ends_with("next: fmflow run 'a b/pipeline.kdl'\n"), "{plan}");
    let answer = project.fmflow(&["init", "c", "--json"]).ok().stdout;
    assert_eq!(serde_json::from_str::<Value>(&answer).unwrap()["schema"], "fmflow.init/1");
}

#[test]
fn plan_takes_the_same_selection_as_run() {
    let project = small();
    project
        .fmflow(&["plan", "p.kdl", "--only", "tiny"])
        .exits(2)
        .says("`bpe` is not finished")
        .says("--until tiny");
    project
        .fmflow(&["plan", "p.kdl", "--until", "bpe"])
        .ok()
        .says("1 of 1 stage ")
        .says("run p.kdl --until bpe");
    project.pretend("p.kdl", &Pretend::default()).unwrap();
    project.fmflow(&["plan", "p.kdl", "--check"]).ok();
    let again = project.fmflow(&["plan", "p.kdl", "--from", "tiny", "--check"]).exits(3);
    insta::assert_snapshot!("plan-from", again.stdout);
    project.fmflow(&["plan", "p.kdl", "--until", "tinny"]).exits(2).says("did you mean `tiny`?");
}

/// State and value of the finding of `doctor` with this name.
fn found(answer: &Value, name: &str) -> (String, String) {
    let findings = answer["findings"].as_array().unwrap();
    let one =
        findings.iter().find(|finding| finding["name"] == name).unwrap_or_else(|| panic!("{name}: {answer}"));
    let text = |key: &str| one[key].as_str().unwrap().to_owned();
    (text("state"), text("value"))
}

#[test]
fn doctor_reports_what_would_stop_a_run() {
    let project = small();
    // A build without a backend can check and plan, but a run would stop.
    let exit = if cfg!(feature = "cpu") { 0 } else { 2 };
    let doctor = |arguments: &[&str], exit: i32| {
        let arguments: Vec<_> = ["doctor", "--json"].iter().chain(arguments).copied().collect();
        serde_json::from_str::<Value>(&project.fmflow(&arguments).exits(exit).stdout).unwrap()
    };
    project.fmflow(&["doctor"]).exits(exit).says("program").says("machine").says("store");
    let answer = doctor(&["p.kdl"], exit);
    assert_eq!(
        (answer["schema"].as_str(), answer["exit"].as_i64()),
        (Some("fmflow.doctor/1"), Some(exit.into()))
    );
    assert_eq!(found(&answer, "can").1.matches(", ").count(), 5, "{answer}");
    assert_eq!(found(&answer, "folder").1, ".fmflow, not created yet");
    let told = answer["findings"].as_array().unwrap().iter().find(|line| line["name"] == "python");
    let told = told.or_else(|| answer["findings"].as_array()?.iter().find(|line| line["name"] == "sandbox"));
    let told = told.unwrap()["value"].as_str().unwrap();
    assert!(told.contains("python") && (told.starts_with("3.") || told.contains("need it")), "{told}");
    assert_eq!(found(&answer, "to do").1, "2 of 2 stages");
    let names = std::fs::read_dir(project.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(names.count(), 2, "nothing is left behind");

    project.write("s.kdl", &format!("{TEXT}\nsecret \"FMFLOW_TEST_SECRET\"\n"));
    assert_eq!(found(&doctor(&["s.kdl"], 2), "secret FMFLOW_TEST_SECRET").0, "stops");
    assert_eq!(found(&doctor(&["--store", "text"], 2), "folder").0, "stops");
}

#[test]
fn doctor_reports_the_machine_even_if_the_pipeline_has_errors() {
    let project = small();
    project.write("bad.kdl", &format!("{TEXT}\nfoo 1\n"));
    let ran = project.fmflow(&["doctor", "bad.kdl", "--json"]).exits(2).says("no node `foo` exists");
    let answer: Value = serde_json::from_str(&ran.stdout).unwrap();
    for name in ["version", "threads", "folder", "can"] {
        assert!(!found(&answer, name).1.is_empty());
    }
    let expected = ("stops".to_owned(), "1 error: see `fmflow check bad.kdl`".to_owned());
    assert_eq!(found(&answer, "bad.kdl"), expected);
    assert_eq!(answer["diagnostics"][0]["code"], "unknown-node");
    project.fmflow(&["doctor", "bad.kdl"]).exits(2).says("machine").says("1 error: see");
}

#[test]
fn init_refuses_a_folder_it_cannot_write_to() {
    let project = small();
    // Not even root may write there.
    for folder in ["/proc/new", "/sys/new", "p.kdl", "p.kdl/new"] {
        let ran = project.fmflow(&["init", folder, "--json"]).exits(2);
        let answer: Value = serde_json::from_str(&ran.stdout).unwrap();
        let help = "name a folder that you may write to: `fmflow init DIR`";
        assert_eq!(answer["help"], help, "{folder}: {answer}");
        assert!(ran.stderr.contains(&format!("cannot create {folder}")), "{}", ran.stderr);
    }
}

#[test]
fn doctor_reports_the_lock_holder_and_leftovers() {
    let project = small();
    project.pretend("p.kdl", &Pretend::default()).unwrap();
    let store = fmflow_engine::store::Store::create(&project.path().join(".fmflow")).unwrap();
    let lock = store.lock().unwrap();
    let doctor = || serde_json::from_str::<Value>(&project.fmflow(&["doctor", "--json"]).stdout).unwrap();
    let answer = doctor();
    assert_eq!(answer["exit"], if cfg!(feature = "cpu") { 0 } else { 2 });
    assert_eq!(found(&answer, "lock").0, "note");
    assert!(found(&answer, "lock").1.contains("can run beside it"), "{answer}");
    assert_eq!(found(&answer, "contents").1.split(", ").next(), Some("2 artifacts"));
    drop(lock);
    project.write(".fmflow/tmp/ar.1.1/part", "half");
    let answer = doctor();
    assert_eq!((found(&answer, "lock").0.as_str(), found(&answer, "leftovers").0.as_str()), ("ok", "note"));
}

/// Runs commands that exit with `code`, in a project whose two stages are finished and where no run is in progress.
fn provoked(code: u8, project: &Project) -> bool {
    let says = |arguments: &[&str]| {
        project.fmflow(arguments).exits(code.into());
        true
    };
    let fails = |kind| {
        let fails = Some(("tiny", kind));
        let ran = small().pretend("p.kdl", &Pretend { fails, ..Pretend::default() }).unwrap();
        assert_eq!(ran.error.unwrap().exit_code(), code);
        true
    };
    match code {
        0 => says(&["plan", "p.kdl"]) && says(&["gc"]) && says(&["verify", &artifact(project, "bpe")]),
        1 => says(&["show", "q.kdl", "tiny"]) && fails(FailureKind::Stage),
        2 => says(&["plan", "absent.kdl"]) && says(&["nonsense"]) && says(&["gc", "--store", "none"]),
        3 => says(&["plan", "q.kdl", "--check"]),
        4 => says(&["verify", "text"]) && fails(FailureKind::Corrupt),
        5 => {
            let store = fmflow_engine::store::Store::create(&project.path().join(".fmflow")).unwrap();
            let _lock = store.lock().unwrap();
            says(&["gc", "--yes"]) && says(&["run", "p.kdl"])
        }
        6 => fails(FailureKind::Space(Shortage::Disk)),
        7 => fails(FailureKind::Diverged),
        8 => fails(FailureKind::Input),
        70 => fails(FailureKind::Defect),
        75 => fails(FailureKind::Interrupted),
        _ => false,
    }
}

/// The folder of a finished stage of `p.kdl`.
fn artifact(project: &Project, stage: &str) -> String {
    project.fmflow(&["show", "p.kdl", stage, "--path"]).ok().stdout.trim().to_owned()
}

#[test]
fn every_exit_code_can_occur() {
    let project = small();
    project.pretend("p.kdl", &Pretend::default()).unwrap();
    project.write("q.kdl", &TEXT.replace("layers=3", "layers=2"));
    for (code, meaning) in EXIT_CODES {
        assert!(provoked(*code, &project), "{code}: {meaning}");
    }
}

#[test]
fn every_json_answer_has_the_documented_keys() {
    let project = small();
    project.pretend("p.kdl", &Pretend::default()).unwrap();
    let artifact = artifact(&project, "bpe");
    let lines: [(&str, &[&str]); 17] = [
        ("init", &["new"]),
        ("check", &["p.kdl", "--format", "json"]),
        ("plan", &["p.kdl"]),
        ("approve", &["p.kdl"]),
        ("status", &["p.kdl"]),
        ("why", &["p.kdl", "tiny"]),
        ("diff", &["tiny", "tiny"]),
        ("show", &["p.kdl", "tiny"]),
        ("log", &[]),
        ("report", &["p.kdl"]),
        ("graph", &["p.kdl"]),
        ("verify", &[&artifact]),
        ("gc", &[]),
        ("doctor", &[]),
        ("explain", &["unknown-field"]),
        ("schema", &[]),
        ("run", &["p.kdl"]),
    ];
    let mut found = Vec::new();
    for (command, rest) in lines {
        let json = if command == "check" { None } else { Some("--json") };
        let arguments: Vec<_> = [command].iter().chain(rest).copied().chain(json).collect();
        let answer: Value = serde_json::from_str(&project.fmflow(&arguments).stdout).unwrap();
        let keys: Vec<_> = answer.as_object().unwrap().keys().filter(|key| *key != "schema").collect();
        let keys: Vec<_> = keys.into_iter().map(|key| format!("`{key}`")).collect();
        found.push(vec![format!("`{}`", answer["schema"].as_str().unwrap()), keys.join(" ")]);
    }
    assert_eq!(rows("has these keys"), found, "{found:#?}");
}

#[test]
fn explain_prints_its_pages_as_json() {
    let project = Project::empty();
    for subject in ["unpinned-revision", "max_steps", "tokenizer"] {
        let answer = project.fmflow(&["explain", subject, "--json"]).ok().stdout;
        let answer: Value = serde_json::from_str(&answer).unwrap();
        let pages = answer["pages"].as_array().unwrap();
        let texts: Vec<_> = pages.iter().map(|page| page["text"].as_str().unwrap()).collect();
        let said = project.fmflow(&["explain", subject]).ok().stdout;
        assert_eq!(texts.join("\n").trim_end(), said.trim_end());
    }
    let answer = project.fmflow(&["explain", "unpinned-revision", "--json"]).ok().stdout;
    insta::assert_snapshot!("explain-code-json", answer);
    let answer = project.fmflow(&["explain", "max_steps", "--json"]).ok().stdout;
    insta::assert_snapshot!("explain-field-json", answer);
    let answer = project.fmflow(&["explain", "nonsense", "--json"]).exits(2).stdout;
    assert_eq!(serde_json::from_str::<Value>(&answer).unwrap()["schema"], "fmflow.error/1");
    project.fmflow(&["explain", "--json"]).exits(2).says("name what to explain");
}

#[test]
fn explain_suggests_the_node_around_an_unknown_field() {
    let project = Project::empty();
    let said = project.fmflow(&["explain", "train.attention.block"]).exits(2);
    said.says("`fmflow explain train.attention` shows what it contains");
}

#[test]
fn a_wrong_flag_gets_a_tip_that_works() {
    let project = small();
    for (words, said) in
        [(["plan", "p.kdl", "--dry-run"], "`fmflow plan FILE`"), (["plan", "p.kdl", "-j2"], "'-j'")]
    {
        let ran = project.fmflow(&words).exits(2).says(said);
        assert!(!ran.stderr.contains("'-- "), "{}", ran.stderr);
    }
    project.fmflow(&["plan", "p.kdl", "--untill", "ar"]).exits(2).says("--until");
}

#[test]
fn plan_prints_the_warnings_of_its_file() {
    let project = small();
    project.edit("p.kdl", "pipeline ", "dataset \"spare\" from=\"text/*.txt\" format=\"text\"\npipeline ");
    let ran = project.fmflow(&["plan", "p.kdl"]).ok();
    let ran = ran.says("warning[unused]").says("see: fmflow check p.kdl");
    assert!(!ran.stdout.contains("warning"), "{}", ran.stdout);
}
