//! Whole runs with fake stages: what is cached, what runs again, what is refused, what survives a crash.

mod jobs;
mod pretend;

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::error::{Failure, FailureKind};
use crate::plan::Selection;
use crate::store::manifest::{CHUNK_BYTES, FileEntry, MANIFEST_FILE};
use crate::store::vfs::Disk;
use crate::store::vfs::fault::{FaultMode, FaultyVfs};
use crate::store::{ChunkedFile, Manifest, Store};
use pretend::{Pretend, World};

const TEXT: &str = r#"pipeline "test" seed=1
dataset "text" from="text/*.txt" format="text" held-out="2%"
tokenizer "bpe" kind="byte-level-bpe" vocabulary=1024 special="qwen3" { dataset "text" }
rows "rows" tokenizer="bpe" length=128 packing="concat"
random-init "tiny" tokenizer="bpe" {
    shape "qwen3" hidden=96 layers=3 heads=3 kv-heads=1 head-dim=32 feed-forward=288 tied=#true
}
mixture "prose" { dataset "text" weight=1 }
train "ar" from="tiny" {
    data rows="rows" mixture="prose"
    objective "autoregressive"
    attention "causal"
    batch rows=4
    learning-rate peak=0.001 final=0.0001 warmup=1 shape="cosine"
    checkpoint every=2 keep=1
    log every=10
    steps 6
}
train "twin" from="tiny" {
    data rows="rows" mixture="prose"
    objective "autoregressive"
    attention "causal"
    batch rows=4
    learning-rate peak=0.002 final=0.0001 warmup=1 shape="cosine"
    steps 3
}
convert "flow" from="ar" { mask-token "reserved" row="mean"; time-conditioning "none"; shift #false }
"#;

const ALL: [&str; 6] = ["bpe@0", "rows/text@0", "tiny@0", "ar@0", "twin@0", "flow@0"];

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names
}

#[test]
fn a_second_run_does_nothing() {
    let world = World::new();
    assert_eq!(sorted(world.ran(TEXT)), sorted(ALL.map(String::from).to_vec()));
    assert!(world.ran(TEXT).is_empty());
    assert_eq!(world.plan(TEXT).count_stages_to_run(), 0);
    assert_eq!(fs::read_dir(world.root().join("work")).unwrap().count(), 0);
}

#[test]
fn a_hundred_gigabytes_of_rows_do_not_delay_a_run() {
    let world = World::new();
    world.ran(TEXT);
    let artifacts = |stage: &str| {
        let folders =
            fs::read_dir(world.root().join("artifacts")).unwrap().map(|entry| entry.unwrap().path());
        let of = |path: &Path| path.file_name().unwrap().to_str().unwrap().starts_with(stage);
        folders.filter(|path| of(path)).collect::<Vec<_>>()
    };
    // The rows get a file of 100 GB without contents, whose hashes nobody computed.
    let rows = &artifacts("rows")[0];
    let size = 100 << 30;
    let chunks = vec!["0".repeat(64); (size as usize).div_ceil(CHUNK_BYTES)];
    let entry = FileEntry { name: "rows.bin".into(), size, blake3: "0".repeat(64), chunks };
    let mut manifest = Manifest::decode(&fs::read(rows.join(MANIFEST_FILE)).unwrap()).unwrap();
    manifest.files.push(entry);
    fs::File::create(rows.join("rows.bin")).unwrap().set_len(size).unwrap();
    fs::remove_file(rows.join(MANIFEST_FILE)).unwrap();
    fs::write(rows.join(MANIFEST_FILE), manifest.encode()).unwrap();
    for changed in [TEXT.to_owned(), TEXT.replace("peak=0.001 ", "peak=0.003 ")] {
        let start = std::time::Instant::now();
        assert_eq!(world.ran(&changed).len(), if changed == TEXT { 0 } else { 2 });
        assert!(start.elapsed().as_secs() < 20, "ten times what it may take: {:?}", start.elapsed());
    }
    let copy = ChunkedFile::open(rows, "rows.bin").unwrap();
    assert_eq!(copy.read_at(&mut [0; 8], size - 8).unwrap_err().exit_code(), 4, "what is read is compared");
}

