//! Parallel stages: which may start, which wait, and what a failure does to the others.

use std::thread::available_parallelism;

use super::*;
use crate::error::Shortage;
use crate::plan::planned::estimate_disk_bytes;

/// `TEXT` with the settings of `ar` in `twin`, so that both have the same result.
fn same() -> String {
    TEXT.replace("peak=0.002 ", "peak=0.001 ").replace("steps 3", "steps 6")
}

fn ends(ran: &RunOutcome) -> Vec<(&str, StageEnd)> {
    ran.outcomes.iter().map(|outcome| (outcome.stage.as_str(), outcome.ended)).collect()
}

/// Models in the store's artifacts, by folder.
fn models(world: &World) -> Vec<(String, Vec<u8>)> {
    let folders = fs::read_dir(world.root().join("artifacts")).unwrap().map(|entry| entry.unwrap());
    let model = |folder: &Path| fs::read(folder.join("model.safetensors")).unwrap();
    let mut models: Vec<_> =
        folders.map(|entry| (entry.file_name().into_string().unwrap(), model(&entry.path()))).collect();
    models.sort();
    models
}

#[test]
fn independent_stages_run_in_parallel_with_the_same_results() {
    let (alone, world) = (World::new(), World::with_jobs(2));
    alone.ran(TEXT);
    // Each waits for the other, so they finish only if they run at the same time.
    let execute = Pretend::meeting(["ar", "twin"]);
    let ran = world.run(TEXT, &execute, false).unwrap();
    assert!(ran.error.is_none(), "{:?}", ran.error);
    let order: Vec<_> = world.plan(TEXT).stages.iter().map(|planned| planned.key.name.clone()).collect();
    assert_eq!(
        ran.outcomes.iter().map(|outcome| &outcome.stage).collect::<Vec<_>>(),
        order.iter().collect::<Vec<_>>()
    );
    assert_eq!(models(&world), models(&alone));
    assert!(world.ran(TEXT).is_empty());
}

#[test]
fn jobs_limits_the_parallel_stages_and_divides_the_cores() {
    let cores = available_parallelism().unwrap().get();
    let execute = Pretend::meeting(["ar", "twin"]);
    World::with_jobs(2).run(TEXT, &execute, false).unwrap();
    let given = execute.cores.into_inner().unwrap();
    let of = |name: &str| given.iter().find(|(stage, _)| stage == name).unwrap().1;
    assert_eq!((of("bpe"), of("ar")), (cores, (cores / 2).max(1)));
    let execute = Pretend::default();
    World::new().run(TEXT, &execute, false).unwrap();
    assert!(execute.cores.into_inner().unwrap().iter().all(|(_, given)| *given == cores));
}

#[test]
fn a_stage_waits_for_one_with_the_same_result() {
    let world = World::with_jobs(8);
    let execute = Pretend::default();
    let ran = world.run(&same(), &execute, false).unwrap();
    assert!(ran.error.is_none(), "{:?}", ran.error);
    assert_eq!(execute.ran.into_inner().unwrap().len(), 5);
    assert!(ends(&ran).contains(&("twin", StageEnd::Cached)));
}

#[test]
fn after_a_failure_running_stages_finish_and_no_new_one_starts() {
    let world = World::with_jobs(2);
    let waits_for_failure = Some(("ar", world.reported.clone()));
    let execute = Pretend { fails: Some("twin"), waits_for_failure, ..Pretend::default() };
    let ran = world.run(TEXT, &execute, false).unwrap();
    assert_eq!(ran.error.as_ref().unwrap().exit_code(), 7);
    let ends = ends(&ran);
    assert!(ends.contains(&("ar", StageEnd::Done)) && ends.contains(&("twin", StageEnd::Failed)), "{ends:?}");
    assert!(!ends.iter().any(|(stage, _)| *stage == "flow"), "{ends:?}");
    let reported = world.reported.lock().unwrap().clone();
    assert_eq!(reported, ["stage `twin`: the loss is NaN beside [\"ar\"]"]);
    // Both start at once, in either order.
    let mut again = world.ran(TEXT);
    again.sort();
    assert_eq!(again, ["flow@0", "twin@0"]);
}

#[test]
fn a_panic_fails_only_its_stage() {
    let world = World::with_jobs(2);
    let waits_for_failure = Some(("ar", world.reported.clone()));
    let execute = Pretend { panics: Some("twin"), waits_for_failure, ..Pretend::default() };
    let ran = world.run(TEXT, &execute, false).unwrap();
    assert_eq!(ran.error.as_ref().unwrap().exit_code(), 70);
    assert!(ends(&ran).contains(&("ar", StageEnd::Done)));
    let store = Store::open(&world.root()).unwrap().unwrap();
    let last = store.past_runs().unwrap().pop().unwrap();
    assert_eq!((last.code, last.stages["twin"].as_str()), (Some(70), "failed"));
}

#[test]
fn a_signal_stops_all_running_stages_and_all_can_resume() {
    let world = World::with_jobs(2);
    let execute = Pretend { stop_at: Some(2), ..Pretend::meeting(["ar", "twin"]) };
    let ran = world.run(TEXT, &execute, false).unwrap();
    assert_eq!((ran.error.unwrap().exit_code(), ran.others.len()), (75, 1));
    assert_eq!(sorted(world.ran(TEXT)), ["ar@2", "flow@0", "twin@2"]);
}

#[test]
fn a_failure_takes_precedence_over_a_stop() {
    let stop = || failed_as(FailureKind::Interrupted);
    let mut ran = RunOutcome::default();
    [stop(), failed_as(FailureKind::Space(Shortage::Disk)), stop()]
        .into_iter()
        .for_each(|error| ran.add_failure(error));
    assert_eq!((ran.error.unwrap().exit_code(), ran.others.len()), (6, 2));
}

fn failed_as(kind: FailureKind) -> Error {
    Error::Stage { stage: "ar".into(), failure: Failure { kind, message: "so".into(), help: None } }
}

#[test]
fn the_disk_estimate_counts_checkpoints_of_all_parallel_stages() {
    let world = World::new();
    let plan = world.plan(TEXT);
    let stages: Vec<_> = plan.wanted().collect();
    let work = |name: &str| plan.stage_named(name).unwrap().cost.work_bytes;
    let less = work("ar").min(work("twin"));
    assert!(less > 0);
    assert_eq!(estimate_disk_bytes(&stages, 2), estimate_disk_bytes(&stages, 1) + less);
    assert_eq!(estimate_disk_bytes(&stages, 9), estimate_disk_bytes(&stages, 2));
}

#[test]
fn the_disk_estimate_leaves_out_existing_checkpoints() {
    let world = World::new();
    let whole = world.plan(TEXT).disk_bytes();
    let stopping = Pretend { stop_at: Some(5), ..Pretend::default() };
    world.run(TEXT, &stopping, false).unwrap();
    let plan = world.plan(TEXT);
    let ar = plan.stage_named("ar").unwrap();
    assert!(
        ar.held_bytes > 0 && ar.held_bytes < ar.cost.work_bytes,
        "{} of {}",
        ar.held_bytes,
        ar.cost.work_bytes
    );
    let stages: Vec<_> = plan.wanted().filter(|planned| planned.state != PlanState::Cached).collect();
    let artifacts: u64 = stages.iter().map(|planned| planned.cost.artifact_bytes).sum();
    assert_eq!(
        estimate_disk_bytes(&stages[..1], 1),
        ar.cost.artifact_bytes + ar.cost.work_bytes - ar.held_bytes
    );
    assert!(plan.disk_bytes() < whole && plan.disk_bytes() >= artifacts);
}
