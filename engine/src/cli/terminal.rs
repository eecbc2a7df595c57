//! Progress on stderr, for people: bars on a terminal, plain lines at intervals otherwise. Also the table at the end of a run.

mod bar;
mod run_time;

use std::io::{IsTerminal, Write};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bar::StageBar;
use indicatif::{MultiProgress, ProgressDrawTarget};
use run_time::{RunTime, list_loads};
use unicode_width::UnicodeWidthStr;

use super::output::read_terminal_columns;
use crate::error::Error;
use crate::pipeline::Pipeline;
use crate::plan::{Plan, PlanState};
use crate::run::execute::{Progress, ProgressReporter};
use crate::run::{RunEvents, RunOutcome, StageEnd, StageOutcome};
use crate::text::display::{format_duration, render_table};
use crate::text::escape::{escape_line, escape_message};
use crate::text::wrap::wrap_line;

/// Minimum time between two progress lines of a stage.
const INTERVAL: Duration = Duration::from_secs(5);

/// Where the details of a stage go on that are longer than a line of the terminal.
const DETAIL_INDENT: usize = 8;

/// Where a note goes on.
const NOTE_INDENT: usize = 6;

/// Reports the progress of a run on stderr.
#[derive(Debug)]
pub struct Terminal {
    /// One bar for every running stage; `None` if stderr is not a terminal.
    bars: Option<MultiProgress>,
    /// Width of the longest stage name, in characters.
    width: usize,
    time: RunTime,
}

impl Terminal {
    /// Uses bars if stderr is a terminal. `names` are the names of all stages, for alignment.
    #[must_use]
    pub fn new<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        let width = names.map(|name| name.chars().count()).max().unwrap_or(0);
        let bars = || MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(8));
        let time = RunTime::new(None, Vec::new());
        Self { bars: std::io::stderr().is_terminal().then(bars), width, time }
    }

    /// Reports the run of a plan, which starts now: progress lines have the time left of all its trainings.
    #[must_use]
    pub(crate) fn for_run(pipeline: &Pipeline, plan: &Plan) -> Self {
        let names = pipeline.stages.iter().map(|stage| stage.name.as_str());
        let time = RunTime::new(pipeline.budget.seconds, list_loads(pipeline, plan));
        Self { time, ..Self::new(names) }
    }

    /// Writes a line above the bars, which goes on after `indent` spaces.
    fn write_above_bars(&self, line: &str, indent: usize) {
        match &self.bars {
            Some(bars) => bars.suspend(|| write_progress_line(line, indent)),
            None => write_progress_line(line, indent),
        }
    }

    fn pad_name(&self, stage: &str) -> String {
        format!("{stage:<width$}", width = self.width)
    }
}

impl RunEvents for Terminal {
    fn begin(&self, stage: &str, state: &PlanState) -> Box<dyn ProgressReporter + '_> {
        self.time.begin(stage);
        let name = self.pad_name(stage);
        let start = match state {
            // The stage itself says nothing of where it begins.
            PlanState::Resume { step, unit } => format!("continues after {unit} {step}"),
            _ => "starts".into(),
        };
        if let Some(bars) = &self.bars {
            return Box::new(StageBar::new(bars, &name, &start, StageTime::of(stage, &self.time)));
        }
        write_progress_line(&format!("{name}  {start}"), self.width + 2);
        Box::new(StageLines { name, last: Mutex::default(), time: StageTime::of(stage, &self.time) })
    }

    fn end(&self, outcome: &StageOutcome) {
        let StageOutcome { stage, ended, seconds, headline, lines, .. } = outcome;
        let name = self.pad_name(stage);
        let line = match ended {
            StageEnd::Cached => format!("{name}  cached"),
            StageEnd::Done => format!("{name}  done in {}  {headline}", format_duration(*seconds)),
            StageEnd::Failed | StageEnd::Stopped => {
                format!("{name}  {} after {}", ended.word(), format_duration(*seconds))
            }
        };
        self.write_above_bars(line.trim_end(), self.width + 2);
        lines.iter().for_each(|line| self.write_above_bars(&format!("    {line}"), DETAIL_INDENT));
    }

    fn note(&self, text: &str) {
        self.write_above_bars(&format!("note: {text}"), NOTE_INDENT);
    }

    fn fail(&self, error: &Error, running: &[&str]) {
        let running = running.join("`, `");
        for line in escape_message(&format!("error: {error}")).lines() {
            self.write_above_bars(line, NOTE_INDENT);
        }
        self.note(&format!(
            "no new stage starts; still running: `{running}`; a signal stops them with a checkpoint"
        ));
    }
}

