//! Which stage runs when: each as soon as its inputs are finished, at most `--jobs` at a time.
//!
//! One thread schedules, writes the journal and reports; each stage works on a thread of its own. After a failure no new stage
//! starts, but the running ones may finish: they may have run for days, and they do not depend on the one that failed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::{Builder, Scope, available_parallelism, scope};
use std::time::Instant;

use serde_json::json;

use crate::error::{Error, Result};
use crate::pipeline::role::InputRole;
use crate::pipeline::stage::{StageId, StageInput};
use crate::pipeline::window::find_windowed_rows;
use crate::plan::{PlanState, PlannedStage};
use crate::run::hooks::HookRunner;
use crate::run::outcome::{RunOutcome, StageEnd, StageOutcome, is_stop};
use crate::run::runner::{Runner, defect_failure, stage_error};
use crate::run::space::explain_shortage;
use crate::run::work::{CheckedOnce, read_finished_summary, work_on_stage};
use crate::store::summary::Summary;

/// Stack of a thread that runs a stage, in bytes: as much as the main thread usually has. Rust's default is a quarter of it.
const STACK: usize = 8 << 20;

/// A stage and how it ended.
type StageResult = (StageId, Result<Summary>);

/// The state of a run: which stages wait, which run, and how the others ended.
pub(super) struct Schedule<'a> {
    runner: &'a Runner<'a>,
    /// Number of the run; 0 for one that has nothing to do.
    number: u64,
    /// Not yet started, in the plan's order.
    waiting: Vec<&'a PlannedStage>,
    /// Started, and when.
    running: Vec<(&'a PlannedStage, Instant)>,
    checked: Arc<CheckedOnce>,
    hooks: HookRunner<'a>,
    ran: RunOutcome,
}

impl<'a> Schedule<'a> {
    pub(super) fn new(runner: &'a Runner<'a>, number: u64) -> Self {
        let waiting = runner.plan.wanted().collect();
        let (checked, hooks) = (Arc::default(), HookRunner::new(runner));
        Self { runner, number, waiting, running: vec![], checked, hooks, ran: RunOutcome::default() }
    }

    /// Runs every stage, or as many as the first failure allows; outcomes are in the plan's order.
    pub(super) fn run(mut self) -> RunOutcome {
        let (send, receive) = channel();
        scope(|scope| {
            loop {
                self.begin_ready_stages(scope, &send);
                if self.running.is_empty() {
                    break;
                }
                let (id, result) = receive.recv().expect("`send` lives as long as this loop");
                self.finish_stage(id, result, scope);
            }
        });
        self.hooks.finish();
        self.ran.outcomes.sort_by_key(|outcome| outcome.id);
        self.ran
    }

