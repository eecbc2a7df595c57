//! A training that is led: permanent checkpoints, checkpoints by the clock, and the guard. None of them changes what a run that is
//! killed and resumed makes.

#![cfg(feature = "cpu")]
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::common::Project;
use crate::run::wait_for_checkpoint;

const CHECKPOINT: &str = "checkpoint every=7 keep=2";

/// The tiny project with another `checkpoint` node, and more nodes after it.
fn project(checkpoint: &str) -> Project {
    let project = Project::tiny();
    project.edit("tiny.kdl", CHECKPOINT, checkpoint);
    project
}

pub(crate) fn weights(project: &Project) -> String {
    project.digest_of("ar")
}

fn run(project: &Project) {
    project.fmflow(&["run", "tiny.kdl", "--until", "ar"]).ok();
}

/// The permanent checkpoints of `ar`, sorted.
pub(crate) fn permanent(project: &Project) -> Vec<PathBuf> {
    permanent_of(project, "ar")
}

/// The permanent checkpoints of a stage, sorted.
pub(crate) fn permanent_of(project: &Project, stage: &str) -> Vec<PathBuf> {
    let folders = fs::read_dir(project.path().join(".fmflow/permanent")).into_iter().flatten().flatten();
    let prefix = format!("{stage}-");
    let own = folders.filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix));
    let mut all: Vec<_> = own
        .flat_map(|entry| fs::read_dir(entry.path()).unwrap())
        .map(|entry| entry.unwrap().path())
        .collect();
    all.sort();
    all
}

/// Lines of the metrics of `ar`, without what the clock and the machine say.
pub(crate) fn metrics(project: &Project) -> Vec<Value> {
    let mut lines = project.json_lines("ar", "metrics.jsonl");
    for line in &mut lines {
        for timed in ["tokens_per_second", "data_wait", "mfu", "peak_memory_gib"] {
            line.as_object_mut().unwrap().remove(timed);
        }
    }
    lines
}

/// Kills the run of `ar` again and again, each time a little later, until it ends by itself.
pub(crate) fn run_with_kills(project: &Project, first: Duration) -> u32 {
    run_stage_with_kills(project, "ar", first)
}

