//! Code benchmarks of `evaluate`: a tiny checkpoint writes programs, which are graded; a killed evaluation continues.

#![cfg(all(feature = "cpu", target_os = "linux"))]
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;

use serde_json::Value;

use crate::common::Project;

const EVALUATION: &str = r#"
evaluate "code" {
    checkpoint "sft"
    benchmark "humaneval" from="problems.jsonl" sampler="random" samples=40 new-tokens=8
}
"#;

fn project(evaluation: &str) -> Project {
    let project = Project::tiny();
    project.write("problems.jsonl", include_str!("../cases/data/problems.jsonl"));
    let sampler = "sampler \"random\" kind=\"euler\" passes=4 temperature=1\n";
    let text = fs::read_to_string(project.path().join("tiny.kdl")).unwrap();
    project.write("tiny.kdl", &format!("{text}\n{sampler}{evaluation}"));
    project
}

fn report(project: &Project) -> (String, Value) {
    let folder = project.artifact("code");
    let samples = fs::read_to_string(folder.join("samples.jsonl")).unwrap();
    (samples, serde_json::from_slice(&fs::read(folder.join("report.json")).unwrap()).unwrap())
}

#[test]
fn programs_are_written_graded_and_kept() {
    let project = project(&EVALUATION.replace("samples=40", "problems=1_000 samples=40"));
    let ran = project.fmflow(&["run", "tiny.kdl", "--until", "code"]).ok();
    ran.says("note: benchmark `humaneval` has 3 problems: `problems=1000` asks for all");
    let (samples, report) = report(&project);
    let found = &report["sft"]["benchmarks"]["humaneval"];
    assert_eq!(
        (&found["total"], &found["sandbox"], &found["prompt"]),
        (&120.into(), &"enforced".into(), &"humaneval-base/1".into())
    );
    let lines: Vec<Value> = samples.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 120);
    let passed = lines.iter().filter(|line| line["outcome"] == "passed").count();
    assert_eq!(found["passed"], passed);
    // The artifact's file is what `grade` reads, with the same verdicts.
    let path = project.artifact("code").join("samples.jsonl");
    let line =
        ["grade", "humaneval", "--problems", "problems.jsonl", "--samples", path.to_str().unwrap(), "--json"];
    let graded: Value = serde_json::from_str(&project.fmflow(&line).ok().stdout).unwrap();
    let outcomes = |all: &[Value]| all.iter().map(|one| one["outcome"].clone()).collect::<Vec<_>>();
    assert_eq!(outcomes(graded["results"].as_array().unwrap()), outcomes(&lines));
    let shown = project.fmflow(&["show", "tiny.kdl", "code"]).ok().stdout;
    assert!(shown.contains("humaneval pass@1") && shown.contains("cut by the length"), "{shown}");
}

