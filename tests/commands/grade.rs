//! `fmflow grade` on small files of its own. With `FMFLOW_DATA`, `just grade` grades the benchmarks themselves.

use serde_json::{Value, json};

use crate::common::Project;

const HUMANEVAL: &str = r#"{"task_id": "HumanEval/0", "prompt": "def double(x):\n", "entry_point": "double", "canonical_solution": "    return 2 * x\n", "test": "def check(candidate):\n    assert candidate(2) == 4\n    assert candidate(0) == 0\n"}
{"task_id": "HumanEval/1", "prompt": "def shout(text):\n", "entry_point": "shout", "canonical_solution": "    return text.upper()\n", "test": "def check(candidate):\n    assert candidate('a') == 'A'\n"}
{"task_id": "HumanEval/2", "prompt": "def nothing():\n", "entry_point": "nothing", "canonical_solution": "    return None\n", "test": "def check(candidate):\n    assert candidate() is None\n"}
"#;

const MBPP: &str = r#"{"task_id": 2, "prompt": "Write a function.", "code": "import math\ndef area(r):\n    return math.pi * r ** 2", "test_imports": [], "test_list": ["assert math.isclose(area(1), math.pi)"]}
"#;

fn project(problems: &str, samples: &str) -> Project {
    let project = Project::empty();
    project.write("problems.jsonl", problems);
    project.write("samples.jsonl", samples);
    project
}