    /// Starts every stage that may start now.
    fn begin_ready_stages<'s>(&mut self, scope: &'s Scope<'s, 'a>, send: &Sender<StageResult>) {
        while let Some(planned) = self.take_ready_stage() {
            if self.has_result(planned) {
                self.report_cached(planned);
            } else if let Err(error) = self.begin(planned, scope, send) {
                self.keep_error(explain_shortage(self.runner, &[planned], error));
            }
        }
    }

    /// Takes the first ready stage out of the waiting ones, if there is room and nothing has failed.
    fn take_ready_stage(&mut self) -> Option<&'a PlannedStage> {
        let room = self.running.len() < self.runner.options.jobs.get() && self.ran.error.is_none();
        let at = (0..self.waiting.len()).find(|at| room && self.is_ready(*at))?;
        Some(self.waiting.remove(at))
    }

    /// Whether no running stage, and no waiting stage before it in the plan, makes one of its inputs or the same result.
    fn is_ready(&self, at: usize) -> bool {
        let (before, planned) = (&self.waiting[..at], self.waiting[at]);
        let mut open = before.iter().chain(self.running.iter().map(|(planned, _)| planned));
        let waits = |input: &&StageInput| !(planned.branch_point_exists && input.role == InputRole::From);
        let windows = self.list_windows(planned);
        let made = windows.iter().flat_map(|rows| &self.runner.pipeline.stage(*rows).inputs);
        let inputs: Vec<_> = self.runner.stage(planned).inputs.iter().chain(made).filter(waits).collect();
        let reads = |id: StageId| inputs.iter().any(|input| input.stage == id);
        let shares = |open: &PlannedStage| self.list_windows(open).iter().any(|rows| windows.contains(rows));
        // Two stages that read one window would drop each other's shards.
        let busy = self.running.iter().any(|(running, _)| !windows.is_empty() && shares(running));
        !busy && !open.any(|open| reads(open.id) || open.key.fingerprint == planned.key.fingerprint)
    }

    /// The stages that planned the windows which a stage reads.
    fn list_windows(&self, planned: &PlannedStage) -> Vec<StageId> {
        let stage = self.runner.stage(planned);
        find_windowed_rows(self.runner.pipeline, stage).map(|(_, rows)| rows.id).collect()
    }

    /// Whether its result exists: from an earlier run, or made in this run by a stage with the same fingerprint.
    fn has_result(&self, planned: &PlannedStage) -> bool {
        let made = |artifact: &PathBuf| {
            self.ran.outcomes.iter().any(|outcome| outcome.artifact.as_ref() == Some(artifact))
        };
        planned.state == PlanState::Cached || made(&self.runner.artifact(planned))
    }

    fn report_cached(&mut self, planned: &PlannedStage) {
        let found = read_finished_summary(self.runner, planned);
        let artifact = self.runner.artifact(planned);
        self.report_outcome(StageOutcome {
            lines: Vec::new(),
            ..StageOutcome::from_result(&found, StageEnd::Cached, planned, 0.0, artifact)
        });
        found.err().into_iter().for_each(|error| self.keep_error(error));
    }

    fn begin<'s>(
        &mut self,
        planned: &'a PlannedStage,
        scope: &'s Scope<'s, 'a>,
        send: &Sender<StageResult>,
    ) -> Result<()> {
        let (name, fingerprint) = (&planned.key.name, &planned.key.fingerprint);
        let event = json!({ "event": "begin", "stage": name, "fingerprint": fingerprint });
        self.runner.store.record_event(self.number, &event)?;
        self.running.push((planned, Instant::now()));
        let (runner, send, checked, cores) =
            (self.runner, send.clone(), self.checked.clone(), self.share_cores());
        let work = move || {
            let result =
                catch_stage_panic(runner, planned, || work_on_stage(runner, planned, &checked, cores));
            // Sending fails only if the scheduling thread panicked; then nobody needs the result.
            let _ = send.send((planned.id, result));
        };
        let thread = Builder::new().stack_size(STACK).spawn_scoped(scope, work);
        thread.map(drop).map_err(|error| {
            self.running.pop();
            Error::io("start a thread for stage", name.as_ref())(error)
        })
    }

    /// Cores for the stage that starts now: the machine's, divided by the stages that run or can start beside it.
    fn share_cores(&self) -> usize {
        let ready = (0..self.waiting.len()).filter(|at| self.is_ready(*at));
        let ready = ready.map(|at| self.waiting[at]).filter(|planned| !self.has_result(planned));
        let beside = self.running.len() + ready.count();
        let cores = available_parallelism().map_or(1, usize::from);
        (cores / beside.min(self.runner.options.jobs.get())).max(1)
    }

    fn finish_stage<'s>(&mut self, id: StageId, result: Result<Summary>, scope: &'s Scope<'s, 'a>) {
        let at = self.running.iter().position(|(planned, _)| planned.id == id);
        let at = at.expect("a stage that ended is in the list of running stages");
        let (planned, start) = self.running.remove(at);
        let explain = |error| explain_shortage(self.runner, &[planned], error);
        let result = result.map_err(explain);
        let outcome = StageOutcome::from_result(
            &result,
            StageEnd::Done,
            planned,
            start.elapsed().as_secs_f64(),
            self.runner.artifact(planned),
        );
        let StageOutcome { stage, ended, seconds, headline, .. } = &outcome;
        let event =
            json!({ "event": ended.word(), "stage": stage, "seconds": seconds, "headline": headline });
        let journal = self.runner.store.record_event(self.number, &event).map_err(explain);
        let code = result.as_ref().err().map(Error::exit_code);
        self.hooks.start(planned, &outcome, code, scope);
        self.hooks.tell_ended();
        self.report_outcome(outcome);
        [result.map(drop), journal]
            .into_iter()
            .filter_map(Result::err)
            .for_each(|error| self.keep_error(error));
    }

    fn report_outcome(&mut self, outcome: StageOutcome) {
        self.runner.events.end(&outcome);
        self.ran.outcomes.push(outcome);
    }

    /// Keeps an error. If other stages keep running, perhaps for days, the user has to see the error now and not at the end;
    /// not so after a signal, which stops them as well.
    fn keep_error(&mut self, error: Error) {
        let running: Vec<_> = self.running.iter().map(|(planned, _)| planned.key.name.as_str()).collect();
        if !running.is_empty() && !is_stop(&error) {
            self.runner.events.fail(&error, &running);
        }
        self.ran.add_failure(error);
    }
}

/// Turns a panic of a stage into its failure, so that the other stages can finish.
fn catch_stage_panic(
    runner: &Runner<'_>,
    planned: &PlannedStage,
    work: impl FnOnce() -> Result<Summary>,
) -> Result<Summary> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        let failure = defect_failure("it panicked (see above)");
        Err(stage_error(runner.stage(planned), failure))
    })
}