#[test]
fn a_killed_evaluation_continues_to_the_same_report() {
    let (whole, killed) = (project(EVALUATION), project(EVALUATION));
    whole.fmflow(&["run", "tiny.kdl", "--until", "code"]).ok();
    killed.fmflow(&["run", "tiny.kdl", "--until", "sft"]).ok();
    let mut child = killed.spawn(&["run", "tiny.kdl", "--until", "code"]);
    let saved = || {
        let folders = walkdir::WalkDir::new(killed.path().join(".fmflow/work")).into_iter().flatten();
        folders.filter(|entry| entry.file_name() == "samples.jsonl").count()
    };
    while saved() == 0 && child.try_wait().unwrap().is_none() {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    killed.fmflow(&["run", "tiny.kdl", "--until", "code"]).ok();
    assert_eq!(report(&killed), report(&whole));
}

const GAPS: &str = r#"
benchmark "mine" from="gaps.jsonl" kind="infill"
evaluate "code" {
    checkpoint "sft"
    benchmark "humaneval-infilling" from="gaps.jsonl" sampler="random" samples=4 length="2..4"
    benchmark "mine" sampler="random" length="reference"
}
generate "filled" from="sft" sampler="random" {
    infill prefix="def double(x):\n    return " suffix="\n" length="2..4"
}
"#;

fn project_with_gaps(change: impl Fn(&str) -> String) -> Project {
    let project = project(&change(GAPS));
    project.write("gaps.jsonl", include_str!("../cases/data/gaps.jsonl"));
    project
}

#[test]
fn gaps_are_filled_as_infill_fills_them() {
    let project = project_with_gaps(str::to_owned);
    project.fmflow(&["run", "tiny.kdl", "--until", "code"]).ok();
    project.fmflow(&["run", "tiny.kdl", "--until", "filled"]).ok();
    let (samples, report) = report(&project);
    let found = &report["sft"]["benchmarks"];
    let facts = |name: &str| {
        let one = &found[name];
        ["total", "prompt", "length", "sandbox", "new_tokens", "cut"].map(|key| one[key].clone())
    };
    let expected = |total: u64, length: &str| {
        [total.into(), "infilling/1".into(), length.into(), "enforced".into(), Value::Null, 0.into()]
    };
    assert_eq!(facts("humaneval-infilling"), expected(12, "2..4"));
    assert_eq!(facts("mine"), expected(3, "reference"));
    let lines: Vec<Value> = samples.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    // Whatever the right middle is, a gap of `2..4` has from 2 to 4 tokens.
    assert!(lines[..12].iter().all(|line| (2..=4).contains(&line["tokens"].as_u64().unwrap())), "{samples}");
    // The first answer is that of `infill` to the same request.
    let filled = fs::read_to_string(project.artifact("filled").join("samples.jsonl")).unwrap();
    let filled: Value = serde_json::from_str(filled.lines().next().unwrap()).unwrap();
    let own = format!("def double(x):\n    return {}\n", lines[0]["completion"].as_str().unwrap());
    assert_eq!(filled["text"], own);
    assert_eq!(filled["passes"], lines[0]["passes"]);
    // The artifact's file is what `grade` reads, with the same verdicts.
    let path = project.artifact("code").join("samples.jsonl");
    let line = ["grade", "infill", "--problems", "gaps.jsonl", "--samples", path.to_str().unwrap()];
    project.fmflow(&line).ok().says("left out, of other benchmarks: mine (3)");
    let grade = |name: &str| -> Vec<Value> {
        let graded = project.fmflow(&[&line[..], &["--benchmark", name, "--json"]].concat()).ok();
        serde_json::from_str::<Value>(&graded.stdout).unwrap()["results"].as_array().unwrap().clone()
    };
    let graded = [grade("humaneval-infilling"), grade("mine")].concat();
    let outcomes = |all: &[Value]| all.iter().map(|one| one["outcome"].clone()).collect::<Vec<_>>();
    assert_eq!(outcomes(&graded), outcomes(&lines));
    // Problem by problem, although the last parts of their names are alike.
    let diff = project.fmflow(&["diff", "code", "code", "--json"]).ok();
    let diff: Value = serde_json::from_str(&diff.stdout).unwrap();
    assert_eq!(diff["measures"][0]["problems"], 3);
}

#[test]
fn gaps_that_cannot_be_filled_are_told_before_any_work() {
    let checked = |from: &str, to: &str| {
        let project = project_with_gaps(|text| text.replace(from, to));
        project.fmflow(&["check", "tiny.kdl"])
    };
    checked(" length=\"reference\"", "").exits(2).says("an infilling benchmark needs `length`");
    checked("length=\"reference\"", "length=3 new-tokens=4")
        .exits(2)
        .says("`new-tokens` does not apply to this benchmark");
    checked("length=\"reference\"", "length=3 mode=\"chat\"")
        .exits(2)
        .says("`mode` does not apply to this benchmark");
    checked("length=\"reference\"", "length=128").exits(2).says("but the context of `tiny` is 128");
    checked(" from=\"gaps.jsonl\" sampler", " sampler")
        .exits(2)
        .says("benchmark `humaneval-infilling` needs `from`")
        .says("HumanEval-SingleLineInfilling.jsonl.gz");
    checked("kind=\"infill\"", "kind=\"code\"").exits(2).says("`length` does not apply to this benchmark");
    let left = "sampler \"left\" kind=\"autoregressive\"\nevaluate \"code\" {\n    checkpoint \"ar\"";
    let ran = checked("evaluate \"code\" {\n    checkpoint \"sft\"", left);
    assert!(ran.code == 2, "a flow sampler does not fit the checkpoint: {}", ran.stderr);
    let project = project_with_gaps(|text| {
        text.replace("evaluate \"code\" {\n    checkpoint \"sft\"", left)
            .replace("sampler=\"random\" samples=4", "sampler=\"left\" samples=4")
            .replace("mine\" sampler=\"random\"", "mine\" sampler=\"left\"")
    });
    project
        .fmflow(&["check", "tiny.kdl"])
        .ok()
        .says("sampler `left` writes from left to right and does not see what follows a gap");
    // A reference that is missing behind what `check` reads is found before the first answer; here it is the first problem.
    let project = project_with_gaps(str::to_owned);
    let gaps = include_str!("../cases/data/gaps.jsonl");
    project.write("gaps.jsonl", &gaps.replace("\"canonical_solution\"", "\"solved\""));
    project.fmflow(&["check", "tiny.kdl"]).ok().says("nothing reads `solved`");
    project
        .fmflow(&["run", "tiny.kdl", "--until", "code"])
        .exits(8)
        .says("task RandomSpanInfilling/HumanEval/0/1 of benchmark `mine` has no `canonical_solution`");
}

/// Runs a command under a kernel that says that it has no Landlock.
fn without_landlock(project: &Project, arguments: &[&str]) -> crate::common::Ran {
    // prctl(PR_SET_NO_NEW_PRIVS), then PR_SET_SECCOMP with a filter: call 444 fails with ENOSYS, all others go through.
    const SCRIPT: &str = r#"
import ctypes, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
code = b"".join(struct.pack("HBBI", *one) for one in [(0x20, 0, 0, 0), (0x15, 0, 1, 444), (6, 0, 0, 0x50000 | 38), (6, 0, 0, 0x7FFF0000)])
held = ctypes.create_string_buffer(code)
program = struct.pack("HxxxxxxP", 4, ctypes.addressof(held))
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, program, 0, 0) == 0
os.execv(sys.argv[1], sys.argv[1:])
"#;
    let plain = project.command(arguments);
    let mut command = std::process::Command::new("python3");
    command.args(["-c", SCRIPT]).arg(plain.get_program()).args(plain.get_args());
    if let Some(folder) = plain.get_current_dir() {
        command.current_dir(folder);
    }
    for (name, value) in plain.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    crate::common::Ran::from(command.output().unwrap())
}