#[test]
fn a_changed_semantic_field_reruns_its_stage_and_its_dependents() {
    let world = World::new();
    world.ran(TEXT);
    let changed = TEXT.replace("peak=0.001 ", "peak=0.003 ");
    let plan = world.plan(&changed);
    let reasons = |name: &str| plan.stage_named(name).unwrap().reasons.join("; ");
    assert_eq!(reasons("ar"), "`learning-rate.peak` 0.001 -> 0.003");
    assert_eq!(reasons("flow"), "upstream `ar` changed");
    assert_eq!(plan.count_stages_to_run(), 2);
    assert_eq!(world.ran(&changed), ["ar@0", "flow@0"]);
    assert!(world.ran(TEXT).is_empty(), "the old results are still there");
    assert!(world.ran(&TEXT.replace("peak=0.001 ", "peak=1e-3 ")).is_empty(), "floats compare by value");
}

#[test]
fn a_changed_field_without_semantics_reruns_nothing() {
    let world = World::new();
    world.ran(TEXT);
    assert!(world.ran(&TEXT.replace("log every=10", "log every=1")).is_empty());
    assert!(world.ran(&TEXT.replace("checkpoint every=2", "checkpoint every=3")).is_empty());
    assert!(world.ran(&TEXT.replace("pipeline \"test\"", "pipeline \"other\"")).is_empty());
}

#[test]
fn a_changed_source_reruns_every_stage_that_reads_it() {
    let world = World::new();
    world.ran(TEXT);
    fs::write(world.folder.path().join("text/a.txt"), "jello").unwrap();
    assert_eq!(world.plan(TEXT).stage_named("bpe").unwrap().reasons, ["source `text` changed"]);
    assert_eq!(world.ran(TEXT).len(), 6);
}

#[test]
fn renaming_a_dataset_or_a_stage_reruns_nothing() {
    let world = World::new();
    world.ran(TEXT);
    let book = TEXT.replace("dataset \"text\"", "dataset \"book\"");
    assert!(world.ran(&book).is_empty());
    let renamed = book.replace("train \"ar\"", "train \"first\"").replace("from=\"ar\"", "from=\"first\"");
    assert!(world.ran(&renamed).is_empty());
    let plan = world.plan(&renamed.replace("peak=0.001 ", "peak=0.003 "));
    assert_eq!(plan.stage_named("first").unwrap().reasons, ["never run"]);
    assert_eq!(plan.stage_named("flow").unwrap().reasons, ["upstream `first` changed"]);
}

#[test]
fn a_renamed_stage_continues_from_its_checkpoint() {
    let world = World::new();
    let stopping = Pretend { stop_at: Some(5), ..Pretend::default() };
    assert_eq!(world.run(TEXT, &stopping, false).unwrap().error.unwrap().exit_code(), 75);
    let renamed = TEXT.replace("train \"ar\"", "train \"first\"").replace("from=\"ar\"", "from=\"first\"");
    assert!(world.ran(&renamed).contains(&"first@4".to_owned()));
    assert!(world.ran(TEXT).is_empty());
}

#[test]
fn two_stages_with_the_same_result_run_once() {
    let world = World::new();
    let same = TEXT.replace("peak=0.002 ", "peak=0.001 ").replace("steps 3", "steps 6");
    let plan = world.plan(&same);
    assert_eq!(plan.stage_named("twin").unwrap().reasons, ["same result as `ar`"]);
    assert_eq!(world.ran(&same).len(), 5);
    assert!(world.ran(&same).is_empty());
}

#[test]
fn an_interrupted_stage_continues_from_its_checkpoint() {
    let world = World::new();
    let stopping = Pretend { stop_at: Some(5), ..Pretend::default() };
    let ran = world.run(TEXT, &stopping, false).unwrap();
    assert_eq!(ran.error.unwrap().exit_code(), 75);
    assert_eq!(ran.outcomes.last().unwrap().ended, StageEnd::Stopped);
    let plan = world.plan(TEXT);
    assert_eq!(plan.stage_named("ar").unwrap().state, PlanState::Resume { step: 4, unit: "update" });
    let names = world.ran(TEXT);
    assert!(names.contains(&"ar@4".to_string()) && !names.contains(&"tiny@0".to_string()), "{names:?}");
}

#[test]
fn resume_refuses_a_changed_configuration_and_does_nothing_once_finished() {
    let world = World::new();
    let stopping = Pretend { stop_at: Some(5), ..Pretend::default() };
    world.run(TEXT, &stopping, false).unwrap();
    let changed = TEXT.replace("peak=0.001 ", "peak=0.003 ");
    let error = world.run(&changed, &Pretend::default(), true).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert!(error.to_string().contains("ar: `learning-rate.peak` 0.001 -> 0.003"), "{error}");
    let resumed = world.run(TEXT, &Pretend::default(), true).unwrap();
    assert!(resumed.error.is_none());
    let again = world.run(TEXT, &Pretend::default(), true).unwrap();
    assert!(again.outcomes.iter().all(|outcome| outcome.ended == StageEnd::Cached));
}

