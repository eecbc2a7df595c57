//! A stage as a bar with its numbers: beside it, or below it where the terminal is too narrow for both.

use std::io::stderr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use unicode_width::UnicodeWidthStr;

use super::{StageTime, write_progress_line};
use crate::cli::output::read_terminal_columns;
use crate::run::execute::{Progress, ProgressReporter};
use crate::text::escape::escape_line;
use crate::text::wrap::wrap_parts;

/// How often a bar is drawn without news.
const TICK: Duration = Duration::from_secs(1);

/// Columns of the shortest bar that shows something.
const LEAST_BAR: usize = 12;

/// Columns of everything else in the line of a bar, apart from the name, the counts and the numbers: gaps, the time so far, the time left.
const REST: usize = 22;

/// Columns of a terminal that does not say how many it has.
const USUAL_COLUMNS: usize = 80;

/// Where the numbers of a bar stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NumberPlace {
    /// Nobody knows yet how much there is to do: there is no bar.
    Start,
    /// Behind the bar, in the same line.
    Beside,
    /// In lines of their own.
    Below,
}

impl NumberPlace {
    /// Where they stand beside a name, counts and numbers of so many columns together. What once stood below stays there, so that nothing jumps.
    fn choose(self, taken: usize, columns: usize) -> Self {
        match self {
            Self::Below => Self::Below,
            _ if taken + REST + LEAST_BAR > columns => Self::Below,
            _ => Self::Beside,
        }
    }

    fn style(self) -> ProgressStyle {
        let template = match self {
            Self::Start => "{prefix}  {elapsed_precise}  {msg}",
            Self::Beside => "{prefix}  {elapsed_precise} {wide_bar} {pos}/{len}  {msg}  {eta}",
            Self::Below => "{prefix}  {elapsed_precise} {wide_bar} {pos}/{len}  {eta}\n{msg}",
        };
        let style = ProgressStyle::with_template(template);
        style.expect("indicatif reads these templates").progress_chars("━╸ ")
    }
}

/// Reports a stage as a bar, which disappears when the stage ends.
pub(super) struct StageBar<'a> {
    time: StageTime<'a>,
    bars: MultiProgress,
    bar: ProgressBar,
    /// The name, as wide as the longest one.
    name: String,
    place: Mutex<NumberPlace>,
}

impl<'a> StageBar<'a> {
    pub(super) fn new(bars: &MultiProgress, name: &str, start: &str, time: StageTime<'a>) -> Self {
        let bar = bars.add(ProgressBar::no_length());
        bar.set_style(NumberPlace::Start.style());
        bar.set_prefix(escape_line(name).into_owned());
        bar.set_message(escape_line(start).into_owned());
        // An update, or what a stage reads before its first one, may take minutes: somebody should see that it goes on.
        bar.enable_steady_tick(TICK);
        Self { time, bars: bars.clone(), bar, name: name.to_string(), place: Mutex::new(NumberPlace::Start) }
    }

    /// Shows numbers where there is room for them.
    fn show(&self, counts: &str, numbers: &str) {
        let columns = read_terminal_columns(stderr()).unwrap_or(USUAL_COLUMNS);
        let mut place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        let chosen = place.choose(self.name.width() + counts.width() + numbers.width(), columns);
        if chosen != *place {
            *place = chosen;
            self.bar.set_style(chosen.style());
        }
        self.bar.set_message(match chosen {
            NumberPlace::Below => wrap_parts(numbers, columns, self.name.width() + 2),
            NumberPlace::Start | NumberPlace::Beside => numbers.to_owned(),
        });
    }
}

impl ProgressReporter for StageBar<'_> {
    fn progress(&self, progress: &Progress<'_>) {
        self.bar.set_length(progress.total);
        self.bar.set_position(progress.done);
        let (rest, note) = self.time.describe(progress, false);
        let numbers = escape_line(&format!("{}{rest}", progress.text)).into_owned();
        self.show(&format!("{}/{}", progress.total, progress.total), &numbers);
        note.iter().for_each(|note| self.note(note));
    }

    fn event(&self, text: &str) {
        self.bars.suspend(|| write_progress_line(&format!("{}  {text}", self.name), self.name.width() + 2));
    }

    fn note(&self, text: &str) {
        self.event(&format!("note: {text}"));
    }
}

impl Drop for StageBar<'_> {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
        self.bars.remove(&self.bar);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_below_a_bar_that_they_leave_no_room_for() {
        // `pretrain`, 1500/1500, a loss and four other numbers.
        assert_eq!(NumberPlace::Start.choose(8 + 9 + 55, 80), NumberPlace::Below);
        assert_eq!(NumberPlace::Start.choose(8 + 9 + 55, 120), NumberPlace::Beside);
        assert_eq!(NumberPlace::Start.choose(8 + 3 + 5, 80), NumberPlace::Beside);
        assert_eq!(NumberPlace::Beside.choose(58, 80), NumberPlace::Below, "the numbers have grown");
        assert_eq!(NumberPlace::Below.choose(8 + 3 + 5, 80), NumberPlace::Below, "nothing jumps back");
    }

    #[test]
    fn every_template_is_read() {
        let styles = [NumberPlace::Start, NumberPlace::Beside, NumberPlace::Below].map(NumberPlace::style);
        assert_eq!(styles.len(), 3);
    }
}