/// Writes a line to stderr; on a terminal that it does not fit, it goes on after `indent` spaces. A run must not fail because its stderr was
/// closed, so errors are ignored.
fn write_progress_line(line: &str, indent: usize) {
    let line = escape_line(line);
    let line = match read_terminal_columns(std::io::stderr()) {
        Some(columns) => wrap_line(&line, columns, indent),
        None => line.into_owned(),
    };
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// What is left of a stage and of its run.
struct StageTime<'a> {
    stage: String,
    run: &'a RunTime,
    pace: Mutex<Pace>,
}

impl<'a> StageTime<'a> {
    fn of(stage: &str, run: &'a RunTime) -> Self {
        Self { stage: stage.to_owned(), run, pace: Mutex::default() }
    }

    /// What to add to the progress: the time left of the stage, if `own`, and of the later trainings; and a note, once.
    fn describe(&self, progress: &Progress<'_>, own: bool) -> (String, Option<String>) {
        let now = Instant::now();
        let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((rest, unit)) = pace.estimate_rest(now, progress.done, progress.total) else {
            return Default::default();
        };
        let trains = progress.unit == "update";
        let later = self.run.estimate_later(&self.stage, unit).filter(|_| trains);
        let note = trains.then(|| self.run.exceeds_budget(now, rest + later.unwrap_or(0.0))).flatten();
        let own = own.then(|| format!(" · {} left", format_duration(rest)));
        let run = later.map(|later| format!(" · all trainings {} left", format_duration(rest + later)));
        (own.into_iter().chain(run).collect(), note)
    }
}

/// Reports a stage as plain lines.
struct StageLines<'a> {
    name: String,
    /// When the last line was written.
    last: Mutex<Option<Instant>>,
    time: StageTime<'a>,
}

/// When a stage reported progress.
#[derive(Default)]
struct Pace {
    /// The first report, and the units that were done before.
    first: Option<(Instant, u64)>,
}

impl Pace {
    /// Seconds that the rest of the work takes at the speed since the first report, and those of a unit; `None` before there is one.
    fn estimate_rest(&mut self, now: Instant, done: u64, total: u64) -> Option<(f64, f64)> {
        let (begun, before) = *self.first.get_or_insert((now, done));
        let (made, left) = (done.checked_sub(before).filter(|made| *made > 0)?, total.saturating_sub(done));
        let unit = now.duration_since(begun).as_secs_f64() / made as f64;
        (left > 0).then_some((unit * left as f64, unit))
    }
}

impl StageLines<'_> {
    fn write(&self, text: &str) {
        write_progress_line(&format!("{}  {text}", self.name), self.name.width() + 2);
    }
}

impl ProgressReporter for StageLines<'_> {
    fn progress(&self, progress: &Progress<'_>) {
        let Progress { done, total, unit, text } = progress;
        let (rest, note) = self.time.describe(progress, true);
        note.iter().for_each(|note| self.note(note));
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_none_or(|last| last.elapsed() >= INTERVAL) {
            *last = Some(Instant::now());
            self.write(format!("{unit} {done}/{total}  {text}{rest}").trim_end());
        }
    }

    fn event(&self, text: &str) {
        self.write(text);
    }

    fn note(&self, text: &str) {
        self.write(&format!("note: {text}"));
    }
}

/// The table at the end of a run; `shown` shortens a path for display.
#[must_use]
pub(crate) fn render_end_table(ran: &RunOutcome, shown: impl Fn(&std::path::Path) -> String) -> String {
    let rows = ran.outcomes.iter().map(|outcome| {
        let time =
            if outcome.ended == StageEnd::Cached { "-".into() } else { format_duration(outcome.seconds) };
        let result = match outcome.ended {
            StageEnd::Cached | StageEnd::Done => outcome.headline.clone(),
            StageEnd::Failed | StageEnd::Stopped => String::new(),
        };
        let artifact = outcome.artifact.as_deref().map(&shown).unwrap_or_default();
        vec![outcome.stage.clone(), outcome.ended.word().into(), time, result, artifact]
    });
    render_table(&["stage", "state", "time", "result", "artifact"], rows.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_is_that_of_the_speed_since_the_first_report() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(pace.estimate_rest(start, 100, 400), None, "the stage continued after update 100");
        assert_eq!(pace.estimate_rest(at(10), 150, 400), Some((50.0, 0.2)));
        assert_eq!(pace.estimate_rest(at(60), 400, 400), None);
    }
}