#[test]
fn resume_names_the_settings_of_the_run_that_it_cannot_continue() {
    let world = World::new().set(&["train.ar.steps=4"]);
    let stopping = Pretend { stop_at: Some(3), ..Pretend::default() };
    world.run(TEXT, &stopping, false).unwrap();
    let help = |error: Error| error.help().unwrap();
    let (world, settings) = world.without_settings();
    let error = world.run(TEXT, &Pretend::default(), true).unwrap_err();
    assert!(error.to_string().contains("ar: `steps` 4 -> 6"), "{error}");
    assert!(help(error).contains("--set 'train.ar.steps=4'"));
    let world = world.set(&["train.ar.steps=5"]);
    let error = world.run(TEXT, &Pretend::default(), true).unwrap_err();
    assert!(error.to_string().contains("ar: `steps` 4 -> 5 (by `--set`)"), "{error}");
    let world = world.without_settings().0.set(&[settings[0].as_str()]);
    assert!(world.run(TEXT, &Pretend::default(), true).unwrap().error.is_none());
}

/// Names of the stages that ran with this selection.
fn ran_selected(
    world: &World,
    until: Option<&str>,
    from: Option<&str>,
    only: Option<&str>,
) -> Result<Vec<String>> {
    let execute = Pretend::default();
    let name = |name: Option<&str>| name.map(str::to_owned);
    let selection = Selection { until: name(until), from: name(from), only: name(only) };
    let ran = world.run_selected(TEXT, &execute, false, &selection)?;
    ran.error.map_or(Ok(execute.ran.into_inner().unwrap()), Err)
}

#[test]
fn until_runs_a_stage_and_its_ancestors_only() {
    let world = World::new();
    assert_eq!(ran_selected(&world, Some("tiny"), None, None).unwrap(), ["bpe@0", "tiny@0"]);
    let error = ran_selected(&world, Some("tinny"), None, None).unwrap_err();
    assert!(error.help().unwrap().contains("tiny"), "{error:?}");
}

#[test]
fn only_runs_a_stage_whose_inputs_are_finished() {
    let world = World::new();
    ran_selected(&world, Some("tiny"), None, None).unwrap();
    let error = ran_selected(&world, None, None, Some("ar")).unwrap_err();
    assert!(error.to_string().contains("`rows/text` is not finished"), "{error}");
    assert!(error.help().unwrap().contains("--until ar"), "{error:?}");
    assert_eq!(ran_selected(&world, None, None, Some("rows/text")).unwrap(), ["rows/text@0"]);
    assert_eq!(ran_selected(&world, None, None, Some("ar")).unwrap(), ["ar@0"]);
    assert!(ran_selected(&world, None, None, Some("ar")).unwrap().is_empty(), "it is finished");
}

#[test]
fn from_reruns_a_stage_and_its_dependents_with_the_same_bytes() {
    let world = World::new();
    world.ran(TEXT);
    let model = || {
        let key = world.plan(TEXT).stage_named("flow").unwrap().key.clone();
        let store = Store::open(&world.root()).unwrap().unwrap();
        fs::read(store.artifact("flow", &key.fingerprint).join("model.safetensors")).unwrap()
    };
    let before = model();
    assert_eq!(ran_selected(&world, None, Some("ar"), None).unwrap(), ["ar@0", "flow@0"]);
    assert_eq!(model(), before);
    assert_eq!(ran_selected(&world, None, Some("ar"), Some("ar")).unwrap(), ["ar@0"]);
    assert_eq!(ran_selected(&world, Some("ar"), Some("tiny"), None).unwrap(), ["tiny@0", "ar@0"]);
    assert!(
        ran_selected(&world, Some("tiny"), Some("ar"), None).unwrap_err().to_string().contains("depends on")
    );
    assert!(world.ran(TEXT).is_empty());
}

#[test]
fn from_replaces_a_corrupt_artifact_and_its_dependents() {
    let world = World::new();
    world.ran(TEXT);
    let key = world.plan(TEXT).stage_named("ar").unwrap().key.clone();
    let artifact = Store::open(&world.root()).unwrap().unwrap().artifact("ar", &key.fingerprint);
    fs::remove_file(artifact.join("model.safetensors")).unwrap();
    assert_eq!(world.run(TEXT, &Pretend::default(), false).unwrap_err().exit_code(), 4);
    assert_eq!(ran_selected(&world, None, Some("ar"), None).unwrap(), ["ar@0", "flow@0"]);
    assert_eq!(world.plan(TEXT).count_stages_to_run(), 0);
}

