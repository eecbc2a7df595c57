//! Progress on stderr, for people: bars on a terminal, plain lines at intervals otherwise. Also the table at the end of a run.

use std::io::{IsTerminal, Write};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::error::Error;
use crate::plan::PlanState;
use crate::run::execute::{Progress, ProgressReporter};
use crate::run::{RunEvents, RunOutcome, StageEnd, StageOutcome};
use crate::text::display::{format_duration, render_table};
use crate::text::escape::{escape_line, escape_message};

/// Minimum time between two progress lines of a stage.
const INTERVAL: Duration = Duration::from_secs(5);

/// Reports the progress of a run on stderr.
#[derive(Debug)]
pub struct Terminal {
    /// One bar for every running stage; `None` if stderr is not a terminal.
    bars: Option<MultiProgress>,
    /// Width of the longest stage name, in characters.
    width: usize,
}

impl Terminal {
    /// Uses bars if stderr is a terminal. `names` are the names of all stages, for alignment.
    #[must_use]
    pub fn new<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        let width = names.map(|name| name.chars().count()).max().unwrap_or(0);
        let bars = || MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(8));
        Self { bars: std::io::stderr().is_terminal().then(bars), width }
    }

    /// Writes a line above the bars.
    fn write_above_bars(&self, line: &str) {
        match &self.bars {
            Some(bars) => bars.suspend(|| write_progress_line(line)),
            None => write_progress_line(line),
        }
    }

    fn pad_name(&self, stage: &str) -> String {
        format!("{stage:<width$}", width = self.width)
    }
}

impl RunEvents for Terminal {
    fn begin(&self, stage: &str, state: &PlanState) -> Box<dyn ProgressReporter + '_> {
        let name = self.pad_name(stage);
        let start = match state {
            // The stage itself says nothing of where it begins.
            PlanState::Resume { step, unit } => format!("continues after {unit} {step}"),
            _ => "starts".into(),
        };
        if let Some(bars) = &self.bars {
            return Box::new(StageBar::new(bars, &name, &start));
        }
        write_progress_line(&format!("{name}  {start}"));
        Box::new(StageLines { name, pace: Mutex::default() })
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
        self.write_above_bars(line.trim_end());
        lines.iter().for_each(|line| self.write_above_bars(&format!("    {line}")));
    }

    fn note(&self, text: &str) {
        self.write_above_bars(&format!("note: {text}"));
    }

    fn fail(&self, error: &Error, running: &[&str]) {
        let running = running.join("`, `");
        for line in escape_message(&format!("error: {error}")).lines() {
            self.write_above_bars(line);
        }
        self.write_above_bars(&format!(
            "note: no new stage starts; still running: `{running}`; a signal stops them with a checkpoint"
        ));
    }
}

/// Writes a line to stderr. A run must not fail because its stderr was closed, so errors are ignored.
fn write_progress_line(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{}", escape_line(line));
}

/// Reports a stage as a bar, which disappears when the stage ends.
struct StageBar {
    bars: MultiProgress,
    bar: ProgressBar,
    name: String,
}

impl StageBar {
    fn new(bars: &MultiProgress, name: &str, start: &str) -> Self {
        let bar = bars.add(ProgressBar::no_length());
        let style = ProgressStyle::with_template("{prefix}  {wide_bar} {pos}/{len}  {msg}  {eta}");
        bar.set_style(style.expect("indicatif reads this template").progress_chars("━╸ "));
        bar.set_prefix(escape_line(name).into_owned());
        bar.set_message(escape_line(start).into_owned());
        Self { bars: bars.clone(), bar, name: name.to_string() }
    }
}

impl ProgressReporter for StageBar {
    fn progress(&self, progress: &Progress<'_>) {
        self.bar.set_length(progress.total);
        self.bar.set_position(progress.done);
        self.bar.set_message(escape_line(progress.text).into_owned());
    }

    fn event(&self, text: &str) {
        self.bars.suspend(|| write_progress_line(&format!("{}  {text}", self.name)));
    }

    fn note(&self, text: &str) {
        self.bars.suspend(|| write_progress_line(&format!("{}  note: {text}", self.name)));
    }
}

impl Drop for StageBar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
        self.bars.remove(&self.bar);
    }
}

/// Reports a stage as plain lines.
struct StageLines {
    name: String,
    pace: Mutex<Pace>,
}

/// When a stage reported progress.
#[derive(Default)]
struct Pace {
    /// The first report, and the units that were done before.
    first: Option<(Instant, u64)>,
    /// The last line.
    last: Option<Instant>,
}

impl Pace {
    /// Seconds that the rest of the work takes at the speed since the first report; `None` before there is one.
    fn estimate_rest(&mut self, now: Instant, done: u64, total: u64) -> Option<f64> {
        let (begun, before) = *self.first.get_or_insert((now, done));
        let (made, left) = (done.checked_sub(before).filter(|made| *made > 0)?, total.saturating_sub(done));
        (left > 0).then(|| now.duration_since(begun).as_secs_f64() / made as f64 * left as f64)
    }
}

impl ProgressReporter for StageLines {
    fn progress(&self, progress: &Progress<'_>) {
        let (mut pace, now) = (self.pace.lock().unwrap_or_else(PoisonError::into_inner), Instant::now());
        let Progress { done, total, unit, text } = progress;
        let rest = pace.estimate_rest(now, *done, *total);
        if pace.last.is_none_or(|last| last.elapsed() >= INTERVAL) {
            pace.last = Some(now);
            let rest = rest.map(|rest| format!(" · {} left", format_duration(rest))).unwrap_or_default();
            write_progress_line(format!("{}  {unit} {done}/{total}  {text}{rest}", self.name).trim_end());
        }
    }

    fn event(&self, text: &str) {
        write_progress_line(&format!("{}  {text}", self.name));
    }

    fn note(&self, text: &str) {
        write_progress_line(&format!("{}  note: {text}", self.name));
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
        assert_eq!(pace.estimate_rest(at(10), 150, 400), Some(50.0));
        assert_eq!(pace.estimate_rest(at(60), 400, 400), None);
    }
}