#[test]
fn programs_run_without_a_sandbox_only_if_file_and_command_line_say_so() {
    let evaluation = EVALUATION.replace("samples=40", "problems=2 samples=3");
    let (plain, said) = (
        project(&evaluation),
        project(&evaluation.replace("\"code\" {", "\"code\" unsafe-no-sandbox=#true {")),
    );
    let run = ["run", "tiny.kdl", "--until", "code"];
    let consenting = ["run", "tiny.kdl", "--until", "code", "--unsafe-no-sandbox"];
    said.fmflow(&["run", "tiny.kdl", "--until", "sft"]).ok();
    plain.fmflow(&["run", "tiny.kdl", "--until", "sft"]).ok();
    without_landlock(&plain, &run).exits(8).says("programs cannot be kept from this machine");
    without_landlock(&plain, &consenting).exits(8).says("`unsafe-no-sandbox=#true` in the stage");
    without_landlock(&said, &run).exits(8).says("with `--unsafe-no-sandbox` on the command line");
    without_landlock(&said, &consenting).ok().says("programs run without a sandbox, with all your rights");
    let (samples, found) = report(&said);
    assert_eq!(found["sft"]["benchmarks"]["humaneval"]["sandbox"], "unsafe-no-sandbox");
    assert!(samples.lines().all(|line| line.contains("\"unsafe_no_sandbox\":true")), "{samples}");
    said.fmflow(&["show", "tiny.kdl", "code"]).ok().says("programs ran without a sandbox");
    said.fmflow(&["report", "tiny.kdl"]).ok();
    let page = walkdir::WalkDir::new(said.path())
        .into_iter()
        .flatten()
        .find(|file| file.path().extension().is_some_and(|end| end == "html"));
    assert!(fs::read_to_string(page.unwrap().path()).unwrap().contains("programs ran without a sandbox"));
    // Where there is a sandbox it is used, whatever was said, and the two results differ in it.
    plain.fmflow(&consenting).ok();
    let (samples, found) = report(&plain);
    assert_eq!(found["sft"]["benchmarks"]["humaneval"]["sandbox"], "enforced");
    assert!(!samples.contains("unsafe_no_sandbox"));
    let other = said.artifact("code");
    plain.fmflow(&["diff", "code", other.to_str().unwrap()]).ok().says("sandbox");
}

#[test]
fn a_score_that_is_not_reached_and_a_benchmark_twice_are_told() {
    let required =
        project(&EVALUATION.replace("new-tokens=8\n", "new-tokens=8\n    require \"sft\" at-least=1\n"));
    let ran = required.fmflow(&["run", "tiny.kdl", "--until", "code"]);
    assert!(
        ran.code == 1 && ran.stderr.contains("% pass@1 on `humaneval`, but 100.0 % is required"),
        "{}",
        ran.stderr
    );
    let twice = EVALUATION
        .replace("}\n", "    benchmark \"humaneval\" from=\"problems.jsonl\" sampler=\"random\"\n}\n");
    let ran = project(&twice).fmflow(&["check", "tiny.kdl"]);
    assert!(ran.code == 2 && ran.stderr.contains("two `benchmark` called `humaneval`"), "{}", ran.stderr);
    let plus = EVALUATION.replace("\"humaneval\" from=\"problems.jsonl\"", "\"humaneval+\"");
    let ran = project(&plus).fmflow(&["check", "tiny.kdl"]).exits(2);
    ran.says("benchmark `humaneval+` needs `from`").says("add `from=\"HumanEvalPlus.jsonl.gz\"`");
}

