//! Other runs that make stages of this one in the same store.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::thread::sleep;
use std::time::Duration;

use crate::error::{Error, Failure, FailureKind, Result};
use crate::pipeline::stage::Stage;
use crate::pipeline::window::find_windowed_rows;
use crate::plan::{PlanState, PlannedStage};
use crate::run::runner::{Runner, stage_error};
use crate::store::{StageKey, StageLock};

/// How often a lock is tried that another run has.
const LOOK: Duration = Duration::from_millis(200);

/// Whether another run has published the result since the plan was made.
pub(super) fn has_been_made(runner: &Runner<'_>, planned: &PlannedStage) -> bool {
    let missing = matches!(planned.state, PlanState::Run | PlanState::Resume { .. });
    missing && runner.store.vfs().stat(&runner.artifact(planned)).is_ok()
}

/// The locks of the windows that a stage reads. All take them in one order, so that no two wait for each other.
pub(super) fn lock_windows(runner: &Runner<'_>, stage: &Stage) -> Result<Vec<StageLock>> {
    let windows = find_windowed_rows(runner.pipeline, stage);
    let keys: BTreeMap<&str, &StageKey> = windows
        .map(|(_, rows)| &runner.plan.planned(rows.id).key)
        .map(|key| (key.fingerprint.short(), key))
        .collect();
    let lock = |key: &StageKey| runner.store.lock_window(runner.expect_lock(), &key.name, &key.fingerprint);
    keys.into_values().map(|key| wait_for_lock(runner, stage, || lock(key))).collect()
}

/// Waits for a lock that another run has. A run of days does not end because of another one.
pub(super) fn wait_for_lock(
    runner: &Runner<'_>,
    stage: &Stage,
    lock: impl Fn() -> Result<StageLock>,
) -> Result<StageLock> {
    let mut told = false;
    loop {
        match lock() {
            Err(Error::Busy { message }) => {
                if !std::mem::replace(&mut told, true) {
                    runner.events.note(&format!("{} waits: {message}", stage.name));
                }
            }
            other => return other,
        }
        if runner.interrupt.load(Ordering::Relaxed) {
            return Err(stage_error(stage, stopped_before_start()));
        }
        sleep(LOOK);
    }
}

pub(super) fn stopped_before_start() -> Failure {
    Failure { kind: FailureKind::Interrupted, message: "stopped before it started".into(), help: None }
}