/// The same for another stage.
pub(crate) fn run_stage_with_kills(project: &Project, stage: &str, first: Duration) -> u32 {
    let mut kills = 0;
    loop {
        let mut child = project.spawn(&["run", "tiny.kdl", "--until", stage]);
        let patience = first + Duration::from_millis(60) * kills;
        let start = std::time::Instant::now();
        while start.elapsed() < patience {
            if let Some(status) = child.try_wait().unwrap() {
                assert!(status.success(), "{status:?}");
                return kills;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
    }
}

#[test]
fn permanent_checkpoints_stay_are_listed_and_go_with_their_result() {
    let plain = project(CHECKPOINT);
    run(&plain);
    let kept = project("checkpoint every=7 keep=1 { permanent every=10 }");
    run(&kept);
    assert_eq!(weights(&kept), weights(&plain), "saving changes no bit");
    assert_eq!(metrics(&kept), metrics(&plain));
    let folders = permanent(&kept);
    let names: Vec<_> = folders.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(names, ["00000010", "00000020", "00000030", "00000040"]);
    let said = "permanent checkpoints of `ar` after update 10, 20, 30, 40, in .fmflow/permanent/ar-";
    kept.fmflow(&["status", "tiny.kdl"]).ok().says(said);
    let status = kept.fmflow(&["status", "tiny.kdl", "--json"]).ok().stdout;
    let status: Value = serde_json::from_str(&status).unwrap();
    let ar = status["stages"].as_array().unwrap().iter().find(|stage| stage["name"] == "ar").unwrap();
    assert_eq!(ar["permanent"], serde_json::json!([10, 20, 30, 40]));
    let first = folders[0].to_str().unwrap();
    kept.fmflow(&["verify", first]).ok().says("every byte verified");
    let last = fs::read(folders[3].join("model.safetensors")).unwrap();
    assert_eq!(last, fs::read(kept.artifact("ar").join("model.safetensors")).unwrap());

    kept.fmflow(&["gc"]).ok().says("permanent/ar-").says("nothing to remove");
    kept.edit("tiny.kdl", "peak=2e-3", "peak=3e-3");
    run(&kept);
    assert_eq!(permanent(&kept).len(), 8, "those of both results");
    let listed = kept.fmflow(&["gc", "--json"]).ok().stdout;
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let garbage = listed["garbage"].as_array().unwrap();
    assert!(garbage.iter().any(|item| item["kind"] == "permanent" && item["stage"] == "ar"), "{listed}");
    kept.fmflow(&["gc", "--yes"]).ok().says("permanent/ar-");
    let left = permanent(&kept);
    assert!(left.len() == 4 && !folders.iter().any(|folder| left.contains(folder)), "{left:?}");
}

#[test]
fn a_damaged_permanent_checkpoint_is_told_and_passed_over() {
    let project = project("checkpoint every=1000 keep=1 { permanent every=10 }");
    run(&project);
    let whole = weights(&project);
    let newest = permanent(&project).pop().unwrap().join("optimizer.safetensors");
    let mut bytes = fs::read(&newest).unwrap();
    bytes[99] ^= 1;
    fs::remove_file(&newest).unwrap();
    fs::write(&newest, bytes).unwrap();
    let folder = newest.parent().unwrap().to_str().unwrap();
    project.fmflow(&["verify", folder]).exits(4).says("optimizer.safetensors").says("remove ");
    fs::remove_dir_all(project.artifact("ar")).unwrap();
    let ran = project.fmflow(&["run", "tiny.kdl", "--until", "ar"]).ok();
    ran.says("checkpoint 40 is skipped").says("continues after update 30").says("are gone");
    assert_eq!(weights(&project), whole);
    project.fmflow(&["run", "tiny.kdl", "--from", "ar", "--until", "ar"]).ok();
    assert_eq!((weights(&project), metrics(&project).len()), (whole, 42), "from the start, with all metrics");
}

#[test]
fn checkpoints_by_the_clock_change_no_bit() {
    let longer = |checkpoint| {
        let project = project(checkpoint);
        project.edit(
            "tiny.kdl",
            "attention \"causal\"\n    steps 40",
            "attention \"causal\"\n    steps 1_000",
        );
        project
    };
    let (counted, timed) = (longer("checkpoint every=500"), longer("checkpoint every=\"1s\" keep=1"));
    run(&counted);
    let mut child = timed.spawn(&["run", "tiny.kdl", "--until", "ar"]);
    wait_for_checkpoint(&timed, "ar");
    child.kill().unwrap();
    child.wait().unwrap();
    run(&timed);
    assert_eq!((weights(&timed), metrics(&timed)), (weights(&counted), metrics(&counted)));
}

/// A training of 40 updates that hardly learns, so that its losses are noise, and a guard that noise sets off.
fn guarded(guard: &str) -> Project {
    let project = project(&format!("checkpoint every=7 keep=1\n    guard {{ {guard} }}"));
    project.edit("tiny.kdl", "peak=2e-3 final=2e-4", "peak=1e-5 final=1e-6");
    project
}

fn guard_lines(project: &Project, action: &str) -> usize {
    metrics(project).iter().filter(|line| line["guard"] == action).count()
}

#[test]
fn an_update_that_is_left_out_is_told_and_a_killed_run_leaves_out_the_same() {
    let plain = guarded("diverged limit=3");
    run(&plain);
    let guard = "spike action=\"skip\" sigma=0.5 window=4 limit=1000";
    let whole = guarded(guard);
    let ran = whole.fmflow(&["run", "tiny.kdl", "--until", "ar"]).ok();
    let count = guard_lines(&whole, "skip");
    assert!(count > 0 && count < 30, "{count} of 40");
    ran.says("is left out: the cross-entropy is ").says(&format!("guard: {count} update"));
    assert_ne!(weights(&whole), weights(&plain));
    let applied = metrics(&whole).iter().filter(|line| line.get("loss").is_some()).count();
    assert_eq!(applied + count, 40, "every update is in the record");
    let killed = guarded(guard);
    let kills = run_with_kills(&killed, Duration::from_millis(100));
    assert!(kills > 0);
    assert_eq!((weights(&killed), metrics(&killed)), (weights(&whole), metrics(&whole)));
}

#[test]
fn a_rewind_goes_on_with_other_rows_and_a_killed_run_makes_the_same() {
    let guard = "spike action=\"rewind\" sigma=2 window=8 back=3 limit=1000";
    let whole = guarded(guard);
    let ran = whole.fmflow(&["run", "tiny.kdl", "--until", "ar"]).ok();
    ran.says("the stage goes back to update ").says("guard: went back from update ");
    let count = guard_lines(&whole, "rewind");
    assert!(count > 0);
    let steps: Vec<u64> = metrics(&whole)
        .iter()
        .filter(|line| line.get("loss").is_some())
        .map(|l| l["step"].as_u64().unwrap())
        .collect();
    assert_eq!(steps, (0..40).collect::<Vec<_>>(), "what was taken back is not in the curve");
    let killed = guarded(guard);
    let kills = run_with_kills(&killed, Duration::from_millis(100));
    assert!(kills > 0);
    assert_eq!((weights(&killed), metrics(&killed)), (weights(&whole), metrics(&whole)));
}

#[test]
fn a_guard_that_stops_and_one_beyond_its_limit_end_with_exit_code_7() {
    let stops = guarded("spike action=\"stop\" sigma=0.5 window=4");
    stops.fmflow(&["run", "tiny.kdl", "--until", "ar"]).exits(7).says("the update was not applied");
    let limited = guarded("spike action=\"skip\" sigma=0.5 window=4 limit=1");
    let ran = limited.fmflow(&["run", "tiny.kdl", "--until", "ar"]).exits(7);
    ran.says("number 2 in this stage, and `limit=1`");
    // Weights grow until gradients overflow; from then on no update changes anything.
    let blown = guarded("non-finite action=\"skip\" limit=2; diverged action=\"warn\"");
    blown.edit("tiny.kdl", "peak=1e-5 final=1e-6 warmup=5", "peak=10 final=1 warmup=0");
    blown.edit("tiny.kdl", "weight-decay=0.05 clip=1.0", "weight-decay=9 clip=0");
    let ran = blown.fmflow(&["run", "tiny.kdl", "--until", "ar"]).exits(7);
    assert_eq!(ran.stderr.matches("is left out: the gradient of group `").count(), 2, "{}", ran.stderr);
    ran.says("is not finite; it is number 3 in a row, and `limit=2`");
}

/// A probe in the recipe, by which both `ar` and `sft` are asked.
const PROBE: &str = "probe every=10 sampler=\"next\" { prompt \"The river\" new-tokens=6 }";

/// The tiny project whose `ar` is probed.
fn probed(probe: &str) -> Project {
    let project = project(&format!("checkpoint every=7 keep=1\n    {probe}"));
    project.edit(
        "tiny.kdl",
        "sampler \"parallel\"",
        "sampler \"next\" kind=\"autoregressive\" temperature=0\nsampler \"parallel\"",
    );
    project
}

/// The probes of `ar`: the update that each followed, and what it found.
fn probes(project: &Project) -> Vec<(u64, Value)> {
    let lines = metrics(project).into_iter().filter(|line| line.get("probe").is_some());
    lines.map(|line| (line["step"].as_u64().unwrap() + 1, line["probe"].clone())).collect()
}

#[test]
fn a_probe_shows_what_generate_would_and_changes_no_weight() {
    let plain = project(CHECKPOINT);
    run(&plain);
    let watched = probed(PROBE);
    watched.append(
        "tiny.kdl",
        "\ngenerate \"after\" from=\"ar\" sampler=\"next\" { prompt \"The river\" new-tokens=6 }\n",
    );
    let ran = watched.fmflow(&["run", "tiny.kdl", "--until", "ar"]).ok();
    ran.says("probe after update 10: \"The river\" -> ");
    assert_eq!(weights(&watched), weights(&plain));
    let found = probes(&watched);
    assert_eq!(found.iter().map(|(done, _)| *done).collect::<Vec<_>>(), [10, 20, 30, 40]);
    watched.fmflow(&["run", "tiny.kdl", "--until", "after"]).ok();
    let sample = watched.json_lines("after", "samples.jsonl").remove(0);
    let last = &found[3].1["samples"][0];
    assert_eq!((&last["prompt"], &last["text"]), (&sample["prompt"], &sample["text"]));
    let killed = probed(PROBE);
    let kills = run_with_kills(&killed, Duration::from_millis(100));
    assert!(kills > 0);
    assert_eq!((weights(&killed), metrics(&killed)), (weights(&watched), metrics(&watched)));
}

/// A bf16 training is asked in f32, as `generate` asks its checkpoint: else some of these 480 draws differ.
#[test]
fn a_probe_of_a_bf16_training_shows_what_generate_would() {
    let prompts = ["The river", "The model", "A token", "noise", "The flow"];
    let asked: String = prompts.map(|prompt| format!("prompt {prompt:?} new-tokens=96; ")).concat();
    let project =
        probed(&format!("probe every=40 sampler=\"next\" {{ {asked} }}\n    precision compute=\"bf16\""));
    project.edit("tiny.kdl", "temperature=0\n", "temperature=1\n");
    let after = format!("\ngenerate \"after\" from=\"ar\" sampler=\"next\" {{ {asked} }}\n");
    project.append("tiny.kdl", &after);
    project.fmflow(&["run", "tiny.kdl", "--until", "after"]).ok();
    let texts = project.json_lines("after", "samples.jsonl").into_iter().map(|line| line["text"].clone());
    let (_, probe) = probes(&project).pop().unwrap();
    let found = probe["samples"].as_array().unwrap().iter().map(|sample| sample["text"].clone());
    assert_eq!(found.collect::<Vec<_>>(), texts.collect::<Vec<_>>());
}

#[test]
fn a_probe_that_fails_is_told_and_the_training_goes_on() {
    let plain = project(CHECKPOINT);
    run(&plain);
    // A sampler that reveals masks does not fit `ar`: elsewhere an error, in a probe a warning.
    let failing = probed(&PROBE.replace("next", "parallel"));
    let ran = failing.fmflow(&["run", "tiny.kdl", "--until", "ar"]).ok().says("warning[probe-misfit]");
    ran.says("probe after update 10: warning: it failed, and the training goes on: ")
        .says("the checkpoint is autoregressive, not a flow model");
    assert_eq!(weights(&failing), weights(&plain));
    let found = probes(&failing);
    assert!(found.len() == 4 && found.iter().all(|(_, probe)| probe["failed"].is_string()), "{found:?}");
    let page = failing.fmflow(&["report", "tiny.kdl", "-o", "-"]).ok();
    page.says("<strong>4 of 4</strong>").says("<summary>after update 40: failed</summary>");
}

#[test]
fn a_probe_asks_held_out_questions_and_fills_gaps() {
    let project = Project::tiny();
    project.edit(
        "tiny.kdl",
        "attention \"bidirectional\"\n    steps 40",
        "attention \"bidirectional\"\n    steps 40\n    probe every=20 sampler=\"parallel\" {\n        \
         chat \"first: a b c\"\n        infill prefix=\"The \" suffix=\" end\" length=3\n        \
         exact-match dataset=\"tasks\" first=5\n    }",
    );
    let ran = project.fmflow(&["run", "tiny.kdl"]).ok();
    ran.says("probe after update 20: probe: exact match on tasks ").says("\"The […] end\" -> \"The ");
    let lines = project.json_lines("sft", "metrics.jsonl");
    let found: Vec<&Value> = lines.iter().filter_map(|line| line.get("probe")).collect();
    assert_eq!(found.len(), 2);
    for probe in found {
        assert_eq!(probe["samples"].as_array().unwrap().len(), 2);
        assert!((0.0..=1.0).contains(&probe["exact_match/tasks"].as_f64().unwrap()), "{probe}");
    }
}

#[test]
fn what_saves_as_a_checkpoint_does_counts_as_one() {
    let text = include_str!("../cases/check/no-checkpoint.kdl");
    let settings = [
        ("", true),
        ("{ permanent every=10 }", false),
        ("\n    guard { non-finite action=\"rewind\" back=3 limit=3 }", false),
        ("\n    probe every=10 sampler=\"next\" { prompt \"The\" new-tokens=4 }", false),
    ];
    for (setting, told) in settings {
        let project = Project::tiny();
        project.write("data/some.txt", "The river rises in the hills.\n");
        let saved = text.replace("every=100_000 keep=2", &format!("every=100_000 keep=2 {setting}"));
        project.write("large.kdl", &(saved + "\nsampler \"next\" kind=\"autoregressive\"\n"));
        let ran = project.fmflow(&["check", "large.kdl"]);
        assert!(ran.stderr.contains("reads dataset `text`"), "the lints ran: {}{}", ran.stdout, ran.stderr);
        let found = ran.stderr.contains("`ar` ends before its first checkpoint");
        assert_eq!(found, told, "{setting}: {}", ran.stderr);
    }
}

#[test]
fn a_probe_of_a_dataset_outside_the_mixture_is_refused() {
    let project = probed("probe every=10 sampler=\"next\" { exact-match dataset=\"tasks\" }");
    let ran = project.fmflow(&["check", "tiny.kdl"]).exits(2);
    ran.says("the stage makes no rows from dataset `tasks`")
        .says("not in its mixture, which has `text`")
        .says("write it in an `evaluate`");
}

/// A branch of `ar`, which trains at a constant rate, after 20 of its 40 updates.
fn branched(at: u64, carry: &str) -> Project {
    let project = project("checkpoint every=7 keep=1 { permanent every=10 }");
    project.edit("tiny.kdl", "warmup=5 shape=\"cosine\"", "warmup=0 shape=\"constant\"");
    project.edit("tiny.kdl", "peak=2e-3 final=2e-4", "peak=2e-3");
    let text = fs::read_to_string(project.path().join("tiny.kdl")).unwrap();
    let branch = format!(
        "\ntrain \"branch\" from=\"ar\" at={at} {carry} use=\"common\" {{\n    data rows=\"text\" mixture=\"prose\"\n    \
         objective \"autoregressive\"\n    attention \"causal\"\n    steps 20\n}}\n"
    );
    project.write("tiny.kdl", &(text + &branch));
    project
}

fn model(project: &Project, stage: &str) -> Vec<u8> {
    fs::read(project.artifact(stage).join("model.safetensors")).unwrap()
}

#[test]
fn a_branch_with_the_optimizer_becomes_what_its_parent_becomes() {
    let exact = branched(20, "carry=\"optimizer\"");
    exact.fmflow(&["run", "tiny.kdl", "--until", "branch"]).ok();
    assert_eq!(model(&exact, "branch"), model(&exact, "ar"), "20 updates and 20 more are 40");
    let fresh = branched(20, "");
    fresh.fmflow(&["run", "tiny.kdl", "--until", "branch"]).ok();
    assert_ne!(model(&fresh, "branch"), model(&fresh, "ar"), "fresh moments make other updates");
    let other = branched(10, "carry=\"optimizer\"");
    other.fmflow(&["run", "tiny.kdl", "--until", "branch"]).ok();
    assert_ne!(model(&other, "branch"), model(&exact, "branch"));
}

#[test]
fn a_branch_from_what_was_not_kept_lists_what_was() {
    branched(15, "")
        .fmflow(&["check", "tiny.kdl"])
        .exits(2)
        .says("not-kept")
        .says("after update 10, 20, 30, 40");
    let project = branched(20, "");
    project.edit("tiny.kdl", "{ permanent every=10 }", "{ permanent every=40 }");
    project.edit("tiny.kdl", "at=20 ", "at=40 ");
    project.fmflow(&["run", "tiny.kdl", "--until", "branch"]).ok();
    project.edit("tiny.kdl", "{ permanent every=40 }", "{ permanent every=10 }");
    project.edit("tiny.kdl", "at=40 ", "at=20 ");
    let ran = project.fmflow(&["run", "tiny.kdl", "--until", "branch"]).exits(8);
    ran.says("has no permanent checkpoint of it: it has those after update 40").says("--from ar");
}

#[test]
fn a_branch_need_not_wait_for_its_parent() {
    let project = branched(10, "carry=\"optimizer\"");
    kill_its_parent(&project, "");
    project.fmflow(&["run", "tiny.kdl", "--only", "branch"]).ok();
    assert!(!model(&project, "branch").is_empty());
    project.fmflow(&["status", "tiny.kdl"]).ok().says("unfinished");
}

/// The parent's checkpoint may still be taken back, and another one may follow under the same fingerprint.
#[test]
fn a_branch_waits_for_a_parent_that_may_go_back() {
    let project = branched(10, "carry=\"optimizer\"");
    kill_its_parent(&project, "    guard { non-finite action=\"rewind\" back=3 limit=3 }\n");
    let ran = project.fmflow(&["run", "tiny.kdl", "--only", "branch"]).exits(2);
    ran.says("stage `branch` cannot run alone: `ar` is not finished");
}

/// Makes the parent of `branch` long, with one more setting, and kills it once it has a permanent checkpoint.
fn kill_its_parent(project: &Project, setting: &str) {
    let long = format!("attention \"causal\"\n{setting}    steps 4000");
    project.edit("tiny.kdl", "attention \"causal\"\n    steps 40", &long);
    let mut child = project.spawn(&["run", "tiny.kdl", "--until", "ar"]);
    while permanent(project).is_empty() {
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn metrics_are_printed_as_a_table_and_as_curves() {
    let project = project(CHECKPOINT);
    project.fmflow(&["log", "tiny.kdl", "ar", "--csv"]).exits(1);
    run(&project);
    let table = project.fmflow(&["log", "tiny.kdl", "ar", "--csv"]).ok().stdout;
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!(rows.len(), 41);
    assert!(rows.iter().all(|row| row.len() == rows[0].len()), "{table}");
    let column =
        |name: &str| rows[0].iter().position(|found| *found == name).unwrap_or_else(|| panic!("{name}"));
    let losses: Vec<f64> = metrics(&project).iter().filter_map(|line| line.get("loss")?.as_f64()).collect();
    let listed: Vec<f64> = rows[1..].iter().map(|row| row[column("loss")].parse().unwrap()).collect();
    assert_eq!(listed, losses);
    let held_out = column("held_out_loss/text");
    assert_eq!(rows[1..].iter().filter(|row| !row[held_out].is_empty()).count(), 2);
    let plot = project.fmflow(&["log", "tiny.kdl", "ar", "--plot"]).ok();
    assert!(plot.stdout.lines().all(|line| line.chars().count() <= 80), "{}", plot.stdout);
    plot.says("loss_unweighted: ")
        .says("held_out_loss/text: ")
        .says("grad_norm: ")
        .says("peak_memory_gib: ")
        .says("learning_rate: 0 at update 0");
    project.fmflow(&["log", "tiny.kdl", "--plot"]).exits(2);
}

#[test]
fn a_validation_is_a_line_with_its_unit() {
    let project = Project::tiny();
    let ran = project.fmflow(&["run", "tiny.kdl"]).ok();
    ran.says("held-out loss after update 20: text ")
        .says(" nats per token (exact; 4 rows)\n")
        .says("held-out loss after update 40: tasks ")
        .says(" nats per corrupted token (no bound; 4 rows at 4 times)\n");
}