#[test]
fn an_interrupted_rerun_continues_from_its_checkpoint() {
    let world = World::new();
    world.ran(TEXT);
    let stopping = Pretend { stop_at: Some(5), ..Pretend::default() };
    let selection = Selection { from: Some("ar".into()), ..Selection::default() };
    let ran = world.run_selected(TEXT, &stopping, false, &selection).unwrap();
    assert_eq!(ran.error.unwrap().exit_code(), 75);
    assert_eq!(world.ran(TEXT), ["ar@4"], "stages that were not reached keep their results");
}

#[test]
fn a_corrupt_input_is_reported_before_it_is_used() {
    let world = World::new();
    world.ran(TEXT);
    let plan = world.plan(TEXT);
    let key = &plan.stage_named("ar").unwrap().key;
    let model = Store::open(&world.root())
        .unwrap()
        .unwrap()
        .artifact("ar", &key.fingerprint)
        .join("model.safetensors");
    let mut bytes = fs::read(&model).unwrap();
    bytes[0] ^= 1;
    fs::remove_file(&model).unwrap();
    fs::write(&model, &bytes).unwrap();
    let changed = TEXT.replace("row=\"mean\"", "row=\"keep\"");
    let error = world.run(&changed, &Pretend::default(), false).unwrap().error.unwrap();
    assert_eq!(error.exit_code(), 4);
    assert!(error.to_string().contains("model.safetensors"), "{error}");
    fs::remove_file(&model).unwrap();
    fs::write(&model, &bytes[1..]).unwrap();
    assert!(matches!(world.plan(TEXT).stage_named("ar").unwrap().state, PlanState::Corrupt(_)));
    assert_eq!(world.run(TEXT, &Pretend::default(), false).unwrap_err().exit_code(), 4);
}

#[test]
fn a_finished_stage_with_an_unreadable_summary_is_corrupt() {
    let world = World::new();
    world.ran(TEXT);
    let key = world.plan(TEXT).stage_named("flow").unwrap().key.clone();
    let artifact = Store::open(&world.root()).unwrap().unwrap().artifact("flow", &key.fingerprint);
    let summary = artifact.join(crate::store::summary::SUMMARY_FILE);
    let size = fs::read(&summary).unwrap().len();
    fs::remove_file(&summary).unwrap();
    fs::write(&summary, "x".repeat(size)).unwrap();
    let ran = world.run(TEXT, &Pretend::default(), false).unwrap();
    assert_eq!(ran.error.unwrap().exit_code(), 4);
}

#[test]
fn a_run_in_a_locked_store_is_refused() {
    let world = World::new();
    let store = Store::create(&world.root()).unwrap();
    let _lock = store.lock().unwrap();
    assert_eq!(world.run(TEXT, &Pretend::default(), false).unwrap_err().exit_code(), 5);
}

#[test]
fn a_run_killed_at_any_operation_is_completed_by_the_next_run() {
    let whole = World::new();
    whole.ran(TEXT);
    let model = |world: &World| {
        let plan = world.plan(TEXT);
        let key = plan.stage_named("flow").unwrap().key.clone();
        let store = Store::open(&world.root()).unwrap().unwrap();
        fs::read(store.artifact("flow", &key.fingerprint).join("model.safetensors")).unwrap()
    };
    let expected = model(&whole);
    // Every 7th operation is enough: a run has hundreds, and the store's own tests fail at each one.
    for at in (0..).step_by(7) {
        let vfs = FaultyVfs::new(at, FaultMode::Crash);
        let mut world = World { vfs: Arc::new(vfs.clone()), ..World::new() };
        let result = world.run(TEXT, &Pretend::default(), false);
        if !vfs.struck() {
            assert!(result.unwrap().error.is_none());
            return;
        }
        vfs.cut_power();
        world.vfs = FaultyVfs::sound();
        let ran = world.run(TEXT, &Pretend::default(), false).unwrap();
        assert!(ran.error.is_none(), "operation {at}: {:?}", ran.error);
        assert_eq!(model(&world), expected, "operation {at}");
    }
}

#[test]
fn a_full_disk_exits_with_6_and_the_next_run_continues() {
    let mut world = World::new();
    world.vfs = Arc::new(FaultyVfs::new(200, FaultMode::Fail(io::ErrorKind::StorageFull)));
    let error = match world.run(TEXT, &Pretend::default(), false) {
        Ok(ran) => ran.error.unwrap(),
        Err(error) => error,
    };
    assert_eq!(error.exit_code(), 6);
    let (root, said) = (world.root().display().to_string(), error.to_string());
    for words in [root.as_str(), "cannot ", " needs about ", " more in ", " is free"] {
        assert!(said.contains(words), "{words:?} in {said}");
    }
    world.vfs = Arc::new(Disk);
    assert!(world.run(TEXT, &Pretend::default(), true).unwrap().error.is_none());
}