/// The tiny project whose `ar` is probed with programs.
fn probed(benchmark: &str) -> Project {
    let project = project("sampler \"next\" kind=\"autoregressive\" temperature=1\n");
    project.edit(
        "tiny.kdl",
        "attention \"causal\"\n    steps 40",
        &format!("attention \"causal\"\n    steps 40\n    probe every=20 sampler=\"next\" {{ {benchmark} }}"),
    );
    project
}

const PROBED: &str = "prompt \"The river\" new-tokens=4; benchmark \"humaneval\" from=\"problems.jsonl\" problems=2 samples=9 new-tokens=8";

fn probes(project: &Project) -> Vec<Value> {
    let text = fs::read_to_string(project.artifact("ar").join("metrics.jsonl")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter_map(|line| line.get("probe").cloned()).collect()
}

fn weights(project: &Project) -> Vec<u8> {
    fs::read(project.artifact("ar").join("model.safetensors")).unwrap()
}

#[test]
fn a_probe_measures_what_evaluate_would_and_changes_no_weight() {
    let plain = project("");
    plain.fmflow(&["run", "tiny.kdl", "--until", "ar"]).ok();
    let watched = probed(PROBED);
    let evaluation = EVALUATION
        .replace("\"sft\"", "\"ar\"")
        .replace("\"random\" samples=40", "\"next\" problems=2 samples=9");
    let text = fs::read_to_string(watched.path().join("tiny.kdl")).unwrap();
    watched.write("tiny.kdl", &format!("{text}{evaluation}"));
    let ran = watched.fmflow(&["run", "tiny.kdl", "--until", "code"]).ok();
    ran.says("probe after update 20: probe: humaneval pass@1 ");
    assert!(weights(&watched) == weights(&plain), "a probe changes no weight");
    let (probes, (_, report)) = (probes(&watched), report(&watched));
    assert_eq!(probes.len(), 2);
    let (found, expected) = (&probes[1], &report["ar"]["benchmarks"]["humaneval"]);
    assert_eq!(found["benchmark/humaneval"], expected["pass_at"]["1"]);
    for field in ["passed", "total", "cut", "empty", "timed_out", "syntax_errors", "prompt_hash", "sampler"] {
        assert_eq!(found["graded/humaneval"][field], expected[field], "{field}");
    }
    assert_eq!((&expected["total"], &found["samples"][0]["prompt"]), (&18.into(), &"The river".into()));
    watched.fmflow(&["log", "tiny.kdl", "ar", "--plot"]).ok().says("probe/benchmark/humaneval: ");
    // The problems belong to no result.
    let problems = fs::read_to_string(watched.path().join("problems.jsonl")).unwrap();
    watched.write("problems.jsonl", &problems.replace("shout", "cry"));
    watched.fmflow(&["run", "tiny.kdl", "--until", "ar"]).ok().says("nothing to do");
}

#[test]
fn a_killed_probe_is_made_again_with_the_same_numbers() {
    let (whole, killed) = (probed(PROBED), probed(PROBED));
    whole.fmflow(&["run", "tiny.kdl", "--until", "ar"]).ok();
    let mut kills = 0;
    for wait in (1..).map(|round| std::time::Duration::from_millis(150 + 40 * round)) {
        let mut child = killed.spawn(&["run", "tiny.kdl", "--until", "ar"]);
        std::thread::sleep(wait);
        if child.try_wait().unwrap().is_some_and(|status| status.success()) {
            break;
        }
        kills += usize::from(child.kill().is_ok());
        child.wait().unwrap();
    }
    assert!(kills > 0);
    assert!(weights(&killed) == weights(&whole), "the same weights");
    assert_eq!(probes(&killed), probes(&whole));
}

#[test]
fn a_probe_that_cannot_grade_is_told_beside_the_other_answers() {
    let plain = project("");
    plain.fmflow(&["run", "tiny.kdl", "--until", "ar"]).ok();
    let failing = probed(PROBED);
    // `check` looks at the first 20 problems; a fault behind them is found when the probe reads the file.
    let problems = fs::read_to_string(failing.path().join("problems.jsonl")).unwrap();
    let first = problems.lines().next().unwrap();
    let more = |number: usize| first.replace("HumanEval/0", &number.to_string()) + "\n";
    let fault = "{\"task_id\": 1}\n";
    failing.write("problems.jsonl", fault);
    failing.fmflow(&["check", "tiny.kdl"]).exits(8).says("problems.jsonl:1: `prompt` is missing");
    let more: String = (3..20).map(more).collect();
    failing.write("problems.jsonl", &format!("{problems}{more}{fault}"));
    let ran = failing.fmflow(&["run", "tiny.kdl", "--until", "ar"]).ok();
    ran.says("warning: benchmark `humaneval` failed, and the training goes on: ")
        .says("problems.jsonl:21: `prompt` is missing");
    assert!(weights(&failing) == weights(&plain), "the training is the same");
    for probe in probes(&failing) {
        assert!(probe["failed/humaneval"].is_string() && probe["samples"].is_array(), "{probe}");
    }
}

/// The first sample of each problem: whether it passed.
fn first_samples(samples: &str, checkpoint: &str) -> Vec<(String, bool)> {
    let lines = samples.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let lines = lines.filter(|line| line["sample"] == 0 && line["checkpoint"] == checkpoint);
    lines.map(|line| (line["task_id"].as_str().unwrap().to_owned(), line["outcome"] == "passed")).collect()
}

#[test]
fn two_evaluations_are_compared_problem_by_problem() {
    let project =
        project(&EVALUATION.replace("\"sft\"", "\"flow\" \"sft\"").replace("samples=40", "samples=2"));
    project.fmflow(&["run", "tiny.kdl", "--until", "code"]).ok();
    let (before, _) = report(&project);
    project.edit("tiny.kdl", "kind=\"euler\" passes=4", "kind=\"euler\" passes=8");
    project.edit("tiny.kdl", "new-tokens=8", "new-tokens=12");
    project.fmflow(&["run", "tiny.kdl", "--until", "code"]).ok();
    let (after, _) = report(&project);
    let diff = |arguments: &[&str]| -> Value {
        serde_json::from_str(&project.fmflow(&[arguments, &["--json"]].concat()).ok().stdout).unwrap()
    };
    let answer = diff(&["diff", "code@1", "code"]);
    let names: Vec<_> = answer["differences"].as_array().unwrap().iter().map(|one| &one["name"]).collect();
    assert_eq!(names, ["benchmark.0.new-tokens", "benchmark.0.sampler.passes"]);
    let measures = answer["measures"].as_array().unwrap();
    assert_eq!(measures.len(), 2);
    for (at, checkpoint) in ["flow", "sft"].iter().enumerate() {
        let (measure, facts) =
            (&measures[at], serde_json::json!([{ "what": "new_tokens", "a": 8, "b": 12 }]));
        assert_eq!((&measure["checkpoints"][0], &measure["facts"]), (&(*checkpoint).into(), &facts));
        let pairs = first_samples(&before, checkpoint).into_iter().zip(first_samples(&after, checkpoint));
        let only = |first: bool| -> Vec<String> {
            let flipped = pairs.clone().filter(|(a, b)| (a.1, b.1) == (first, !first));
            flipped.map(|(a, _)| a.0).collect()
        };
        assert_eq!((&measure["only-a"], &measure["only-b"]), (&only(true).into(), &only(false).into()));
        let both = pairs.clone().filter(|(a, b)| a.1 && b.1).count();
        assert_eq!((&measure["both"], &measure["problems"]), (&both.into(), &3.into()));
    }
    project
        .fmflow(&["diff", "code@1", "code"])
        .ok()
        .says("humaneval, sft: ")
        .says("`new_tokens` 8 -> 12")
        .says("McNemar's exact p = ")
        .says("tiny.kdl:");
    // Two checkpoints of one evaluation, and what made them.
    let answer = diff(&["diff", "code:flow", "code:sft"]);
    assert_eq!(answer["measures"][0]["checkpoints"], serde_json::json!(["flow", "sft"]));
    let kinds = answer["differences"].as_array().unwrap().iter().find(|one| one["what"] == "kind").unwrap();
    assert_eq!((&kinds["a"], &kinds["b"]), (&"convert".into(), &"train".into()));
    project
        .fmflow(&["diff", "code:flow", "code:sfft"])
        .exits(2)
        .says("measures no checkpoint `sfft`")
        .says("it measures flow, sft");
    project.fmflow(&["diff", "code", "sft"]).exits(2).says("compare two evaluations, or two other results");
    project.fmflow(&["diff", "1", "2"]).ok().says("stage `code`").says("the same: ");
}

#[cfg(feature = "hub")]
mod hub {
    use std::sync::Arc;

    use arrow_array::builder::{ListBuilder, StringBuilder};
    use arrow_array::{ArrayRef, Int32Array, RecordBatch, StringArray};
    use parquet::arrow::ArrowWriter;

    use super::*;
    use crate::common::Ran;
    use crate::online::server::{Server, large, small};

    const COMMIT: &str = "7dce6050a7d6d172f3cc5c32aa97f52fa1a2e544";

    /// What the hub has converted.
    const CONVERTED: &str = "448c2c3aa97f52fa1a2e5447dce6050a7d6d172f";

    fn parquet(columns: Vec<(&str, ArrayRef)>) -> Vec<u8> {
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.into_inner().unwrap()
    }

    /// HumanEval as its repository has it, with these problems.
    fn humaneval(lines: &str) -> Vec<u8> {
        let problems: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let column = |name: &'static str| {
            let texts = problems.iter().map(|problem| problem[name].as_str().unwrap());
            (name, Arc::new(StringArray::from_iter_values(texts)) as ArrayRef)
        };
        parquet(["task_id", "prompt", "canonical_solution", "test", "entry_point"].map(column).to_vec())
    }

    /// A split of MBPP as its repository has it: for each number a function that returns it.
    fn mbpp(numbers: &[i32]) -> Vec<u8> {
        let text = |of: &dyn Fn(i32) -> String| -> ArrayRef {
            Arc::new(StringArray::from_iter_values(numbers.iter().map(|number| of(*number))))
        };
        let list = |of: &dyn Fn(i32) -> Option<String>| -> ArrayRef {
            let mut lists = ListBuilder::new(StringBuilder::new());
            numbers.iter().for_each(|number| {
                of(*number).into_iter().for_each(|text| lists.values().append_value(text));
                lists.append(true);
            });
            Arc::new(lists.finish())
        };
        parquet(vec![
            ("source_file", text(&|_| "a.ipynb".into())),
            ("task_id", Arc::new(Int32Array::from(numbers.to_vec()))),
            ("prompt", text(&|number| format!("Write a function that returns {number}."))),
            ("code", text(&|number| format!("def f():\n    return {number}\n"))),
            ("test_imports", list(&|_| None)),
            ("test_list", list(&|number| Some(format!("assert f() == {number}")))),
        ])
    }

    fn fmflow(project: &Project, hub: &Server, arguments: &[&str]) -> Ran {
        let mut command = project.command(arguments);
        for name in [
            "HF_TOKEN",
            "HF_TOKEN_PATH",
            "HF_HUB_CACHE",
            "HF_HUB_OFFLINE",
            "XDG_CACHE_HOME",
            "HTTP_PROXY",
            "http_proxy",
        ] {
            command.env_remove(name);
        }
        command
            .env("HF_ENDPOINT", &hub.address)
            .env("HF_DATASETS_SERVER", &hub.address)
            .env("HF_HOME", project.path().join("hf"))
            .env("NO_PROXY", "127.0.0.1");
        Ran::from(command.output().unwrap())
    }

    /// A split of GSM8K as its repository has it, with these questions.
    fn gsm8k(lines: &str) -> Vec<u8> {
        let questions: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let column = |name: &'static str| {
            let texts = questions.iter().map(|question| question[name].as_str().unwrap());
            (name, Arc::new(StringArray::from_iter_values(texts)) as ArrayRef)
        };
        parquet(["question", "answer"].map(column).to_vec())
    }

    /// A subset of HumanEval-Infilling as the hub converts it, with these problems.
    fn gaps(lines: &str) -> Vec<u8> {
        let problems: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let column = |name: &'static str| {
            let texts = problems.iter().map(|problem| problem[name].as_str().unwrap());
            (name, Arc::new(StringArray::from_iter_values(texts)) as ArrayRef)
        };
        parquet(GAP_COLUMNS.map(column).to_vec())
    }

    const GAP_COLUMNS: [&str; 6] =
        ["task_id", "entry_point", "prompt", "suffix", "canonical_solution", "test"];

    /// A hub with all benchmarks.
    fn start_hub() -> Server {
        let hub = Server::start();
        let problems = humaneval(include_str!("../cases/data/problems.jsonl"));
        let files = [
            small("README.md", "# HumanEval"),
            large("openai_humaneval/test-00000-of-00001.parquet", problems),
        ];
        hub.publish("datasets/openai/openai_humaneval", "", COMMIT, &files);
        let columns = ["task_id", "prompt", "canonical_solution", "test", "entry_point"];
        hub.columns("openai/openai_humaneval", &[("openai_humaneval", &columns)]);
        let split = |name: &str, numbers: &[i32]| {
            large(&format!("sanitized/{name}-00000-of-00001.parquet"), mbpp(numbers))
        };
        let files = [
            large("full/test-00000-of-00001.parquet", "something else"),
            split("prompt", &[2, 7]),
            split("test", &[11, 12]),
            split("train", &[601]),
            split("validation", &[511]),
        ];
        hub.publish("datasets/google-research-datasets/mbpp", "", COMMIT, &files);
        let columns = ["source_file", "task_id", "prompt", "code", "test_imports", "test_list"];
        hub.columns("google-research-datasets/mbpp", &[("full", &["text"]), ("sanitized", &columns)]);
        let questions = gsm8k(include_str!("../cases/data/questions.jsonl"));
        let files = [
            large("main/test-00000-of-00001.parquet", questions),
            large("main/train-00000-of-00001.parquet", "something else"),
            large("socratic/test-00000-of-00001.parquet", "something else"),
        ];
        hub.publish("datasets/openai/gsm8k", "", COMMIT, &files);
        let columns = ["question", "answer"];
        hub.columns("openai/gsm8k", &[("main", &columns), ("socratic", &columns)]);
        let infilling = "datasets/loubnabnl/humaneval_infilling";
        hub.publish(infilling, "main", COMMIT, &[small("humaneval_infilling.py", "import datasets")]);
        let (single, spans) = include_str!("../cases/data/gaps.jsonl")
            .lines()
            .partition::<Vec<_>, _>(|line| line.contains("SingleLine"));
        let files = [
            large("HumanEval-SingleLineInfilling/test/0000.parquet", gaps(&single.join("\n"))),
            // As the hub wrote it before.
            large("HumanEval-RandomSpanInfilling/humaneval_infilling-test.parquet", gaps(&spans.join("\n"))),
            large("HumanEval-RandomSpanInfillingLight/test/0000.parquet", "something else"),
        ];
        hub.publish(infilling, "refs/convert/parquet", CONVERTED, &files);
        let subset = |name: &'static str| (name, GAP_COLUMNS.as_slice());
        let subsets = ["HumanEval-SingleLineInfilling", "HumanEval-RandomSpanInfilling"].map(subset);
        hub.columns("loubnabnl/humaneval_infilling", &subsets);
        hub
    }

    const FAR: &str = r#"
