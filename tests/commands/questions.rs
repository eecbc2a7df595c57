//! Benchmarks whose answers are no programs: they are graded without an interpreter, by the code of `evaluate`, `probe` and `grade`.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use serde_json::Value;

use crate::common::Project;

const QUESTIONS: &str = include_str!("../cases/data/questions.jsonl");

fn graded(samples: &str, rest: &[&str]) -> crate::common::Ran {
    let project = Project::empty();
    project.write("questions.jsonl", QUESTIONS);
    project.write("samples.jsonl", samples);
    let line = [&["grade", "gsm8k", "--problems", "questions.jsonl", "--samples", "samples.jsonl"], rest];
    // No interpreter is looked for.
    crate::common::Ran::from(project.command(&line.concat()).env("PATH", "/nowhere").output().unwrap())
}

#[test]
fn answers_are_graded_by_their_last_number() {
    let sample =
        |task: &str, text: &str| serde_json::json!({"task_id": task, "completion": text}).to_string() + "\n";
    let samples = sample("gsm8k/0", " 3 + 4 = 7 apples.")
        + &sample("0", " 3 * 4 = 12.")
        + &sample("gsm8k/1", " They pay $1200.00.\n#### 1200")
        + &sample("gsm8k/1", " They pay twelve hundred.");
    let text = graded(&samples, &[]).ok().stdout;
    insta::assert_snapshot!("grade-numbers", text);
    let json: Value = serde_json::from_str(&graded(&samples, &["--json"]).ok().stdout).unwrap();
    assert_eq!((&json["passed"], &json["total"], &json["no_number"]), (&2.into(), &4.into(), &1.into()));
    assert_eq!((&json["sandbox"], &json["python"]), (&Value::Null, &Value::Null));
    let outcomes: Vec<&str> =
        json["results"].as_array().unwrap().iter().map(|one| one["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["passed", "wrong-answer", "passed", "no-number"]);
    graded(&sample("gsm8k/7", ""), &[])
        .exits(8)
        .says("samples.jsonl:1: task gsm8k/7 is not among the problems");
}

#[test]
fn own_answers_are_graded_by_the_kind_of_their_problems() {
    let project = Project::empty();
    project.write("mine.jsonl", include_str!("../cases/data/capitals.jsonl"));
    project.write(
        "samples.jsonl",
        "{\"task_id\": \"usa\", \"completion\": \" Washington, D.C.\"}\n{\"task_id\": \"peru\", \"completion\": \" Cusco\"}\n",
    );
    let line = ["grade", "exact", "--problems", "mine.jsonl", "--samples", "samples.jsonl", "--json"];
    let json: Value = serde_json::from_str(&project.fmflow(&line).ok().stdout).unwrap();
    assert_eq!(
        (&json["passed"], &json["total"], &json["uncovered"][0]),
        (&1.into(), &2.into(), &"france".into())
    );
    assert_eq!(json["results"][1]["detail"], "\"Cusco\" instead of \"Lima\"");
    assert!(json.get("no_number").is_none());
}

#[cfg(feature = "cpu")]
mod evaluated {
    use std::fs;

    use super::*;

    const SAMPLER: &str = "\nsampler \"random\" kind=\"euler\" passes=4 temperature=1\n";

    const NEXT: &str = "sampler \"next\" kind=\"autoregressive\" temperature=1\n";

    const EVALUATION: &str = r#"
evaluate "sums" {
    checkpoint "ar"
    benchmark "gsm8k" from="questions.jsonl" sampler="next" samples=30 new-tokens=8
}
"#;

    fn project(rest: &str) -> Project {
        let project = Project::tiny();
        project.write("questions.jsonl", QUESTIONS);
        let text = fs::read_to_string(project.path().join("tiny.kdl")).unwrap();
        // Four worked questions do not fit a context of 128.
        let text = text.replace("context=128", "context=2048");
        project.write("tiny.kdl", &format!("{text}{SAMPLER}{NEXT}{rest}"));
        project
    }

    fn read_report(project: &Project) -> (Vec<Value>, Value) {
        let folder = project.artifact("sums");
        let samples = fs::read_to_string(folder.join("samples.jsonl")).unwrap();
        let lines = samples.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        (lines, serde_json::from_slice(&fs::read(folder.join("report.json")).unwrap()).unwrap())
    }

    /// What the last probe of `ar` found.
    fn last_probe(project: &Project) -> Value {
        let lines = project.json_lines("ar", "metrics.jsonl");
        lines.iter().rev().find_map(|line| line.get("probe").cloned()).unwrap()
    }

    #[test]
    fn a_checkpoint_answers_questions_and_a_probe_gives_the_same_numbers() {
        let project = project(EVALUATION);
        project.edit(
            "tiny.kdl",
            "attention \"causal\"\n    steps 40",
            "attention \"causal\"\n    steps 40\n    probe every=20 sampler=\"next\" { benchmark \"gsm8k\" from=\"questions.jsonl\" samples=30 new-tokens=8 }",
        );
        let mut command = project.command(&["run", "tiny.kdl", "--until", "sums"]);
        crate::common::Ran::from(command.env("PATH", "/nowhere").output().unwrap())
            .ok()
            .says("probe after update 20: probe: gsm8k pass@1 ");
        let (lines, report) = read_report(&project);
        let found = &report["ar"]["benchmarks"]["gsm8k"];
        assert_eq!(
            (&found["total"], &found["prompt"], &found["extraction"], &found["sandbox"], &lines.len().into()),
            (
                &90.into(),
                &"gsm8k-base-4-shot/1".into(),
                &"last-number/1".into(),
                &Value::Null,
                &found["total"]
            )
        );
        let count = |outcome: &str| lines.iter().filter(|line| line["outcome"] == outcome).count();
        assert_eq!(found["no_number"], count("no-number"));
        assert_eq!(found["passed"], count("passed"));
        assert!(lines.iter().any(|line| line["tokens"] != 0), "the questions fit the context");
        // The artifact's file is what `grade` reads, with the same verdicts.
        let path = project.artifact("sums").join("samples.jsonl");
        let path = path.to_str().unwrap();
        let line = ["grade", "gsm8k", "--problems", "questions.jsonl", "--samples", path, "--json"];
        let graded: Value = serde_json::from_str(&project.fmflow(&line).ok().stdout).unwrap();
        let outcomes = |all: &[Value]| all.iter().map(|one| one["outcome"].clone()).collect::<Vec<_>>();
        assert_eq!(outcomes(graded["results"].as_array().unwrap()), outcomes(&lines));
        project.fmflow(&["show", "tiny.kdl", "sums"]).ok().says("gsm8k pass@1").says("without a number");
        let probe = last_probe(&project);
        assert_eq!(probe["benchmark/gsm8k"], found["pass_at"]["1"]);
        for field in ["passed", "total", "cut", "empty", "no_number", "prompt_hash"] {
            assert_eq!(probe["graded/gsm8k"][field], found[field], "{field}");
        }
    }

    const OWN: &str = r#"
benchmark "capitals" from="own/*.jsonl" kind="exact"
benchmark "functions" from="problems.jsonl" kind="code"
evaluate "sums" {
    checkpoint "ar"
    benchmark "capitals" sampler="next" samples=5 new-tokens=8
    benchmark "functions" sampler="next" problems=2 new-tokens=8
}
"#;

    /// A project with own benchmarks; the questions of the first one are in two files.
    fn own(rest: &str) -> Project {
        let project = project(rest);
        let capitals = include_str!("../cases/data/capitals.jsonl");
        let (first, others) = capitals.split_at(capitals.find('\n').unwrap() + 1);
        project.write("own/1.jsonl", first);
        project.write("own/2.jsonl", others);
        project.write("problems.jsonl", include_str!("../cases/data/problems.jsonl"));
        project
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn own_benchmarks_are_measured_by_their_name() {
        let project = own(OWN);
        project.fmflow(&["check", "tiny.kdl"]).ok();
        project.fmflow(&["run", "tiny.kdl", "--until", "sums"]).ok();
        let (lines, report) = read_report(&project);
        let found = &report["ar"]["benchmarks"];
        assert_eq!(
            (&found["capitals"]["total"], &found["capitals"]["prompt"], &found["capitals"]["sandbox"]),
            (&15.into(), &"exact-line/1".into(), &Value::Null)
        );
        assert_eq!(
            (&found["functions"]["total"], &found["functions"]["prompt"], &found["functions"]["sandbox"]),
            (&2.into(), &"humaneval-base/1".into(), &"enforced".into())
        );
        let tasks: Vec<&str> = lines.iter().map(|line| line["task_id"].as_str().unwrap()).collect();
        assert_eq!([tasks[0], tasks[5], tasks[10], tasks[15]], ["france", "usa", "peru", "HumanEval/0"]);
        for line in &lines[..15] {
            assert!(!line["completion"].as_str().unwrap().contains('\n'), "an answer is a line: {line}");
            assert_ne!(line["outcome"], "no-number");
        }
        // The problems count for the fingerprint, and so does the name: the report has it.
        project.fmflow(&["run", "tiny.kdl", "--until", "sums"]).ok().says("nothing to do");
        project.edit("own/1.jsonl", "Paris", "Lyon");
        project.fmflow(&["plan", "tiny.kdl", "--until", "sums", "--check"]).exits(3);
        project.edit("own/1.jsonl", "Lyon", "Paris");
        project.fmflow(&["plan", "tiny.kdl", "--until", "sums", "--check"]).ok();
    }

    #[test]
    fn own_benchmarks_are_checked_before_any_work() {
        let france =
            "{\"prompt\": \"The capital of France is\", \"answer\": \"Paris\", \"task_id\": \"france\"}\n";
        let program = "{\"task_id\": 7, \"prompt\": \"Write f.\", \"test_list\": [\"assert f()\"]}\n";
        let cases: &[(&str, &str, i32, &str)] = &[
            ("own/1.jsonl", "", 8, "benchmark `capitals`: own/1.jsonl: the file holds no problem"),
            ("own/1.jsonl", "{\"prompt\": \"x\"}\n", 8, "own/1.jsonl:1: `answer` is missing"),
            ("own/3.jsonl", france, 8, "own/3.jsonl:1: task france appears twice: first in own/1.jsonl:1"),
            (
                "own/1.jsonl",
                &france.replace("}", ", \"hint\": \"It has a tower.\"}"),
                0,
                "nothing reads `hint` of the problems of benchmark `capitals` (own/1.jsonl:1)",
            ),
            (
                "problems.jsonl",
                &format!("{}{program}", include_str!("../cases/data/problems.jsonl")),
                8,
                "benchmark `functions`: problems.jsonl:4: only one of this problem and the first one",
            ),
        ];
        for (file, text, code, expected) in cases {
            let project = own(OWN);
            project.write(file, text);
            project.fmflow(&["check", "tiny.kdl"]).exits(*code).says(expected);
        }
        let refused = |from: &str, to: &str| {
            let project = own(OWN);
            project.edit("tiny.kdl", from, to);
            project.fmflow(&["check", "tiny.kdl"]).exits(2)
        };
        let ran = refused("    benchmark \"capitals\"", "    benchmark \"capitols\"");
        ran.says("no `benchmark` is called `capitols`").says("did you mean `capitals`?");
        refused("benchmark \"capitals\" sampler", "benchmark \"capitals\" from=\"own/1.jsonl\" sampler")
            .says("`from` does not apply to a benchmark that is declared at the top level");
        refused(
            "\nbenchmark \"capitals\" from",
            "\nbenchmark \"gsm8k\" from=\"own/*.jsonl\" kind=\"exact\"\nbenchmark \"capitals\" from",
        )
        .says("`gsm8k` is the name of a built-in benchmark");
        refused("own/*.jsonl", "mine/*.jsonl").says("`from` of a benchmark").says("mine/*.jsonl");
        refused("kind=\"exact\"", "kind=\"choice\"").says("`sampler` does not apply to this benchmark");
        refused("kind=\"exact\"", "kind=\"exact\" times=8").says("`times`");
        refused("benchmark \"capitals\" sampler=\"next\"", "benchmark \"capitals\"")
            .says("`benchmark` needs `sampler`");
    }

    const PICKS: &str = r#"
benchmark "picks" from="picks.jsonl" kind="choice" normalise="bytes" times=8 draws=3
evaluate "sums" { checkpoint "ar" "sft"; benchmark "picks" }
"#;

    fn likelihoods(line: &Value) -> Vec<Vec<f64>> {
        let numbers = |all: &Value| all.as_array().unwrap().iter().map(|one| one.as_f64().unwrap()).collect();
        let choices = line["choices"].as_array().unwrap().iter();
        choices.map(|choice| numbers(&choice["log_likelihoods"])).collect()
    }

    #[test]
    fn the_likeliest_choice_is_the_answer() {
        let project = project(PICKS);
        project.write("picks.jsonl", include_str!("../cases/data/picks.jsonl"));
        project.edit(
            "tiny.kdl",
            "attention \"causal\"\n    steps 40",
            "attention \"causal\"\n    steps 40\n    probe every=20 sampler=\"next\" { benchmark \"picks\" }",
        );
        project.fmflow(&["run", "tiny.kdl", "--until", "sums"]).ok().says("probe: picks accuracy ");
        let (lines, report) = read_report(&project);
        assert_eq!(lines.len(), 6);
        let facts = |checkpoint: &str| {
            let found = &report[checkpoint]["benchmarks"]["picks"];
            assert_eq!(
                (&found["total"], &found["prompt"], &found["sampler"]),
                (&3.into(), &"choice/1".into(), &Value::Null)
            );
            ["estimator", "kind", "normalise", "times", "draws"].map(|key| found["choice"][key].clone())
        };
        let exact = ["autoregressive".into(), "exact".into(), "bytes".into(), Value::Null, 1.into()];
        let bound = ["elbo".into(), "lower bound".into(), "bytes".into(), 8.into(), 3.into()];
        assert_eq!((facts("ar"), facts("sft")), (exact, bound));
        // The law of the next token is a chain: both words together are as likely as one after the other.
        let [first, second, both] = [0, 1, 2].map(|at| likelihoods(&lines[at]));
        assert!((first[0][0] + second[0][0] - both[0][0]).abs() < 1e-4, "{first:?} {second:?} {both:?}");
        for (line, draws) in lines.iter().zip([1, 1, 1, 3, 3, 3]) {
            let found = likelihoods(line);
            assert!(
                found.iter().flatten().all(|one| *one < 0.0) && found.iter().all(|one| one.len() == draws)
            );
            // What was chosen is the likeliest per byte.
            let texts = [[" ran", " fell"], [" home", " away"], [" ran home", " fell away"]];
            let texts = texts
                .into_iter()
                .find(|texts| texts.contains(&line["completion"].as_str().unwrap()))
                .unwrap();
            let score = |at: usize| found[at].iter().sum::<f64>() / draws as f64 / texts[at].len() as f64;
            let best = if score(1) > score(0) { texts[1] } else { texts[0] };
            assert_eq!(line["completion"], best, "{line}");
            let right = line["task_id"] == "home";
            assert_eq!(line["outcome"] == "passed", best == texts[usize::from(right)], "{line}");
        }
        for (checkpoint, own) in [("ar", &lines[..3]), ("sft", &lines[3..])] {
            let passed = own.iter().filter(|line| line["outcome"] == "passed").count();
            let found = &report[checkpoint]["benchmarks"]["picks"];
            assert_eq!(found["passed"], passed);
            assert_eq!(found["choice"]["accuracy"]["bytes"], found["pass_at"]["1"]);
        }
        assert!(report["sft"]["benchmarks"]["picks"]["choice"]["spread"].is_number());
        let shown = project
            .fmflow(&["show", "tiny.kdl", "sums"])
            .ok()
            .says("by autoregressive likelihood (exact), normalised by bytes; accuracy by divisor: none ");
        shown.says("by elbo likelihood (lower bound, 3 draws of 8 times), normalised by bytes");
        // A probe has the numbers of `evaluate`.
        let probe = last_probe(&project);
        assert_eq!(probe["graded/picks"]["choice"], report["ar"]["benchmarks"]["picks"]["choice"]);
        // Other draws are another evaluation.
        project.edit("tiny.kdl", "draws=3", "draws=2");
        project.fmflow(&["plan", "tiny.kdl", "--until", "sums", "--check"]).exits(3);
        project.edit("tiny.kdl", "draws=2", "draws=3");
        project.fmflow(&["plan", "tiny.kdl", "--until", "sums", "--check"]).ok();
        project.fmflow(&["diff", "sums:ar", "sums:sft"]).ok().says("picks");
        // `h` and `e` are one token, before which there is nothing.
        project.write(
            "picks.jsonl",
            "{\"task_id\": \"one\", \"prompt\": \"h\", \"choices\": [\"e\", \"o\"], \"answer\": 0}\n",
        );
        project
            .fmflow(&["run", "tiny.kdl", "--until", "sums"])
            .exits(8)
            .says("picks.jsonl:1: task one: a choice begins in the first token of the text, which nothing predicts")
            .says("write a longer `prompt`");
    }

    #[test]
    fn the_problems_of_a_probe_are_checked_too() {
        let project = own("benchmark \"capitals\" from=\"own/*.jsonl\" kind=\"exact\"\n");
        project.edit(
            "tiny.kdl",
            "attention \"causal\"\n    steps 40",
            "attention \"causal\"\n    steps 40\n    probe every=20 sampler=\"next\" { benchmark \"capitals\" new-tokens=8 }",
        );
        project.fmflow(&["run", "tiny.kdl", "--until", "ar"]).ok().says("probe: capitals pass@1 ");
        project.write("own/1.jsonl", "{\"prompt\": \"x\", \"answer\": 7}\n");
        project
            .fmflow(&["check", "tiny.kdl"])
            .exits(8)
            .says("benchmark `capitals`: own/1.jsonl:1: `answer` is neither a text nor a list of texts");
        // Answers that leave no room for a question.
        let full = |from: &str, to: &str| {
            let project = own("benchmark \"capitals\" from=\"own/*.jsonl\" kind=\"exact\"\n");
            let probe = "probe every=20 sampler=\"next\" { prompt \"x\" new-tokens=8; benchmark \"capitals\" new-tokens=9 }";
            let probe = probe.replace(from, to);
            let attention = "attention \"causal\"\n    steps 40";
            project.edit("tiny.kdl", attention, &format!("{attention}\n    {probe}"));
            let ran = project.fmflow(&["check", "tiny.kdl"]).exits(2);
            ran.says("`ar` asks for 2048 new tokens, but the context of `tiny` is 2048");
        };
        full("new-tokens=8", "new-tokens=2048");
        full("new-tokens=9", "new-tokens=2048");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_conversation_is_asked_by_the_template_and_its_block_is_graded() {
        let project = own(&OWN.replace("new-tokens=8", "mode=\"chat\" new-tokens=24"));
        project.fmflow(&["run", "tiny.kdl", "--until", "sums"]).ok();
        let (lines, report) = read_report(&project);
        let found = &report["ar"]["benchmarks"];
        assert_eq!(
            (&found["functions"]["prompt"], &found["functions"]["extraction"], &found["capitals"]["prompt"]),
            (&"humaneval-chat/1".into(), &"fenced-block/1".into(), &"exact-chat/1".into())
        );
        let text = |line: &Value, key: &str| line[key].as_str().map(str::to_owned);
        for line in &lines[15..] {
            // Without a fence, the program is the whole answer.
            let (answer, solution) = (text(line, "answer").unwrap(), text(line, "solution").unwrap());
            assert!(answer.contains("```") || solution == format!("{answer}\n"), "{line}");
            assert!(line.get("completion").is_none(), "{line}");
        }
        assert!(
            lines[..15].iter().all(|line| line["completion"].is_string() && line.get("solution").is_none())
        );
        // `grade` reads the solutions, with the same verdicts.
        let own: String = lines[15..].iter().map(|line| format!("{line}\n")).collect();
        project.write("chat.jsonl", &own);
        let line = ["grade", "code", "--problems", "problems.jsonl", "--samples", "chat.jsonl", "--json"];
        let graded: Value = serde_json::from_str(&project.fmflow(&line).ok().stdout).unwrap();
        let outcomes = |all: &[Value]| all.iter().map(|one| one["outcome"].clone()).collect::<Vec<_>>();
        assert_eq!(outcomes(graded["results"].as_array().unwrap()), outcomes(&lines[15..]));
        // Another way to ask is another evaluation.
        project.edit("tiny.kdl", "mode=\"chat\" new-tokens", "new-tokens");
        project.fmflow(&["plan", "tiny.kdl", "--until", "sums", "--check"]).exits(3);
    }

    #[test]
    fn a_file_that_is_no_gsm8k_is_told_before_any_work() {
        let project = project(EVALUATION);
        project.write("questions.jsonl", "{\"question\": \"How many?\", \"answer\": \"7\"}\n");
        project
            .fmflow(&["check", "tiny.kdl"])
            .exits(8)
            .says("benchmark `gsm8k`: questions.jsonl:1: `answer` does not end with `#### ` and a number");
    }
}
