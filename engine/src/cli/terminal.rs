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
            PlanState::Resume { step } => format!("continues after update {step}"),
            _ => "starts".into(),
        };
        if let Some(bars) = &self.bars {
            return Box::new(StageBar::new(bars, &name, &start));
        }
        write_progress_line(&format!("{name}  {start}"));
        Box::new(StageLines { name, last: Mutex::new(None) })
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
    last: Mutex<Option<Instant>>,
}

impl ProgressReporter for StageLines {
    fn progress(&self, progress: &Progress<'_>) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let due = last.is_none_or(|last| last.elapsed() >= INTERVAL);
        if due {
            *last = Some(Instant::now());
            let Progress { done, total, unit, text } = progress;
            write_progress_line(format!("{}  {unit} {done}/{total}  {text}", self.name).trim_end());
        }
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