evaluate "code" {
    checkpoint "sft"
    benchmark "humaneval" sampler="random" samples=40 new-tokens=8
    benchmark "mbpp" sampler="random" new-tokens=8
}
"#;

    #[test]
    fn a_benchmark_without_a_file_comes_pinned_from_the_hub() {
        let (far, near, hub) = (project(FAR), project(EVALUATION), start_hub());
        let command = |arguments: &[&str]| fmflow(&far, &hub, arguments);
        let checked = command(&["check", "tiny.kdl"]).ok();
        checked.says("`hf:openai/openai_humaneval` and 1 more repositories may change between two runs");
        let refused = command(&["run", "tiny.kdl", "--until", "code"]).exits(2);
        refused.says("`hf:openai/openai_humaneval` is not pinned: run `fmflow check tiny.kdl --online`");
        assert!(hub.asked().is_empty(), "only `check --online` asks");
        command(&["check", "tiny.kdl", "--lock"]).ok();
        insta::assert_snapshot!(
            "benchmark-lock",
            hide_digests(&fs::read_to_string(far.path().join("tiny.lock")).unwrap())
        );
        hub.forget();
        command(&["run", "tiny.kdl", "--until", "code"]).ok();
        let asked: Vec<String> = hub.asked().into_iter().map(|(path, _)| path).collect();
        assert!(asked.iter().all(|path| path.contains("/resolve/") && !path.contains("full")), "{asked:?}");
        near.fmflow(&["run", "tiny.kdl", "--until", "code"]).ok();
        let ((samples, found), (expected, from_file)) = (report(&far), report(&near));
        assert_eq!(found["sft"]["benchmarks"]["humaneval"], from_file["sft"]["benchmarks"]["humaneval"]);
        assert_eq!(samples.lines().take(120).collect::<Vec<_>>(), expected.lines().collect::<Vec<_>>());
        // All splits, in the order of their numbers.
        let tasks = samples
            .lines()
            .skip(120)
            .map(|line| serde_json::from_str::<Value>(line).unwrap()["task_id"].clone());
        assert_eq!(tasks.collect::<Vec<_>>(), ["2", "7", "11", "12", "511", "601"]);
        // The pinned files are part of the fingerprint, so there is nothing left to do, and nobody is asked.
        hub.forget();
        command(&["run", "tiny.kdl", "--until", "code"]).ok().says("nothing to do");
        assert!(hub.asked().is_empty());
    }

    #[test]
    fn a_probe_asks_the_problems_of_the_hub() {
        let (project, hub) = (probed("benchmark \"humaneval\" new-tokens=8"), start_hub());
        let command = |arguments: &[&str]| fmflow(&project, &hub, arguments);
        command(&["run", "tiny.kdl", "--until", "ar"])
            .exits(2)
            .says("`hf:openai/openai_humaneval` is not pinned");
        command(&["check", "tiny.kdl", "--lock"]).ok();
        command(&["run", "tiny.kdl", "--until", "ar"]).ok().says("probe: humaneval pass@1 ");
        assert_eq!(probes(&project)[1]["graded/humaneval"]["total"], 3);
    }

    #[test]
    fn the_questions_of_gsm8k_are_those_of_its_test_split() {
        let (project, hub) = (probed("benchmark \"gsm8k\" new-tokens=8"), start_hub());
        let command = |arguments: &[&str]| fmflow(&project, &hub, arguments);
        command(&["check", "tiny.kdl", "--lock"]).ok();
        hub.forget();
        command(&["run", "tiny.kdl", "--until", "ar"]).ok().says("probe: gsm8k pass@1 ");
        let asked: Vec<String> = hub.asked().into_iter().map(|(path, _)| path).collect();
        let split =
            |path: &String| path.contains("/resolve/") && path.ends_with("main/test-00000-of-00001.parquet");
        assert!(!asked.is_empty() && asked.iter().all(split), "{asked:?}");
        assert_eq!(probes(&project)[1]["graded/gsm8k"]["total"], 3);
    }

    #[test]
    fn gaps_come_from_the_branch_that_the_hub_converts() {
        let rest = r#"sampler="random" length="2..4""#;
        let far = format!(
            "evaluate \"code\" {{ checkpoint \"sft\"; benchmark \"humaneval-single-line\" {rest}; benchmark \"humaneval-random-span\" {rest} }}"
        );
        let (project, hub) = (project(&far), start_hub());
        let command = |arguments: &[&str]| fmflow(&project, &hub, arguments);
        command(&["run", "tiny.kdl", "--until", "code"])
            .exits(2)
            .says("`hf:loubnabnl/humaneval_infilling` is not pinned");
        let checked = command(&["check", "tiny.kdl", "--lock"]).ok();
        assert!(!checked.stderr.contains("columns are not checked"), "{}", checked.stderr);
        let lock = fs::read_to_string(project.path().join("tiny.lock")).unwrap();
        assert!(lock.contains("revision=\"refs/convert/parquet\"") && lock.contains(CONVERTED), "{lock}");
        hub.forget();
        command(&["run", "tiny.kdl", "--until", "code"]).ok();
        let asked: Vec<String> = hub.asked().into_iter().map(|(path, _)| path).collect();
        assert!(!asked.is_empty() && asked.iter().all(|path| path.contains(CONVERTED)), "{asked:?}");
        assert!(!asked.iter().any(|path| path.contains("Light")), "{asked:?}");
        let found = &report(&project).1["sft"]["benchmarks"];
        assert_eq!(
            (&found["humaneval-single-line"]["total"], &found["humaneval-random-span"]["total"]),
            (&1.into(), &2.into())
        );
        // Its own branch holds no problems.
        let text = fs::read_to_string(project.path().join("tiny.kdl")).unwrap();
        project.write("tiny.kdl", &text.replace("single-line\" ", "single-line\" revision=\"main\" "));
        command(&["check", "tiny.kdl", "--online"])
            .exits(2)
            .says("`loubnabnl/humaneval_infilling` has no")
            .says("or the file of its problems in `from=`");
    }

    #[test]
    fn a_repository_that_is_no_benchmark_any_more_is_told() {
        let (project, hub) = (project(FAR), start_hub());
        hub.columns("openai/openai_humaneval", &[("openai_humaneval", &["task_id", "question"])]);
        hub.publish(
            "datasets/google-research-datasets/mbpp",
            "",
            COMMIT,
            &[small("mbpp.py", "import datasets")],
        );
        let ran = fmflow(&project, &hub, &["check", "tiny.kdl", "--online", "--format", "concise"]).exits(2);
        ran.says("it lacks `prompt`, `canonical_solution`, `test`, `entry_point`")
            .says("`google-research-datasets/mbpp` has no files `sanitized/*.parquet` at this commit")
            .says("or the file of its problems in `from=`");
    }

    /// Sizes and digests depend on the library that writes Parquet.
    fn hide_digests(text: &str) -> String {
        let word = |word: &str| match word.split_once('=') {
            Some((name @ ("sha256" | "size"), _)) => format!("{name}=..."),
            _ => word.to_owned(),
        };
        text.lines().map(|line| line.split(' ').map(word).collect::<Vec<_>>().join(" ") + "\n").collect()
    }
}