#[test]
fn a_source_that_changes_during_a_stage_exits_with_8_and_publishes_nothing() {
    let world = World::new();
    let file = world.folder.path().join("text/a.txt");
    let execute = Pretend { changes: Some(file), ..Pretend::default() };
    assert_eq!(world.run(TEXT, &execute, false).unwrap().error.unwrap().exit_code(), 8);
    assert_eq!(fs::read_dir(world.root().join("artifacts")).unwrap().count(), 0);
    assert_eq!(world.ran(TEXT).len(), 6);
}

/// An evaluation that requires a score, and what it reads.
const EVALUATION: &str = r#"
dataset "tasks" from="tasks.jsonl" format="jsonl" held-out="50%" { chat user="question" assistant="answer" }
rows "chats" tokenizer="bpe" length=128 packing="first-fit" canvas=16
sampler "greedy" kind="autoregressive"
evaluate "answers" {
    checkpoint "ar"
    exact-match dataset="tasks" rows="chats" sampler="greedy"
    require "ar" at-least=0.5
}
"#;

#[test]
fn a_required_score_that_was_not_measured_is_no_score_of_0() {
    let world = World::new();
    let line = "{\"question\": \"a\", \"answer\": \"b\"}\n";
    fs::write(world.folder.path().join("tasks.jsonl"), line.repeat(4)).unwrap();
    let text = format!("{TEXT}{EVALUATION}");
    let run = || world.run(&text, &Pretend::default(), false).unwrap().error.unwrap();
    let fresh = run();
    assert_eq!(fresh.exit_code(), 70, "{fresh}");
    assert!(fresh.to_string().contains("`exact_match/ar/tasks`"), "{fresh}");
    let kept = run();
    assert_eq!(kept.exit_code(), 4, "{kept}");
    assert!(kept.to_string().contains("summary.json") && kept.to_string().contains("exact_match/ar/tasks"));
}

#[test]
fn free_space_that_cannot_be_measured_is_an_error() {
    let outcome = |at| {
        let vfs = FaultyVfs::new(at, FaultMode::Fail(io::ErrorKind::PermissionDenied));
        let world = World { vfs: Arc::new(vfs), ..World::new() };
        world.run(TEXT, &Pretend::default(), false).err().map(|error| (error.exit_code(), error.to_string()))
    };
    let expected = (1, "cannot measure the free space of ");
    let found = (0..60).filter_map(outcome).find(|(_, text)| text.starts_with(expected.1));
    assert_eq!(found.map(|(code, _)| code), Some(expected.0));
}

/// [`TEXT`] with a checkpoint of a hub, and the lock file that lists its files.
fn write_far(world: &World, hash: &str) -> String {
    let commit = "0a".repeat(20);
    let lock = format!(
        "lock \"fmflow.lock/1\"\nmodel \"o/m\" commit=\"{commit}\" files=1 size=7 {{\n    file \"model.safetensors\" size=7 sha256=\"{}\"\n}}\n",
        hash.repeat(32)
    );
    fs::write(world.folder.path().join("test.lock"), lock).unwrap();
    format!("{TEXT}\nfetch \"base\" from=\"hf:o/m\"\n")
}

#[test]
fn a_program_without_a_hub_refuses_a_repository_before_any_work() {
    let world = World::new();
    let text = write_far(&world, "ab");
    let execute = Pretend { without_hub: true, ..Pretend::default() };
    let error = world.run(&text, &execute, false).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert!(error.to_string().starts_with("stage `base` reads a repository, but this program"), "{error}");
    assert!(execute.ran.lock().unwrap().is_empty());
    assert_eq!(world.ran(&text).len(), 7, "with a hub it runs");
}

#[test]
fn a_result_depends_on_the_hashes_in_the_lock_file() {
    let world = World::new();
    let text = write_far(&world, "ab");
    world.ran(&text);
    assert!(world.ran(&text).is_empty());
    write_far(&world, "cd");
    assert_eq!(world.plan(&text).stage_named("base").unwrap().reasons, ["source `folder` changed"]);
    fs::remove_file(world.folder.path().join("test.lock")).unwrap();
    let error = world.run(&text, &Pretend::default(), false).unwrap_err();
    assert!(error.to_string().contains("`hf:o/m` is not pinned: run `"), "{error}");
}