fn arguments<'a>(name: &'a str, rest: &[&'a str]) -> Vec<&'a str> {
    [&["grade", name, "--problems", "problems.jsonl", "--samples", "samples.jsonl"], rest].concat()
}

fn sample(task: &str, field: &str, text: &str) -> String {
    serde_json::json!({"task_id": task, field: text}).to_string() + "\n"
}

#[test]
fn samples_are_graded_and_counted_whatever_the_verdict() {
    let samples = sample("HumanEval/0", "completion", "    return x + x\n")
        + &sample("0", "completion", "    return x\n")
        + &sample("HumanEval/1", "solution", "def shout(text) return")
        + &sample("HumanEval/1", "completion", "");
    let project = project(HUMANEVAL, &samples);
    let mut texts = Vec::new();
    for workers in ["1", "4"] {
        let ran = project.fmflow(&arguments("humaneval", &["--workers", workers, "--json"])).ok();
        let json: Value = serde_json::from_str(&ran.stdout).unwrap();
        assert_eq!(
            (json["schema"].as_str(), &json["passed"], &json["total"]),
            (Some("fmflow.grade/1"), &1.into(), &4.into())
        );
        assert_eq!(json["pass_at"]["1"], 0.25);
        assert_eq!(json["uncovered"], serde_json::json!(["HumanEval/2"]));
        assert_eq!(
            (&json["empty"], &json["syntax_errors"], &json["sandbox"]),
            (&1.into(), &2.into(), &"enforced".into())
        );
        let outcomes: Vec<&str> =
            json["results"].as_array().unwrap().iter().map(|one| one["outcome"].as_str().unwrap()).collect();
        assert_eq!(outcomes, ["passed", "wrong-answer", "syntax-error", "syntax-error"]);
        texts.push(ran.stdout);
    }
    assert_eq!(texts[0], texts[1]);
    let text = project.fmflow(&arguments("humaneval", &[])).ok().stdout;
    let python = text.lines().last().unwrap();
    assert!(python.starts_with("Python 3.") && python.ends_with("sandbox: enforced"), "{python}");
    insta::assert_snapshot!("grade", text.replace(python, "PYTHON"));
}

#[test]
fn task_ids_of_mbpp_are_the_same_in_every_form() {
    for task in ["2", "Mbpp/2"] {
        let samples = sample(task, "solution", "def area(r): return r * r * 3.141592653589793");
        let ran = project(MBPP, &samples).fmflow(&arguments("mbpp", &["--json"])).ok();
        assert!(ran.stdout.contains("\"passed\": 1"), "{}", ran.stdout);
    }
    let samples = "{\"task_id\": 2, \"solution\": \"\"}\n";
    assert!(
        project(MBPP, samples).fmflow(&arguments("mbpp", &["--json"])).ok().stdout.contains("\"passed\": 0")
    );
    // A program for another benchmark's problem of that number.
    let other = sample("HumanEval/2", "solution", "def area(r): return r");
    project(MBPP, &other)
        .fmflow(&arguments("mbpp", &[]))
        .exits(8)
        .says("samples.jsonl:1: task HumanEval/2 is not among the problems");
}

#[test]
fn problems_of_two_benchmarks_in_one_file_are_two_even_with_one_number() {
    let problem = |task: &str, result: u8| {
        let test = format!("assert f() == {result}");
        json!({"task_id": task, "prompt": "Write f.", "test_list": [test]}).to_string() + "\n"
    };
    let problems = problem("HumanEval/0", 1) + &problem("Mbpp/0", 2) + &problem("Mbpp/7", 7);
    let samples = sample("HumanEval/0", "solution", "def f(): return 1")
        + &sample("Mbpp/0", "solution", "def f(): return 1")
        + &sample("7", "solution", "def f(): return 7");
    let ran = project(&problems, &samples).fmflow(&arguments("code", &["--json"])).ok();
    let json: Value = serde_json::from_str(&ran.stdout).unwrap();
    let outcomes: Vec<&Value> =
        json["results"].as_array().unwrap().iter().map(|one| &one["outcome"]).collect();
    assert_eq!(outcomes, ["passed", "wrong-answer", "passed"]);
    assert_eq!(json["problems"].as_object().unwrap().len(), 3);
    project(&problems, &sample("0", "solution", "def f(): return 1"))
        .fmflow(&arguments("code", &[]))
        .exits(8)
        .says("samples.jsonl:1: task 0 may be HumanEval/0 or Mbpp/0");
}

#[test]
fn gaps_are_graded_between_their_prompt_and_suffix() {
    let gaps = include_str!("../cases/data/gaps.jsonl");
    let samples = sample("RandomSpanInfilling/HumanEval/0/1", "completion", "x + x")
        + &sample("RandomSpanInfilling/HumanEval/1/1", "completion", "lower()")
        + &sample("SingleLineInfilling/HumanEval/0/L0", "solution", "def half(x):\n    return x / 2\n");
    for name in ["humaneval-infilling", "infill"] {
        let ran = project(gaps, &samples).fmflow(&arguments(name, &["--json"])).ok();
        let json: Value = serde_json::from_str(&ran.stdout).unwrap();
        let outcomes: Vec<&str> =
            json["results"].as_array().unwrap().iter().map(|one| one["outcome"].as_str().unwrap()).collect();
        assert_eq!(outcomes, ["passed", "wrong-answer", "passed"]);
        assert_eq!((&json["total"], &json["problems"].as_object().unwrap().len()), (&3.into(), &3));
    }
    // The number of a span is no task.
    project(gaps, &sample("1", "completion", "x"))
        .fmflow(&arguments("humaneval-infilling", &[]))
        .exits(8)
        .says("task 1 is not among the problems");
    let twice = format!("{gaps}{}", gaps.lines().next().unwrap());
    project(&twice, &samples).fmflow(&arguments("humaneval-infilling", &[])).exits(8).says(
        "problems.jsonl:4: task RandomSpanInfilling/HumanEval/0/1 appears twice: first in problems.jsonl:1",
    );
    project(HUMANEVAL, &samples)
        .fmflow(&arguments("humaneval-infilling", &[]))
        .exits(8)
        .says("problems.jsonl:1: `suffix` is missing")
        .says("as HumanEval-Infilling has them");
}

#[test]
fn what_cannot_be_graded_is_named_with_its_line() {
    let good = sample("HumanEval/0", "completion", "    return x + x\n");
    let long = format!("{{\"task_id\": \"HumanEval/0\", \"completion\": \"{}\"}}\n", "x".repeat(65 << 20));
    let deep = format!("{{\"task_id\": \"HumanEval/0\", \"a\": {}{}}}\n", "[".repeat(500), "]".repeat(500));
    let cases: &[(&str, &str, &str)] = &[
        (HUMANEVAL, "", "samples.jsonl: the file holds no sample"),
        (HUMANEVAL, "{\n", "samples.jsonl:1: the line is not JSON"),
        (
            HUMANEVAL,
            &sample("HumanEval/9", "completion", ""),
            "samples.jsonl:1: task HumanEval/9 is not among the problems",
        ),
        (
            HUMANEVAL,
            &sample("HumanEval/0", "text", ""),
            "samples.jsonl:1: it has neither a `solution` nor a `completion`",
        ),
        (HUMANEVAL, "{\"completion\": \"\"}\n", "samples.jsonl:1: `task_id` is missing"),
        (
            HUMANEVAL,
            &format!("{good}{{\"task_id\": 1, \"completion\": 5}}\n"),
            "samples.jsonl:2: `completion` is not a text",
        ),
        (HUMANEVAL, &long, "samples.jsonl:1: the line, which begins at byte 0, is longer than 64 MiB"),
        (HUMANEVAL, &deep, "samples.jsonl:1: the line is not JSON (recursion limit"),
        (MBPP, &good, "problems.jsonl:1: `entry_point` is missing"),
        ("", &good, "problems.jsonl: the file holds no problem"),
        (
            &HUMANEVAL.replace("HumanEval/1", "0"),
            &good,
            "problems.jsonl:2: task 0 appears twice: first in problems.jsonl:1",
        ),
        (
            &HUMANEVAL.replace("return 2 * x\\n", "return 2 * x\\nimport nothing\\n"),
            &good,
            "task HumanEval/0: the problem cannot be graded: the reference solution raises ModuleNotFoundError",
        ),
    ];
    for (problems, samples, expected) in cases {
        let ran = project(problems, samples).fmflow(&arguments("humaneval", &[]));
        assert_eq!(ran.code, 8, "{expected}: {}", ran.stderr);
        assert!(ran.stderr.contains(expected) && ran.stderr.contains("help: "), "{expected}: {}", ran.stderr);
        assert_eq!(ran.stdout, "");
    }
    let project = project(HUMANEVAL, "");
    std::fs::write(
        project.path().join("samples.jsonl"),
        b"{\"task_id\": \"HumanEval/0\", \"completion\": \"\xff\"}\n",
    )
    .unwrap();
    let ran = project.fmflow(&arguments("humaneval", &[]));
    assert!(
        ran.code == 8 && ran.stderr.contains("samples.jsonl:1: the line is not UTF-8 at byte"),
        "{}",
        ran.stderr
    );
    assert_eq!(project.fmflow(&arguments("human-eval", &[])).code, 2);
}

/// A line of the `samples.jsonl` of an evaluation.
fn written(benchmark: &str, checkpoint: &str, task: &str, completion: Option<&str>) -> String {
    let mut line =
        json!({"task_id": task, "benchmark": benchmark, "checkpoint": checkpoint, "outcome": "passed"});
    line["completion"] = completion.into();
    line.to_string() + "\n"
}

#[test]
fn the_answers_of_an_evaluation_are_graded_by_benchmark_and_checkpoint() {
    let right = Some("    return x + x\n");
    // A number alone could be a task of either benchmark; a choice has no program.
    let samples = written("humaneval", "a", "HumanEval/0", right)
        + &written("mbpp", "a", "2", Some("def area(r): return 3.141592653589793 * r * r"))
        + &written("capitals", "a", "0", None);
    let project = project(HUMANEVAL, &samples);
    project.write("mbpp.jsonl", MBPP);
    let json = |arguments: &[&str]| -> Value {
        serde_json::from_str(&project.fmflow(arguments).ok().stdout).unwrap()
    };
    let found = json(&arguments("humaneval", &["--json"]));
    assert_eq!((&found["passed"], &found["total"]), (&1.into(), &1.into()));
    assert_eq!(found["left_out"], json!({"benchmarks": {"mbpp": 1, "capitals": 1}, "checkpoints": {}}));
    let mbpp = ["grade", "mbpp", "--problems", "mbpp.jsonl", "--samples", "samples.jsonl", "--json"];
    assert_eq!(json(&mbpp)["passed"], 1);
    let chosen = [&mbpp[..], &["--benchmark", "humaneval"]].concat();
    project.fmflow(&chosen).exits(8).says("samples.jsonl:1: task HumanEval/0 is not among the problems");
    project.fmflow(&arguments("gsm8k", &[])).exits(8).says("problems.jsonl:1: `question` is missing");

    let two = samples + &written("humaneval", "b", "HumanEval/0", Some("    return x\n"));
    project.write("samples.jsonl", &two);
    project
        .fmflow(&arguments("humaneval", &[]))
        .exits(8)
        .says("samples of several checkpoints: a, b")
        .says("--checkpoint NAME");
    for (checkpoint, passed) in [("a", 1), ("b", 0)] {
        let found = json(&arguments("humaneval", &["--checkpoint", checkpoint, "--json"]));
        assert_eq!((&found["passed"], &found["total"]), (&passed.into(), &1.into()), "{checkpoint}");
    }
    let text = project.fmflow(&arguments("humaneval", &["--checkpoint", "b"])).ok().stdout;
    assert!(text.contains("left out, of other benchmarks: mbpp (1), capitals (1)\n"), "{text}");
    assert!(text.contains("left out, of other checkpoints: a (1)\n"), "{text}");
}

#[test]
fn one_program_cannot_end_the_grading_of_the_others() {
    let shout = "import os, time\\ndata = b'missing 1 1000002\\\\nB' + b'00' * 500000 + b';'\\n\
                 def shout(text):\\n    rest = data\\n    while rest: rest = rest[os.write(4, rest):]\\n    time.sleep(9)\\n";
    let samples = sample("HumanEval/0", "completion", "    return x + x\n")
        + &format!("{{\"task_id\": \"HumanEval/1\", \"solution\": \"{shout}\"}}\n");
    let ran = project(HUMANEVAL, &samples).fmflow(&arguments("humaneval", &["--json"])).ok();
    let json: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((&json["passed"], &json["results"][1]["outcome"]), (&1.into(), &"raised".into()));
    assert!(json["results"][1]["detail"].as_str().unwrap().len() < 1000);
}

#[test]
fn files_that_are_none_and_arrays_are_told() {
    let project = project(HUMANEVAL, "[{\"task_id\": 0, \"completion\": \"\"}]\n");
    let ran = project.fmflow(&arguments("humaneval", &[])).exits(8).says("one object per line");
    assert!(!ran.stderr.contains("format="), "{}", ran.stderr);
    for absent in ["nowhere.jsonl", "."] {
        let given = ["grade", "humaneval", "--problems", "problems.jsonl", "--samples", absent];
        project.fmflow(&given).exits(1).says("cannot read");
    }
}

#[test]
fn a_shim_that_is_no_python_is_passed_over_and_none_at_all_is_told() {
    let samples = sample("HumanEval/0", "completion", "    return x + x\n");
    let project = project(HUMANEVAL, &samples);
    let mut command = project.command(&arguments("humaneval", &[]));
    let ran = crate::common::Ran::from(command.env("PATH", "/nowhere").output().unwrap());
    // The interpreter of the system does not need PATH.
    match std::path::Path::new("/usr/bin/python3").exists() {
        true => assert_eq!(ran.code, 0, "{}", ran.stderr),
        false => {
            assert!(ran.code == 2 && ran.stderr.contains("there is no `python3` in PATH"), "{}", ran.stderr)
        }
    }
}

/// All canonical solutions of the benchmarks in `FMFLOW_DATA`, with one worker and with four: `just grade`.
#[test]
#[ignore = "needs the files of the benchmarks: `just grade FOLDER`"]
fn canonical_solutions_pass() {
    let data = std::path::PathBuf::from(std::env::var_os("FMFLOW_DATA").unwrap());
    let read = |name: &str| {
        use std::io::Read;
        let mut text = String::new();
        let bytes = std::fs::read(data.join(name)).unwrap();
        match name.ends_with(".gz") {
            true => flate2::read::GzDecoder::new(&*bytes).read_to_string(&mut text).unwrap(),
            false => (&*bytes).read_to_string(&mut text).unwrap(),
        };
        text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect::<Vec<_>>()
    };
    for (name, file, field, count) in [
        ("humaneval", "HumanEval.jsonl.gz", "canonical_solution", 164),
        ("mbpp", "mbpp-sanitized.jsonl", "code", 427),
    ] {
        let samples: String = read(file)
            .iter()
            .map(|problem| {
                let task =
                    problem["task_id"].as_str().map_or_else(|| problem["task_id"].to_string(), str::to_owned);
                sample(&task, "completion", problem[field].as_str().unwrap())
            })
            .collect();
        let project = project("", &samples);
        let path = data.join(file);
        for workers in ["1", "4"] {
            let problems = path.to_str().unwrap();
            let line = [
                "grade",
                name,
                "--problems",
                problems,
                "--samples",
                "samples.jsonl",
                "--workers",
                workers,
                "--json",
            ];
            let json: Value = serde_json::from_str(&project.fmflow(&line).ok().stdout).unwrap();
            assert_eq!(
                (json["passed"].as_u64(), json["total"].as_u64()),
                (Some(count), Some(count)),
                "{json}"
            );
        }
    }
}
