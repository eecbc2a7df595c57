//! Hooks: commands that run when a stage ends. They never endanger the run: each is bounded in time and output, and what goes
//! wrong with it is told once and changes no exit code.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{Builder, Scope};
use std::time::Duration;

use crate::error::FailureKind;
use crate::pipeline::watchers::{Hook, HookEvent};
use crate::plan::PlannedStage;
use crate::program::{ProgramLimits, ProgramPlan, run_program};
use crate::run::outcome::{StageEnd, StageOutcome};
use crate::run::runner::Runner;
use crate::text::escape::escape_message;

/// How long a hook may take to end once it is asked to.
const GRACE: Duration = Duration::from_secs(1);

/// Bytes of its output that are kept of the beginning, and of the end.
const OUTPUT: usize = 8 << 10;

/// Lines of its output that are shown, and how many characters of each.
const SHOWN: (usize, usize) = (5, 200);

/// Characters of the message that a hook gets about a failure.
const MESSAGE: usize = 2000;

/// What came of a hook.
struct HookResult {
    /// Its index among the hooks of the pipeline.
    index: usize,
    /// The stage that ended, and how.
    when: String,
    failure: Option<String>,
    lines: Vec<String>,
}

/// The hooks of a run.
pub(super) struct HookRunner<'a> {
    runner: &'a Runner<'a>,
    send: Sender<HookResult>,
    receive: Receiver<HookResult>,
    told: BTreeSet<usize>,
}

impl<'a> HookRunner<'a> {
    pub(super) fn new(runner: &'a Runner<'a>) -> Self {
        let (send, receive) = channel();
        Self { runner, send, receive, told: BTreeSet::new() }
    }

    /// Starts the hooks that wait for this end of a stage, each on a thread of its own. `code` is the exit code of a failure.
    pub(super) fn start<'s>(
        &mut self,
        planned: &'a PlannedStage,
        outcome: &StageOutcome,
        code: Option<u8>,
        scope: &'s Scope<'s, 'a>,
    ) {
        let hooks = &self.runner.pipeline.watchers.hooks;
        for (index, hook) in hooks.iter().enumerate() {
            let Some(event) = find_event(hook, outcome, code) else { continue };
            let when = format!("`on {:?}` of stage `{}`", event.word(), outcome.stage);
            if let Some(why) = self.runner.refuse_command(&hook.command.span) {
                self.tell_failure(index, &when, &why, &[]);
                continue;
            }
            let plan = self.plan_program(hook, event, planned, outcome);
            let (runner, send, timeout) = (self.runner, self.send.clone(), hook.timeout);
            let result = move |failure, lines| HookResult { index, when, failure, lines };
            let work = move || {
                let (failure, lines) = run_hook(runner, &plan, timeout);
                // The receiver lives as long as the run; after a panic of it nobody needs the result.
                let _ = send.send(result(failure, lines));
            };
            if let Err(error) = Builder::new().spawn_scoped(scope, work) {
                self.tell_failure(
                    index,
                    &format!("hook {index}"),
                    &format!("cannot be started: {error}"),
                    &[],
                );
            }
        }
    }

    /// Tells what came of the hooks that have ended.
    pub(super) fn tell_ended(&mut self) {
        while let Ok(result) = self.receive.try_recv() {
            self.tell(&result);
        }
    }

    /// Tells what came of all hooks, once no more can start. Each ends within its time.
    pub(super) fn finish(mut self) {
        let (closed, _) = channel();
        drop(std::mem::replace(&mut self.send, closed));
        while let Ok(result) = self.receive.recv() {
            self.tell(&result);
        }
    }

    fn tell(&mut self, result: &HookResult) {
        match &result.failure {
            Some(failure) => self.tell_failure(result.index, &result.when, failure, &result.lines),
            None if result.lines.is_empty() => {}
            None => self.tell_lines(&format!("{} did its work", result.when), &result.lines),
        }
    }

    /// A hook that fails after every stage is told of once.
    fn tell_failure(&mut self, index: usize, when: &str, failure: &str, lines: &[String]) {
        if self.told.insert(index) {
            self.tell_lines(&format!("{when}: its command {failure}; the run goes on"), lines);
        }
    }

    fn tell_lines(&self, first: &str, lines: &[String]) {
        self.runner.events.note(first);
        lines.iter().for_each(|line| self.runner.events.note(&format!("    {line}")));
    }

    /// The command of a hook, in the folder of its file. Names of stages and events are words that a shell takes as they are.
    fn plan_program(
        &self,
        hook: &Hook,
        event: HookEvent,
        planned: &PlannedStage,
        outcome: &StageOutcome,
    ) -> ProgramPlan {
        let (store, pipeline) = (self.runner.store, self.runner.pipeline);
        let (name, fingerprint) = (&planned.key.name, &planned.key.fingerprint);
        let place = outcome.artifact.clone().unwrap_or_else(|| store.work(name, fingerprint));
        let message: String = escape_message(&outcome.headline).chars().take(MESSAGE).collect();
        let text = |value: &str| OsString::from(value);
        ProgramPlan {
            command: hook.command.text.replace("{stage}", name).replace("{event}", event.word()),
            folder: hook.command.folder().to_owned(),
            environment: vec![
                ("FMFLOW_STAGE".into(), text(name)),
                ("FMFLOW_EVENT".into(), text(event.word())),
                ("FMFLOW_PLACE".into(), place.into()),
                ("FMFLOW_MESSAGE".into(), text(&message)),
                ("FMFLOW_PIPELINE".into(), text(&pipeline.name)),
                ("FMFLOW_FILE".into(), pipeline.file.clone().into()),
                ("FMFLOW_STORE".into(), store.root().into()),
            ],
            bare: false,
        }
    }
}

/// Why the command of a hook failed, if it did, and its last lines.
fn run_hook(runner: &Runner<'_>, plan: &ProgramPlan, timeout: Duration) -> (Option<String>, Vec<String>) {
    let stop = || runner.interrupt.load(Ordering::Relaxed);
    let limits = ProgramLimits { time: Some(timeout), grace: GRACE, output: OUTPUT, stop: &stop };
    match run_program(plan, &limits) {
        Ok((ended, output)) => {
            let failure = ended.describe_failure().map(|why| match why.starts_with("exit") {
                true => format!("failed with {why}"),
                false => why,
            });
            (failure, output.last_lines(SHOWN.0, SHOWN.1))
        }
        Err(error) => (Some(format!("cannot be started: {error}")), Vec::new()),
    }
}

/// The event of a hook that the end of a stage is.
fn find_event(hook: &Hook, outcome: &StageOutcome, code: Option<u8>) -> Option<HookEvent> {
    let waits = |event: HookEvent| hook.events.contains(&event).then_some(event);
    match outcome.ended {
        StageEnd::Done => waits(HookEvent::Done),
        StageEnd::Failed if code == Some(FailureKind::Diverged.exit_code()) => {
            waits(HookEvent::Diverged).or_else(|| waits(HookEvent::Failed))
        }
        StageEnd::Failed => waits(HookEvent::Failed),
        StageEnd::Cached | StageEnd::Stopped => None,
    }
}
