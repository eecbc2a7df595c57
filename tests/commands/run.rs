//! A whole pipeline through the binary: it runs, repeats no work, reruns what an edit makes stale, and continues after a stop.

#![cfg(feature = "cpu")]
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::path::Path;

use crate::common::{Project, Ran, golden, send_signal};

/// Names of the stages that the plan would run.
fn stale(project: &Project) -> Vec<String> {
    let plan = project.fmflow(&["plan", "tiny.kdl", "--json"]).ok();
    let plan: serde_json::Value = serde_json::from_str(&plan.stdout).unwrap();
    let stages = plan["stages"].as_array().unwrap();
    let runs = stages.iter().filter(|s| s["state"] != "cached");
    runs.map(|s| s["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_rerun_only_runs_stages_that_an_edit_affects() {
    let project = Project::tiny();
    project.fmflow(&["run", "tiny.kdl"]).ok().says("sft");
    let weights = project.weights();
    project.fmflow(&["run", "tiny.kdl"]).ok();
    project.fmflow(&["resume", "tiny.kdl"]).ok();
    project.fmflow(&["resume"]).ok();
    assert_eq!(project.weights(), weights);
    assert_eq!(stale(&project), Vec::<String>::new());

    project.edit("tiny.kdl", "log every=5", "log every=50");
    assert_eq!(stale(&project), Vec::<String>::new(), "the log interval changes no result");

    project.edit("tiny.kdl", "passes=2 temperature=0", "passes=3 temperature=0");
    assert_eq!(stale(&project), ["answers", "samples"]);
    project.fmflow(&["plan", "tiny.kdl"]).ok().says("passes").says("2").says("3");

    project.edit("tiny.kdl", "shift #false", "shift #true");
    assert_eq!(stale(&project), ["flow", "sft", "likelihood", "answers", "samples"]);
    project.fmflow(&["plan", "tiny.kdl", "--check"]).exits(3);
    project.fmflow(&["run", "tiny.kdl"]).ok();
    let changed = project.weights();
    assert_eq!(changed[1], weights[1], "the autoregressive source is unchanged");
    assert_ne!(changed[3], weights[3], "a shifted model learns other weights");
    project.fmflow(&["plan", "tiny.kdl", "--check"]).ok();
}

#[test]
fn a_run_prints_warnings_only_if_there_is_work() {
    let project = Project::tiny();
    let spare = "dataset \"spare\" from=\"tiny/*.txt\" format=\"text\"\n\ntokenizer ";
    project.edit("tiny.kdl", "tokenizer ", spare);
    let run = |project: &Project| project.fmflow(&["run", "tiny.kdl", "--until", "bpe"]).ok();
    run(&project).says("warning[unused]").says("see: fmflow check tiny.kdl");
    assert!(!run(&project).stderr.contains("warning"), "no work, no warnings");
}

#[test]
fn a_copied_artifact_verifies_and_a_flipped_bit_is_detected() {
    let project = Project::tiny();
    project.fmflow(&["run", "tiny.kdl", "--until", "ar"]).ok();
    let copy = project.path().join("elsewhere");
    let artifact = project.artifact("ar");
    fs::create_dir(&copy).unwrap();
    for entry in fs::read_dir(&artifact).unwrap() {
        let entry = entry.unwrap();
        assert!(entry.metadata().unwrap().is_file(), "only regular files");
        fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
    }
    for name in ["model.safetensors", "config.json", "tokenizer.json", "manifest.json", "provenance.json"] {
        assert!(copy.join(name).exists(), "{name}");
    }
    verify(&project, &copy).ok();
    verify(&project, &artifact).ok();
    let file = copy.join("model.safetensors");
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::remove_file(&file).unwrap();
    fs::write(&file, bytes).unwrap();
    verify(&project, &copy).exits(4).says("model.safetensors");
}

#[test]
fn parallel_stages_produce_the_same_bytes() {
    let (alone, together) = (Project::tiny(), Project::tiny());
    let twin = "train \"twin\" from=\"tiny\" use=\"common\" {\n    data rows=\"text\" mixture=\"prose\"\n    \
        objective \"autoregressive\"\n    attention \"causal\"\n    steps 30\n}\n\nconvert \"flow\"";
    [&alone, &together].iter().for_each(|project| project.edit("tiny.kdl", "convert \"flow\"", twin));
    alone.fmflow(&["run", "tiny.kdl"]).ok();
    together.fmflow(&["run", "tiny.kdl", "--jobs", "3"]).ok();
    assert_eq!(together.weights(), alone.weights());
    for (stage, file) in
        [("twin", "model.safetensors"), ("answers", "report.json"), ("likelihood", "report.json")]
    {
        let bytes = |project: &Project| fs::read(project.artifact(stage).join(file)).unwrap();
        assert_eq!(bytes(&together), bytes(&alone), "{stage}");
    }
    together.fmflow(&["run", "tiny.kdl", "--jobs", "0"]).exits(2).says("--jobs");
}

fn verify(project: &Project, folder: &Path) -> Ran {
    project.fmflow(&["verify", folder.to_str().unwrap()])
}

#[test]
fn resume_refuses_a_changed_configuration() {
    let project = Project::tiny();
    interrupt_in(&project, "ar");
    project.edit("tiny.kdl", "peak=2e-3", "peak=3e-3");
    project.fmflow(&["resume", "tiny.kdl"]).exits(2).says("learning-rate.peak").says("0.002").says("0.003");
}

#[cfg(not(feature = "cuda"))]
#[test]
fn a_device_that_this_build_lacks_is_refused_before_any_work() {
    let project = Project::tiny();
    project.fmflow(&["run", "tiny.kdl", "--device", "cuda:0"]).exits(2).says("feature `cuda`");
    let artifacts = fs::read_dir(project.path().join(".fmflow/artifacts")).into_iter().flatten();
    assert_eq!(artifacts.count(), 0);
}

#[test]
fn an_unmet_required_score_fails_with_all_scores() {
    let project = Project::tiny();
    let from = "exact-match dataset=\"tasks\" sampler=\"parallel\" }";
    project.edit("tiny.kdl", from, &from.replace('}', "; require \"sft\" at-least=1.0 }"));
    let ran = project.fmflow(&["run", "tiny.kdl"]).exits(1);
    ran.says("100.0 % is required").says("flow: exact match on tasks").says("sft: exact match on tasks");
    let report = fs::read(project.artifact("answers").join("report.json")).unwrap();
    project.fmflow(&["status", "tiny.kdl"]).ok().says("failed").says("100.0 % is required");
    let measures =
        |ran: &Ran| ran.stderr.lines().any(|line| line.starts_with("answers") && line.contains("starts"));
    let again = project.fmflow(&["run", "tiny.kdl"]).exits(1).says("100.0 % is required");
    project.edit("tiny.kdl", "at-least=1.0", "at-least=0");
    let lowered = project.fmflow(&["run", "tiny.kdl"]).ok();
    assert!(!measures(&again) && !measures(&lowered), "{}{}", again.stderr, lowered.stderr);
    assert_eq!(fs::read(project.artifact("answers").join("report.json")).unwrap(), report);
}

#[test]
fn a_question_too_long_for_the_context_counts_as_failed() {
    let project = Project::tiny();
    add_tasks(&project, (0..12).map(|i| (format!("last: {}{i}", "a b c ".repeat(100)), "c".into())));
    project.fmflow(&["run", "tiny.kdl", "--until", "answers"]).ok().says("too long for the context");
    let report = fs::read(project.artifact("answers").join("report.json")).unwrap();
    let report: serde_json::Value = serde_json::from_slice(&report).unwrap();
    let tasks = &report["sft"]["exact_match"]["tasks"];
    let number = |name: &str| tasks[name].as_u64().unwrap();
    assert!(number("too_long") > 0 && number("passed") <= number("total") - number("too_long"), "{tasks}");
}

/// Adds conversations to the tasks of the project.
fn add_tasks(project: &Project, tasks: impl Iterator<Item = (String, String)>) {
    let mut lines = fs::read_to_string(project.path().join("tiny/tasks.jsonl")).unwrap();
    for (question, answer) in tasks {
        let line = serde_json::json!({ "task": "last", "question": question, "answer": answer });
        lines += &format!("{line}\n");
    }
    project.write("tiny/tasks.jsonl", &lines);
}

#[test]
fn conversations_left_out_of_rows_are_reported_with_a_fix() {
    let project = Project::tiny();
    add_tasks(&project, (0..12).map(|i| (format!("last: {}{i}", "a b c ".repeat(100)), "c".into())));
    add_tasks(&project, (0..12).map(|i| (format!("long: {i}"), "a b c ".repeat(6))));
    let ran = project.fmflow(&["run", "tiny.kdl", "--until", "chat/tasks"]).ok();
    let ran = ran.says("answers for training, ").says("are left out: ").says("24 answers left out");
    ran.says("longer than a row with the turns before them (raise `length=`, now 64)")
        .says("longer than the canvas (raise `canvas=`, now 12)");
    project.edit("tiny.kdl", "canvas=12", "canvas=1");
    let ran = project.fmflow(&["run", "tiny.kdl", "--until", "chat/tasks"]).exits(8);
    ran.says("longer than the canvas (raise `canvas=`, now 1)").says("more than half");
}

/// The exact-match report of `sft`, and the lines of its answers.
fn answers(project: &Project) -> (serde_json::Value, Vec<serde_json::Value>) {
    let folder = project.artifact("answers");
    let report = fs::read(folder.join("report.json")).unwrap();
    let report: serde_json::Value = serde_json::from_slice(&report).unwrap();
    let lines = fs::read_to_string(folder.join("answers.jsonl")).unwrap();
    let lines = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (report["sft"]["exact_match"]["tasks"].clone(), lines)
}

#[test]
fn an_answer_longer_than_the_canvas_counts_as_failed() {
    let project = Project::tiny();
    add_tasks(&project, (0..12).map(|i| (format!("long: {i}"), "a b c ".repeat(6))));
    project.fmflow(&["run", "tiny.kdl", "--until", "answers"]).ok();
    let (tasks, lines) = answers(&project);
    let number = |name: &str| tasks[name].as_u64().unwrap();
    assert!(number("beyond_canvas") > 0, "{tasks}");
    assert!(number("passed") <= number("total") - number("beyond_canvas"), "{tasks}");
    assert!(
        !lines.iter().any(|line| line["prompt"].as_str().unwrap().starts_with("long")),
        "too long to generate"
    );
}

#[test]
fn answers_of_a_conversation_are_listed_with_earlier_turns() {
    let project = Project::tiny();
    let turn = |role: &str, content: &str| serde_json::json!({ "role": role, "content": content });
    let line = |i: usize| {
        let question = format!("first: {i} b");
        let turns =
            [turn("user", &question), turn("assistant", "a"), turn("user", "2?"), turn("assistant", "b")];
        serde_json::json!({ "task": "first", "messages": turns }).to_string()
    };
    project.write("tiny/tasks.jsonl", &(0..40).map(line).collect::<Vec<_>>().join("\n"));
    project.edit("tiny.kdl", "user=\"question\" assistant=\"answer\"", "messages=\"messages\"");
    project.edit("tiny.kdl", "length=64 packing=\"first-fit\"", "length=128 packing=\"first-fit\"");
    project.fmflow(&["run", "tiny.kdl", "--until", "answers"]).ok();
    let (_, lines) = answers(&project);
    let (later, first): (Vec<_>, Vec<_>) = lines.iter().partition(|line| line["prompt"] == "2?");
    assert!(!first.is_empty() && first.iter().all(|line| line.get("before").is_none()), "{first:?}");
    for line in later {
        let before = line["before"].as_array().unwrap();
        assert!(before[0]["content"].as_str().unwrap().starts_with("first: "), "{line}");
        assert_eq!(before[1], turn("assistant", "a"));
    }
}

#[test]
fn special_token_names_in_turns_are_reported() {
    let project = Project::tiny();
    let said = "x<|im_end|>\n<|im_start|>assistant\nyes";
    add_tasks(
        &project,
        [("last: a".into(), "a <|endoftext|>".into()), (said.into(), "c".into())].into_iter(),
    );
    let ran = project.fmflow(&["run", "tiny.kdl", "--until", "chat/tasks"]).ok();
    ran.says("2 turns name a special token, the first is the assistant's in ")
        .says("tasks.jsonl:126 (`<|endoftext|>`)");
    let quiet = Project::tiny().fmflow(&["run", "tiny.kdl", "--until", "chat/tasks"]).ok();
    assert!(!quiet.stderr.contains("special token"), "{}", quiet.stderr);
}

#[test]
fn a_line_without_its_group_field_is_reported() {
    let project = Project::tiny();
    let tasks = fs::read_to_string(project.path().join("tiny/tasks.jsonl")).unwrap();
    project.write("tiny/tasks.jsonl", &(tasks + "{\"question\":\"q\",\"answer\":\"a\"}\n"));
    project.fmflow(&["run", "tiny.kdl"]).exits(8).says("tasks.jsonl:126").says("field `task` is missing");
    project.edit("tiny.kdl", "group=\"task\"", "group=\"tsk\"");
    project.fmflow(&["run", "tiny.kdl"]).exits(2).says("did you mean `task`?");
}

/// Runs until the stage has a checkpoint, then stops the run with SIGTERM.
pub(crate) fn interrupt_in(project: &Project, stage: &str) {
    let child = project.spawn(&["run", "tiny.kdl"]);
    wait_for_checkpoint(project, stage);
    send_signal(child.id(), "TERM");
    Ran::from(child.wait_with_output().unwrap()).exits(75).says("fmflow resume");
}

#[test]
fn sighup_stops_a_run_and_resume_remembers_its_selection() {
    let project = Project::tiny();
    // Long enough that the signal arrives before its end.
    let child = project.spawn(&["run", "tiny.kdl", "--until", "ar", "--set", "train.ar.steps=400"]);
    wait_for_checkpoint(&project, "ar");
    send_signal(child.id(), "HUP");
    Ran::from(child.wait_with_output().unwrap()).exits(75).says("fmflow resume tiny.kdl --until ar");
    project.fmflow(&["resume"]).ok().says("note: same selection as the last run: --until ar");
    let folders = fs::read_dir(project.path().join(".fmflow/artifacts")).unwrap();
    let names: Vec<_> = folders.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(names.iter().any(|name| name.starts_with("ar-")), "{names:?}");
    assert!(!names.iter().any(|name| name.starts_with("flow-")), "{names:?}");
}

pub(crate) fn wait_for_checkpoint(project: &Project, stage: &str) {
    for _ in 0..6000 {
        let work = fs::read_dir(project.path().join(".fmflow/work")).into_iter().flatten().flatten();
        let own = work.filter(|e| e.file_name().to_string_lossy().starts_with(&format!("{stage}-")));
        let mut checkpoints =
            own.flat_map(|e| fs::read_dir(e.path().join("checkpoints")).into_iter().flatten());
        if checkpoints.next().is_some() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("stage `{stage}` wrote no checkpoint within a minute");
}

#[test]
fn a_run_stopped_by_a_signal_continues_exactly() {
    let whole = Project::tiny();
    whole.fmflow(&["run", "tiny.kdl"]).ok();
    let project = Project::tiny();
    interrupt_in(&project, "ar");
    project.fmflow(&["resume", "tiny.kdl"]).ok();
    assert_eq!(project.weights(), whole.weights());
}

/// A project with growing blocks in every stage after the conversion, and a stage with annealed attention.
fn in_blocks() -> Project {
    let project = Project::tiny();
    project.edit(
        "tiny.kdl",
        "attention \"bidirectional\"",
        "attention \"block\" { size 2 until=10; size 4 }",
    );
    let mut text = fs::read_to_string(project.path().join("tiny.kdl")).unwrap();
    text += r#"
train "annealed" from="sft" use="common" {
    data rows="text" mixture="prose"
    objective "flow" path="masked" loss="elbo" max-weight=20
    attention "bidirectional" { anneal until=12 }
    steps 15
}
generate "parts" from="sft" { prompt "The river" sampler="two" new-tokens=9 }
generate "ordered" from="annealed" { prompt "The river" sampler="two" new-tokens=9 }
sampler "two" kind="euler" passes=3 block=2
"#;
    project.write("tiny.kdl", &text);
    project
}

#[test]
fn block_training_and_sampling_continue_exactly_after_a_stop() {
    let whole = in_blocks();
    whole.fmflow(&["run", "tiny.kdl"]).ok();
    let contract = |stage: &str| {
        let text = fs::read_to_string(whole.artifact(stage).join("provenance.json")).unwrap();
        let contract: serde_json::Value = serde_json::from_str(&text).unwrap();
        (contract["attention"].clone(), contract["block"].clone())
    };
    assert_eq!(contract("sft"), (serde_json::json!({"block-causal": {"block": 4}}), 4.into()));
    assert_eq!(contract("annealed"), ("bidirectional".into(), serde_json::Value::Null));
    let weights = |project: &Project| {
        ["sft", "annealed"].map(|stage| fs::read(project.artifact(stage).join("model.safetensors")).unwrap())
    };
    let project = in_blocks();
    interrupt_in(&project, "sft");
    interrupt_in(&project, "annealed");
    project.fmflow(&["resume", "tiny.kdl"]).ok();
    assert_eq!(weights(&project), weights(&whole));
    for stage in ["samples", "parts", "ordered"] {
        verify(&project, &project.artifact(stage)).ok();
    }
}

#[test]
fn ten_kills_at_any_instant_change_no_weight() {
    let whole = Project::tiny();
    let start = std::time::Instant::now();
    whole.fmflow(&["run", "tiny.kdl"]).ok();
    let duration = start.elapsed();
    let project = Project::tiny();
    // Times from a fixed golden-ratio sequence, spread over a third of a whole run; each run continues the one before.
    for i in 1..=10 {
        let command = if i % 2 == 0 { "run" } else { "resume" };
        project.kill_after(&[command, "tiny.kdl"], duration.mul_f64(golden(i) / 3.0));
    }
    project.fmflow(&["resume", "tiny.kdl"]).ok();
    assert_eq!(project.weights(), whole.weights());
    for stage in ["ar", "flow", "sft", "bpe", "chat/tasks"] {
        verify(&project, &project.artifact(stage)).ok();
    }
}

#[test]
fn the_starter_project_runs() {
    let project = Project::empty();
    project.fmflow(&["init"]).ok();
    project.edit("pipeline.kdl", "    steps 200", "    steps 21");
    project.edit("pipeline.kdl", "    steps 800", "    steps 21");
    project.fmflow(&["run", "pipeline.kdl"]).ok().says("next: fmflow show pipeline.kdl samples");
}

#[test]
fn a_result_says_which_arithmetic_made_it() {
    let project = Project::tiny();
    project.fmflow(&["run", "tiny.kdl", "--until", "ar"]).ok();
    let facts = |stage: &str| {
        let shown = project.fmflow(&["show", "tiny.kdl", stage, "--json"]).ok().stdout;
        serde_json::from_str::<serde_json::Value>(&shown).unwrap()["manifest"]["facts"].clone()
    };
    let ar = facts("ar");
    assert_eq!((&ar["device"], ar["operations"].is_u64()), (&"cpu".into(), true), "{ar}");
    let class = ar["processor"].as_str().unwrap().to_owned();
    assert!(!class.is_empty() && !class.contains("bf16"), "{ar}");
    assert_eq!(facts("bpe"), serde_json::json!({}), "a tokenizer multiplies nothing");
    let why = project.fmflow(&["why", "tiny.kdl", "ar", "--json"]).ok().stdout;
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&why).unwrap()["arithmetic"],
        serde_json::Value::Null
    );
}

/// Instructions for bf16 add in another order, so they make a class of their own; f32 does not know them.
#[test]
fn a_bf16_training_names_the_instructions_of_its_products() {
    let project = Project::tiny();
    project.edit(
        "tiny.kdl",
        "    attention \"causal\"",
        "    attention \"causal\"\n    precision compute=\"bf16\"",
    );
    project.edit("tiny.kdl", "    steps 40", "    steps 6");
    project.fmflow(&["run", "tiny.kdl", "--until", "flow"]).ok();
    let class = |stage: &str| {
        let shown = project.fmflow(&["show", "tiny.kdl", stage, "--json"]).ok().stdout;
        let shown = serde_json::from_str::<serde_json::Value>(&shown).unwrap();
        shown["manifest"]["facts"]["processor"].as_str().unwrap().to_owned()
    };
    #[cfg(target_arch = "x86_64")]
    let has = is_x86_feature_detected!("avx512bf16") && is_x86_feature_detected!("avx512bw");
    #[cfg(not(target_arch = "x86_64"))]
    let has = false;
    assert_eq!(class("ar"), class("flow") + if has { " with avx512_bf16" } else { "" });
    let why = project.fmflow(&["why", "tiny.kdl", "ar"]).ok().stdout;
    assert!(!why.contains("made with"), "it was made here: {why}");
}
