//! The pipe that gets the metrics of a training while they are written. Training never waits for it, and what goes wrong with it
//! is told once.

use std::ffi::OsString;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::pipeline::watchers::CommandText;
use crate::program::{FedProgram, FeedLoss, ProgramPlan};
use crate::run::execute::{Progress, ProgressReporter};
use crate::run::runner::{CommandGate, Runner, refuse_by};
use crate::store::slot::MetricsListener;
use crate::text::place::Span;

/// How long the command may work on what it was given once the stage has ended, and if a signal ended it.
const PATIENCE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(1));

/// Lines of its output that are shown, and how many characters of each.
const SHOWN: (usize, usize) = (5, 200);

/// The pipe of one stage. Its command starts with the first record, because most stages have none.
pub(super) struct MetricsPipe {
    state: Arc<Mutex<PipeState>>,
}

struct PipeState {
    plan: ProgramPlan,
    /// Lets the command through, which is written at a place.
    gate: Option<Arc<dyn CommandGate>>,
    place: Span,
    program: Option<FedProgram>,
    /// Records that did not reach the command.
    lost: u64,
    /// Nothing is sent any more.
    closed: bool,
    /// A sentence that nobody has been told yet.
    untold: Option<String>,
}

impl MetricsPipe {
    /// The pipe of the stage called `stage`.
    pub(super) fn new(runner: &Runner<'_>, command: &CommandText, stage: &str) -> Self {
        let pipeline = runner.pipeline;
        let plan = ProgramPlan {
            command: command.text.clone(),
            folder: command.folder().to_owned(),
            environment: vec![
                ("FMFLOW_STAGE".into(), OsString::from(stage)),
                ("FMFLOW_PIPELINE".into(), OsString::from(&pipeline.name)),
                ("FMFLOW_FILE".into(), pipeline.file.clone().into()),
                ("FMFLOW_STORE".into(), runner.store.root().into()),
            ],
            bare: false,
        };
        let (gate, place) = (runner.gate.clone(), command.span.clone());
        let state = PipeState { plan, gate, place, program: None, lost: 0, closed: false, untold: None };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// What the metrics are given to.
    pub(super) fn listener(&self) -> MetricsListener {
        let state = Arc::clone(&self.state);
        Arc::new(move |line| lock(&state).send(line))
    }

    /// A sentence that nobody has been told yet.
    fn take_untold(&self) -> Option<String> {
        lock(&self.state).untold.take()
    }

    /// Lets the command end, and tells what went wrong.
    pub(super) fn finish(self, report: &dyn ProgressReporter, interrupted: bool) {
        let mut state = lock(&self.state);
        let patience = if interrupted { PATIENCE.1 } else { PATIENCE.0 };
        let ended = state.program.take().map(|program| program.finish(patience));
        state.untold.take().iter().for_each(|note| report.note(note));
        let told = state.lost > 0;
        if state.lost > 1 {
            report.note(&format!("metrics pipe: {} records were left out", state.lost));
        }
        match ended {
            None => {}
            Some(Err(error)) => {
                report.note(&format!("metrics pipe: its command cannot be waited for: {error}"))
            }
            Some(Ok((ended, output))) => {
                let failure = ended.describe_failure();
                if let Some(failure) = failure.as_ref().filter(|_| !told) {
                    report.note(&format!("metrics pipe: its command ended badly: {failure}"));
                }
                let lines = output.last_lines(SHOWN.0, SHOWN.1);
                let lines = lines.iter().filter(|_| told || failure.is_some());
                lines.for_each(|line| report.note(&format!("    {line}")));
            }
        }
    }
}

impl PipeState {
    fn send(&mut self, line: &str) {
        if self.closed {
            self.lost += 1;
            return;
        }
        if self.program.is_none() {
            // The command starts now, perhaps hours after its stage.
            if let Some(why) = refuse_by(self.gate.as_deref(), &self.place) {
                return self.lose(&format!("its command {why}"), true);
            }
            match FedProgram::start(&self.plan) {
                Ok(program) => self.program = Some(program),
                Err(error) => return self.lose(&format!("its command cannot be started: {error}"), true),
            }
        }
        let program = self.program.as_ref().expect("it was just started");
        match program.send(line.to_owned()) {
            Ok(()) => {}
            Err(FeedLoss::Gone) => self.lose("its command reads no more", true),
            Err(FeedLoss::Slow) => self.lose("its command is too slow, so records are left out", false),
        }
    }

    /// Counts a record that did not reach the command; the first is told.
    fn lose(&mut self, why: &str, closed: bool) {
        if self.lost == 0 {
            self.untold =
                Some(format!("metrics pipe: {why}; the run goes on, and `metrics.jsonl` has all records"));
        }
        self.lost += 1;
        self.closed = closed;
    }
}

fn lock(state: &Mutex<PipeState>) -> MutexGuard<'_, PipeState> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The reporter of a stage, which also tells what goes wrong with its pipe as soon as there is progress.
pub(super) struct PipedReport<'a> {
    pub(super) inner: &'a dyn ProgressReporter,
    pub(super) pipe: Option<&'a MetricsPipe>,
}

impl PipedReport<'_> {
    fn tell(&self) {
        let untold = self.pipe.and_then(MetricsPipe::take_untold);
        untold.iter().for_each(|note| self.inner.note(note));
    }
}

impl ProgressReporter for PipedReport<'_> {
    fn progress(&self, progress: &Progress<'_>) {
        self.tell();
        self.inner.progress(progress);
    }

    fn event(&self, text: &str) {
        self.inner.event(text);
    }

    fn note(&self, text: &str) {
        self.inner.note(text);
    }
}
